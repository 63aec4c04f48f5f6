//! Usage of instances, read from the kernel.

use std::path::Path;

use ostler_sys::ProcRef;

use super::Ctx;
use crate::platform::sample::{CpuHistory, Sampler};
use crate::state::slots::Slot;

impl Ctx {
    /// Takes a reading of each running instance. Returns false if one of them has no earlier
    /// reading to compare with, or is gone. The next reading comes after its exit was reported.
    pub(crate) fn read_usage(&mut self, ids: Option<&[u32]>) -> bool {
        let now = self.now;
        let wanted = |slot: &Slot| ids.is_none_or(|ids| ids.binary_search(&slot.durable.id).is_ok());
        let process = |slot: &Slot| Some(ProcRef { pid: slot.durable.instance.pid()?, start_ticks: slot.durable.start_ticks });
        let sampler = Sampler::new(self.state.slots.iter().filter(|slot| wanted(slot)).filter_map(|slot| {
            let process = process(slot)?;
            // A process that was started as a main process leads its group and its session.
            Some((process, slot.live.cpu.leader(process.pid).filter(|_| slot.durable.former_leaders.is_empty())))
        }));
        // If a former keeper was lost, its orphans have other parents, too.
        let sampler =
            if self.state.groups.has_adopted() { sampler } else { sampler.knowing_children(self.io.keeper.pid(), self.own_children()) };
        let mut complete = true;
        let mut unseen = Vec::new();
        for slot in self.state.slots.iter_mut().filter(|slot| wanted(slot)) {
            if let Some(process) = process(slot) {
                complete &= slot.live.cpu.take(process, slot.durable.instance.counters.last_start, now, |process| {
                    sampler.read(process, slot.durable.group.as_deref().map(Path::new))
                });
                if slot.live.cpu.leader(process.pid).is_none() {
                    unseen.push(slot.durable.id);
                }
            } else {
                slot.live.cpu = CpuHistory::default();
            }
        }
        for id in unseen {
            complete &= !self.check_vanished(id);
        }
        complete
    }
}
