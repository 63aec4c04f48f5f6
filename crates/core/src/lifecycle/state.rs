//! What an instance is.

use serde::{Deserialize, Serialize};

use crate::app::{AppSpec, KillMode};
use crate::care::RestartBudget;
use crate::cron::{JobSpec, MOST_HISTORY, RETRY_DELAY_CAP_MS};
use crate::hooks::{Hook, HookPolicy, OnFailure};
use crate::secrets::SecretSource;
use crate::time::Now;

/// What the user wants. Only user intent changes it (and the policy, when it gives up: then it is `Down` too).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wanted {
    /// Keep it running.
    Up,
    /// Keep it stopped.
    Down,
    /// Stop it, then forget it.
    Gone,
}

/// Who asked for a change; shown by `ostler why`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// A command of a user.
    User {
        /// The command, e.g. `restart`.
        command: String,
        /// Peer credentials of the client.
        uid: u32,
        /// Process id of the client, for the record only.
        pid: i32,
    },
    /// Restored by `resurrect`.
    Resurrect,
    /// The daemon itself is shutting down.
    Shutdown,
    /// A feature of ostler, by its name (`cron`, `watch`, `memory`, …).
    Policy(String),
}

impl Origin {
    /// A client waits for the outcome.
    pub fn is_user(&self) -> bool {
        matches!(self, Self::User { .. })
    }
}

/// Observed state. A variant holds only what is true in it. All times are [`Now`]; deadlines are `mono_ms`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum State {
    /// Nothing runs (wire `stopped`).
    Stopped,
    /// Wanted up, as soon as what it depends on is there (wire `launching`).
    Waiting {
        /// Since when.
        since: Now,
        /// When waiting ends.
        deadline_ms: u64,
        /// See `automatic` of [`State::Spawning`].
        #[serde(default)]
        automatic: bool,
    },
    /// `pre_start` runs, or what a start needs is fetched (wire `launching`).
    Preparing {
        /// Number of the process to be.
        inc: u32,
        /// Since when.
        since: Now,
        /// See `automatic` of [`State::Spawning`].
        #[serde(default)]
        automatic: bool,
        /// A later stop, restart or delete by this origin: the hook was called off, and nothing is started for it.
        #[serde(default)]
        superseded: Option<Origin>,
    },
    /// A spawn was asked for; the keeper has not answered yet (wire `launching`).
    Spawning {
        /// Number of the process to be.
        inc: u32,
        /// When it was asked for.
        since: Now,
        /// Nobody waits for it (restart by policy, resurrect): a failure is retried instead of being told to the caller.
        #[serde(default)]
        automatic: bool,
        /// The app said that it is ready before the keeper's answer was read.
        #[serde(default)]
        ready: bool,
        /// A later stop, restart or delete by this origin: what is being spawned is stopped as soon as it runs.
        #[serde(default)]
        superseded: Option<Origin>,
    },
    /// The process runs but has not said it is ready (wire `launching`).
    Starting {
        /// Its number.
        inc: u32,
        /// Its pid.
        pid: i32,
        /// When it was spawned.
        since: Now,
        /// When waiting for `ready` ends.
        ready_deadline_ms: u64,
        /// Adopted by a fresh daemon: the one before may have taken `ready` to its grave, so a timeout is no proof of a failed start.
        #[serde(default)]
        adopted: bool,
    },
    /// It is ready, and `post_start` runs (wire `launching`).
    Completing {
        /// Its number.
        inc: u32,
        /// Its pid.
        pid: i32,
        /// When it was spawned.
        since: Now,
    },
    /// Runs (wire `online`).
    Running {
        /// Its number.
        inc: u32,
        /// Its pid.
        pid: i32,
        /// When it was spawned.
        since: Now,
    },
    /// It is to end, and `pre_stop` runs before it is asked to (wire `stopping`).
    Leaving {
        /// Its number.
        inc: u32,
        /// Its pid.
        pid: i32,
        /// When it was spawned.
        since: Now,
        /// Who asked.
        cause: Origin,
        /// What comes when all of it is gone.
        #[serde(default)]
        next: AfterStop,
        /// It may finish what it does, after the hook.
        #[serde(default)]
        gently: bool,
        /// It has ended by itself meanwhile.
        #[serde(default)]
        ended: bool,
    },
    /// Runs, gets no new work, and finishes what it has; then it is stopped (wire `stopping`).
    Draining {
        /// Its number.
        inc: u32,
        /// Its pid.
        pid: i32,
        /// When it was spawned.
        since: Now,
        /// When it is stopped in any case.
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
        /// When that process was spawned.
        since: Now,
        /// When the next escalation is due; there is always one.
        deadline_ms: u64,
        /// SIGKILL was sent already (or is all that its leftovers get).
        killed: bool,
        /// The main process has ended; what is left of its tree has not.
        leader_gone: bool,
        /// Who asked.
        cause: Origin,
        /// What comes when all of it is gone.
        #[serde(default)]
        next: AfterStop,
    },
    /// Nothing of the process is left, and `post_stop` runs (wire `stopping`).
    Clearing {
        /// Number of the process.
        inc: u32,
        /// What comes after it.
        next: AfterStop,
    },
    /// Waiting for the restart delay (wire `waiting restart`).
    Backoff {
        /// When the next start is due.
        until_ms: u64,
    },
    /// Gave up (wire `errored`).
    Errored,
    /// Deleted; the owner drops the instance.
    Gone,
}

