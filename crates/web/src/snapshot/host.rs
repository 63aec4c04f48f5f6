//! Metrics of the machine.

use ostler_sys::machine::host::HostSample;
use serde::Serialize;

/// Metrics of the machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Host {
    /// Usage of all processors together, 0 to 1; none = not known yet.
    pub(crate) cpu: Option<f64>,
    pub(crate) cores: u32,
    /// Load averages of 1, 5 and 15 minutes.
    pub(crate) load: Option<[f64; 3]>,
    pub(crate) memory: Usage,
    /// The root file system.
    pub(crate) disk: Option<Usage>,
    /// Seconds since boot.
    pub(crate) uptime: Option<u64>,
}

/// Usage in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Usage {
    pub(crate) used: u64,
    pub(crate) total: u64,
}

impl Host {
    /// Computes the metrics from a sample and the one before.
    pub(crate) fn of(sample: &HostSample, before: Option<&HostSample>, cores: u32) -> Self {
        let (total, available) = sample.memory_bytes;
        let root = sample.mounts.iter().find(|mount| mount.path == "/");
        let line = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let numbers: Vec<f64> = line("/proc/loadavg").split(' ').take(3).filter_map(|word| word.parse().ok()).collect();
        Self {
            cpu: before.and_then(|before| share(sample.cpu_ticks, before.cpu_ticks)),
            cores,
            load: numbers.try_into().ok(),
            memory: Usage { used: total.saturating_sub(available), total },
            disk: root.map(|root| Usage { used: root.bytes.1, total: root.bytes.0 }),
            uptime: line("/proc/uptime").split('.').next().and_then(|word| word.parse().ok()),
        }
    }
}

/// Returns the share of the time that was not idle; none if no time has passed.
#[expect(clippy::cast_precision_loss, reason = "a share")]
fn share(now: (u64, u64), before: (u64, u64)) -> Option<f64> {
    let (all, busy) = (now.0.checked_sub(before.0)?, now.1.saturating_sub(before.1));
    (all > 0).then(|| (1000.0 * busy as f64 / all as f64).round().min(1000.0) / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn share_is_computed_from_counter_differences() {
        assert_eq!(share((200, 150), (100, 100)), Some(0.5));
        assert_eq!(share((100, 100), (100, 100)), None);
        assert_eq!(share((50, 10), (100, 100)), None, "another machine's counters");
        assert_eq!(share((101, 103), (100, 100)), Some(1.0));
    }
}
