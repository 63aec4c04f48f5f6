//! State of an instance.

use serde::{Deserialize, Serialize};

use super::Policy;
use super::origin::Origin;
use crate::app::default_box::is_default;
use crate::app::hooks::Hook;
use crate::text::units::in_seconds;
use crate::time::Now;

/// Intent of the user. Only the user changes it (and the policy, when it gives up: then it is `Down` too).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wanted {
    /// Keep it running.
    Up,
    /// Keep it stopped.
    Down,
    /// Stop it, then forget it.
    Gone,
}

/// Observed state. A variant holds only what is true in it. All times are [`Now`]; deadlines are `mono_ms`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum State {
    /// Nothing runs (wire `stopped`).
    Stopped,
    /// Wanted up, as soon as what it depends on is there (wire `launching`).
    Waiting {
        /// Begin.
        since: Now,
        /// End of the wait.
        deadline_ms: u64,
        /// See `automatic` of [`State::Spawning`].
        #[serde(default)]
        automatic: bool,
    },
    /// `pre_start` runs, or what a start needs is fetched (wire `launching`).
    Preparing {
        /// Number of the process to be.
        inc: u32,
        /// Begin.
        since: Now,
        /// See `automatic` of [`State::Spawning`].
        #[serde(default)]
        automatic: bool,
        /// Origin of a later stop, restart or delete: the hook was called off, and nothing is started for it.
        #[serde(default)]
        superseded: Option<Origin>,
    },
    /// A spawn was asked for; the keeper has not answered yet (wire `launching`).
    Spawning {
        /// Number of the process to be.
        inc: u32,
        /// Time of the request.
        since: Now,
        /// Whether nobody waits for it (restart by policy, resurrect): a failure is retried instead of being reported to the caller.
        #[serde(default)]
        automatic: bool,
        /// Whether the app reported that it is ready before the keeper's answer was read.
        #[serde(default)]
        ready: bool,
        /// Origin of a later stop, restart or delete: what is being spawned is stopped as soon as it runs.
        #[serde(default)]
        superseded: Option<Origin>,
    },
    /// The process runs but has not said it is ready (wire `launching`).
    Starting {
        /// Its number.
        inc: u32,
        /// Its pid.
        pid: i32,
        /// Time of the spawn.
        since: Now,
        /// End of the wait for `ready`, or time at which it is reported as late; none = it takes as long as it takes.
        #[serde(default)]
        ready_deadline_ms: Option<u64>,
        /// Whether it takes longer than [`Policy::listen_timeout_ms`], which was reported, and goes on.
        #[serde(default, skip_serializing_if = "is_default")]
        late: bool,
        /// Whether a fresh daemon adopted it: the one before may have read `ready` and died, so a timeout is no proof of a failed start.
        #[serde(default)]
        adopted: bool,
    },
    /// It is ready, and `post_start` runs (wire `launching`).
    Completing {
        /// Its number.
        inc: u32,
        /// Its pid.
        pid: i32,
        /// Time of the spawn.
        since: Now,
    },
    /// Runs (wire `online`).
    Running {
        /// Its number.
        inc: u32,
        /// Its pid.
        pid: i32,
        /// Time of the spawn.
        since: Now,
    },
    /// It is to end, and `pre_stop` runs before it is asked to (wire `stopping`).
    Leaving {
        /// Its number.
        inc: u32,
        /// Its pid.
        pid: i32,
        /// Time of the spawn.
        since: Now,
        /// Who asked.
        cause: Origin,
        /// Continuation when all of it is gone.
        #[serde(default)]
        next: AfterStop,
        /// Whether it may finish what it does, after the hook.
        #[serde(default)]
        gently: bool,
        /// Whether it has ended by itself meanwhile.
        #[serde(default)]
        ended: bool,
    },
    /// Runs, gets no new work, and finishes what it has; then it is stopped (wire `stopping`).
    Draining {
        /// Its number.
        inc: u32,
        /// Its pid.
        pid: i32,
        /// Time of the spawn.
        since: Now,
        /// Time at which it is stopped in any case.
        deadline_ms: u64,
        /// Who asked.
        cause: Origin,
    },
    /// A stop is on its way, or what is left of an ended process's tree is being removed (wire `stopping`).
    Stopping {
        /// Number of the process that is to end.
        inc: u32,
        /// Its pid.
        pid: i32,
        /// Time of the spawn.
        since: Now,
        /// Time of the next escalation; there is always one.
        deadline_ms: u64,
        /// Whether SIGKILL was sent already (or is all that its leftovers get).
        killed: bool,
        /// Whether the main process has ended; what is left of its tree has not.
        leader_gone: bool,
        /// Who asked.
        cause: Origin,
        /// Continuation when all of it is gone.
        #[serde(default)]
        next: AfterStop,
    },
    /// Nothing of the process is left, and `post_stop` runs (wire `stopping`).
    Clearing {
        /// Number of the process.
        inc: u32,
        /// Continuation.
        next: AfterStop,
    },
    /// Waiting for the restart delay (wire `waiting restart`).
    Backoff {
        /// Time of the next start.
        until_ms: u64,
    },
    /// Gave up (wire `errored`).
    Errored,
    /// Deleted; the owner drops the instance.
    Gone,
}

