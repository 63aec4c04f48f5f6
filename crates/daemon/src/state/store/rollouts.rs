//! Records of rollouts and releases.

use ostler_core::lifecycle::Origin;
use ostler_core::rollout::Rollout;
use ostler_core::time::Now;
use ostler_proto::control::FaultReport;
use serde::{Deserialize, Serialize};

/// Running rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RolloutRecord {
    /// Number among all rollouts.
    pub number: u32,
    /// App.
    pub app: String,
    /// Number of the release among those of the app.
    pub release: u32,
    /// State machine of the rollout.
    pub rollout: Rollout,
    /// Replicas, in the order of the rollout.
    #[serde(rename = "lanes")]
    pub replicas: Vec<ReplicaRecord>,
    /// Origin of the rollout.
    pub origin: Origin,
    /// Start time of the rollout.
    pub started: Now,
    /// Last lines of the failed candidate.
    #[serde(default)]
    pub fault_lines: Vec<String>,
    /// True if a policy requested the replacement of instances by the same release.
    #[serde(default, rename = "mends")]
    pub by_policy: bool,
    /// True if each new process must run for its `min_uptime` before it counts as ready.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub watches: bool,
    /// Requests of old processes that were cut off.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cut: u32,
}

/// Instance of a rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ReplicaRecord {
    /// Its `pm_id`.
    pub pm_id: u32,
    /// Slot that serves.
    pub serving: u32,
    /// Slot of the candidate.
    #[serde(rename = "beside")]
    pub candidate: Option<u32>,
    /// Slot that is being stopped.
    pub going: Option<u32>,
    /// Incarnation that must stay online. After a restart in place begins, newer incarnations are
    /// the new process.
    pub after: u32,
    /// Numbers of the old description and environment.
    pub old: (u64, u64),
    /// Numbers of the new description and environment.
    pub new: (u64, u64),
}

/// Release of an app, accepted or refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ReleaseRecord {
    /// Number among the releases of the app.
    pub number: u32,
    /// Number of its description.
    pub spec: u64,
    /// Number of its environment.
    pub env: u64,
    /// Command that started it.
    pub command: String,
    /// Start time of its rollout.
    pub started: Now,
    /// End time of its rollout.
    pub ended: Now,
    /// Result of the rollout.
    pub end: RolloutEnd,
    /// Reported failure.
    pub fault: Option<FaultReport>,
    /// Instances by the number that users know, and the result for each.
    pub places: Vec<(u32, String)>,
    /// Requests of old processes that were cut off.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cut: u32,
}

/// Result of a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RolloutEnd {
    /// The new release serves.
    Done,
    /// The new release was refused.
    Failed,
    /// A user took over.
    Overruled,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}
