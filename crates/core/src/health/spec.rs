//! Health checks of an app, as the user declares them, and the action for an unhealthy process.

use serde::{Deserialize, Serialize};

use crate::app::default_box::is_default;
use crate::serving::HttpProbe;

/// Health checks of an app. Phases as in Kubernetes: until `startup` passes, no other check runs.
/// `readiness` decides whether the instance gets new connections. If `liveness` fails, the instance
/// is restarted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthSpec {
    /// Startup check; it runs first.
    #[serde(skip_serializing_if = "is_default")]
    pub startup: Option<Check>,
    /// Readiness check: may the instance get new connections?
    #[serde(skip_serializing_if = "is_default")]
    pub readiness: Option<Check>,
    /// Liveness check: must the instance be restarted?
    #[serde(skip_serializing_if = "is_default")]
    pub liveness: Option<Check>,
    /// Longest time between two heartbeats of a Node app's event loop.
    #[serde(skip_serializing_if = "is_default")]
    pub heartbeat_ms: Option<u64>,
    /// Grace period after a start, in which bad answers do not count; `None` = one interval of
    /// liveness.
    #[serde(skip_serializing_if = "is_default")]
    pub grace_ms: Option<u64>,
    /// Action for an unhealthy process.
    #[serde(skip_serializing_if = "is_default")]
    pub action: Action,
}

impl HealthSpec {
    /// Returns the check of a phase.
    pub fn check(&self, phase: CheckPhase) -> Option<&Check> {
        match phase {
            CheckPhase::Startup => self.startup.as_ref(),
            CheckPhase::Readiness => self.readiness.as_ref(),
            CheckPhase::Liveness => self.liveness.as_ref(),
        }
    }

    /// Returns true if any check has to run.
    pub fn has_checks(&self) -> bool {
        CheckPhase::ALL.into_iter().any(|phase| self.check(phase).is_some())
    }

    /// Returns true if its health is checked at all.
    pub fn is_watched(&self) -> bool {
        self.has_checks() || self.heartbeat_ms.is_some()
    }
}

/// Purpose of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckPhase {
    /// Has it started?
    Startup,
    /// May it get new connections?
    Readiness,
    /// Must it be restarted?
    Liveness,
}

impl CheckPhase {
    /// All phases.
    pub const ALL: [Self; 3] = [Self::Startup, Self::Readiness, Self::Liveness];
}

/// One check: the question, its interval, and the number of answers that count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The question.
    #[serde(rename = "ask")]
    pub method: CheckMethod,
    /// Time from one check to the next.
    pub interval_ms: u64,
    /// Longest time for one answer.
    pub timeout_ms: u64,
    /// Bad answers in a row after which it has failed.
    pub failures: u32,
    /// Good answers in a row after which it has passed.
    pub successes: u32,
    /// Delay before the first check.
    #[serde(default, skip_serializing_if = "is_default")]
    pub delay_ms: u64,
}

/// Question of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckMethod {
    /// HTTP request. The interval and timeout of the probe are ignored; those of the check apply.
    Http(HttpProbe),
    /// A connection.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// A command, run as the app's user in its folder with its environment; code 0 is a good
    /// answer.
    Command(Vec<String>),
}

/// Action for an unhealthy process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is replaced: by a new process beside it if both can serve at the same time, otherwise by
    /// a restart.
    #[default]
    Restart,
    /// As a reload of this instance: if the new process fails to start, the old one keeps running.
    Reload,
    /// It is only logged.
    None,
}
