//! Reports of replaced releases.

use ostler_core::message;
use serde::{Deserialize, Serialize};

/// Report of one replacement of an app's release, in progress or finished.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RolloutReport {
    /// The app.
    pub app: String,
    /// Number of the release within the app, from 1.
    pub release: u32,
    /// Version of the app's package, if known.
    pub version: Option<String>,
    /// The script.
    pub script: String,
    /// The command that started it.
    pub command: String,
    /// Start, wall clock, ms.
    pub started_ms: u64,
    /// End, wall clock, ms.
    pub ended_ms: Option<u64>,
    /// The state.
    pub state: RolloutState,
    /// Whether the app currently serves this release.
    pub current: bool,
    /// The instances.
    #[serde(rename = "places")]
    pub replicas: Vec<ReplicaReport>,
    /// The failure.
    pub fault: Option<FaultReport>,
    /// Number of requests of old processes that did not finish in time.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cut: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// State of a replacement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RolloutState {
    /// Instances are being replaced.
    Running,
    /// The first new instance is on probation.
    Canary,
    /// A failure occurred; the old release is being restored.
    Returning,
    /// The new release serves.
    Done,
    /// The replacement failed; the old release serves, if possible.
    Failed,
    /// Other commands superseded it.
    Overruled,
}

/// One instance of a replacement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaReport {
    /// `pm_id`.
    pub id: u32,
    /// `waiting`, `starting`, `ready`, `draining`, `new`, `old`, `failed`, `left`, `returning`.
    pub state: String,
}

/// Failure of a replacement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultReport {
    /// The instance.
    pub id: u32,
    /// The reason, in words that follow a name.
    pub reason: String,
    /// The last lines of the new process's output, oldest first.
    pub last_lines: Vec<String>,
}

impl RolloutReport {
    /// Returns the number of instances that serve the old release, and the number that serve the
    /// new one.
    pub fn serving(&self) -> (usize, usize) {
        let count = |states: &[&str]| self.replicas.iter().filter(|replica| states.contains(&replica.state.as_str())).count();
        (count(&["waiting", "starting", "ready", "old", "failed"]), count(&["new", "draining"]))
    }
}

/// Returns the reasons why releases failed, one line each.
pub(crate) fn failure(reports: &[RolloutReport]) -> String {
    let one = |report: &RolloutReport| {
        let (old, new) = report.serving();
        let serves = match (old, new) {
            (0, 0) => message!("no process serves"),
            (_, 0) => message!("the old release still serves"),
            _ => message!("{old} with the old release, {new} with the new one", old, new),
        };
        match report.state {
            RolloutState::Overruled => message!("reload of {app} was interrupted by other commands", app = report.app),
            _ => match &report.fault {
                None => message!("reload of {app} failed; {serves}", app = report.app, serves),
                Some(fault) => message!(
                    "reload of {app} failed: instance {id} {reason}; {serves}",
                    app = report.app,
                    id = fault.id,
                    reason = fault.reason,
                    serves
                ),
            },
        }
    };
    reports.iter().map(one).collect::<Vec<_>>().join("\n")
}
