//! `max_memory_restart`.
//!
//! A process that is just being forked shares its parent's pages, so they count twice for a moment.
//! The first measurement above the limit is therefore repeated very soon, and only the second
//! counts.

/// Time between a measurement above the limit and its confirmation.
const CONFIRM_MS: u64 = 250;

/// Verdict of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryVerdict {
    /// Below the limit.
    Within,
    /// Above it: measure again at this time.
    Confirm {
        /// The time (`mono_ms`).
        at_ms: u64,
    },
    /// Above it twice.
    Exceeded,
}

/// The memory of one process tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryWatch {
    exceeded_since_ms: Option<u64>,
}

impl MemoryWatch {
    /// Takes a measurement.
    pub fn take(&mut self, limit_bytes: u64, bytes: u64, now_ms: u64) -> MemoryVerdict {
        if bytes <= limit_bytes {
            self.exceeded_since_ms = None;
            return MemoryVerdict::Within;
        }
        let since = *self.exceeded_since_ms.get_or_insert(now_ms);
        let at_ms = since.saturating_add(CONFIRM_MS);
        if now_ms >= at_ms { MemoryVerdict::Exceeded } else { MemoryVerdict::Confirm { at_ms } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_over_limit_needs_a_confirming_reading() {
        use MemoryVerdict::{Confirm, Exceeded, Within};
        let mut watch = MemoryWatch::default();
        for (at, bytes, expected) in [
            (0, 100, Within),
            (1000, 101, Confirm { at_ms: 1250 }),
            (1100, 101, Confirm { at_ms: 1250 }),
            (1250, 100, Within),
            (2000, 500, Confirm { at_ms: 2250 }),
            (2250, 101, Exceeded),
            (3250, 101, Exceeded),
            (4250, 1, Within),
        ] {
            assert_eq!(watch.take(100, bytes, at), expected, "at {at}");
        }
    }
}
