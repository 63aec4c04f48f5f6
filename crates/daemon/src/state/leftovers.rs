//! Remains of a daemon in a home without a running daemon, found by the copies of its state and by
//! running processes.

use std::collections::BTreeMap;
use std::path::Path;

use ostler_core::home::home_paths::HomePaths;
use ostler_core::lifecycle::InstanceState;
use ostler_keeper::LOCK_FILE;
use ostler_sys::ProcRef;

use crate::state::marked::{MarkedLeader, marked};
use crate::state::store::state_file::newest;
use crate::state::store::{Snapshot, state_copy};

/// Apps of a daemon that did not exit in order: an orderly exit removes the state file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftBehind {
    /// Whether the machine has rebooted since then.
    pub other_boot: bool,
    /// Number of instances by app name.
    pub apps: BTreeMap<String, usize>,
    /// Number of instance processes that still run.
    pub alive: usize,
    /// Processes that carry the marks of this home but belong to no known instance. The record of
    /// their apps is lost or outdated.
    pub strays: Vec<i32>,
}

impl LeftBehind {
    /// Returns the remains in this home, or `None` if it has none.
    pub fn of(home: &Path) -> Option<Self> {
        let this_boot = ostler_sys::time::clock::boot_id();
        let copy = state_copy::read(home).map(|bytes| Snapshot::read(&bytes).0).filter(|copy| copy.boot_id == this_boot);
        let disk = std::fs::read(HomePaths::state(home)).map(|bytes| Snapshot::read(&bytes).0).unwrap_or_default();
        let snapshot = newest(copy, Some(&disk), this_boot.as_deref().unwrap_or_default()).unwrap_or(disk);
        // A keeper that exited in order has emptied its lock file. Then no search is needed.
        let was_killed = std::fs::metadata(home.join(LOCK_FILE)).is_ok_and(|lock| lock.len() > 0) || snapshot != Snapshot::default();
        let marked = if was_killed { marked(home) } else { Vec::new() };
        Self::from_snapshot(&snapshot, this_boot.as_deref(), &marked, |process| process.runs())
    }

    fn from_snapshot(
        snapshot: &Snapshot,
        this_boot: Option<&str>,
        marked: &[MarkedLeader],
        is_alive: impl Fn(ProcRef) -> bool,
    ) -> Option<Self> {
        let other_boot = snapshot.boot_id.is_some() && snapshot.boot_id.as_deref() != this_boot;
        let mut found = Self { other_boot, ..Self::default() };
        for slot in snapshot.slots.values().filter(|slot| slot.instance.state != InstanceState::Gone) {
            let Some(spec) = snapshot.specs.get(&slot.app_number) else { continue };
            *found.apps.entry(spec.name.clone()).or_default() += 1;
            let process = slot.instance.pid().map(|pid| ProcRef { pid, start_ticks: slot.start_ticks });
            let is_marked = marked.iter().any(|of| of.unique_id == slot.unique_id && of.inc > slot.instance.inc);
            found.alive += usize::from(!other_boot && (process.is_some_and(&is_alive) || is_marked));
        }
        let is_known = |of: &MarkedLeader| !other_boot && snapshot.slots.values().any(|slot| slot.unique_id == of.unique_id);
        found.strays = marked.iter().filter(|of| of.is_owned && !is_known(of)).map(|of| of.process.pid).collect();
        (!found.apps.is_empty() || !found.strays.is_empty()).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn living_processes_without_a_record_are_counted() {
        let stray = |unique_id: &str, is_owned| MarkedLeader {
            unique_id: unique_id.into(),
            inc: 1,
            process: ProcRef { pid: 7, start_ticks: 1 },
            is_owned,
        };
        let left = |marked: &[MarkedLeader]| LeftBehind::from_snapshot(&Snapshot::default(), Some("b"), marked, |_| false);
        assert_eq!(left(&[]), None);
        assert_eq!(left(&[stray("a", false)]), None, "left behind on purpose");
        let found = left(&[stray("a", true)]).unwrap();
        assert_eq!((found.alive, found.strays, found.other_boot), (0, vec![7], false));
    }
}
