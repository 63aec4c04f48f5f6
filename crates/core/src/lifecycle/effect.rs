//! Effects: what the owner of an instance must do.

use super::state::ExitRecord;
use crate::app::hooks::Hook;
use crate::lifecycle::command::Outcome;

/// An effect of a step. Effects are performed in order.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub enum Effect {
    /// Start a process with this number; answer with `Spawned` or `SpawnFailed`.
    Spawn {
        /// The new incarnation.
        inc: u32,
    },
    /// Follow another main process from now on: its end is the end of the incarnation. May be asked for twice.
    Follow {
        /// The incarnation.
        inc: u32,
        /// Pid of the new main process.
        pid: i32,
    },
    /// Send a signal.
    Signal {
        /// The incarnation.
        inc: u32,
        /// Signal number.
        signal: i32,
        /// The processes that get it.
        scope: Scope,
    },
    /// Drain: no new work for this process, and let it finish what it does. Answer: `Drained`, at once where there is nothing to finish. May be
    /// asked for twice.
    Drain {
        /// The incarnation.
        inc: u32,
    },
    /// Send the IPC message `shutdown`; where there is no channel, the polite signal of the policy to the given scope instead.
    ShutdownMessage {
        /// The incarnation.
        inc: u32,
        /// Signal for programs without a channel.
        fallback_signal: i32,
        /// Scope of that signal.
        scope: Scope,
    },
    /// The main process is gone: look for the rest of its tree. Answer `TreeGone` when nothing is left: at once where there is
    /// nothing (the common case), else as soon as the last of it has ended. With `kill` the rest gets SIGKILL, and so does whatever
    /// it still forks; otherwise the polite signal once. A second sweep of the same incarnation replaces the first: one answer.
    Sweep {
        /// The incarnation whose tree it is.
        inc: u32,
        /// SIGKILL instead of the polite signal.
        kill: bool,
        /// The polite signal.
        signal: i32,
    },
    /// Run this hook. It is noted in the same journal write as the step that asks for it. Answer, within the hook's own time: `HookDone`
    /// (none is wanted for [`Hook::OnCrash`]), or `Unprepared` where a start lacks something else.
    Hook {
        /// The incarnation.
        inc: u32,
        /// The hook.
        hook: Hook,
    },
    /// End this hook. Its answer comes all the same.
    CancelHook {
        /// The incarnation.
        inc: u32,
        /// The hook.
        hook: Hook,
    },
    /// Report a transition to whoever follows.
    Notify(Transition),
}

/// Scope of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The main process only.
    Leader,
    /// Everything it started, too.
    Tree,
}

/// Consequence for a process that is not ready in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// It is taken as ready.
    Accepted,
    /// It goes on, and is ready when it says so.
    GoesOn,
    /// It will be stopped.
    Stopped,
}

/// A change worth telling (log of the daemon, bus, waiting clients).
#[derive(Clone, Debug, PartialEq)]
pub enum Transition {
    /// Spawned, now waiting for ready or online at once.
    Launched,
    /// Ready: wire `online`.
    Online,
    /// Not ready in time, with this consequence.
    ReadyTimeout(Late),
    /// A process ended.
    Exit(ExitRecord),
    /// A restart by policy is scheduled in so many milliseconds (0 = at once).
    RestartScheduled {
        /// The delay.
        delay_ms: u64,
    },
    /// It gets no new work and finishes what it does.
    Draining,
    /// Its time for draining is over, and it has not finished.
    DrainTimeout,
    /// A stop began.
    Stopping,
    /// The grace period is over, SIGKILL was sent.
    KillTimeout,
    /// Reached stopped.
    Stopped,
    /// Gave up: too many unstable restarts.
    Overlimit {
        /// How many.
        unstable: u32,
    },
    /// The program could not be executed.
    CouldNotStart(ExitRecord),
    /// Waits for the apps that it depends on.
    Waiting,
    /// A hook failed.
    HookFailed {
        /// The hook.
        hook: Hook,
        /// Its outcome.
        outcome: Outcome,
    },
    /// Deleted.
    Deleted,
}
