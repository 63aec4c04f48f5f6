//! Parts of a description that few apps set. A supervisor of a thousand apps has a thousand
//! descriptions in memory. A part with its default value takes only a pointer, and reads as the
//! default.

use std::fmt;
use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Type whose default lives as long as the program.
pub trait StaticDefault: Default + 'static {
    /// Returns the default.
    fn static_default() -> &'static Self;
}

/// Makes types usable in a [`DefaultBox`].
#[macro_export]
macro_rules! static_default {
    ($($part:ty),+ $(,)?) => {$(
        impl $crate::app::default_box::StaticDefault for $part {
            fn static_default() -> &'static Self {
                static DEFAULT: std::sync::LazyLock<$part> = std::sync::LazyLock::new(<$part>::default);
                &DEFAULT
            }
        }
    )+};
}

/// Returns true for a default value. Default values are not written, because a description is in
/// every journal and every request.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Value that is most often the default. A change allocates it.
#[derive(Clone)]
pub struct DefaultBox<T>(Option<Box<T>>);

impl<T> Default for DefaultBox<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> DefaultBox<T> {
    /// Allocates a value, even a default one.
    pub fn allocate(value: T) -> Self {
        Self(Some(Box::new(value)))
    }

    /// Returns the value if it is allocated. A default value needs no change.
    pub fn own_mut(&mut self) -> Option<&mut T> {
        self.0.as_deref_mut()
    }
}

impl<T: StaticDefault> Deref for DefaultBox<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_deref().unwrap_or_else(|| T::static_default())
    }
}

impl<T: StaticDefault> DerefMut for DefaultBox<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }
}

impl<T: StaticDefault + PartialEq> From<T> for DefaultBox<T> {
    fn from(value: T) -> Self {
        Self((value != *T::static_default()).then(|| Box::new(value)))
    }
}

impl<T: StaticDefault + PartialEq> PartialEq for DefaultBox<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: StaticDefault + fmt::Debug> fmt::Debug for DefaultBox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: StaticDefault + Serialize> Serialize for DefaultBox<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(to)
    }
}

impl<'de, T: StaticDefault + PartialEq + Deserialize<'de>> Deserialize<'de> for DefaultBox<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        T::deserialize(from).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::order::Dependencies;

    #[test]
    fn default_value_allocates_nothing_and_derefs_to_default() {
        assert_eq!(size_of::<DefaultBox<Dependencies>>(), size_of::<usize>());
        let order = DefaultBox::<Dependencies>::default();
        assert!(order.0.is_none() && *order == Dependencies::default());
        assert!(DefaultBox::from(Dependencies::default()).0.is_none());
        let read: DefaultBox<Dependencies> = serde_json::from_str("{}").unwrap();
        assert!(read.0.is_none());
    }

    #[test]
    fn changing_one_box_leaves_other_defaults_unchanged() {
        let (plain, mut changed) = (DefaultBox::<Dependencies>::default(), DefaultBox::<Dependencies>::default());
        changed.timeout_ms = Some(5);
        assert_eq!((plain.timeout_ms, changed.timeout_ms), (None, Some(5)));
        assert_ne!(plain, changed);
        let text = serde_json::to_string(&changed).unwrap();
        assert_eq!(text, serde_json::to_string(&*changed).unwrap());
        assert_eq!(serde_json::from_str::<DefaultBox<Dependencies>>(&text).unwrap(), changed);
        changed.timeout_ms = None;
        assert_eq!(plain, changed, "equal to what has no place of its own");
    }
}
