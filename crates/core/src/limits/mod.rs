//! Does an instance use too much? Measurements go in, a verdict comes out; somebody else measures.

mod cpu;
mod errors;
mod memory;
mod spec;

pub use cpu::{CpuVerdict, CpuWatch};
pub use errors::ErrorWatch;
pub use memory::{MemoryVerdict, MemoryWatch};
pub use spec::{Amount, CpuLimit, ErrorLimit, HardLimits};

/// Between two measurements where memory is limited.
pub const INTERVAL_MS: u64 = 1000;
