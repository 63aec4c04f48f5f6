//! What an app wants to be asked, and what is to be done about one that is not well.

use serde::{Deserialize, Serialize};

use crate::app::is_default;
use crate::serving::HttpProbe;

/// Is an app well? Phases as in Kubernetes: until `startup` is good nothing else is asked; `readiness` says whether it gets new connections;
/// when `liveness` fails it is restarted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthSpec {
    /// Asked first.
    #[serde(skip_serializing_if = "is_default")]
    pub startup: Option<Check>,
    /// May it have new connections?
    #[serde(skip_serializing_if = "is_default")]
    pub readiness: Option<Check>,
    /// Does it have to be restarted?
    #[serde(skip_serializing_if = "is_default")]
    pub liveness: Option<Check>,
    /// The event loop of a Node app says at least this often that it turns.
    #[serde(skip_serializing_if = "is_default")]
    pub heartbeat_ms: Option<u64>,
    /// Bad answers do not count for so long after a start; `None` = one interval of liveness.
    #[serde(skip_serializing_if = "is_default")]
    pub grace_ms: Option<u64>,
    /// What becomes of a process that is not well.
    #[serde(skip_serializing_if = "is_default")]
    pub action: Action,
}

impl HealthSpec {
    /// The check of a phase.
    pub fn check(&self, phase: Phase) -> Option<&Check> {
        match phase {
            Phase::Startup => self.startup.as_ref(),
            Phase::Readiness => self.readiness.as_ref(),
            Phase::Liveness => self.liveness.as_ref(),
        }
    }

    /// Somebody has to be asked.
    pub fn asks(&self) -> bool {
        Phase::ALL.into_iter().any(|phase| self.check(phase).is_some())
    }

    /// Something is known of its health.
    pub fn is_watched(&self) -> bool {
        self.asks() || self.heartbeat_ms.is_some()
    }
}

/// What a check is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Has it come up?
    Startup,
    /// May it have new connections?
    Readiness,
    /// Does it have to be restarted?
    Liveness,
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Startup, Self::Readiness, Self::Liveness];
}

/// One question, how often it is asked, and how many answers count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What is asked.
    pub ask: Ask,
    /// From one question to the next.
    pub interval_ms: u64,
    /// For one answer.
    pub timeout_ms: u64,
    /// So many bad answers in a row and the check has failed.
    pub failures: u32,
    /// So many good answers in a row and it has passed.
    pub successes: u32,
    /// Before the first question.
    #[serde(default, skip_serializing_if = "is_default")]
    pub delay_ms: u64,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// A request. Interval and timeout of the probe do not count, those of the check do.
    Http(HttpProbe),
    /// A connection.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// A command, run as the app's user in its folder with its environment; code 0 is a good answer.
    Command(Vec<String>),
}

/// What becomes of a process that is not well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is replaced: by a new process beside it where two can serve beside each other, else it is restarted.
    #[default]
    Restart,
    /// As a reload of this instance, which a new process that does not come up leaves as it was.
    Reload,
    /// It is told, and nothing is done.
    None,
}
