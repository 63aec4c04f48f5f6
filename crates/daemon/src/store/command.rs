//! Commands that are run for instances, as the journal keeps them.

use indexmap::IndexMap;
use ostler_core::command::{Command, Outcome};
use ostler_core::hooks::Hook;
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
    /// After this it is killed.
    pub timeout_ms: u64,
    /// Where its output goes.
    pub output: Output,
}

/// Where the output of a command goes.
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

/// Who wanted it, and for what: by this it is called off, and by this its end is told. So there is one command of an owner at a time. Kept in
/// the journal, so that the next daemon knows whom to tell.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Owner {
    /// Nobody wants to know any more.
    Nobody,
    /// A process of an instance is at a turn of its life.
    Hook {
        /// Which slot.
        slot: u32,
        /// Which process of it.
        inc: u32,
        /// Which turn.
        hook: Hook,
    },
    /// A variable of a process that is about to be started waits for its value.
    Secret {
        /// Of this slot.
        slot: u32,
        /// Of its process with this number.
        inc: u32,
        /// The variable.
        name: String,
    },
    /// A health check.
    Check {
        /// Of this slot.
        slot: u32,
        /// Of its process with this number.
        inc: u32,
        /// Which of its questions.
        key: u32,
    },
}

/// Its main process.
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

/// A command under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CommandRecord {
    pub number: u32,
    pub owner: Owner,
    pub spec: CommandSpec,
    /// Value of the variable by which its processes are recognised.
    pub mark: String,
    /// When it is killed.
    pub deadline_ms: u64,
    #[serde(default)]
    pub leader: Option<Leader>,
    /// Decided by us, before it ended: it is being killed for that.
    #[serde(default)]
    pub verdict: Option<Outcome>,
    /// Folder of its cgroup.
    #[serde(default)]
    pub group: Option<Box<str>>,
    /// Sizes of the app's error and output log when it began.
    #[serde(default)]
    pub log_start: (u64, u64),
}
