//! Clocks and timers.

pub mod clock;
pub mod wall_timer;

/// A reading of both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clocks {
    /// `CLOCK_BOOTTIME` in milliseconds. It never jumps, counts during suspend, and is the same for
    /// every process of one boot.
    pub boot_ms: u64,
    /// Wall clock in milliseconds since the epoch. It may jump.
    pub wall_ms: u64,
}
