//! Changes that a process knows already, because it was started after them.

/// Exactness of the times of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exactness {
    /// The time of a file is that of the kernel's last tick: the change was so much later at most.
    pub tick_ms: u64,
    /// Whether a hook runs right before each start, and writes what is started.
    pub built_by_hook: bool,
}

impl Exactness {
    /// True: the process that was started at `started_ms` need not be started again for what the file says was changed at `changed_ms`. Where
    /// that cannot be told a restart too many is better than one too few, but for apps that would write again then, and be restarted for ever.
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
            // Perhaps at 1004.
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