impl State {
    /// Returns true if nothing runs, or what runs is on its way out.
    pub fn is_down(&self) -> bool {
        match self {
            Self::Stopped
            | Self::Leaving { .. }
            | Self::Draining { .. }
            | Self::Stopping { .. }
            | Self::Clearing { .. }
            | Self::Errored
            | Self::Gone => true,
            Self::Waiting { .. }
            | Self::Preparing { .. }
            | Self::Spawning { .. }
            | Self::Starting { .. }
            | Self::Completing { .. }
            | Self::Running { .. }
            | Self::Backoff { .. } => false,
        }
    }
}

/// Continuation after `Stopping`. Every command of a user makes it `Settle`: the latest intent counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AfterStop {
    /// What [`Wanted`] says: a new process, stopped, or gone.
    Settle {
        /// See `automatic` of [`State::Spawning`].
        automatic: bool,
    },
    /// It did not become ready in time: the restart policy decides when it has ended.
    Judge,
    /// It runs but failed: the restart policy decides when it has ended.
    Failed,
    /// The policy has decided: a new process at this time (`mono_ms`).
    Restart {
        /// The time.
        at_ms: u64,
    },
    /// The policy has decided: errored.
    GiveUp {
        /// Number of unstable runs.
        unstable: u32,
    },
}

impl Default for AfterStop {
    fn default() -> Self {
        Self::Settle { automatic: false }
    }
}

/// Counters that are shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counters {
    /// `restart_time` on the wire.
    pub restarts: u32,
    /// Unstable runs in a row (wire `unstable_restarts`).
    pub unstable: u32,
    /// The last backoff delay (wire `prev_restart_delay`).
    pub last_delay_ms: u64,
    /// `created_at` on the wire.
    pub created: Option<Now>,
    /// Start of the last process (wire `pm_uptime`).
    pub last_start: Option<Now>,
    /// Times (`mono_ms`) at which the last restarts by policy were decided, the oldest first; kept where there is a budget for them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recent: Vec<u64>,
    /// Durations of its last starts until it was ready, in milliseconds, the oldest first; of apps that report when they are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub start_ups_ms: Vec<u32>,
}

impl Counters {
    /// Number of start-ups that are remembered.
    const START_UPS_KEPT: usize = 3;

    /// Remembers the duration of a start.
    pub fn note_start_up(&mut self, took_ms: u64) {
        let surplus = (self.start_ups_ms.len() + 1).saturating_sub(Self::START_UPS_KEPT);
        self.start_ups_ms.drain(..surplus);
        self.start_ups_ms.push(u32::try_from(took_ms).unwrap_or(u32::MAX));
    }

    /// Puts the start-ups of the former process before its own.
    pub fn follow_start_ups(&mut self, former: &Self) {
        let own = std::mem::replace(&mut self.start_ups_ms, former.start_ups_ms.clone());
        own.into_iter().for_each(|took| self.note_start_up(took.into()));
    }

    /// The durations of the last starts, in words that follow "it"; none if nothing is known.
    pub fn start_ups(&self) -> Option<String> {
        let list: Vec<String> = self.start_ups_ms.iter().rev().map(|ms| in_seconds((*ms).into())).collect();
        match list.as_slice() {
            [] => None,
            [last] => Some(format!("took {last} the last time")),
            [..] => Some(format!("took {} the last times", list.join(", "))),
        }
    }
}

