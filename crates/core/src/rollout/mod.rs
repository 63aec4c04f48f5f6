//! Rollout: the replacement of an app's instances by a new release, one batch after the other.
//!
//! # Theory of operation
//!
//! A [`Rollout`] has one [`Replica`] per instance. In each replica a *candidate* of the new release is launched beside the old process; when
//! all candidates of the batch have proved that they are ready, they are promoted and the old ones retire. The first batch is one
//! instance, whatever the batch size: a bad release shows itself there, at the cost of nothing. A batch does not wait for the old processes
//! of the one before: those finish what they do, and that may last; only the end of the rollout waits for all. With a canary time that first candidate
//! is watched, beside all the old ones, before anything else happens.
//!
//! Any failure ends it: candidates that are not promoted yet are discarded, and where the releases differ in what is started (and not
//! only in what the files on disk say) the replicas that are done go back to the old release in the same way. The old release never
//! stops serving because of a bad new one.
//!
//! Some apps cannot have two processes beside each other (they open their ports themselves). Their replicas are *in place*: the process is
//! restarted, and what was running before the failure is started again.
//!
//! Commands of a user win: a replica that somebody stops, restarts or deletes meanwhile is left alone ([`Event::Overruled`]).
//!
//! The owner performs the effects and dispatches what came of them; the same event may come twice. All of it is plain data, so a
//! fresh daemon goes on where the old one was killed.

mod step;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

/// Rollout under way, or over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// Replicas, in the order in which they are replaced.
    #[serde(rename = "places")]
    pub replicas: Vec<Replica>,
    /// Most candidates at the same time, from the second batch on; at least 1.
    pub batch: u32,
    /// Time for which the first candidate is watched; 0 = not at all.
    pub canary_ms: u64,
    /// True if the old release can be started again: it is not the same as the new one.
    pub reversible: bool,
    /// Present phase.
    pub phase: Phase,
}

/// Replica: one instance of the rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// True if the process is restarted, because two cannot run beside each other (or nothing runs).
    pub in_place: bool,
    /// Progress of the replica.
    pub state: ReplicaState,
}

/// Progress of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplicaState {
    /// Its turn has not come.
    Waiting,
    /// The candidate was launched and has to prove itself.
    Starting,
    /// It has; the others of its batch have not, or it is the canary.
    Ready,
    /// The new process serves, the old one is being stopped.
    Retiring,
    /// The new release serves here and the old one is gone.
    Done,
    /// The candidate failed; the old process serves as before (in place: nothing does, unless the restart policy helps).
    Failed,
    /// A user's command took it over.
    Left,
    /// On the way back: to be replaced by the old release.
    ToRevert,
    /// On the way back: a process of the old release was launched.
    Reverting,
    /// Back: the old release serves again, the new one is being stopped.
    Returning,
    /// The old release serves here again.
    Reverted,
}

/// Phase of a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Batches are being replaced.
    Advancing,
    /// The canary is watched.
    Watching {
        /// Time until which it is watched (`mono_ms`).
        until_ms: u64,
    },
    /// The replicas go back after a failure.
    Returning {
        /// What failed.
        fault: Fault,
    },
    /// Nothing more will happen.
    Over(Outcome),
}

/// Outcome of a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every replica that users left to it has the new release.
    Done,
    /// A replica failed; every other one has what it had, or went back to it as far as that was possible.
    Failed(Fault),
    /// Users took over every replica.
    Overruled,
}

/// Failure of a replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Index of the replica.
    #[serde(rename = "place")]
    pub replica: usize,
    /// Reason, in words that follow a name.
    pub reason: String,
}

/// Event of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Its candidate (or restarted process) is ready.
    Ready(usize),
    /// Its candidate failed, or ended after it was ready.
    Failed(usize, String),
    /// The process that had to go is gone.
    Gone(usize),
    /// A user's command took it over.
    Overruled(usize),
    /// Time has passed.
    Tick,
}

/// Effect: one thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Effect {
    /// Start a process of the new release there.
    Launch(usize),
    /// Start a process of the old release there.
    LaunchOld(usize),
    /// The candidate serves from now on, the process beside it retires. Answer: [`Event::Gone`].
    Promote(usize),
    /// Remove the candidate.
    Discard(usize),
}

impl Rollout {
    /// A rollout over replicas of which these are to be restarted in place. Nothing happens before [`Rollout::begin`].
    pub fn new(in_place: &[bool], batch: u32, canary_ms: u64, reversible: bool) -> Self {
        let replicas = in_place.iter().map(|&in_place| Replica { in_place, state: ReplicaState::Waiting }).collect();
        Self { replicas, batch: batch.max(1), canary_ms, reversible, phase: Phase::Advancing }
    }

    /// Outcome, once it is over.
    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.phase {
            Phase::Over(outcome) => Some(outcome),
            Phase::Advancing | Phase::Watching { .. } | Phase::Returning { .. } => None,
        }
    }

    /// Time when [`Event::Tick`] is due.
    pub fn deadline_ms(&self) -> Option<u64> {
        match self.phase {
            Phase::Watching { until_ms } => Some(until_ms),
            Phase::Advancing | Phase::Returning { .. } | Phase::Over(_) => None,
        }
    }
}
