//! Process tree of an instance.
//!
//! A process belongs to an instance if it is in the session or the group of its main process, or
//! descends from it. It also belongs to it if it carries the instance's mark in its environment and
//! its parent is the keeper (our subreaper) or init. The children of a double fork get these
//! parents. In any case it is in the instance's cgroup, if cgroups are available.

use std::collections::HashSet;
use std::path::Path;

use ostler_sys::process::ProcessEntry;
use ostler_sys::{ProcRef, ProcTable};

use super::Slot;
use super::processes::MARK;
use crate::state::store::FormerLeader;

/// Returns the processes in the table that belong to the tree of a slot with this main process.
pub(crate) fn family_in(table: &ProcTable, slot: &Slot, pid: i32, reaper: i32) -> Vec<ProcessEntry> {
    let leader = ProcRef { pid, start_ticks: slot.durable.start_ticks };
    let mut family = led_by(leader, &slot.durable.former_leaders, table, &slot.durable.unique_id, reaper);
    if let Some(group) = &slot.durable.group {
        let known: HashSet<i32> = family.iter().map(|member| member.pid).collect();
        family.extend(table.in_cgroup(Path::new(&**group)).into_iter().filter(|member| !known.contains(&member.pid)));
    }
    family
}

/// Returns the tree of a main process, and the trees of its former leaders.
pub(crate) fn led_by(leader: ProcRef, former: &[FormerLeader], table: &ProcTable, unique_id: &str, reaper: i32) -> Vec<ProcessEntry> {
    let tree = |leader| table.tree(leader, MARK, unique_id.as_bytes(), reaper);
    let mut family = tree(leader);
    if !former.is_empty() {
        let mut known: HashSet<i32> = family.iter().map(|member| member.pid).collect();
        let former_processes = former.iter().flat_map(|&(pid, start_ticks)| tree(ProcRef { pid, start_ticks }));
        family.extend(former_processes.filter(|member| known.insert(member.pid)));
    }
    family
}
