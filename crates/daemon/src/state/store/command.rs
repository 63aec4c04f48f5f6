//! Commands that run for instances, in the form of the journal.

use indexmap::IndexMap;
use ostler_core::app::hooks::Hook;
use ostler_core::lifecycle::command::{Command, CommandOutcome};
use ostler_sys::ProcRef;
use serde::{Deserialize, Serialize};

/// Description of a command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CommandSpec {
    /// Slot whose user, directory, environment and logs are used.
    pub slot: u32,
    /// Program and arguments.
    pub command: Command,
    /// Variables on top of the app's.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub vars: IndexMap<String, String>,
    /// Time after which the command is killed.
    pub timeout_ms: u64,
    /// Destination of its output.
    pub output: Output,
}

/// Destination of the output of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Output {
    /// The app's log files.
    Logs,
    /// Standard output goes to the owner, up to a limit; a command that writes more is killed.
    /// Standard error goes to the app's error log.
    Captured,
    /// Discarded.
    Nowhere,
}

/// Owner of a command, and its purpose. It identifies the command that is cancelled or whose exit
/// is reported, so each owner has at most one command at a time. The journal keeps it, so that the
/// next daemon can report the result.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CommandOwner {
    /// The result is no longer needed.
    #[serde(rename = "nobody")]
    Detached,
    /// Hook of a process of an instance.
    Hook {
        /// Slot.
        slot: u32,
        /// Incarnation.
        inc: u32,
        /// Kind of the hook.
        hook: Hook,
    },
    /// Secret: the start of a process waits for the value of a variable.
    Secret {
        /// Slot.
        slot: u32,
        /// Incarnation.
        inc: u32,
        /// Name of the variable.
        name: String,
    },
    /// Health check.
    Check {
        /// Slot.
        slot: u32,
        /// Incarnation.
        inc: u32,
        /// Number of the check.
        key: u32,
    },
}

/// Main process of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Leader {
    pub pid: i32,
    pub start_ticks: u64,
}

impl Leader {
    pub(crate) fn process(self) -> ProcRef {
        ProcRef { pid: self.pid, start_ticks: self.start_ticks }
    }
}

/// Running command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CommandRecord {
    pub number: u32,
    pub owner: CommandOwner,
    pub spec: CommandSpec,
    /// Value of the variable that identifies its processes.
    pub mark: String,
    /// Time when the command is killed.
    pub deadline_ms: u64,
    #[serde(default)]
    pub leader: Option<Leader>,
    /// Outcome that the daemon decided before the exit; the command is being killed for it.
    #[serde(default)]
    pub verdict: Option<CommandOutcome>,
    /// Folder of its cgroup.
    #[serde(default)]
    pub group: Option<Box<str>>,
    /// Sizes of the app's error and output log when the command began.
    #[serde(default)]
    pub log_start: (u64, u64),
}
