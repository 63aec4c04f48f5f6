//! Process table as it was read last, and the trees of instances in it.

use ostler_sys::tree::Entry;
use ostler_sys::{ProcRef, ProcTable};

use super::Ctx;
use crate::slots::trees::family_in;

/// Processes of a tree outside of the group of its main process.
#[derive(Debug)]
pub(crate) struct Outside {
    /// Processes of its tree that are not in a group led by it.
    pub processes: Vec<ProcRef>,
    /// Whether it leads one: the process that was started does, one that it handed over to may be in the group of the former.
    pub leads_group: bool,
    /// Whether the process table has it as a living process.
    pub main_was_seen: bool,
}

impl Default for Outside {
    fn default() -> Self {
        Self { processes: Vec::new(), leads_group: true, main_was_seen: false }
    }
}

impl Ctx {
    /// The process table. It is read once for all signals that are sent together.
    pub(crate) fn look_at_processes(&mut self) -> &ProcTable {
        let table = self.table.take().unwrap_or_else(|| {
            // Nobody needs to look whose children our own are.
            ProcTable::scan().knowing(self.own_children())
        });
        self.table.insert(table)
    }

    /// Forgets the table: what was seen does not hold any more.
    pub(crate) fn forget_processes(&mut self) {
        self.table = None;
    }

    /// Everything of the tree of a slot with this main process.
    pub(crate) fn family(&mut self, id: u32, pid: i32) -> Vec<Entry> {
        self.look_at_processes();
        let (Some(slot), Some(table)) = (self.slots.get(id), &self.table) else { return Vec::new() };
        family_in(table, slot, pid, self.keeper.pid())
    }

    /// The processes that a signal to the group of a live main process does not reach.
    pub(crate) fn outside_group(&mut self, id: u32) -> Outside {
        let Some((pid, start_ticks)) = self.slots.get(id).and_then(|slot| Some((slot.durable.instance.pid()?, slot.durable.start_ticks)))
        else {
            return Outside::default();
        };
        let family = self.family(id, pid);
        let main = family.iter().find(|member| member.pid == pid);
        Outside {
            processes: family.iter().filter(|member| member.pid != pid && member.pgid != pid).map(Entry::process).collect(),
            leads_group: main.is_none_or(|main| main.pgid == pid),
            main_was_seen: main.is_some_and(|main| main.start_ticks == start_ticks),
        }
    }
}
