//! `error: {error_threshold, window}`.

use std::collections::VecDeque;

use crate::health::limits::ErrorLimit;

/// Parts into which a window is divided.
const PARTS: u64 = 30;

/// The errors of one instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorWatch {
    /// Start and number of each part, the oldest first.
    parts: VecDeque<(u64, u64)>,
}

impl ErrorWatch {
    /// Takes this many errors. Returns the number in the window if it is above the limit; then the
    /// count restarts.
    pub fn take(&mut self, limit: &ErrorLimit, errors: u64, now_ms: u64) -> Option<u64> {
        while self.parts.front().is_some_and(|(at, _)| now_ms.saturating_sub(*at) >= limit.window_ms) {
            self.parts.pop_front();
        }
        if errors > 0 {
            let part_ms = (limit.window_ms / PARTS).max(1);
            match self.parts.back_mut() {
                Some((at, count)) if now_ms.saturating_sub(*at) < part_ms => *count = count.saturating_add(errors),
                _ => self.parts.push_back((now_ms, errors)),
            }
        }
        let sum = self.count();
        (errors > 0 && sum >= u64::from(limit.threshold)).then(|| {
            self.parts.clear();
            sum
        })
    }

    /// Returns the number in the window of the last call.
    pub fn count(&self) -> u64 {
        self.parts.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: ErrorLimit = ErrorLimit { threshold: 50, window_ms: 60_000, restart: true };

    #[test]
    fn fifty_errors_in_a_minute_exceed_the_limit() {
        let mut watch = ErrorWatch::default();
        assert_eq!(watch.take(&LIMIT, 49, 0), None);
        assert_eq!(watch.take(&LIMIT, 0, 30_000), None);
        assert_eq!(watch.take(&LIMIT, 1, 59_000), Some(50));
        assert_eq!(watch.take(&LIMIT, 49, 59_001), None, "the count began anew");
        assert_eq!(watch.take(&LIMIT, 49, 119_001), None, "the others are too old");
        assert_eq!(watch.take(&LIMIT, u64::MAX, 119_001), Some(u64::MAX));
    }

    proptest! {
        #[test]
        fn errors_below_threshold_never_trip(steps in prop::collection::vec((0..90_000_u64, 0..3_u64), 0..60), threshold in 200..300_u32) {
            let limit = ErrorLimit { threshold, ..LIMIT };
            let mut watch = ErrorWatch::default();
            let mut now = 0;
            for (step, errors) in steps {
                now += step;
                prop_assert_eq!(watch.take(&limit, errors, now), None);
                prop_assert!(watch.parts.len() <= PARTS as usize + 1);
            }
        }
    }
}
