//! Process table as it was last read, and the trees of instances in it.

use std::collections::HashSet;
use std::path::Path;

use ostler_core::lifecycle::InstanceState;
use ostler_sys::process::ProcessEntry;
use ostler_sys::{ProcRef, ProcTable};

use super::Ctx;
use super::process_view::{KeeperChildren, OrphanState};
use crate::state::slots::trees::family_in;

/// Processes of a tree outside the group of its main process.
#[derive(Debug)]
pub(crate) struct OutsideProcesses {
    /// Processes of the tree that are not in a group led by the main process.
    pub processes: Vec<ProcRef>,
    /// Whether the main process leads a group. The process that ostler started does; a process that
    /// took over from it may be in the group of the former.
    pub leads_group: bool,
    /// Whether the process table has the main process as a living process.
    pub main_was_seen: bool,
}

impl Default for OutsideProcesses {
    fn default() -> Self {
        Self { processes: Vec::new(), leads_group: true, main_was_seen: false }
    }
}

impl Ctx {
    /// Returns the process table. It is read once for all signals that are sent together.
    pub(crate) fn process_table(&mut self) -> &ProcTable {
        let table = self.io.processes.table.take().unwrap_or_else(|| {
            // The children of our own children need no scan.
            ProcTable::scan().knowing(self.own_children())
        });
        self.io.processes.table.insert(table)
    }

    /// Forgets the table, because it is out of date.
    pub(crate) fn forget_processes(&mut self) {
        self.io.processes.table = None;
        self.io.processes.orphans = None;
        self.io.processes.listed = KeeperChildren::default();
    }

    /// Returns true if the kernel lists this process as a child of the keeper. It was then not
    /// reaped, so its exit was not lost. The list is read once for many processes; for a few it
    /// costs more than a check of each. Also returns false if nothing is known.
    pub(super) fn is_listed(&mut self, pid: i32) -> bool {
        const FEW: usize = 4;
        self.io.processes.listed.checks += 1;
        if self.io.processes.listed.checks <= FEW || self.state.groups.has_adopted() {
            return false;
        }
        let keeper = self.io.keeper.pid();
        let list = || ostler_sys::process::tree::children(keeper).unwrap_or_default().into_iter().collect();
        self.io.processes.listed.pids.get_or_insert_with(list).contains(&pid)
    }

    /// Returns every process in the tree of a slot with this main process.
    pub(crate) fn family(&mut self, id: u32, pid: i32) -> Vec<ProcessEntry> {
        if self.can_only_be_in_its_group(id) {
            let group = self.state.slots.get(id).and_then(|slot| slot.durable.group.as_deref());
            return group.map_or_else(Vec::new, |group| ProcTable::default().in_cgroup(Path::new(group)));
        }
        self.process_table();
        let (Some(slot), Some(table)) = (self.state.slots.get(id), &self.io.processes.table) else { return Vec::new() };
        family_in(table, slot, pid, self.io.keeper.pid())
    }

    /// Returns true for an instance whose main process has exited while the keeper has no unknown
    /// child. A leftover process loses its parents sooner or later. It is then a child of the
    /// keeper, if the keeper is older than the process. This check costs the read of one process;
    /// the table costs a read of each process of the machine.
    pub(crate) fn can_only_be_in_its_group(&mut self, id: u32) -> bool {
        let Some(slot) = self.state.slots.get(id) else { return false };
        let has_ended = matches!(slot.durable.instance.state, InstanceState::Stopping { leader_gone: true, .. });
        let leaders = slot.durable.former_leaders.iter().map(|leader| leader.1).chain([slot.durable.start_ticks]);
        let Some(first_ticks) = leaders.min().filter(|_| has_ended && self.io.processes.table.is_none()) else { return false };
        self.is_without_orphans_since(first_ticks)
    }

    /// Returns true if no process that started at this time or later (clock ticks since boot) has
    /// lost its parents.
    pub(crate) fn is_without_orphans_since(&mut self, start_ticks: u64) -> bool {
        let orphans = self.io.processes.orphans.unwrap_or_else(|| self.find_orphans());
        self.io.processes.orphans = Some(orphans);
        matches!(orphans, OrphanState::NoneSince(keeper_ticks) if keeper_ticks < start_ticks)
    }

    fn find_orphans(&self) -> OrphanState {
        let keeper = self.io.keeper.pid();
        let children = ostler_sys::process::tree::children(keeper).filter(|_| !self.state.groups.has_adopted());
        let (Some(children), Some(keeper)) = (children, ProcessEntry::of(keeper)) else { return OrphanState::Unknown };
        let known: HashSet<i32> = self.own_children().collect();
        if children.iter().all(|pid| known.contains(pid)) { OrphanState::NoneSince(keeper.start_ticks) } else { OrphanState::Unknown }
    }

    /// Returns the processes that a signal to the group of a live main process does not reach.
    pub(crate) fn outside_group(&mut self, id: u32) -> OutsideProcesses {
        let Some((pid, start_ticks)) =
            self.state.slots.get(id).and_then(|slot| Some((slot.durable.instance.pid()?, slot.durable.start_ticks)))
        else {
            return OutsideProcesses::default();
        };
        let family = self.family(id, pid);
        let main = family.iter().find(|member| member.pid == pid);
        OutsideProcesses {
            processes: family.iter().filter(|member| member.pid != pid && member.pgid != pid).map(ProcessEntry::process).collect(),
            leads_group: main.is_none_or(|main| main.pgid == pid),
            main_was_seen: main.is_some_and(|main| main.start_ticks == start_ticks),
        }
    }
}
