//! Changes that a process already includes, because it started after them.

/// Precision of the times of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exactness {
    /// Tick of the kernel's file times: the real change is at most this much later.
    pub tick_ms: u64,
    /// Whether a hook runs directly before each start, and writes the program that starts.
    pub built_by_hook: bool,
}

impl Exactness {
    /// Returns true if the process that started at `started_ms` already includes the change at
    /// `changed_ms`, so it needs no restart. In doubt, a needless restart is better than a missing
    /// one. The exception is an app whose hook writes its program, because such a restart would
    /// repeat without end.
    pub fn is_known(self, changed_ms: u64, started_ms: u64) -> bool {
        let latest_ms = if self.built_by_hook { changed_ms } else { changed_ms.saturating_add(self.tick_ms) };
        started_ms > latest_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn change_in_the_clock_tick_of_a_start_counts() {
        let exactness = |built_by_hook| Exactness { tick_ms: 4, built_by_hook };
        for (changed, started, by_hook, known) in [
            (1000, 2000, false, true),
            (1000, 1005, false, true),
            // The change may have been at 1004.
            (1000, 1004, false, false),
            (1000, 1001, false, false),
            (1000, 1000, false, false),
            (2000, 1000, false, false),
            (1000, 1001, true, true),
            (1000, 1000, true, false),
            (1000, u64::MAX, false, true),
        ] {
            assert_eq!(exactness(by_hook).is_known(changed, started), known, "{changed} {started} {by_hook}");
        }
    }
}
