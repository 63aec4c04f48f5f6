//! Remains of a daemon in a home without one, by the state file: that it was there, and what it had.

use std::collections::BTreeMap;
use std::path::Path;

use ostler_core::lifecycle::State;
use ostler_sys::ProcRef;

use crate::settings::STATE_FILE;
use crate::store::Snapshot;

/// A list whose daemon did not end in order: that one would have removed the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftBehind {
    /// Whether the machine was started again since.
    pub other_boot: bool,
    /// Instances by the name of their app.
    pub apps: BTreeMap<String, usize>,
    /// Number of their processes that still run.
    pub alive: usize,
}

impl LeftBehind {
    /// The remains in this home; `None` = there was no list, or it cannot be read.
    pub fn of(home: &Path) -> Option<Self> {
        let bytes = std::fs::read(home.join(STATE_FILE)).ok()?;
        let this_boot = ostler_sys::clock::boot_id();
        let is_alive = |process: ProcRef| process.runs();
        Self::from_snapshot(&Snapshot::read(&bytes).0, this_boot.as_deref(), is_alive)
    }

    fn from_snapshot(snapshot: &Snapshot, this_boot: Option<&str>, is_alive: impl Fn(ProcRef) -> bool) -> Option<Self> {
        let other_boot = snapshot.boot_id.as_deref() != this_boot;
        let mut found = Self { other_boot, ..Self::default() };
        for slot in snapshot.slots.values().filter(|slot| slot.instance.state != State::Gone) {
            let Some(spec) = snapshot.specs.get(&slot.app_number) else { continue };
            *found.apps.entry(spec.name.clone()).or_default() += 1;
            let process = slot.instance.pid().map(|pid| ProcRef { pid, start_ticks: slot.start_ticks });
            found.alive += usize::from(!other_boot && process.is_some_and(&is_alive));
        }
        (!found.apps.is_empty()).then_some(found)
    }
}
