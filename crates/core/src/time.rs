//! Time, passed in by the caller.

use serde::{Deserialize, Serialize};

/// One reading of both clocks. The core never reads a clock itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Now {
    /// `CLOCK_BOOTTIME` in milliseconds: all deadlines and durations. It never jumps and is the
    /// same for every process of one boot, so a deadline survives the daemon that set it.
    pub mono_ms: u64,
    /// Wall clock, milliseconds since the epoch: shown to users. It may jump, so it measures no
    /// duration.
    pub wall_ms: u64,
}

impl Now {
    /// Returns both clocks at the same number, for tests and the simulation.
    pub const fn at(ms: u64) -> Self {
        Self { mono_ms: ms, wall_ms: ms }
    }

    /// Returns the same instant by the wall clock of `now`. Clock changes since then are removed in
    /// whole seconds, so repeated calls return the same number. Only for instants of the same boot.
    #[must_use]
    pub fn by_clock_of(self, now: Self) -> Self {
        let age_ms = now.mono_ms.saturating_sub(self.mono_ms);
        let by_age_ms = now.wall_ms.saturating_sub(age_ms);
        let jump_ms = by_age_ms.abs_diff(self.wall_ms).saturating_add(500) / 1000 * 1000;
        let wall_ms = if by_age_ms >= self.wall_ms { self.wall_ms.saturating_add(jump_ms) } else { self.wall_ms.saturating_sub(jump_ms) };
        Self { wall_ms, ..self }
    }

    /// Returns the lead of the wall clock over the boot clock. It changes only if the wall clock is
    /// set: slow corrections and suspends change both clocks alike.
    pub fn ahead_ms(self) -> i64 {
        self.wall_ms.cast_signed().saturating_sub(self.mono_ms.cast_signed())
    }
}

/// Smallest jump of the wall clock that is reported. Leap seconds are smaller.
const JUMP_MS: u64 = 2_000;
/// Shortest time between two reports. A later report contains the jumps in between.
const REPORTS_APART_MS: u64 = 60_000;

/// Wall clock as it was last reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedClock {
    /// Lead over the boot clock ([`Now::ahead_ms`]).
    pub ahead_ms: i64,
    /// Boot clock of the last reported jump; `None` before the first jump.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jump_ms: Option<u64>,
}

impl ReportedClock {
    /// Returns the clock of this instant, without a jump.
    pub fn at(now: Now) -> Self {
        Self { ahead_ms: now.ahead_ms(), jump_ms: None }
    }

    /// Returns the distance of a jump that must be reported now, and records it as reported.
    pub fn observe(&mut self, now: Now) -> Option<i64> {
        let moved_ms = now.ahead_ms().saturating_sub(self.ahead_ms);
        let is_early = self.jump_ms.is_some_and(|last| now.mono_ms < last.saturating_add(REPORTS_APART_MS));
        if moved_ms.unsigned_abs() < JUMP_MS || is_early {
            return None;
        }
        *self = Self { ahead_ms: now.ahead_ms(), jump_ms: Some(now.mono_ms) };
        Some(moved_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_moves_with_the_wall_clock() {
        let then = Now { mono_ms: 1_000, wall_ms: 500_000 };
        for (mono_ms, wall_ms, seen) in [
            (3_000, 502_000, 500_000),
            // Slow corrections and rounding have no effect.
            (3_000, 502_499, 500_000),
            (3_000, 501_501, 500_000),
            // An hour forward, five minutes back, and before the epoch.
            (3_000, 502_000 + 3_600_000, 500_000 + 3_600_000),
            (3_000, 502_001 + 3_600_000, 500_000 + 3_600_000),
            (3_000, 502_000 - 300_000, 500_000 - 300_000),
            (3_000, 0, 0),
            (0, 500_000, 500_000),
            (u64::MAX, u64::MAX, 1_000),
        ] {
            assert_eq!(then.by_clock_of(Now { mono_ms, wall_ms }), Now { mono_ms: 1_000, wall_ms: seen }, "{mono_ms} {wall_ms}");
        }
    }

    #[test]
    fn jump_is_reported_once_and_at_most_once_a_minute() {
        const HOUR: i64 = 3_600_000;
        // Time and lead of the wall clock since the first reading, reported jump.
        let sequences: [&[(u64, i64, Option<i64>)]; 6] = [
            // Neither time, nor a suspend, nor rounding is a jump.
            &[(0, 0, None), (86_400_000, 0, None), (86_400_001, -1, None), (86_400_002, 1, None)],
            &[(0, 1_999, None), (1, -1_999, None), (2, 2_000, Some(2_000)), (3, 2_000, None), (90_000, 2_000, None)],
            &[(5, -2_000, Some(-2_000)), (6, -2_000, None)],
            // Small steps add up.
            &[(0, 1_500, None), (1, 3_000, Some(3_000))],
            // A minute later, the jumps in between are one.
            &[
                (10, HOUR, Some(HOUR)),
                (11, 3 * HOUR, None),
                (60_009, HOUR / 2, None),
                (60_010, HOUR / 2, Some(-HOUR / 2)),
                (60_011, 0, None),
            ],
            &[(10, HOUR, Some(HOUR)), (11, 0, None), (12, HOUR, None), (60_010, HOUR, None), (60_011, 0, Some(-HOUR))],
        ];
        for rows in sequences {
            let first = Now { mono_ms: 1_000, wall_ms: 1_790_000_000_000 };
            let mut clock = ReportedClock::at(first);
            for (after_ms, moved_ms, reported) in rows {
                let now = Now { mono_ms: first.mono_ms + after_ms, wall_ms: (first.wall_ms + after_ms).saturating_add_signed(*moved_ms) };
                assert_eq!(clock.observe(now), *reported, "{after_ms} ms, {moved_ms} ms in {rows:?}");
            }
        }
        let mut clock = ReportedClock::at(Now { mono_ms: 0, wall_ms: u64::MAX });
        for extreme in [Now { mono_ms: u64::MAX, wall_ms: 0 }, Now { mono_ms: 0, wall_ms: 0 }, Now { mono_ms: u64::MAX, wall_ms: u64::MAX }]
        {
            clock.observe(extreme);
        }
    }
}
