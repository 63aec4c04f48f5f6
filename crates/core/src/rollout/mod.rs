//! Rollout: the replacement of an app's instances by a new release, batch by batch.
//!
//! # Theory of operation
//!
//! A [`Rollout`] has one [`Replica`] per instance. In each replica a *candidate* of the new release
//! is launched beside the old process. When all candidates of the batch have proved that they are
//! ready, they are promoted and the old processes retire. The first batch is one instance,
//! regardless of the batch size: there a bad release fails without harm. A batch does not wait for
//! the old processes of the previous batch, which may take long to finish their requests; only the
//! end of the rollout waits for all. With a canary time, the first candidate is watched beside all
//! the old processes before the rollout continues.
//!
//! Any failure ends it. Candidates that are not promoted yet are discarded. If the releases have
//! different descriptions, not only different files on disk, the old release can be started again.
//! The finished replicas then return to it in the same way. The old release never stops serving
//! because of a bad new one.
//!
//! Some apps cannot have two processes at the same time, because they open their ports themselves.
//! Their replicas are *in place*: the process is restarted, and a replica that ran before the
//! failure is started again.
//!
//! Commands of a user take precedence: a replica that a user stops, restarts or deletes during the
//! rollout is left alone ([`RolloutEvent::Overruled`]).
//!
//! The owner performs the effects and dispatches the results; the same event may come twice. All
//! state is plain data, so a fresh daemon continues from the state of the previous one.

mod step;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

/// Rollout in progress, or over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// Replicas, in the order in which they are replaced.
    #[serde(rename = "places")]
    pub replicas: Vec<Replica>,
    /// Largest number of candidates at the same time, from the second batch on; at least 1.
    pub batch: u32,
    /// Time for which the first candidate is watched; 0 = not at all.
    pub canary_ms: u64,
    /// Whether the old release can be started again, because it differs from the new one.
    pub reversible: bool,
    /// Present phase.
    pub phase: RolloutPhase,
}

/// Replica: one instance of the rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// Whether the process is restarted, because two cannot run at the same time (or no process
    /// runs).
    pub in_place: bool,
    /// Progress of the replica.
    pub state: ReplicaState,
}

/// Progress of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplicaState {
    /// Not started yet.
    Waiting,
    /// The candidate was launched and has to prove itself.
    Starting,
    /// It has proved itself. The others of its batch have not, or it is the canary.
    Ready,
    /// The new process serves, the old one is being stopped.
    Retiring,
    /// The new release serves here and the old one is gone.
    Done,
    /// The candidate failed; the old process still serves. In place, no process serves until the
    /// restart policy starts one.
    Failed,
    /// A user's command took it over.
    #[serde(rename = "left")]
    TakenOver,
    /// Rollback: the old release has to replace it.
    ToRevert,
    /// Rollback: a process of the old release was launched.
    Reverting,
    /// Rollback: the old release serves again, the new process is being stopped.
    Returning,
    /// The old release serves here again.
    Reverted,
}

/// Phase of a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RolloutPhase {
    /// Batches are being replaced.
    Advancing,
    /// The canary is watched.
    Watching {
        /// Time until which it is watched (`mono_ms`).
        until_ms: u64,
    },
    /// Rollback after a failure.
    Returning {
        /// Failure that caused it.
        fault: RolloutFault,
    },
    /// The rollout is complete.
    #[serde(rename = "over")]
    Complete(RolloutOutcome),
}

/// Outcome of a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RolloutOutcome {
    /// Every replica that no user took over has the new release.
    Done,
    /// A replica failed. All others have the old release, or returned to it as far as possible.
    Failed(RolloutFault),
    /// Users took over every replica.
    Overruled,
}

/// Failure of a replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutFault {
    /// Index of the replica.
    #[serde(rename = "place")]
    pub replica: usize,
    /// Reason, in words that follow a name.
    pub reason: String,
}

/// Event of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RolloutEvent {
    /// Its candidate (or restarted process) is ready.
    Ready(usize),
    /// Its candidate failed, or exited after it was ready.
    Failed(usize, String),
    /// The process that had to exit is gone.
    Gone(usize),
    /// A user's command took it over.
    Overruled(usize),
    /// Time has passed.
    Tick,
}

/// Effect: one action to perform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum RolloutEffect {
    /// Start a process of the new release in this replica.
    Launch(usize),
    /// Start a process of the old release in this replica.
    LaunchOld(usize),
    /// The candidate serves from now on, and the process beside it retires. Answer:
    /// [`RolloutEvent::Gone`].
    Promote(usize),
    /// Remove the candidate.
    Discard(usize),
}

impl Rollout {
    /// Returns a rollout; `in_place` marks the replicas that are restarted in place. It does
    /// nothing before [`Rollout::begin`].
    pub fn new(in_place: &[bool], batch: u32, canary_ms: u64, reversible: bool) -> Self {
        let replicas = in_place.iter().map(|&in_place| Replica { in_place, state: ReplicaState::Waiting }).collect();
        Self { replicas, batch: batch.max(1), canary_ms, reversible, phase: RolloutPhase::Advancing }
    }

    /// Returns the outcome, once it is over.
    pub fn outcome(&self) -> Option<&RolloutOutcome> {
        match &self.phase {
            RolloutPhase::Complete(outcome) => Some(outcome),
            RolloutPhase::Advancing | RolloutPhase::Watching { .. } | RolloutPhase::Returning { .. } => None,
        }
    }

    /// Returns the time when [`RolloutEvent::Tick`] is due.
    pub fn deadline_ms(&self) -> Option<u64> {
        match self.phase {
            RolloutPhase::Watching { until_ms } => Some(until_ms),
            RolloutPhase::Advancing | RolloutPhase::Returning { .. } | RolloutPhase::Complete(_) => None,
        }
    }
}
