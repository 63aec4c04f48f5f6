//! Effects: what the owner of an instance must do.

use super::state::ExitRecord;
use crate::app::hooks::Hook;
use crate::lifecycle::command::CommandOutcome;

/// An effect of a step. Effects are performed in order.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub enum Effect {
    /// Start a process with this number; answer with `Spawned` or `SpawnFailed`.
    Spawn {
        /// The new incarnation.
        inc: u32,
    },
    /// Treat another process as the main process from now on: if it exits, the incarnation has
    /// ended. The state machine may request this twice.
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
        /// Processes that receive it.
        scope: Scope,
    },
    /// Drain: send the process no new work and let it finish its requests. Answer with `Drained`,
    /// immediately if the process has no requests. The state machine may request this twice.
    Drain {
        /// The incarnation.
        inc: u32,
    },
    /// Send the IPC message `shutdown`. If the process has no channel, send the polite signal of
    /// the policy to the given scope instead.
    ShutdownMessage {
        /// The incarnation.
        inc: u32,
        /// Signal for programs without a channel.
        fallback_signal: i32,
        /// Scope of that signal.
        scope: Scope,
    },
    /// The main process has exited: find the rest of its tree. Answer with `TreeGone` as soon as no
    /// process is left, which is usually immediately. With `kill`, the remaining processes and
    /// everything they fork get SIGKILL; otherwise they get the polite signal once. A second sweep
    /// of the same incarnation replaces the first, and both together get one answer.
    Sweep {
        /// The incarnation whose tree it is.
        inc: u32,
        /// SIGKILL instead of the polite signal.
        kill: bool,
        /// The polite signal.
        signal: i32,
    },
    /// Run this hook. The journal write of the step that requests the hook also records it. Answer
    /// with `HookDone` within the hook's own time ([`Hook::OnCrash`] needs no answer). Answer with
    /// `Unprepared` if a start lacks something else.
    Hook {
        /// The incarnation.
        inc: u32,
        /// The hook.
        hook: Hook,
    },
    /// Cancel this hook. Its answer still comes.
    CancelHook {
        /// The incarnation.
        inc: u32,
        /// The hook.
        hook: Hook,
    },
    /// Report a transition to the followers.
    Notify(Transition),
}

/// Scope of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The main process only.
    Leader,
    /// The main process and everything that it started.
    Tree,
}

/// Consequence for a process that is not ready in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LateAction {
    /// It counts as ready.
    Accepted,
    /// It keeps running and becomes ready when it reports so.
    KeepsRunning,
    /// It will be stopped.
    Stopped,
}

/// A change that the daemon reports to its log, the bus and waiting clients.
#[derive(Clone, Debug, PartialEq)]
pub enum Transition {
    /// Spawned: it waits for readiness or is online immediately.
    Launched,
    /// Ready: wire `online`.
    Online,
    /// Not ready in time; the field holds the consequence.
    ReadyTimeout(LateAction),
    /// A process exited.
    Exit(ExitRecord),
    /// The policy scheduled a restart in this many milliseconds (0 = immediately).
    RestartScheduled {
        /// The delay.
        delay_ms: u64,
    },
    /// It gets no new work and finishes its requests.
    Draining,
    /// Its drain time is over and it has not finished.
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
        outcome: CommandOutcome,
    },
    /// Deleted.
    Deleted,
}