/// What comes after `Stopping`. Every command of a user makes it `Settle`: the latest intent counts.
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
        /// When.
        at_ms: u64,
    },
    /// The policy has decided: errored.
    GiveUp {
        /// How many unstable runs there were.
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
    /// When the last restarts by policy were decided (`mono_ms`), the oldest first; kept where there is a budget for them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recent: Vec<u64>,
}

/// How a process ended.
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

/// Why it ended, as far as anybody knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitCause {
    /// It ended by itself or by a signal from outside.
    Itself,
    /// We stopped it.
    Asked(Origin),
    /// It did not obey in time and was killed by us.
    KilledAfterTimeout(Origin),
    /// The kernel ran out of memory.
    OutOfMemory,
    /// It did not become ready in time.
    NotReady,
    /// It was kept from starting: by a hook that failed, or by what it depends on; why, in words.
    NotStarted {
        /// In words that follow "its start failed".
        why: String,
    },
    /// It could not be executed; the failing step, e.g. `exec` or `chdir`.
    CouldNotStart {
        /// The failing step.
        step: String,
    },
}

/// One exit, for `ostler why`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// Which process.
    pub inc: u32,
    /// Its pid, 0 if it never ran.
    pub pid: i32,
    /// When it was spawned.
    pub started: Now,
    /// When it ended.
    pub ended: Now,
    /// How.
    pub ending: Ending,
    /// Why.
    pub cause: ExitCause,
    /// Last lines of its error output (or output when that is empty), oldest first. Filled by the daemon.
    #[serde(default)]
    pub last_lines: Vec<String>,
}

/// One supervised slot of an app. Plain data: what the journal holds is this.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// What the user wants.
    pub wanted: Wanted,
    /// What is observed.
    pub state: State,
    /// Number of the newest process; 0 = none yet.
    pub inc: u32,
    /// Counters.
    pub counters: Counters,
    /// The newest exits, oldest first, at most [`Policy::exits_kept`].
    pub exits: Vec<ExitRecord>,
}

/// The part of an [`AppSpec`] (and of the daemon's settings) that the state machine looks at, with every default filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Restart after an unasked exit.
    pub autorestart: bool,
    /// Unstable runs in a row before giving up.
    pub max_restarts: u32,
    /// A shorter run is unstable.
    pub min_uptime_ms: u64,
    /// Fixed delay.
    pub restart_delay_ms: u64,
    /// First growing delay; 0 = off.
    pub exp_backoff_ms: u64,
    /// Longest growing delay.
    pub backoff_cap_ms: u64,
    /// Uptime after which the growing delay starts anew (PM2: 30 s).
    pub backoff_reset_ms: u64,
    /// Codes that mean "stay stopped".
    pub stop_exit_codes: Vec<i32>,
    /// Polite signal.
    pub kill_signal: i32,
    /// Time until SIGKILL.
    pub kill_timeout_ms: u64,
    /// Whole tree or main process only.
    pub kill_mode: KillMode,
    /// IPC message instead of the polite signal.
    pub shutdown_with_message: bool,
    /// Time for the work under way before a gentle stop; `None` = it cannot be told to finish.
    pub drain_timeout_ms: Option<u64>,
    /// It has to prove that it is ready.
    pub wait_ready: bool,
    /// How long.
    pub listen_timeout_ms: u64,
    /// A ready timeout counts as ready (PM2) instead of as a failed start.
    pub accept_ready_timeout: bool,
    /// Its hooks.
    pub hooks: HookPolicy,
    /// A start by a user waits for other apps, at most so long; `None` = it depends on none.
    pub depends_timeout_ms: Option<u64>,
    /// At most so many restarts within a time.
    pub budget: Option<RestartBudget>,
    /// How many exits are remembered.
    pub exits_kept: usize,
}

