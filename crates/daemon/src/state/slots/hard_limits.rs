//! Limits that the kernel enforces by the cgroup of the instance: `cpu_quota`, `memory_max`,
//! `pids_max`, `io_weight`.
//!
//! The daemon writes them before the process starts in its group. If a limit cannot be set, the app
//! runs without it.

use std::path::Path;

use ostler_core::app::AppSpec;
use ostler_core::health::limits::HardLimits;
use ostler_sys::cgroup;

use super::Slot;
use super::groups::{GroupError, Groups};

/// Period of `cpu.max`, in microseconds.
const PERIOD_US: u64 = 100_000;

/// Limit in the kernel's terms.
#[derive(Debug, PartialEq, Eq)]
struct Setting {
    /// Name that users know.
    key: &'static str,
    controller: &'static str,
    file: &'static str,
    /// Content of the file.
    value: String,
}

/// Returns the limits that are set; `total_bytes` is the memory of the machine.
fn settings(hard: &HardLimits, total_bytes: u64) -> Vec<Setting> {
    let cpu = hard.cpu_percent.map(|percent| format!("{} {PERIOD_US}", u64::from(percent) * PERIOD_US / 100));
    let memory = hard.memory.map(|memory| memory.bytes(total_bytes).to_string());
    let all = [
        ("cpu_quota", "cpu", "cpu.max", cpu),
        ("memory_max", "memory", "memory.max", memory),
        ("pids_max", "pids", "pids.max", hard.pids.map(|pids| pids.to_string())),
        ("io_weight", "io", "io.weight", hard.io_weight.map(|weight| format!("default {weight}"))),
    ];
    all.into_iter().filter_map(|(key, controller, file, value)| Some(Setting { key, controller, file, value: value? })).collect()
}

impl Groups {
    /// Returns the reasons why limits of this app cannot be enforced here, one line each.
    pub(crate) fn limits_in_vain(&self, spec: &AppSpec, keeper: i32) -> Vec<String> {
        let settings = spec.hard_limits().map_or_else(Vec::new, |hard| settings(hard, 0));
        let trouble = |Setting { key, controller, .. }: Setting| {
            let why = self.enable(controller, keeper).err()?;
            Some(format!("{}: {key} has no effect: {why}", spec.name))
        };
        settings.into_iter().filter_map(trouble).collect()
    }

    /// Limits the group for the next process of an instance. Returns the first reason why that
    /// failed, as a text that follows the instance's name.
    pub(crate) fn limit(&self, slot: &Slot, total_bytes: u64, keeper: i32) -> Option<String> {
        let mut trouble = None;
        for Setting { key, controller, file, value } in settings(slot.spec().hard_limits()?, total_bytes) {
            let done = self.enable(controller, keeper).and_then(|()| {
                let group = slot.durable.group.as_deref().ok_or(GroupError::NoGroup)?;
                cgroup::limit(Path::new(group), file, &value)
                    .map_err(|errno| GroupError::System { place: Path::new(group).join(file), source: errno.into() })
            });
            if let Err(why) = done {
                trouble = trouble.or(Some(format!("runs without {key}: {why}")));
            }
        }
        trouble
    }
}

impl Slot {
    /// Returns the number of processes of its group that the kernel has killed for lack of memory.
    pub(crate) fn oom_kills(&self) -> Option<u64> {
        self.durable.group.as_deref().and_then(|group| cgroup::oom_kills(Path::new(group)))
    }

    /// Returns true if the kernel has killed a process of its group since the main process started.
    pub(crate) fn was_short_of_memory(&self) -> bool {
        let is_limited = self.spec().hard_limits().is_some_and(|hard| hard.memory.is_some());
        is_limited && self.oom_kills().is_some_and(|kills| kills > self.live.group_ooms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_core::health::limits::MemoryAmount;

    #[test]
    fn hard_limits_map_to_cgroup_files() {
        let hard = HardLimits { cpu_percent: Some(150), memory: Some(MemoryAmount::Share(2500)), pids: Some(7), io_weight: Some(50) };
        let all: Vec<(&str, String)> = settings(&hard, 1 << 30).into_iter().map(|setting| (setting.file, setting.value)).collect();
        let expected = [("cpu.max", "150000 100000"), ("memory.max", "268435456"), ("pids.max", "7"), ("io.weight", "default 50")];
        assert_eq!(all, expected.map(|(file, value)| (file, value.to_owned())));
        assert!(settings(&HardLimits::default(), 0).is_empty());
    }
}
