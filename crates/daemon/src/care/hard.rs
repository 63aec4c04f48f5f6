//! Limits that the kernel keeps: `cpu_quota`, `memory_max`, `pids_max`, `io_weight`, by the cgroup of the instance.
//!
//! They are written before the process is born in its group. Where a limit cannot be had the app runs without it, and that is told in one line: a
//! machine without a controller is no reason not to serve.

use std::path::Path;

use ostler_core::app::AppSpec;
use ostler_core::care::HardLimits;
use ostler_sys::cgroup;

use crate::control::Control;
use crate::slots::Slot;

/// Period of `cpu.max`, in microseconds.
const PERIOD_US: u64 = 100_000;

/// Key, controller, file, and what is written into it; `total` is what the machine has of memory.
fn settings(hard: &HardLimits, total: u64) -> Vec<(&'static str, &'static str, &'static str, String)> {
    let cpu = hard.cpu_percent.map(|percent| format!("{} {PERIOD_US}", u64::from(percent) * PERIOD_US / 100));
    let memory = hard.memory.map(|memory| memory.bytes(total).to_string());
    let all = [
        ("cpu_quota", "cpu", "cpu.max", cpu),
        ("memory_max", "memory", "memory.max", memory),
        ("pids_max", "pids", "pids.max", hard.pids.map(|pids| pids.to_string())),
        ("io_weight", "io", "io.weight", hard.io_weight.map(|weight| format!("default {weight}"))),
    ];
    all.into_iter().filter_map(|(key, controller, file, value)| Some((key, controller, file, value?))).collect()
}

fn hard_limits(spec: &AppSpec) -> Option<&HardLimits> {
    spec.care.as_ref().map(|care| &care.hard).filter(|hard| !hard.is_none())
}

impl Control {
    /// Why limits of this app cannot be kept here: a line for each.
    pub(crate) fn limits_in_vain(&self, spec: &AppSpec) -> Vec<String> {
        let settings = hard_limits(spec).map_or_else(Vec::new, |hard| settings(hard, 0));
        let keeper = self.ctx.keeper.pid();
        let trouble = |(key, controller, ..): (&str, &str, &str, String)| {
            let why = self.ctx.groups.enable(controller, keeper).err()?;
            Some(format!("{}: {key} has no effect: {why}", spec.name))
        };
        settings.into_iter().filter_map(trouble).collect()
    }

    /// Limits the group in which the next process of an instance is born.
    pub(crate) fn limit_group(&mut self, id: u32) {
        let Some(slot) = self.ctx.slots.get(id) else { return };
        let Some(hard) = hard_limits(slot.spec()).cloned() else { return };
        let group = slot.group.clone();
        let total = self.care.machine.memory_bytes(self.ctx.now.mono_ms);
        let mut trouble = None;
        for (key, controller, file, value) in settings(&hard, total) {
            let done = self.ctx.groups.enable(controller, self.ctx.keeper.pid()).and_then(|()| {
                let group = group.as_deref().ok_or("the instance has no cgroup")?;
                cgroup::limit(Path::new(group), file, &value).map_err(|errno| format!("{group}/{file}: {errno}"))
            });
            if let Err(why) = done {
                trouble = trouble.or(Some(format!("runs without {key}: {why}")));
            }
        }
        let ooms = group.as_deref().and_then(|group| cgroup::oom_kills(Path::new(group)));
        if let Some(slot) = self.ctx.slots.get_mut(id) {
            slot.group_ooms = ooms.unwrap_or(0);
        }
        let known = self.ctx.slots.get(id).and_then(|slot| slot.notes.last()).map(|note| note.text.clone());
        if let Some(trouble) = trouble.filter(|trouble| Some(trouble) != known.as_ref()) {
            self.note(id, trouble);
        }
    }
}

/// The kernel killed something of its group since its process started.
pub(crate) fn was_short_of_memory(slot: &Slot) -> bool {
    let limited = hard_limits(slot.spec()).is_some_and(|hard| hard.memory.is_some());
    let kills = slot.group.as_deref().filter(|_| limited).and_then(|group| cgroup::oom_kills(Path::new(group)));
    kills.is_some_and(|kills| kills > slot.group_ooms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_core::care::Amount;

    #[test]
    fn limits_in_the_words_of_the_kernel() {
        let hard = HardLimits { cpu_percent: Some(150), memory: Some(Amount::Share(2500)), pids: Some(7), io_weight: Some(50) };
        let all: Vec<(&str, String)> = settings(&hard, 1 << 30).into_iter().map(|(_, _, file, value)| (file, value)).collect();
        let expected = [("cpu.max", "150000 100000"), ("memory.max", "268435456"), ("pids.max", "7"), ("io.weight", "default 50")];
        assert_eq!(all, expected.map(|(file, value)| (file, value.to_owned())));
        assert!(settings(&HardLimits::default(), 0).is_empty());
    }
}
