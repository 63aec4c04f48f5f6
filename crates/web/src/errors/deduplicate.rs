//! Matching of exceptions that arrive twice: an app reports an exception over its channel and also
//! prints it. It is counted once. Pure.

use std::collections::VecDeque;

/// Maximum time between the two arrivals, in ms.
const WITHIN_MS: u64 = 10_000;
/// Maximum number of exceptions that wait for their second arrival.
const MOST: usize = 2000;

/// How an exception arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExceptionSource {
    Printed,
    Reported,
}

/// Exceptions that arrived once and may arrive the other way, too; the oldest first.
#[derive(Debug, Default)]
pub(super) struct RecentExceptions(VecDeque<(u64, u64, ExceptionSource)>);

impl RecentExceptions {
    /// Returns true if the exception is new, and false if it already arrived the other way. `key`
    /// identifies the app and the origin of the exception.
    pub(super) fn is_new(&mut self, key: u64, way: ExceptionSource, now_ms: u64) -> bool {
        while self.0.front().is_some_and(|(at, ..)| at.saturating_add(WITHIN_MS) < now_ms || *at > now_ms) || self.0.len() >= MOST {
            self.0.pop_front();
        }
        if let Some(at) = self.0.iter().position(|(_, other, by)| *other == key && *by != way) {
            self.0.remove(at);
            return false;
        }
        self.0.push_back((now_ms, key, way));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::ExceptionSource::{Printed, Reported};
    use super::*;

    #[test]
    fn printed_and_reported_exception_counts_once() {
        let mut matching = RecentExceptions::default();
        for (key, way, at, expected) in [
            (1, Reported, 0, true),
            (1, Printed, 10, false),
            (1, Printed, 20, true),
            (1, Printed, 30, true),
            (2, Reported, 40, true),
            (1, Reported, 50, false),
            (1, Reported, 60, false),
            (1, Reported, 70, true),
            (2, Printed, 20_000, true),
            (3, Printed, 30_000, true),
            // The clock was set back.
            (3, Reported, 100, true),
        ] {
            assert_eq!(matching.is_new(key, way, at), expected, "{key} {way:?} {at}");
        }
        for key in 0..10_000 {
            matching.is_new(key, Printed, 200);
        }
        assert!(matching.0.len() <= MOST);
    }
}
