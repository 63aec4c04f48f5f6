//! Events: what can happen to an instance.

use super::origin::Origin;
use super::state::Ending;
use crate::app::hooks::Hook;
use crate::lifecycle::command::Outcome;

/// Something that happened. Results of effects carry the incarnation they belong to.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Start: the user (or resurrect) wants it up. On a running instance: nothing.
    Start(Origin),
    /// Stop: it is wanted down.
    Stop(Origin),
    /// Restart: a new process is wanted. On a stopped or errored instance: a start. Every such request ends in a *new* incarnation. A restart by
    /// [`Origin::Policy`] never brings up what a user wants down; use `Start` where a policy may do that.
    Restart(Origin),
    /// Restart at a given time: its process ends now, and the next one comes at that time (`mono_ms`). By a policy that must not wait for the end of one and not
    /// hurry with the start of the other. Only of what runs.
    RestartAt {
        /// The policy.
        origin: Origin,
        /// Time of the next start.
        at_ms: u64,
    },
    /// Delete: it is wanted gone: stop, then forget. Final: later commands do not bring it back.
    Delete(Origin),
    /// Gentle stop: it is wanted down once it has finished what it does (`stop --wait-ready`).
    StopGently(Origin),
    /// Retirement: it is wanted gone once it has finished what it does (`scale` to fewer, the old process of a reload). Final, as `Delete`.
    Retire(Origin),
    /// It has finished what it did ([`super::Effect::Drain`]).
    Drained {
        /// The incarnation.
        inc: u32,
    },
    /// The app asks for more time to start, to finish or to stop: until then at least (`mono_ms`).
    Extend {
        /// The incarnation.
        inc: u32,
        /// The new deadline.
        until_ms: u64,
    },
    /// Hurry: the time of what is to end is over.
    Hurry,
    /// Its dependencies are met (answer to [`super::Transition::Waiting`]).
    Released,
    /// Its dependencies will not be met, or not in time, for this reason.
    Unmet(String),
    /// A hook has ended, and nothing of it is left.
    HookDone {
        /// The incarnation.
        inc: u32,
        /// The hook.
        hook: Hook,
        /// Its outcome.
        outcome: Outcome,
    },
    /// What a process needs before its start could not be had, for this reason. The start has failed, whatever `on_failure` of its hook says.
    Unprepared {
        /// The incarnation.
        inc: u32,
        /// The reason.
        why: String,
    },
    /// Failure: it is not well and counts as crashed: it is asked to end, gets SIGKILL when it does not, and the restart policy decides what comes
    /// then. Only what runs can fail.
    Fail(Origin),
    /// Reset: counters to zero.
    Reset,
    /// The spawn worked: the program was executed.
    Spawned {
        /// The incarnation.
        inc: u32,
        /// Its pid.
        pid: i32,
    },
    /// The spawn failed.
    SpawnFailed {
        /// The incarnation.
        inc: u32,
        /// The reason.
        failure: SpawnFailure,
    },
    /// The app reports that it is ready.
    Ready {
        /// The incarnation.
        inc: u32,
    },
    /// The app handed over: another process of its tree is the main one now. The daemon has made sure that it is one, and that it lives.
    Followed {
        /// The incarnation.
        inc: u32,
        /// Pid of the new main process.
        pid: i32,
    },
    /// The main process ended. Not for a former main process ([`super::Instance::is_former`]).
    Exited {
        /// The incarnation.
        inc: u32,
        /// Its end.
        exit: ExitReport,
    },
    /// Nothing of the incarnation's tree is left (answer to [`super::Effect::Sweep`]).
    TreeGone {
        /// The incarnation.
        inc: u32,
    },
    /// The deadline passed (or may have: an early tick does nothing).
    Tick,
    /// A fresh daemon (or the old one behind a new keeper) looked at what really runs. Always the first event after a restore.
    Recovered(Recovered),
}

/// Reason why a spawn failed.
#[derive(Clone, Debug, PartialEq)]
pub struct SpawnFailure {
    /// The failing step, e.g. `exec`, `chdir`, `setuid`, `open log`.
    pub step: String,
    /// Its `errno`.
    pub errno: i32,
}

impl SpawnFailure {
    /// A failed step and its `errno`; 0 = the system was not even asked.
    pub fn new(step: impl Into<String>, errno: i32) -> Self {
        Self { step: step.into(), errno }
    }
}

/// End of a main process.
#[derive(Clone, Debug, PartialEq)]
pub struct ExitReport {
    /// Code or signal.
    pub ending: Ending,
    /// Whether the kernel's out-of-memory killer did it.
    pub oom: bool,
}

/// The keeper's inventory of this instance.
#[derive(Clone, Debug, PartialEq)]
pub enum Recovered {
    /// This incarnation is alive.
    Alive {
        /// The incarnation.
        inc: u32,
        /// Its pid.
        pid: i32,
    },
    /// This incarnation has ended; the keeper still waits for the ack (the journal may know of it already).
    Ended {
        /// The incarnation.
        inc: u32,
        /// Its pid.
        pid: i32,
        /// Its end.
        exit: ExitReport,
    },
    /// The keeper knows of no process of this instance.
    Nothing,
}
