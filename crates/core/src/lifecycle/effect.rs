//! What the owner of an instance must do.

use super::state::ExitRecord;
use crate::command::Outcome;
use crate::hooks::Hook;

/// One thing to do. Effects are performed in order.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub enum Effect {
    /// Start a process with this number; answer with `Spawned` or `SpawnFailed`.
    Spawn {
        /// The new incarnation.
        inc: u32,
    },
    /// The main process is another one from now on: its end is the end of the incarnation. May be asked for twice.
    Follow {
        /// Which.
        inc: u32,
        /// Pid of the new main process.
        pid: i32,
    },
    /// Send a signal.
    Signal {
        /// To which incarnation.
        inc: u32,
        /// Signal number.
        signal: i32,
        /// To whom of it.
        scope: Scope,
    },
    /// No new work for this process, and let it finish what it does. Answer: `Drained`, at once where there is nothing to finish. May be
    /// asked for twice.
    Drain {
        /// Which.
        inc: u32,
    },
    /// Send the IPC message `shutdown`; where there is no channel, the polite signal of the policy to the given scope instead.
    ShutdownMessage {
        /// To which incarnation.
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
        /// Whose tree.
        inc: u32,
        /// SIGKILL instead of the polite signal.
        kill: bool,
        /// The polite signal.
        signal: i32,
    },
    /// Run this hook. It is noted in the same journal write as the step that asks for it. Answer, within the hook's own time: `HookDone`
    /// (none is wanted for [`Hook::OnCrash`]), or `Unprepared` where a start lacks something else.
    Hook {
        /// For which process.
        inc: u32,
        /// Which.
        hook: Hook,
    },
    /// End this hook. Its answer comes all the same.
    CancelHook {
        /// For which process.
        inc: u32,
        /// Which.
        hook: Hook,
    },
    /// Tell whoever follows.
    Notify(Notice),
}

/// Scope of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The main process only.
    Leader,
    /// Everything it started, too.
    Tree,
}

/// What becomes of a process that is not ready in time.
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
pub enum Notice {
    /// Spawned, now waiting for ready or online at once.
    Launched,
    /// Ready: wire `online`.
    Online,
    /// Not ready in time.
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
    /// It has had its time for that and has not finished.
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
    /// A hook did not do what it was there for.
    HookFailed {
        /// Which.
        hook: Hook,
        /// How it ended.
        outcome: Outcome,
    },
    /// Deleted.
    Deleted,
}
