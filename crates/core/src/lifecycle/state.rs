//! State of an instance.

use serde::{Deserialize, Serialize};

use super::Policy;
use super::origin::Origin;
use crate::app::default_box::is_default;
use crate::app::hooks::Hook;
use crate::text::units::in_seconds;
use crate::time::Now;

/// Intent of the user. Only the user changes it, except that the policy sets `Down` when it gives
/// up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DesiredState {
    /// Keep it running.
    Up,
    /// Keep it stopped.
    Down,
    /// Stop it, then forget it.
    Gone,
}

/// Observed state. A variant holds only fields that are valid in that state. All times are [`Now`];
/// deadlines are `mono_ms`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum InstanceState {
    /// No process runs (wire `stopped`).
    Stopped,
    /// Wanted up; waits for its dependencies (wire `launching`).
    Waiting {
        /// Start of the wait.
        since: Now,
        /// End of the wait.
        deadline_ms: u64,
        /// See `automatic` of [`InstanceState::Spawning`].
        #[serde(default)]
        automatic: bool,
    },
    /// `pre_start` runs, or the daemon fetches secrets for the start (wire `launching`).
    Preparing {
        /// Number of the next process.
        inc: u32,
        /// Start of the preparation.
        since: Now,
        /// See `automatic` of [`InstanceState::Spawning`].
        #[serde(default)]
        automatic: bool,
        /// Origin of a later stop, restart or delete: the hook was cancelled, and its process is
        /// not started.
        #[serde(default)]
        superseded: Option<Origin>,
    },
    /// The daemon requested a spawn; the keeper has not answered yet (wire `launching`).
    Spawning {
        /// Number of the next process.
        inc: u32,
        /// Time of the request.
        since: Now,
        /// Whether no caller waits for it (restart by policy, resurrect): a failure is then retried
        /// instead of being reported.
        #[serde(default)]
        automatic: bool,
        /// Whether the app reported readiness before the daemon read the keeper's answer.
        #[serde(default)]
        ready: bool,
        /// Origin of a later stop, restart or delete: the process is stopped as soon as it runs.
        #[serde(default)]
        superseded: Option<Origin>,
    },
    /// The process runs but is not ready (wire `launching`).
    Starting {
        /// Its number.
        inc: u32,
        /// Its pid.
        pid: i32,
        /// Time of the spawn.
        since: Now,
        /// End of the wait for `ready`, or time at which it is reported as late; none = no limit.
        #[serde(default)]
        ready_deadline_ms: Option<u64>,
        /// Whether it takes longer than [`Policy::listen_timeout_ms`]; this was reported, and it
        /// keeps starting.
        #[serde(default, skip_serializing_if = "is_default")]
        late: bool,
        /// Whether a fresh daemon adopted it. The previous daemon may have read `ready` and died,
        /// so a timeout is no proof of a failed start.
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
    /// It has to stop, and `pre_stop` runs before the polite request (wire `stopping`).
    Leaving {
        /// Its number.
        inc: u32,
        /// Its pid.
        pid: i32,
        /// Time of the spawn.
        since: Now,
        /// Origin of the stop.
        cause: Origin,
        /// Continuation after its tree is gone.
        #[serde(default)]
        next: AfterStop,
        /// Whether it may finish its requests after the hook.
        #[serde(default)]
        gently: bool,
        /// Whether it exited by itself during the hook.
        #[serde(default)]
        ended: bool,
    },
    /// Runs, gets no new work, and finishes its requests; then it is stopped (wire `stopping`).
    Draining {
        /// Its number.
        inc: u32,
        /// Its pid.
        pid: i32,
        /// Time of the spawn.
        since: Now,
        /// Time at which it is stopped in any case.
        deadline_ms: u64,
        /// Origin of the drain.
        cause: Origin,
    },
    /// A stop is in progress, or the rest of an exited process's tree is being removed (wire
    /// `stopping`).
    Stopping {
        /// Number of the process that has to exit.
        inc: u32,
        /// Its pid.
        pid: i32,
        /// Time of the spawn.
        since: Now,
        /// Time of the next escalation; it is always set.
        deadline_ms: u64,
        /// Whether SIGKILL was already sent (or is the only signal for its leftovers).
        killed: bool,
        /// Whether the main process has exited while the rest of its tree has not.
        leader_gone: bool,
        /// Origin of the stop.
        cause: Origin,
        /// Continuation after its tree is gone.
        #[serde(default)]
        next: AfterStop,
    },
    /// No process is left, and `post_stop` runs (wire `stopping`).
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

impl InstanceState {
    /// Returns true if no process runs, or the running process is stopping.
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

/// Continuation after `Stopping`. Every command of a user makes it `Settle`: the latest intent
/// counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AfterStop {
    /// As [`DesiredState`] requires: a new process, stopped, or gone.
    Settle {
        /// See `automatic` of [`InstanceState::Spawning`].
        automatic: bool,
    },
    /// It did not become ready in time: the restart policy decides after its exit.
    Judge,
    /// It ran but failed: the restart policy decides after its exit.
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

/// Counters that users see.
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
    /// Times (`mono_ms`) at which the last restarts by policy were decided, the oldest first. Kept
    /// only with a restart budget.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recent: Vec<u64>,
    /// Durations of its last starts until it was ready, in milliseconds, the oldest first. Kept
    /// only for apps that report readiness.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub start_ups_ms: Vec<u32>,
}

impl Counters {
    /// Number of start durations that are remembered.
    const START_UPS_KEPT: usize = 3;

    /// Remembers the duration of a start.
    pub fn note_start_up(&mut self, took_ms: u64) {
        let surplus = (self.start_ups_ms.len() + 1).saturating_sub(Self::START_UPS_KEPT);
        self.start_ups_ms.drain(..surplus);
        self.start_ups_ms.push(u32::try_from(took_ms).unwrap_or(u32::MAX));
    }

    /// Prepends the start durations of the former process to its own.
    pub fn follow_start_ups(&mut self, former: &Self) {
        let own = std::mem::replace(&mut self.start_ups_ms, former.start_ups_ms.clone());
        own.into_iter().for_each(|took| self.note_start_up(took.into()));
    }

    /// Returns the durations of the last starts, in words that follow "it"; none if no duration is
    /// known.
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
pub enum ProcessEnding {
    /// It returned this code.
    Code(i32),
    /// A signal ended it.
    Signal {
        /// Signal number.
        signal: i32,
        /// A core was dumped.
        core: bool,
    },
    /// It exited without a parent because the keeper was killed: the code is lost.
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
    /// ostler stopped it.
    #[serde(rename = "Asked")]
    Requested(Origin),
    /// It did not obey in time and ostler killed it.
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
    /// Time of the exit.
    pub ended: Now,
    /// How it ended.
    pub ending: ProcessEnding,
    /// The cause.
    pub cause: ExitCause,
    /// Last lines of its error output (or output when that is empty), oldest first. Filled by the
    /// daemon.
    #[serde(default)]
    pub last_lines: Vec<String>,
}

/// One supervised slot of an app. Plain data: the journal holds exactly this.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// Intent of the user.
    pub wanted: DesiredState,
    /// Observed state.
    pub state: InstanceState,
    /// Number of the newest process; 0 = none yet.
    pub inc: u32,
    /// Counters.
    pub counters: Counters,
    /// The newest exits, oldest first, at most [`Policy::exits_kept`].
    pub exits: Vec<ExitRecord>,
}

impl Instance {
    /// Returns a new slot: stopped, never run.
    pub fn new(now: Now) -> Self {
        Self {
            wanted: DesiredState::Down,
            state: InstanceState::Stopped,
            inc: 0,
            counters: Counters { created: Some(now), ..Counters::default() },
            exits: Vec::new(),
        }
    }

    /// Returns PM2's word for the state.
    pub fn status(&self) -> &'static str {
        match self.state {
            InstanceState::Stopped | InstanceState::Gone => "stopped",
            InstanceState::Waiting { .. }
            | InstanceState::Preparing { .. }
            | InstanceState::Spawning { .. }
            | InstanceState::Starting { .. }
            | InstanceState::Completing { .. } => "launching",
            InstanceState::Running { .. } => "online",
            InstanceState::Stopping { next: AfterStop::Restart { .. }, .. }
            | InstanceState::Clearing { next: AfterStop::Restart { .. }, .. } => "waiting restart",
            InstanceState::Leaving { .. }
            | InstanceState::Draining { .. }
            | InstanceState::Stopping { .. }
            | InstanceState::Clearing { .. } => "stopping",
            InstanceState::Backoff { .. } => "waiting restart",
            InstanceState::Errored => "errored",
        }
    }

    /// Returns the pid of the live main process, if any.
    pub fn pid(&self) -> Option<i32> {
        match self.state {
            InstanceState::Starting { pid, .. }
            | InstanceState::Completing { pid, .. }
            | InstanceState::Running { pid, .. }
            | InstanceState::Draining { pid, .. } => Some(pid),
            InstanceState::Leaving { pid, ended, .. } => (!ended).then_some(pid),
            InstanceState::Stopping { pid, leader_gone, .. } => (!leader_gone).then_some(pid),
            InstanceState::Stopped
            | InstanceState::Waiting { .. }
            | InstanceState::Preparing { .. }
            | InstanceState::Spawning { .. }
            | InstanceState::Clearing { .. }
            | InstanceState::Backoff { .. }
            | InstanceState::Errored
            | InstanceState::Gone => None,
        }
    }

    /// Returns the incarnation of [`Instance::pid`]. It is the newest, except for an extra process
    /// that only a damaged journal can leave.
    pub fn inc_of_process(&self) -> Option<u32> {
        match self.state {
            InstanceState::Starting { inc, .. }
            | InstanceState::Completing { inc, .. }
            | InstanceState::Running { inc, .. }
            | InstanceState::Leaving { inc, .. }
            | InstanceState::Draining { inc, .. }
            | InstanceState::Stopping { inc, .. } => self.pid().map(|_| inc),
            InstanceState::Stopped
            | InstanceState::Waiting { .. }
            | InstanceState::Preparing { .. }
            | InstanceState::Spawning { .. }
            | InstanceState::Clearing { .. }
            | InstanceState::Backoff { .. }
            | InstanceState::Errored
            | InstanceState::Gone => None,
        }
    }

    /// Returns true if this process of incarnation `inc` was its main process and another process
    /// is now. Its exit is then ignored.
    pub fn is_former(&self, inc: u32, pid: i32) -> bool {
        self.inc == inc && self.pid().is_some_and(|main| main != pid)
    }

    /// Returns true if the state is the wanted one: it does not change while the process lives. An
    /// instance that gave up is settled too (`wanted` is then `Down`).
    pub fn settled(&self) -> bool {
        match self.wanted {
            DesiredState::Up => {
                matches!(self.state, InstanceState::Running { .. } | InstanceState::Starting { ready_deadline_ms: None, .. })
            }
            DesiredState::Down => matches!(self.state, InstanceState::Stopped | InstanceState::Errored),
            DesiredState::Gone => matches!(self.state, InstanceState::Gone),
        }
    }

    /// Returns true if another process follows, as far as that is decided.
    pub fn will_restart(&self) -> bool {
        match self.state {
            InstanceState::Leaving { next, .. } | InstanceState::Stopping { next, .. } | InstanceState::Clearing { next, .. } => match next
            {
                AfterStop::Restart { .. } => true,
                AfterStop::Settle { .. } => self.wanted == DesiredState::Up,
                AfterStop::Judge | AfterStop::Failed | AfterStop::GiveUp { .. } => false,
            },
            InstanceState::Draining { .. } | InstanceState::Errored | InstanceState::Gone => false,
            _ => self.wanted == DesiredState::Up,
        }
    }

    /// Returns true if its budget allows another restart.
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

    /// Returns true if a process of its tree may be alive.
    pub fn may_have_processes(&self) -> bool {
        match self.state {
            InstanceState::Spawning { .. }
            | InstanceState::Starting { .. }
            | InstanceState::Completing { .. }
            | InstanceState::Running { .. }
            | InstanceState::Leaving { .. }
            | InstanceState::Draining { .. }
            | InstanceState::Stopping { .. } => true,
            InstanceState::Stopped
            | InstanceState::Waiting { .. }
            | InstanceState::Preparing { .. }
            | InstanceState::Clearing { .. }
            | InstanceState::Backoff { .. }
            | InstanceState::Errored
            | InstanceState::Gone => false,
        }
    }

    /// Returns the next time (`mono_ms`) at which [`Event::Tick`](super::Event::Tick) is due.
    pub fn deadline_ms(&self) -> Option<u64> {
        match self.state {
            InstanceState::Starting { ready_deadline_ms, .. } => ready_deadline_ms,
            InstanceState::Waiting { deadline_ms, .. }
            | InstanceState::Draining { deadline_ms, .. }
            | InstanceState::Stopping { deadline_ms, .. } => Some(deadline_ms),
            InstanceState::Backoff { until_ms } => Some(until_ms),
            // A hook has its own time limit, and its answer always comes.
            InstanceState::Preparing { .. }
            | InstanceState::Completing { .. }
            | InstanceState::Leaving { .. }
            | InstanceState::Clearing { .. } => None,
            InstanceState::Stopped
            | InstanceState::Spawning { .. }
            | InstanceState::Running { .. }
            | InstanceState::Errored
            | InstanceState::Gone => None,
        }
    }

    /// Returns true if a start is being prepared but is no longer wanted.
    pub fn is_called_off(&self) -> bool {
        matches!(self.state, InstanceState::Preparing { superseded: Some(_), .. })
    }

    /// Returns the hook that it waits for, and the incarnation that the hook belongs to.
    pub fn hook(&self) -> Option<(u32, Hook)> {
        match self.state {
            InstanceState::Preparing { inc, .. } => Some((inc, Hook::PreStart)),
            InstanceState::Completing { inc, .. } => Some((inc, Hook::PostStart)),
            InstanceState::Leaving { inc, .. } => Some((inc, Hook::PreStop)),
            InstanceState::Clearing { inc, .. } => Some((inc, Hook::PostStop)),
            _ => None,
        }
    }
}
