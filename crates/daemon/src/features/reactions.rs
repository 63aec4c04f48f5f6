//! Macros behind the table of reactions.

/// Declares the state of all features: a field for each, named as its `NAME`.
macro_rules! features {
    ($($field:ident: $feature:ty),* $(,)?) => {
        /// The state of each feature.
        #[derive(Debug, Default)]
        pub(crate) struct Features {
            $(pub $field: $feature),*
        }

        impl Features {
            /// Names by which the engine finds the owner of a deadline, a descriptor or an effect.
            pub(crate) const NAMES: &[&str] = &[$(<$feature>::NAME),*];

            #[cfg(test)]
            const FIELDS: &[&str] = &[$(stringify!($field)),*];
        }
    };
}

/// Declares a method of `Features` for each row. It calls the method of the same name of the listed
/// features, in their order.
///
/// - `each`: calls all.
/// - `any`: stops at the first that returns true.
/// - `attempt`: stops at the first that fails.
/// - `offer`: passes the last argument to the next feature as long as it is returned.
/// - `idle`: stops at the first that queued something.
/// - `owner`: calls the feature of the given name.
macro_rules! reactions {
    ($($(#[$doc:meta])* $kind:ident $name:ident($($args:tt)*) => $($feature:ident),+;)*) => {
        impl Features {
            $(reaction! { $(#[$doc])* $kind $name($($args)*) => $($feature),+ })*
        }

        /// The rows, for the tests of their order.
        #[cfg(test)]
        pub(crate) const ROWS: &[(&str, &[&str])] = &[$((stringify!($name), &[$(stringify!($feature)),+])),*];
    };
}

macro_rules! reaction {
    ($(#[$doc:meta])* each $name:ident($($arg:ident: $ty:ty),*) => $($feature:ident),+) => {
        $(#[$doc])*
        pub(crate) fn $name(&mut self, ctx: &mut Ctx, $($arg: $ty),*) {
            in_order!(self, feature in $($feature),+ => { feature.$name(ctx, $($arg),*); });
        }
    };
    ($(#[$doc:meta])* any $name:ident($($arg:ident: $ty:ty),*) => $($feature:ident),+) => {
        $(#[$doc])*
        pub(crate) fn $name(&mut self, ctx: &mut Ctx, $($arg: $ty),*) -> bool {
            in_order!(self, feature in $($feature),+ => { if feature.$name(ctx, $($arg),*) { return true; } });
            false
        }
    };
    ($(#[$doc:meta])* attempt $name:ident($($arg:ident: $ty:ty),*) => $($feature:ident),+) => {
        $(#[$doc])*
        pub(crate) fn $name(&mut self, ctx: &mut Ctx, $($arg: $ty),*) -> Result<(), SpawnFailure> {
            in_order!(self, feature in $($feature),+ => { feature.$name(ctx, $($arg),*)?; });
            Ok(())
        }
    };
    ($(#[$doc:meta])* offer $name:ident($($arg:ident: $ty:ty),*; $offered:ident: $offer:ty) => $($feature:ident),+) => {
        $(#[$doc])*
        pub(crate) fn $name(&mut self, ctx: &mut Ctx, $($arg: $ty,)* mut $offered: $offer) -> Option<$offer> {
            in_order!(self, feature in $($feature),+ => { $offered = feature.$name(ctx, $($arg,)* $offered)?; });
            Some($offered)
        }
    };
    ($(#[$doc:meta])* idle $name:ident() => $($feature:ident),+) => {
        $(#[$doc])*
        pub(crate) fn $name(&mut self, ctx: &mut Ctx) -> bool {
            in_order!(self, feature in $($feature),+ => { feature.$name(ctx); if !ctx.is_idle() { return true; } });
            false
        }
    };
    ($(#[$doc:meta])* owner $name:ident($($arg:ident: $ty:ty),*) => $($feature:ident),+) => {
        $(#[$doc])*
        pub(crate) fn $name(&mut self, owner: &str, ctx: &mut Ctx, $($arg: $ty),*) {
            owner!(self, owner, feature in $($feature),+ => { feature.$name(ctx, $($arg),*); });
        }
    };
}

/// Runs the block for the feature with this name.
macro_rules! owner {
    ($self:ident, $owner:ident, $each:ident in $($feature:ident),+ => $block:block) => {
        match $owner {
            $(name if name == stringify!($feature) => {
                let $each = &mut $self.$feature;
                $block
            })+
            _ => {}
        }
    };
}

/// Runs the block once for each feature, in the order of the row.
#[cfg(not(test))]
macro_rules! in_order {
    ($self:ident, $each:ident in $($feature:ident),+ => $block:block) => {
        $({
            let $each = &mut $self.$feature;
            $block
        })+
    };
}

/// Runs the block once for each feature, in an order that the declared edges allow. The simulation
/// plays all of them.
#[cfg(test)]
macro_rules! in_order {
    ($self:ident, $each:ident in $($feature:ident),+ => $block:block) => {
        for name in crate::features::edges::allowed(&[$(stringify!($feature)),+]) {
            $(if name == stringify!($feature) {
                let $each = &mut $self.$feature;
                $block
            })+
        }
    };
}
