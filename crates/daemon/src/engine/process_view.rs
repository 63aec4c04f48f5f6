//! Processes of the machine as they were read last.

use std::collections::HashSet;

use ostler_sys::ProcTable;

/// Processes that lost their parents to the keeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Orphans {
    /// There are none of what was started after the keeper, which was at this time (clock ticks since boot).
    NoneSince(u64),
    /// There may be some.
    Unknown,
}

/// Processes of the machine as they were read since the last signals, each at most once.
#[derive(Debug, Default)]
pub(crate) struct ProcessView {
    pub table: Option<ProcTable>,
    /// Whether there are orphans.
    pub orphans: Option<Orphans>,
    /// Children of the keeper, if many were looked for.
    pub listed: Listed,
    /// Number of processes that the kernel has killed for want of memory.
    pub oom_kills: u64,
}

/// Children of the keeper as the kernel lists them, for who looks for many of them.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    /// Number of looks.
    pub(super) looks: usize,
    pub(super) pids: Option<HashSet<i32>>,
}
