//! Commands that are run for instances, as the journal keeps them.

use indexmap::IndexMap;
use ostler_core::app::hooks::Hook;
use ostler_core::lifecycle::command::{Command, Outcome};
use ostler_sys::ProcRef;
use serde::{Deserialize, Serialize};

/// What is to be run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CommandSpec {
    /// Slot whose user, directory, environment and logs are used.
    pub slot: u32,
    /// Program and arguments.
    pub command: Command,
    /// Variables on top of the app's.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub vars: IndexMap<String, String>,
    /// Time after which it is killed.
    pub timeout_ms: u64,
    /// Destination of its output.
    pub output: Output,
}

/// Destination of the output of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Output {
    /// To the app's log files.
    Logs,
    /// Standard output to its owner, up to a bound; one that writes more is ended. Standard error to the app's error log.
    Captured,
    /// Nowhere.
    Nowhere,
}

/// Owner of a command, and its purpose: by this it is called off, and its end reported. So there is one command of an owner at a time. Kept in
/// the journal, so that the next daemon knows to whom to report.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Owner {
    /// Nobody needs the result any more.
    Nobody,
    /// Hook of a process of an instance.
    Hook {
        /// Slot.
        slot: u32,
        /// Incarnation.
        inc: u32,
        /// Kind of the hook.
        hook: Hook,
    },
    /// Secret: a variable of a process that is about to be started waits for its value.
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

/// Command under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CommandRecord {
    pub number: u32,
    pub owner: Owner,
    pub spec: CommandSpec,
    /// Value of the variable by which its processes are recognised.
    pub mark: String,
    /// Time when it is killed.
    pub deadline_ms: u64,
    #[serde(default)]
    pub leader: Option<Leader>,
    /// Outcome that we decided before it ended: it is being killed for that.
    #[serde(default)]
    pub verdict: Option<Outcome>,
    /// Folder of its cgroup.
    #[serde(default)]
    pub group: Option<Box<str>>,
    /// Sizes of the app's error and output log when it began.
    #[serde(default)]
    pub log_start: (u64, u64),
}
