//! Limits of use: measurements go in, a verdict comes out; the daemon measures.

mod cpu;
mod errors;
mod memory;
mod spec;

pub use cpu::{CpuVerdict, CpuWatch};
pub use errors::ErrorWatch;
pub use memory::{MemoryVerdict, MemoryWatch};
pub use spec::{Amount, CpuLimit, ErrorLimit, HardLimits};

/// Time between two measurements where memory is limited.
pub const INTERVAL_MS: u64 = 1000;