impl Policy {
    /// Fills in PM2's defaults. `default_signal`/`default_kill_timeout_ms`/`default_listen_timeout_ms` are the daemon's settings.
    pub fn from_spec(
        spec: &AppSpec,
        default_signal: i32,
        default_kill_timeout_ms: u64,
        default_listen_timeout_ms: u64,
        backoff_reset_ms: u64,
    ) -> Self {
        let mut policy = Self {
            autorestart: spec.restart.autorestart,
            max_restarts: spec.restart.max_restarts.unwrap_or(16),
            min_uptime_ms: spec.restart.min_uptime_ms.unwrap_or(1000),
            restart_delay_ms: spec.restart.restart_delay_ms,
            exp_backoff_ms: spec.restart.exp_backoff_ms,
            backoff_cap_ms: crate::backoff::CAP_MS,
            backoff_reset_ms,
            stop_exit_codes: spec.restart.stop_exit_codes.clone(),
            kill_signal: spec.stop.signal.unwrap_or_else(|| polite_signal(spec, default_signal)),
            kill_timeout_ms: spec.stop.kill_timeout_ms.unwrap_or(default_kill_timeout_ms),
            kill_mode: spec.stop.kill_mode(),
            shutdown_with_message: spec.stop.shutdown_with_message,
            drain_timeout_ms: None,
            wait_ready: spec.ready.proof().is_some(),
            listen_timeout_ms: spec.ready.listen_timeout_ms.unwrap_or(default_listen_timeout_ms),
            accept_ready_timeout: spec.ready.accept_timeout,
            hooks: hooks(spec),
            depends_timeout_ms: (!spec.order.depends_on.is_empty()).then(|| spec.order.timeout_ms()),
            budget: spec.restart.budget,
            exits_kept: Instance::EXITS_KEPT,
        };
        if let Some(job) = spec.cron.as_ref().and_then(|cron| cron.job.as_ref()) {
            policy.run_as_job(job);
        }
        policy
    }

    /// Whatever its processes started is removed with them.
    pub(crate) fn owns_tree(&self) -> bool {
        self.kill_mode != KillMode::Process
    }

    /// It ends when it has succeeded, and when its retries are used up; every run that fails counts, however long it was.
    fn run_as_job(&mut self, job: &JobSpec) {
        self.autorestart = true;
        self.stop_exit_codes.push(0);
        self.max_restarts = job.retries.saturating_add(1);
        self.min_uptime_ms = u64::MAX;
        self.restart_delay_ms = 0;
        self.exp_backoff_ms = job.retry_delay_ms.max(1);
        self.backoff_cap_ms = RETRY_DELAY_CAP_MS;
        self.exits_kept = job.history.clamp(1, MOST_HISTORY) as usize;
    }
}

/// What commands have to give before a start is part of `pre_start`.
fn hooks(spec: &AppSpec) -> HookPolicy {
    let mut hooks = spec.hooks.policy();
    if spec.secrets.values().any(SecretSource::is_command) {
        hooks.pre_start.get_or_insert(OnFailure::Abort);
    }
    hooks
}

/// PM2 differs: it knows no sockets of other languages. There SIGTERM is the signal that finishes the requests under way; SIGINT is Ctrl-C,
/// which gunicorn and others take for "at once".
fn polite_signal(spec: &AppSpec, default: i32) -> i32 {
    const SIGINT: i32 = 2;
    const SIGTERM: i32 = 15;
    if default == SIGINT && !spec.listen.is_empty() && !spec.runs_in_node() { SIGTERM } else { default }
}

impl Instance {
    /// How many exits are remembered, where the policy does not say otherwise.
    pub const EXITS_KEPT: usize = 8;

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

    /// This process of incarnation `inc` is not its main process any more, another one is: the end of this one means nothing.
    pub fn is_former(&self, inc: u32, pid: i32) -> bool {
        self.inc == inc && self.pid().is_some_and(|main| main != pid)
    }

    /// The state is what is wanted: nothing more will happen by itself as long as the process lives. An instance that gave up is
    /// settled too (`wanted` is then `Down`).
    pub fn settled(&self) -> bool {
        match self.wanted {
            Wanted::Up => matches!(self.state, State::Running { .. }),
            Wanted::Down => matches!(self.state, State::Stopped | State::Errored),
            Wanted::Gone => matches!(self.state, State::Gone),
        }
    }

    /// There is a restart left in its budget.
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

    /// Something of its process tree may be alive.
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
            State::Starting { ready_deadline_ms, .. } => Some(ready_deadline_ms),
            State::Waiting { deadline_ms, .. } | State::Draining { deadline_ms, .. } | State::Stopping { deadline_ms, .. } => {
                Some(deadline_ms)
            }
            State::Backoff { until_ms } => Some(until_ms),
            // A hook has a time of its own, and is answered for in any case.
            State::Preparing { .. } | State::Completing { .. } | State::Leaving { .. } | State::Clearing { .. } => None,
            State::Stopped | State::Spawning { .. } | State::Running { .. } | State::Errored | State::Gone => None,
        }
    }

    /// A start is being prepared, and is not wanted any more.
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