/// End of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// It returned this code.
    Code(i32),
    /// A signal ended it.
    Signal {
        /// Signal number.
        signal: i32,
        /// A core was dumped.
        core: bool,
    },
    /// It ended while nobody was its parent (keeper killed): the code is lost.
    Unknown,
    /// It never ran.
    SpawnFailed {
        /// `errno` of the failing step.
        errno: i32,
    },
}

/// Cause of an exit, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitCause {
    /// It ended by itself or by a signal from outside.
    Itself,
    /// We stopped it.
    Asked(Origin),
    /// It did not obey in time and we killed it.
    KilledAfterTimeout(Origin),
    /// The kernel ran out of memory.
    OutOfMemory,
    /// It did not become ready in time.
    NotReady,
    /// Something kept it from starting: a hook that failed, or a dependency.
    NotStarted {
        /// The reason, in words that follow "its start failed".
        why: String,
    },
    /// It could not be executed; the failing step, e.g. `exec` or `chdir`.
    CouldNotStart {
        /// The failing step.
        step: String,
    },
}

/// Record of one exit, for `ostler why`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// The incarnation.
    pub inc: u32,
    /// Its pid, 0 if it never ran.
    pub pid: i32,
    /// When it was spawned.
    pub started: Now,
    /// Time of the end.
    pub ended: Now,
    /// The end.
    pub ending: Ending,
    /// The cause.
    pub cause: ExitCause,
    /// Last lines of its error output (or output when that is empty), oldest first. Filled by the daemon.
    #[serde(default)]
    pub last_lines: Vec<String>,
}

/// One supervised slot of an app. Plain data: what the journal holds is this.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// Intent of the user.
    pub wanted: Wanted,
    /// Observed state.
    pub state: State,
    /// Number of the newest process; 0 = none yet.
    pub inc: u32,
    /// Counters.
    pub counters: Counters,
    /// The newest exits, oldest first, at most [`Policy::exits_kept`].
    pub exits: Vec<ExitRecord>,
}

impl Instance {
    /// A new slot: stopped, never run.
    pub fn new(now: Now) -> Self {
        Self {
            wanted: Wanted::Down,
            state: State::Stopped,
            inc: 0,
            counters: Counters { created: Some(now), ..Counters::default() },
            exits: Vec::new(),
        }
    }

