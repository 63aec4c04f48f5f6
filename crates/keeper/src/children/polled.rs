//! Processes that are not our children where the kernel gives no descriptors of processes: nothing tells their end, so they are looked at. The
//! only timer of a keeper at rest, and only there.

use ostler_sys::{ProcRef, Usage, time::clock};

use crate::children::Watch;
use crate::keeper::{Keeper, ended};

/// Time between two looks.
const LOOK_MS: u64 = 500;

impl Keeper {
    /// Watches a process that is not our child where there are no pidfds.
    pub(crate) fn adopt_by_looking(&mut self, key: u64, process: ProcRef) {
        self.children.add(key, process, Watch::Polled);
        self.look_at_ms.get_or_insert(clock::boot_ms() + LOOK_MS);
    }

    /// Looks whether processes without a pidfd have ended.
    pub(crate) fn look_at_polled(&mut self, now_ms: u64) {
        if self.look_at_ms.is_none_or(|at| at > now_ms) {
            return;
        }
        // Orphans came to us: the kernel tells how they ended.
        self.reap();
        let ends: Vec<ProcRef> = self.children.polled().filter(ProcRef::has_ended).collect();
        for process in ends {
            self.ended(process.pid, ended(process.ending(), Usage::default()));
        }
        self.look_at_ms = self.children.polled().next().map(|_| now_ms + LOOK_MS);
    }
}
