//! Parts of a description that few apps have. A supervisor of a thousand apps holds a thousand descriptions: what is as it is by default
//! takes the place of a pointer, and reads as the default.

use std::fmt;
use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Its default lives as long as the program.
pub trait Shared: Default + 'static {
    /// The default.
    fn shared() -> &'static Self;
}

/// Makes types usable in a [`Rare`].
#[macro_export]
macro_rules! rarely {
    ($($part:ty),+ $(,)?) => {$(
        impl $crate::rare::Shared for $part {
            fn shared() -> &'static Self {
                static SHARED: std::sync::LazyLock<$part> = std::sync::LazyLock::new(<$part>::default);
                &SHARED
            }
        }
    )+};
}

rarely!(crate::hooks::Hooks, crate::order::Order, crate::rotate::RotateSpec, crate::watch::WatchSpec);

/// A value that is most often the default. Changing it gives it a place of its own.
#[derive(Clone)]
pub struct Rare<T>(Option<Box<T>>);

impl<T> Default for Rare<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Rare<T> {
    /// A value in a place of its own, whatever it is.
    pub fn own(value: T) -> Self {
        Self(Some(Box::new(value)))
    }

    /// The value if it has a place of its own; nothing has to be cleaned up in one that has none.
    pub fn own_mut(&mut self) -> Option<&mut T> {
        self.0.as_deref_mut()
    }
}

impl<T: Shared> Deref for Rare<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_deref().unwrap_or_else(|| T::shared())
    }
}

impl<T: Shared> DerefMut for Rare<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }
}

impl<T: Shared + PartialEq> From<T> for Rare<T> {
    fn from(value: T) -> Self {
        Self((value != *T::shared()).then(|| Box::new(value)))
    }
}

impl<T: Shared + PartialEq> PartialEq for Rare<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Shared + fmt::Debug> fmt::Debug for Rare<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: Shared + Serialize> Serialize for Rare<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(to)
    }
}

impl<'de, T: Shared + PartialEq + Deserialize<'de>> Deserialize<'de> for Rare<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        T::deserialize(from).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::Order;

    #[test]
    fn a_default_takes_no_place_and_reads_as_one() {
        assert_eq!(size_of::<Rare<Order>>(), size_of::<usize>());
        let order = Rare::<Order>::default();
        assert!(order.0.is_none() && *order == Order::default());
        assert!(Rare::from(Order::default()).0.is_none());
        let read: Rare<Order> = serde_json::from_str("{}").unwrap();
        assert!(read.0.is_none());
    }

    #[test]
    fn a_change_is_its_own() {
        let (plain, mut changed) = (Rare::<Order>::default(), Rare::<Order>::default());
        changed.timeout_ms = Some(5);
        assert_eq!((plain.timeout_ms, changed.timeout_ms), (None, Some(5)));
        assert_ne!(plain, changed);
        let text = serde_json::to_string(&changed).unwrap();
        assert_eq!(text, serde_json::to_string(&*changed).unwrap());
        assert_eq!(serde_json::from_str::<Rare<Order>>(&text).unwrap(), changed);
        changed.timeout_ms = None;
        assert_eq!(plain, changed, "equal to what has no place of its own");
    }
}
