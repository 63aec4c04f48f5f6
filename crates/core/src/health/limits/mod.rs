//! Limits of use: take measurements and return a verdict. The daemon measures.

mod cpu;
mod errors;
mod memory;
mod spec;

pub use cpu::{CpuVerdict, CpuWatch};
pub use errors::ErrorWatch;
pub use memory::{MemoryVerdict, MemoryWatch};
pub use spec::{CpuLimit, ErrorLimit, HardLimits, MemoryAmount};

/// Time between two measurements if memory is limited.
pub const INTERVAL_MS: u64 = 1000;
