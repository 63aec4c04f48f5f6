//! Process tree of an instance: who belongs to it.
//!
//! A process belongs to an instance when it is in the session or the group of its main process, descends from it, or carries the
//! instance's mark in its environment and has the keeper (our subreaper) or init as parent: that is where the children of a double
//! fork end up. Whatever it did, it is still in the instance's cgroup, where there are any.

use std::collections::HashSet;
use std::path::Path;

use ostler_sys::process::Entry;
use ostler_sys::{ProcRef, ProcTable};

use super::Slot;
use super::processes::MARK;
use crate::state::store::FormerLeader;

/// Processes in the table that belong to the tree of a slot with this main process.
pub(crate) fn family_in(table: &ProcTable, slot: &Slot, pid: i32, reaper: i32) -> Vec<Entry> {
    let leader = ProcRef { pid, start_ticks: slot.durable.start_ticks };
    let mut family = led_by(leader, &slot.durable.former_leaders, table, &slot.durable.unique_id, reaper);
    if let Some(group) = &slot.durable.group {
        let known: HashSet<i32> = family.iter().map(|member| member.pid).collect();
        family.extend(table.in_cgroup(Path::new(&**group)).into_iter().filter(|member| !known.contains(&member.pid)));
    }
    family
}

/// Tree of a main process, and of those that led it before.
pub(crate) fn led_by(leader: ProcRef, former: &[FormerLeader], table: &ProcTable, unique_id: &str, reaper: i32) -> Vec<Entry> {
    let tree = |leader| table.tree(leader, MARK, unique_id.as_bytes(), reaper);
    let mut family = tree(leader);
    if !former.is_empty() {
        let mut known: HashSet<i32> = family.iter().map(|member| member.pid).collect();
        let theirs = former.iter().flat_map(|&(pid, start_ticks)| tree(ProcRef { pid, start_ticks }));
        family.extend(theirs.filter(|member| known.insert(member.pid)));
    }
    family
}
