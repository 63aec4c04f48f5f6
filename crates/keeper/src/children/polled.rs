//! Processes that are not our children, on kernels without pidfds. No event reports their exit, so
//! the keeper polls them. This is the only timer of an idle keeper, and only on such kernels.

use ostler_sys::{ProcRef, Usage, time::clock};

use crate::children::Watch;
use crate::keeper::{Keeper, ended};

/// Time between two polls.
const LOOK_MS: u64 = 500;

impl Keeper {
    /// Watches a process that is not our child on a kernel without pidfds.
    pub(crate) fn adopt_by_looking(&mut self, key: u64, process: ProcRef) {
        self.children.add(key, process, Watch::Polled);
        self.poll_ms.get_or_insert(clock::boot_ms() + LOOK_MS);
    }

    /// Checks whether processes without a pidfd have exited.
    pub(crate) fn poll_children(&mut self, now_ms: u64) {
        if self.poll_ms.is_none_or(|at| at > now_ms) {
            return;
        }
        // The keeper has become the parent of orphans: for these the kernel reports how they
        // exited.
        self.reap();
        let ends: Vec<ProcRef> = self.children.polled().filter(ProcRef::has_ended).collect();
        for process in ends {
            self.ended(process.pid, ended(process.ending(), Usage::default()));
        }
        self.poll_ms = self.children.polled().next().map(|_| now_ms + LOOK_MS);
    }
}
