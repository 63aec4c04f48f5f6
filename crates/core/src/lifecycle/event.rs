//! What can happen to an instance.

use super::origin::Origin;
use super::state::Ending;
use crate::command::Outcome;
use crate::hooks::Hook;

/// Something that happened. Results of effects carry the incarnation they belong to.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The user (or resurrect) wants it up. On a running instance: nothing.
    Start(Origin),
    /// Wants it down.
    Stop(Origin),
    /// Wants a new process. On a stopped or errored instance: a start. Every such request ends in a *new* incarnation. A restart by
    /// [`Origin::Policy`] never brings up what a user wants down; use `Start` where a policy may do that.
    Restart(Origin),
    /// Its process is to end now, and the next one comes at that time (`mono_ms`). By a policy that must not wait for the end of one and not
    /// hurry with the start of the other. Only of what runs.
    RestartAt {
        /// Who asks.
        origin: Origin,
        /// When.
        at_ms: u64,
    },
    /// Wants it gone: stop, then forget. Final: later commands do not bring it back.
    Delete(Origin),
    /// Wants it down once it has finished what it does (`stop --wait-ready`).
    StopGently(Origin),
    /// Wants it gone once it has finished what it does (`scale` to fewer, the old process of a reload). Final, as `Delete`.
    Retire(Origin),
    /// It has finished what it did ([`super::Effect::Drain`]).
    Drained {
        /// Which.
        inc: u32,
    },
    /// The app asks for more time to start, to finish or to stop: until then at least (`mono_ms`).
    Extend {
        /// Which.
        inc: u32,
        /// Until when.
        until_ms: u64,
    },
    /// No more patience with what is to end: its time is over.
    Hurry,
    /// What it depends on is there (answer to [`super::Notice::Waiting`]).
    Released,
    /// What it depends on will not be there, or not in time: why, in words.
    Unmet(String),
    /// A hook has ended, and nothing of it is left.
    HookDone {
        /// For which process.
        inc: u32,
        /// Which.
        hook: Hook,
        /// How.
        outcome: Outcome,
    },
    /// What a process needs before its start could not be had: why, in words. The start has failed, whatever `on_failure` of its hook says.
    Unprepared {
        /// Which.
        inc: u32,
        /// Why.
        why: String,
    },
    /// It is not well and counts as crashed: it is asked to end, gets SIGKILL when it does not, and the restart policy decides what comes
    /// then. Only what runs can fail.
    Fail(Origin),
    /// Counters to zero (`reset`).
    Reset,
    /// The spawn worked: the program was executed.
    Spawned {
        /// Which.
        inc: u32,
        /// Its pid.
        pid: i32,
    },
    /// The spawn failed.
    SpawnFailed {
        /// Which.
        inc: u32,
        /// Why.
        failure: SpawnFailure,
    },
    /// The app said that it is ready.
    Ready {
        /// Which.
        inc: u32,
    },
    /// The app handed over: another process of its tree is the main one now. The daemon has made sure that it is one, and that it lives.
    Followed {
        /// Which.
        inc: u32,
        /// Pid of the new main process.
        pid: i32,
    },
    /// The main process ended. Not for one that was it once ([`super::Instance::is_former`]).
    Exited {
        /// Which.
        inc: u32,
        /// How.
        exit: ExitReport,
    },
    /// Nothing of the incarnation's tree is left (answer to [`super::Effect::Sweep`]).
    TreeGone {
        /// Which.
        inc: u32,
    },
    /// The deadline passed (or may have: an early tick does nothing).
    Tick,
    /// A fresh daemon (or the old one behind a new keeper) looked at what really runs. Always the first event after a restore.
    Recovered(Recovered),
}

/// Why a spawn failed.
#[derive(Clone, Debug, PartialEq)]
pub struct SpawnFailure {
    /// The failing step, e.g. `exec`, `chdir`, `setuid`, `open log`.
    pub step: String,
    /// `errno` of it.
    pub errno: i32,
}

impl SpawnFailure {
    /// A step that did not work, and its `errno`; 0 = the system was not even asked.
    pub fn new(step: impl Into<String>, errno: i32) -> Self {
        Self { step: step.into(), errno }
    }
}

/// How the main process ended.
#[derive(Clone, Debug, PartialEq)]
pub struct ExitReport {
    /// Code or signal.
    pub ending: Ending,
    /// The kernel's out-of-memory killer did it.
    pub oom: bool,
}

/// What the keeper's inventory says about this instance.
#[derive(Clone, Debug, PartialEq)]
pub enum Recovered {
    /// This incarnation is alive.
    Alive {
        /// Which.
        inc: u32,
        /// Its pid.
        pid: i32,
    },
    /// This incarnation has ended; the keeper still waits for the ack (the journal may know of it already).
    Ended {
        /// Which.
        inc: u32,
        /// Its pid.
        pid: i32,
        /// How.
        exit: ExitReport,
    },
    /// The keeper knows of no process of this instance.
    Nothing,
}
