//! Time as the caller tells it.

use serde::{Deserialize, Serialize};

/// One reading of both clocks. The core never reads a clock itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Now {
    /// `CLOCK_BOOTTIME` in milliseconds: all deadlines and durations. It never jumps and is the same for every process of one boot,
    /// so a deadline survives the daemon that set it.
    pub mono_ms: u64,
    /// Wall clock, milliseconds since the epoch: only ever shown to people, never compared.
    pub wall_ms: u64,
}

impl Now {
    /// Both clocks at the same number; handy in tests and the simulation.
    pub const fn at(ms: u64) -> Self {
        Self { mono_ms: ms, wall_ms: ms }
    }
}
