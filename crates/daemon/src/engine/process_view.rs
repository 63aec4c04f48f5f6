//! Processes of the machine, as they were last read.

use std::collections::HashSet;

use ostler_sys::ProcTable;

/// Processes whose parent is now the keeper, because their own parent exited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OrphanState {
    /// No process that started at this time or later has become an orphan (clock ticks since boot).
    /// The keeper is older than this time.
    NoneSince(u64),
    /// Some processes may have become orphans.
    Unknown,
}

/// Processes of the machine as they were read since the last signals, each at most once.
#[derive(Debug, Default)]
pub(crate) struct ProcessView {
    pub table: Option<ProcTable>,
    /// Whether there are orphans.
    pub orphans: Option<OrphanState>,
    /// Children of the keeper, if many processes were checked.
    pub listed: KeeperChildren,
    /// Number of processes that the kernel has killed because memory ran out.
    pub oom_kills: u64,
}

/// Children of the keeper as the kernel lists them, for checks of many processes.
#[derive(Debug, Default)]
pub(crate) struct KeeperChildren {
    /// Number of checks.
    pub(super) checks: usize,
    pub(super) pids: Option<HashSet<i32>>,
}
