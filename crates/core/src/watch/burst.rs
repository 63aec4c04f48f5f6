//! Bursts of changes, and their end.

/// Default time without a change before a restart: editors and compilers write several files.
const QUIET_MS: u64 = 100;
/// Longest time until the watch acts on an endless burst.
const LONGEST_MS: u64 = 5_000;

/// Timing of an app's watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Time without a change, before the restart.
    pub quiet_ms: u64,
    /// Shortest time from the first change.
    pub delay_ms: u64,
}

impl Pace {
    /// Returns the timing that an app declares.
    pub fn of(spec: &super::WatchSpec) -> Self {
        Self { quiet_ms: spec.settle_ms.unwrap_or(QUIET_MS), delay_ms: spec.delay_ms }
    }
}

/// Changes that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Burst {
    /// Time of the first change.
    pub first_ms: u64,
    /// Time of the last change.
    pub last_ms: u64,
    /// Path that changed first.
    pub path: String,
    /// Age of the app's newest process at that time.
    pub age_ms: Option<u64>,
    /// Whether it is over but has to wait.
    pub is_held: bool,
}

impl Burst {
    /// Begins a burst.
    pub fn begin(path: String, age_ms: Option<u64>, now_ms: u64) -> Self {
        Self { first_ms: now_ms, last_ms: now_ms, path, age_ms, is_held: false }
    }

    /// Returns the time of the restart.
    pub fn due_ms(&self, pace: Pace) -> u64 {
        let longest = LONGEST_MS.max(pace.quiet_ms.saturating_mul(2)).max(pace.delay_ms);
        let calm = self.last_ms.saturating_add(pace.quiet_ms).min(self.first_ms.saturating_add(longest));
        calm.max(self.first_ms.saturating_add(pace.delay_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_is_over_after_quiet_or_at_its_latest_time() {
        let pace = |quiet_ms, delay_ms| Pace { quiet_ms, delay_ms };
        for (pace, last, expected) in [
            (pace(100, 0), 1000, 1100),
            (pace(100, 0), 1500, 1600),
            (pace(100, 0), 9000, 6000),
            (pace(100, 3000), 1500, 4000),
            (pace(100, 60_000), 30_000, 61_000),
            (pace(20_000, 0), 9000, 29_000),
            (pace(20_000, 0), 90_000, 41_000),
            (pace(u64::MAX, u64::MAX), 9000, u64::MAX),
        ] {
            let burst = Burst { last_ms: last, ..Burst::begin("a".into(), None, 1000) };
            assert_eq!(burst.due_ms(pace), expected, "{pace:?} {last}");
        }
    }
}
