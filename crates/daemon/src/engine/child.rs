//! Processes that features run beside an instance, and the reports about them.

use std::os::fd::OwnedFd;

use ostler_core::lifecycle::command::CommandOutcome;
use ostler_sys::SecretBytes;

use crate::state::store::command::{CommandOwner, CommandSpec};

/// Process that a feature runs beside an instance. It has the instance's user, directory and
/// environment, and a cgroup of its own.
#[derive(Debug)]
pub(crate) struct ChildRequest {
    /// Key under which the keeper reports the process (`on_child`). Its
    /// incarnation field is 0.
    pub key: u64,
    pub spec: CommandSpec,
    /// Value of the environment variable that identifies its processes.
    pub mark: String,
    /// Standard output; `None` = as in the description.
    pub out: Option<OwnedFd>,
}

/// Report of a process that is no instance. A feature requested it from the keeper with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChildEvent<'a> {
    /// The process was requested from the keeper.
    Requested {
        /// Folder of its cgroup.
        group: Option<&'a str>,
        /// Sizes of the app's error and output log at the time of the request.
        log_start: (u64, u64),
    },
    /// The process runs.
    Spawned { pid: i32, start_ticks: u64 },
    /// The process could not be started.
    NotSpawned { step: &'a str, errno: i32 },
    /// The process has exited. The keeper forgets that when the feature allows it
    /// ([`super::Work::Ack`]).
    Exited(ostler_sys::WaitStatus),
}

/// End of a command ([`super::FeatureRequest::Run`]): none of its processes is left.
#[derive(Debug)]
pub(crate) struct CommandEnd {
    /// Number of the command; `None` if no command was running.
    pub number: Option<u32>,
    /// Slot that the command ran for, if any.
    pub slot: Option<u32>,
    pub owner: CommandOwner,
    pub report: CommandReport,
}

/// Report of a command's end, for its owner.
pub(crate) struct CommandReport {
    /// The outcome.
    pub outcome: CommandOutcome,
    /// Captured output, if the command captures it.
    pub output: SecretBytes,
    /// Last lines that a failed command wrote to the app's logs.
    pub last_lines: Vec<String>,
}

impl std::fmt::Debug for CommandReport {
    /// Leaves out the output, which may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Report").field("outcome", &self.outcome).field("output_bytes", &self.output.len()).finish_non_exhaustive()
    }
}
