//! Time, passed in by the caller.

use serde::{Deserialize, Serialize};

/// One reading of both clocks. The core never reads a clock itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Now {
    /// `CLOCK_BOOTTIME` in milliseconds: all deadlines and durations. It never jumps and is the
    /// same for every process of one boot, so a deadline survives the daemon that set it.
    pub mono_ms: u64,
    /// Wall clock, milliseconds since the epoch: only shown to users, never compared.
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
}
