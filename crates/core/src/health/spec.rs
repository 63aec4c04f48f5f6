//! Health checks of an app, as they are declared, and the action for a process that is not well.

use serde::{Deserialize, Serialize};

use crate::app::default_box::is_default;
use crate::serving::HttpProbe;

/// Health checks of an app. Phases as in Kubernetes: until `startup` is good nothing else is asked; `readiness` says whether it gets new connections;
/// when `liveness` fails it is restarted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthSpec {
    /// Startup check, asked first.
    #[serde(skip_serializing_if = "is_default")]
    pub startup: Option<Check>,
    /// Readiness check: may it have new connections?
    #[serde(skip_serializing_if = "is_default")]
    pub readiness: Option<Check>,
    /// Liveness check: does it have to be restarted?
    #[serde(skip_serializing_if = "is_default")]
    pub liveness: Option<Check>,
    /// Longest time between two heartbeats of a Node app's event loop.
    #[serde(skip_serializing_if = "is_default")]
    pub heartbeat_ms: Option<u64>,
    /// Grace period after a start, in which bad answers do not count; `None` = one interval of liveness.
    #[serde(skip_serializing_if = "is_default")]
    pub grace_ms: Option<u64>,
    /// Action for a process that is not well.
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

    /// True if any check has to be asked.
    pub fn asks(&self) -> bool {
        Phase::ALL.into_iter().any(|phase| self.check(phase).is_some())
    }

    /// True if its health is known at all.
    pub fn is_watched(&self) -> bool {
        self.asks() || self.heartbeat_ms.is_some()
    }
}

/// Purpose of a check.
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
    /// All phases.
    pub const ALL: [Self; 3] = [Self::Startup, Self::Readiness, Self::Liveness];
}

/// One check: the question, how often it is asked, and how many answers count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The question.
    pub ask: Ask,
    /// Time from one question to the next.
    pub interval_ms: u64,
    /// Longest time for one answer.
    pub timeout_ms: u64,
    /// Bad answers in a row after which it has failed.
    pub failures: u32,
    /// Good answers in a row after which it has passed.
    pub successes: u32,
    /// Delay before the first question.
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

/// Action for a process that is not well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is replaced: by a new process beside it where two can serve beside each other, else it is restarted.
    #[default]
    Restart,
    /// As a reload of this instance, which a new process that does not come up leaves as it was.
    Reload,
    /// It is logged, and nothing is done.
    None,
}
