//! Limits of an app, as the user declares them.

use serde::{Deserialize, Serialize};

use crate::app::default_box::is_default;

/// An amount of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryAmount {
    /// Bytes.
    Bytes(u64),
    /// Hundredths of a percent of the memory of the machine (or of ostler's cgroup).
    Share(u32),
}

impl MemoryAmount {
    /// Returns the amount in bytes, as a part of `total`.
    pub fn bytes(self, total: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Share(share) => u64::try_from(u128::from(total) * u128::from(share) / 10_000).unwrap_or(u64::MAX),
        }
    }
}

/// Soft limit of CPU use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuLimit {
    /// Percent.
    pub percent: u32,
    /// Whether 100 percent means all processors instead of one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub of_machine: bool,
    /// Window over which the mean use has to exceed that.
    pub window_ms: u64,
}

impl CpuLimit {
    /// Returns the limit in percent of one processor.
    pub fn of_one(&self, cpus: u32) -> f64 {
        f64::from(self.percent) * if self.of_machine { f64::from(cpus.max(1)) } else { 1.0 }
    }
}

/// Limit of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorLimit {
    /// Lines on standard error and reported exceptions.
    pub threshold: u32,
    /// Window.
    pub window_ms: u64,
    /// Whether the instance is then restarted; otherwise the excess is only reported.
    pub restart: bool,
}

/// Limits that the kernel enforces, by cgroup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HardLimits {
    /// CPU, in percent of one core.
    #[serde(skip_serializing_if = "is_default")]
    pub cpu_percent: Option<u32>,
    /// Memory.
    #[serde(skip_serializing_if = "is_default")]
    pub memory: Option<MemoryAmount>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "is_default")]
    pub pids: Option<u32>,
    /// Weight of its input and output, 1 to 10000; the default is 100.
    #[serde(skip_serializing_if = "is_default")]
    pub io_weight: Option<u16>,
}

impl HardLimits {
    /// Returns true if no limit is set.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amount_is_converted_to_bytes() {
        assert_eq!(MemoryAmount::Bytes(7).bytes(100), 7);
        assert_eq!(MemoryAmount::Share(5_000).bytes(1 << 30), 1 << 29);
        assert_eq!(MemoryAmount::Share(1).bytes(u64::MAX), u64::MAX / 10_000);
    }

    #[test]
    fn cpu_limit_of_the_machine_scales_with_cpus() {
        let limit = CpuLimit { percent: 50, of_machine: false, window_ms: 1 };
        assert!((limit.of_one(8) - 50.0).abs() < 1e-9);
        assert!((CpuLimit { of_machine: true, ..limit }.of_one(8) - 400.0).abs() < 1e-9);
    }
}
