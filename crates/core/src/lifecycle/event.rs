//! Events: what can happen to an instance.

use super::origin::Origin;
use super::state::ProcessEnding;
use crate::app::hooks::Hook;
use crate::lifecycle::command::CommandOutcome;

/// Something that happened. Results of effects carry the incarnation they belong to.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Start: the user (or resurrect) wants it up. On a running instance, this does nothing.
    Start(Origin),
    /// Stop: the user wants it down.
    Stop(Origin),
    /// Restart: a new process is wanted. On a stopped or errored instance, this is a start. Every
    /// such request results in a *new* incarnation. A restart by [`Origin::Policy`] never starts an
    /// instance that a user wants down; use `Start` if a policy may do that.
    Restart(Origin),
    /// Restart at a given time: stop the process now and start the next one at that time
    /// (`mono_ms`). For a policy that must stop a process immediately but delay the next start.
    /// Applies only to a running instance.
    RestartAt {
        /// The policy.
        origin: Origin,
        /// Time of the next start.
        at_ms: u64,
    },
    /// Delete: stop the instance, then forget it. This is final: later commands do not restore it.
    Delete(Origin),
    /// Gentle stop: take it down after it has finished its requests (`stop --wait-ready`).
    StopGently(Origin),
    /// Retirement: delete it after it has finished its requests (`scale` to fewer instances, the
    /// old process of a reload). This is final, as `Delete` is.
    Retire(Origin),
    /// It has finished its requests ([`super::Effect::Drain`]).
    Drained {
        /// The incarnation.
        inc: u32,
    },
    /// The app asks for more time to start, to finish or to stop: at least until this time
    /// (`mono_ms`).
    Extend {
        /// The incarnation.
        inc: u32,
        /// The new deadline.
        until_ms: u64,
    },
    /// Hurry: cut short the time of a process that is stopping.
    Hurry,
    /// Its dependencies are met (answer to [`super::Transition::Waiting`]).
    Released,
    /// Its dependencies will not be met, or not in time, for this reason.
    Unmet(String),
    /// A hook has finished, and none of its processes is left.
    HookDone {
        /// The incarnation.
        inc: u32,
        /// The hook.
        hook: Hook,
        /// Its outcome.
        outcome: CommandOutcome,
    },
    /// Something that a process needs for its start is unavailable, for this reason. The start has
    /// failed, regardless of `on_failure` of its hook.
    Unprepared {
        /// The incarnation.
        inc: u32,
        /// The reason.
        reason: String,
    },
    /// Failure: the process is unhealthy and counts as crashed. It gets the polite signal, then
    /// SIGKILL if it does not exit, and the restart policy decides what follows. Only a running
    /// process can fail.
    Fail(Origin),
    /// Reset: set the counters to zero.
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
    /// The app handed over: another process of its tree is the main process now. The daemon has
    /// checked that the process is in the tree and alive.
    Followed {
        /// The incarnation.
        inc: u32,
        /// Pid of the new main process.
        pid: i32,
    },
    /// The main process exited. Not sent for a former main process
    /// ([`super::Instance::is_former`]).
    Exited {
        /// The incarnation.
        inc: u32,
        /// How it exited.
        exit: ExitReport,
    },
    /// No process of the incarnation's tree is left (answer to [`super::Effect::Sweep`]).
    TreeGone {
        /// The incarnation.
        inc: u32,
    },
    /// The deadline passed (or may have: an early tick does nothing).
    Tick,
    /// A fresh daemon (or the old daemon after a keeper restart) found this in the keeper's
    /// inventory. This is always the first event after a restore.
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
    /// Returns a failed step and its `errno`; 0 = no system call was made.
    pub fn new(step: impl Into<String>, errno: i32) -> Self {
        Self { step: step.into(), errno }
    }
}

/// End of a main process.
#[derive(Clone, Debug, PartialEq)]
pub struct ExitReport {
    /// Code or signal.
    pub ending: ProcessEnding,
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
    /// This incarnation has exited. The keeper still waits for the ack, although the journal may
    /// already contain the exit.
    Ended {
        /// The incarnation.
        inc: u32,
        /// Its pid.
        pid: i32,
        /// How it exited.
        exit: ExitReport,
    },
    /// The keeper knows of no process of this instance.
    Nothing,
}