    /// PM2's word for the state.
    pub fn status(&self) -> &'static str {
        match self.state {
            State::Stopped | State::Gone => "stopped",
            State::Waiting { .. }
            | State::Preparing { .. }
            | State::Spawning { .. }
            | State::Starting { .. }
            | State::Completing { .. } => "launching",
            State::Running { .. } => "online",
            State::Stopping { next: AfterStop::Restart { .. }, .. } | State::Clearing { next: AfterStop::Restart { .. }, .. } => {
                "waiting restart"
            }
            State::Leaving { .. } | State::Draining { .. } | State::Stopping { .. } | State::Clearing { .. } => "stopping",
            State::Backoff { .. } => "waiting restart",
            State::Errored => "errored",
        }
    }

    /// Pid of the live main process, if there is one.
    pub fn pid(&self) -> Option<i32> {
        match self.state {
            State::Starting { pid, .. } | State::Completing { pid, .. } | State::Running { pid, .. } | State::Draining { pid, .. } => {
                Some(pid)
            }
            State::Leaving { pid, ended, .. } => (!ended).then_some(pid),
            State::Stopping { pid, leader_gone, .. } => (!leader_gone).then_some(pid),
            State::Stopped
            | State::Waiting { .. }
            | State::Preparing { .. }
            | State::Spawning { .. }
            | State::Clearing { .. }
            | State::Backoff { .. }
            | State::Errored
            | State::Gone => None,
        }
    }

    /// The incarnation of [`Instance::pid`]: the newest, but for a process that only a damaged journal leaves beside it.
    pub fn inc_of_process(&self) -> Option<u32> {
        match self.state {
            State::Starting { inc, .. }
            | State::Completing { inc, .. }
            | State::Running { inc, .. }
            | State::Leaving { inc, .. }
            | State::Draining { inc, .. }
            | State::Stopping { inc, .. } => self.pid().map(|_| inc),
            State::Stopped
            | State::Waiting { .. }
            | State::Preparing { .. }
            | State::Spawning { .. }
            | State::Clearing { .. }
            | State::Backoff { .. }
            | State::Errored
            | State::Gone => None,
        }
    }

    /// True if this process of incarnation `inc` was its main process and another one is now: the end of this one means nothing.
    pub fn is_former(&self, inc: u32, pid: i32) -> bool {
        self.inc == inc && self.pid().is_some_and(|main| main != pid)
    }

    /// True if the state is what is wanted: nothing more will happen by itself as long as the process lives. An instance that gave up is
    /// settled too (`wanted` is then `Down`).
    pub fn settled(&self) -> bool {
        match self.wanted {
            Wanted::Up => matches!(self.state, State::Running { .. } | State::Starting { ready_deadline_ms: None, .. }),
            Wanted::Down => matches!(self.state, State::Stopped | State::Errored),
            Wanted::Gone => matches!(self.state, State::Gone),
        }
    }

    /// True if a process follows the one that ended, as far as that is decided.
    pub fn is_coming_again(&self) -> bool {
        match self.state {
            State::Leaving { next, .. } | State::Stopping { next, .. } | State::Clearing { next, .. } => match next {
                AfterStop::Restart { .. } => true,
                AfterStop::Settle { .. } => self.wanted == Wanted::Up,
                AfterStop::Judge | AfterStop::Failed | AfterStop::GiveUp { .. } => false,
            },
            State::Draining { .. } | State::Errored | State::Gone => false,
            _ => self.wanted == Wanted::Up,
        }
    }

    /// True if a restart is left in its budget.
    pub fn may_restart(&self, policy: &Policy, now: Now) -> bool {
        let Some(budget) = policy.budget else { return true };
        let within = |at: &&u64| now.mono_ms.saturating_sub(**at) < budget.window_ms;
        self.counters.recent.iter().filter(within).count() < budget.n as usize
    }

    /// Counts a restart by policy against its budget.
    pub fn spend_restart(&mut self, policy: &Policy, now: Now) {
        let Some(budget) = policy.budget else { return self.counters.recent.clear() };
        let recent = &mut self.counters.recent;
        recent.retain(|at| now.mono_ms.saturating_sub(*at) < budget.window_ms);
        recent.push(now.mono_ms);
        let surplus = recent.len().saturating_sub(budget.n as usize);
        recent.drain(..surplus);
    }

    /// True if something of its process tree may be alive.
    pub fn may_have_processes(&self) -> bool {
        match self.state {
            State::Spawning { .. }
            | State::Starting { .. }
            | State::Completing { .. }
            | State::Running { .. }
            | State::Leaving { .. }
            | State::Draining { .. }
            | State::Stopping { .. } => true,
            State::Stopped
            | State::Waiting { .. }
            | State::Preparing { .. }
            | State::Clearing { .. }
            | State::Backoff { .. }
            | State::Errored
            | State::Gone => false,
        }
    }

    /// The one next instant (`mono_ms`) at which [`Event::Tick`](super::Event::Tick) is due.
    pub fn deadline_ms(&self) -> Option<u64> {
        match self.state {
            State::Starting { ready_deadline_ms, .. } => ready_deadline_ms,
            State::Waiting { deadline_ms, .. } | State::Draining { deadline_ms, .. } | State::Stopping { deadline_ms, .. } => {
                Some(deadline_ms)
            }
            State::Backoff { until_ms } => Some(until_ms),
            // A hook has a time of its own, and is answered for in any case.
            State::Preparing { .. } | State::Completing { .. } | State::Leaving { .. } | State::Clearing { .. } => None,
            State::Stopped | State::Spawning { .. } | State::Running { .. } | State::Errored | State::Gone => None,
        }
    }

    /// True if a start is being prepared, and is not wanted any more.
    pub fn is_called_off(&self) -> bool {
        matches!(self.state, State::Preparing { superseded: Some(_), .. })
    }

    /// The hook whose end it waits for, and for which process.
    pub fn hook(&self) -> Option<(u32, Hook)> {
        match self.state {
            State::Preparing { inc, .. } => Some((inc, Hook::PreStart)),
            State::Completing { inc, .. } => Some((inc, Hook::PostStart)),
            State::Leaving { inc, .. } => Some((inc, Hook::PreStop)),
            State::Clearing { inc, .. } => Some((inc, Hook::PostStop)),
            _ => None,
        }
    }
}
