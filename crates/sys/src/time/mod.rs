//! Clocks and timers.

pub mod clock;
pub mod wall_timer;
