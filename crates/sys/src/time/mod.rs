//! Clocks and timers.

pub mod clock;
pub mod wall_timer;

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clocks {
    /// `CLOCK_BOOTTIME` in milliseconds: never jumps, counts while suspended, the same for every process of one boot.
    pub boot_ms: u64,
    /// Wall clock in milliseconds since the epoch: may jump.
    pub wall_ms: u64,
}
