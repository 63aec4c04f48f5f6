//! Records of rollouts and releases.

use ostler_core::lifecycle::Origin;
use ostler_core::rollout::Rollout;
use ostler_core::time::Now;
use ostler_proto::control::FaultReport;
use serde::{Deserialize, Serialize};

/// A rollout under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RolloutRecord {
    /// Number among all rollouts.
    pub number: u32,
    /// App.
    pub app: String,
    /// Number of the release among those of the app.
    pub release: u32,
    /// How far it is.
    pub rollout: Rollout,
    /// One per instance, in the order of the rollout.
    #[serde(rename = "lanes")]
    pub replicas: Vec<ReplicaRecord>,
    /// Who wants it.
    pub origin: Origin,
    /// When it began.
    pub started: Now,
    /// Last lines of the candidate that failed.
    #[serde(default)]
    pub fault_lines: Vec<String>,
    /// A policy has instances replaced by the same release.
    #[serde(default, rename = "mends")]
    pub by_policy: bool,
    /// Requests of old processes that were not finished in their time.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cut: u32,
}

/// One instance of a rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ReplicaRecord {
    /// What users call it.
    pub pm_id: u32,
    /// The slot that serves.
    pub serving: u32,
    /// The candidate.
    pub beside: Option<u32>,
    /// The slot that is on its way out.
    pub going: Option<u32>,
    /// The process that has to stay.
    pub after: u32,
    /// Numbers of the old description and environment.
    pub old: (u64, u64),
    /// And of the new ones.
    pub new: (u64, u64),
}

/// A release of an app, taken or refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ReleaseRecord {
    /// Number among those of the app.
    pub number: u32,
    /// Number of its description.
    pub spec: u64,
    /// Number of its environment.
    pub env: u64,
    /// What was asked for.
    pub command: String,
    /// When its rollout began.
    pub started: Now,
    /// When that was over.
    pub ended: Now,
    /// How.
    pub end: End,
    /// What failed.
    pub fault: Option<FaultReport>,
    /// Instances by the number that users know, and what became of each.
    pub places: Vec<(u32, String)>,
    /// Requests of old processes that were not finished in their time.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cut: u32,
}

/// How a rollout ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum End {
    /// The new release serves.
    Done,
    /// It was refused.
    Failed,
    /// Users took over.
    Overruled,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}
