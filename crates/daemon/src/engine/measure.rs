//! What instances use, read from the kernel.

use std::path::Path;

use ostler_sys::ProcRef;

use super::Ctx;
use crate::sample::{CpuHistory, Sampler};
use crate::slots::Slot;

impl Ctx {
    /// Takes a reading of each running instance. False when one of them has no earlier reading to compare with, or is not there: then its end
    /// will have been told by the next one.
    pub(crate) fn read_usage(&mut self, ids: Option<&[u32]>) -> bool {
        let now = self.now;
        let wanted = |slot: &Slot| ids.is_none_or(|ids| ids.binary_search(&slot.id).is_ok());
        let process = |slot: &Slot| Some(ProcRef { pid: slot.instance.pid()?, start_ticks: slot.start_ticks });
        let sampler = Sampler::new(self.slots.iter().filter(|slot| wanted(slot)).filter_map(|slot| {
            let process = process(slot)?;
            // One that was started as a main process leads its group and its session.
            Some((process, slot.cpu.leader(process.pid).filter(|_| slot.former_leaders.is_empty())))
        }));
        // Whose keeper was lost has orphans elsewhere, too.
        let sampler = if self.groups.has_adopted() { sampler } else { sampler.knowing_children(self.keeper.pid(), self.own_children()) };
        let mut complete = true;
        let mut unseen = Vec::new();
        for slot in self.slots.iter_mut().filter(|slot| wanted(slot)) {
            if let Some(process) = process(slot) {
                complete &= slot.cpu.take(process, slot.instance.counters.last_start, now, |process| {
                    sampler.read(process, slot.group.as_deref().map(Path::new))
                });
                if slot.cpu.leader(process.pid).is_none() {
                    unseen.push(slot.id);
                }
            } else {
                slot.cpu = CpuHistory::default();
            }
        }
        for id in unseen {
            complete &= !self.look_if_vanished(id);
        }
        complete
    }
}
