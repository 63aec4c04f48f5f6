//! Deadlines of all features in one order. The next one is known without asking each feature.

use std::collections::{BTreeMap, BTreeSet};

/// Key of a deadline: the name of a feature, and the feature's own number (an instance, a job, or
/// 0).
pub(crate) type Key = (&'static str, u64);

/// Key after every other one: no name of a feature starts with this character.
const LAST: Key = ("\u{10ffff}", u64::MAX);

/// Deadlines by key. A key has one deadline at most.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    by_time: BTreeSet<(u64, Key)>,
    by_key: BTreeMap<Key, u64>,
}

impl Timers {
    /// Sets the deadline of a key (`mono_ms`), which replaces the former one. `None` removes it.
    pub(crate) fn set(&mut self, key: Key, at_ms: Option<u64>) {
        let former = match at_ms {
            Some(at_ms) => self.by_key.insert(key, at_ms),
            None => self.by_key.remove(&key),
        };
        if former == at_ms {
            return;
        }
        if let Some(former) = former {
            self.by_time.remove(&(former, key));
        }
        self.by_time.extend(at_ms.map(|at_ms| (at_ms, key)));
    }

    /// Sets the deadline of a key that has none. An existing deadline is not postponed.
    pub(crate) fn set_if_none(&mut self, key: Key, at_ms: u64) {
        if !self.by_key.contains_key(&key) {
            self.set(key, Some(at_ms));
        }
    }

    /// Sets the deadline of a key, unless the key has an earlier one.
    pub(crate) fn set_sooner(&mut self, key: Key, at_ms: u64) {
        if self.by_key.get(&key).is_none_or(|former| *former > at_ms) {
            self.set(key, Some(at_ms));
        }
    }

    /// Returns the deadline of a key.
    #[cfg(test)]
    pub(crate) fn get(&self, key: Key) -> Option<u64> {
        self.by_key.get(&key).copied()
    }

    /// Returns the earliest deadline.
    pub(crate) fn next_ms(&self) -> Option<u64> {
        self.by_time.first().map(|(at_ms, _)| *at_ms)
    }

    /// Returns the keys whose deadlines have come, the earliest first. A deadline that is set while
    /// they are handled is due in a later turn, even if its time is past. A feature that sets such
    /// deadlines repeatedly therefore cannot block the others.
    pub(crate) fn due(&self, now_ms: u64) -> Vec<Key> {
        self.by_time.range(..=(now_ms, LAST)).map(|(_, key)| *key).collect()
    }

    /// Takes the deadline of a key if it has come. Returns false if it was postponed or cancelled
    /// since.
    pub(crate) fn take(&mut self, key: Key, now_ms: u64) -> bool {
        let has_come = self.by_key.get(&key).is_some_and(|at_ms| *at_ms <= now_ms);
        if has_come {
            self.set(key, None);
        }
        has_come
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: Key = ("a", 1);
    const B: Key = ("b", 1);

    #[test]
    fn timers_expire_in_order_and_once() {
        let mut timers = Timers::default();
        timers.set(B, Some(20));
        timers.set(A, Some(30));
        timers.set(("a", 2), Some(20));
        assert_eq!(timers.next_ms(), Some(20));
        assert_eq!(timers.due(19), []);
        assert_eq!(timers.due(30), [("a", 2), B, A]);
        for key in timers.due(30) {
            assert!(timers.take(key, 30) && !timers.take(key, 30), "{key:?}");
        }
        assert_eq!((timers.next_ms(), timers.get(A)), (None, None));
    }

    #[test]
    fn each_key_has_one_deadline() {
        let mut timers = Timers::default();
        timers.set(A, Some(10));
        timers.set(A, Some(20));
        assert_eq!((timers.due(10), timers.get(A)), (vec![], Some(20)));
        timers.set_if_none(A, 5);
        timers.set_if_none(B, 5);
        assert_eq!((timers.get(A), timers.due(5)), (Some(20), vec![B]));
        timers.set_sooner(A, 30);
        assert_eq!(timers.get(A), Some(20));
        timers.set_sooner(A, 15);
        assert_eq!(timers.get(A), Some(15));
        timers.set(A, None);
        timers.set(B, None);
        assert_eq!(timers.next_ms(), None);
    }

    #[test]
    fn expired_timer_can_cancel_and_set_others() {
        let mut timers = Timers::default();
        timers.set(A, Some(10));
        timers.set(B, Some(20));
        let due = timers.due(20);
        timers.set(A, Some(30));
        timers.set(B, None);
        assert!(due.iter().all(|key| !timers.take(*key, 20)), "put off and called off");
        // A deadline in the past belongs to the next turn.
        timers.set(A, Some(5));
        for key in timers.due(20) {
            assert!(timers.take(key, 20));
            timers.set(key, Some(1));
        }
        assert_eq!(timers.due(20), [A]);
    }

    proptest! {
        /// Both orders agree after any sequence of calls, and the next deadline is the earliest.
        #[test]
        fn both_timer_orders_agree(steps in proptest::collection::vec((0u64..5, proptest::option::of(0u64..50), any::<bool>()), 0..60)) {
            let mut timers = Timers::default();
            for (key, at_ms, take) in steps {
                if take {
                    let now_ms = at_ms.unwrap_or(25);
                    for key in timers.due(now_ms) {
                        prop_assert!(timers.take(key, now_ms));
                        prop_assert_eq!(timers.get(key), None);
                    }
                    prop_assert!(timers.next_ms().is_none_or(|next| next > now_ms));
                } else {
                    timers.set(("x", key), at_ms);
                    prop_assert_eq!(timers.get(("x", key)), at_ms);
                }
                let ordered: BTreeMap<Key, u64> = timers.by_time.iter().map(|(at_ms, key)| (*key, *at_ms)).collect();
                prop_assert_eq!(&ordered, &timers.by_key);
                prop_assert_eq!(timers.by_time.len(), timers.by_key.len());
                prop_assert_eq!(timers.next_ms(), timers.by_key.values().copied().min());
            }
        }
    }
}
