//! Processes beside an instance: what a feature has run for it, and reports about that.

use std::os::fd::OwnedFd;

use ostler_core::lifecycle::command::Outcome;
use ostler_sys::Wiped;

use crate::state::store::command::{CommandSpec, Owner};

/// A process beside an instance that a feature wants: by its user, in its directory, with its environment and in a cgroup of its own.
#[derive(Debug)]
pub(crate) struct ChildRequest {
    /// Key under which the keeper reports it ([`super::Feature::on_child`]); in the place of an incarnation stands 0.
    pub key: u64,
    pub spec: CommandSpec,
    /// Value of the variable by which its processes are recognised.
    pub mark: String,
    /// Standard output; none = as the description says.
    pub out: Option<OwnedFd>,
}

/// Report of a process that is no instance: the keeper was asked for it with a key of a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChildEvent<'a> {
    /// The keeper was asked for it.
    Asked {
        /// Folder of its cgroup.
        group: Option<&'a str>,
        /// Sizes of the app's error and output log now.
        log_start: (u64, u64),
    },
    /// It runs.
    Spawned { pid: i32, start_ticks: u64 },
    /// It could not be started.
    NotSpawned { step: &'a str, errno: i32 },
    /// It has ended. The keeper forgets that when the feature allows it ([`super::Work::Ack`]).
    Exited(ostler_sys::Ending),
}

/// The end of a command ([`super::Request::Run`]): nothing of it is left.
#[derive(Debug)]
pub(crate) struct CommandEnd {
    /// Its number; none where none was under way.
    pub number: Option<u32>,
    /// Slot for which it was run, where one was.
    pub slot: Option<u32>,
    pub owner: Owner,
    pub report: Report,
}

/// Report of a command's end, for its owner.
pub(crate) struct Report {
    /// The outcome.
    pub outcome: Outcome,
    /// Output, where that was captured.
    pub output: Wiped,
    /// Last lines that it wrote to the app's logs, of one that failed.
    pub last_lines: Vec<String>,
}

impl std::fmt::Debug for Report {
    /// Never shows the output, which may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Report").field("outcome", &self.outcome).field("output_bytes", &self.output.len()).finish_non_exhaustive()
    }
}
