//! Policy of an instance: the part of its app's description about starts, restarts and stops.

use crate::app::hooks::{HookPolicy, OnFailure};
use crate::app::secrets::SecretSource;
use crate::app::{AppSpec, KillMode, RestartBudget};
use crate::cron::{JobSpec, MOST_HISTORY, RETRY_DELAY_CAP_MS};
use crate::lifecycle::signal;

/// Longest wait for a process without a time set by the user, if the wait must be bounded. Two
/// cases are bounded: a reload, and a daemon that cannot know whether the previous daemon read
/// `ready`.
pub const PATIENCE_MS: u64 = 60_000;

/// Number of exits that an instance remembers, unless the app is a job with its own number.
pub(super) const EXITS_KEPT: usize = 8;

/// Consequence for a process that is not ready within [`Policy::listen_timeout_ms`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lateness {
    /// It counts as ready, as in PM2.
    Accept,
    /// Its start has failed, so it is stopped. Used if the user set the time.
    Fail,
    /// It is reported as late and keeps running. Used if the user set no time: a slow start is no
    /// reason to kill a process.
    GoOn {
        /// Time after its start at which it has failed anyway; none = never. Used for the new
        /// process of a reload, because the old process still serves.
        at_most_ms: Option<u64>,
    },
}

/// The part of an [`AppSpec`] (and of the daemon's settings) that the state machine uses, with
/// every default filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Restart after an unrequested exit.
    pub autorestart: bool,
    /// Unstable runs in a row before giving up.
    pub max_restarts: u32,
    /// Shortest run that counts as stable.
    pub min_uptime_ms: u64,
    /// Fixed delay.
    pub restart_delay_ms: u64,
    /// First growing delay; 0 = off.
    pub exp_backoff_ms: u64,
    /// Longest growing delay.
    pub backoff_cap_ms: u64,
    /// Uptime after which the growing delay restarts from its first value (PM2: 30 s).
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
    /// Time for pending requests before a gentle stop; `None` = the process does not support
    /// draining.
    pub drain_timeout_ms: Option<u64>,
    /// Time within which a process that supports draining must answer the drain request. A process
    /// that does not answer hangs, so it is stopped. An answer gives it the rest of its time
    /// ([`super::Event::Extend`]). `None` = the process does not answer drain requests.
    pub drain_answer_ms: Option<u64>,
    /// Whether it finishes its requests only after the polite signal; its drain time then continues
    /// after the signal.
    pub drains_after_signal: bool,
    /// Whether it has to prove its readiness.
    pub wait_ready: bool,
    /// Longest wait for that.
    pub listen_timeout_ms: u64,
    /// Consequence when that time is over.
    pub lateness: Lateness,
    /// Its hooks.
    pub hooks: HookPolicy,
    /// Longest time that a start by a user waits for the apps that it depends on; `None` = it
    /// depends on none.
    pub depends_timeout_ms: Option<u64>,
    /// Budget: largest number of restarts within a time.
    pub budget: Option<RestartBudget>,
    /// Number of exits that are remembered.
    pub exits_kept: usize,
}

impl Policy {
    /// Returns the time after its start at which a process that is not ready has failed. If no time
    /// ends it, returns how long to wait for it.
    pub fn ready_within_ms(&self) -> u64 {
        match self.lateness {
            Lateness::Accept | Lateness::Fail | Lateness::GoOn { at_most_ms: None } => self.listen_timeout_ms,
            Lateness::GoOn { at_most_ms: Some(ms) } => ms.max(self.listen_timeout_ms),
        }
    }

    /// Fills in PM2's defaults.
    /// `default_signal`/`default_kill_timeout_ms`/`default_listen_timeout_ms` are the daemon's
    /// settings.
    pub fn from_spec(
        spec: &AppSpec,
        default_signal: i32,
        default_kill_timeout_ms: u64,
        default_listen_timeout_ms: u64,
        backoff_reset_ms: u64,
    ) -> Self {
        let mut policy = Self {
            autorestart: spec.restart.autorestart,
            // As in PM2: a growing delay already protects.
            max_restarts: spec.restart.max_restarts.unwrap_or(if spec.restart.exp_backoff_ms > 0 { u32::MAX } else { 16 }),
            min_uptime_ms: spec.restart.min_uptime_ms.unwrap_or(1000),
            restart_delay_ms: spec.restart.restart_delay_ms,
            exp_backoff_ms: spec.restart.exp_backoff_ms,
            backoff_cap_ms: crate::lifecycle::backoff::CAP_MS,
            backoff_reset_ms,
            stop_exit_codes: spec.restart.stop_exit_codes.clone(),
            kill_signal: spec.stop.signal.unwrap_or_else(|| polite_signal(spec, default_signal)),
            kill_timeout_ms: spec.stop.kill_timeout_ms.unwrap_or(default_kill_timeout_ms),
            kill_mode: spec.stop.kill_mode(),
            shutdown_with_message: spec.stop.shutdown_with_message,
            drain_timeout_ms: None,
            drain_answer_ms: None,
            drains_after_signal: false,
            wait_ready: spec.ready.proof().is_some(),
            listen_timeout_ms: spec.ready.listen_timeout_ms.unwrap_or(default_listen_timeout_ms),
            lateness: match (spec.ready.accept_timeout, spec.ready.listen_timeout_ms) {
                (true, _) => Lateness::Accept,
                (false, Some(_)) => Lateness::Fail,
                (false, None) => Lateness::GoOn { at_most_ms: None },
            },
            hooks: hooks(spec),
            depends_timeout_ms: (!spec.order.depends_on.is_empty()).then(|| spec.order.timeout_ms()),
            budget: spec.restart.budget,
            exits_kept: EXITS_KEPT,
        };
        if let Some(job) = spec.cron.as_ref().and_then(|cron| cron.job.as_ref()) {
            policy.run_as_job(job);
        }
        policy
    }

    /// Returns true if the processes that its main process started are removed with it.
    pub fn owns_tree(&self) -> bool {
        self.kill_mode != KillMode::Process
    }

    /// Makes this the policy of a job. A job ends when it has succeeded or used up its retries.
    /// Every failed run counts, regardless of its length.
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

/// Returns the hooks. Commands that return secrets before a start are part of `pre_start`.
fn hooks(spec: &AppSpec) -> HookPolicy {
    let mut hooks = spec.hooks.policy();
    if spec.secrets.values().any(SecretSource::is_command) {
        hooks.pre_start.get_or_insert(OnFailure::Abort);
    }
    hooks
}

/// Returns the polite signal. PM2 differs: it has no sockets for other languages. For apps with
/// such sockets, SIGTERM finishes pending requests; SIGINT is Ctrl-C, which gunicorn and others
/// treat as an immediate stop.
fn polite_signal(spec: &AppSpec, default: i32) -> i32 {
    let is_server = spec.shares_opened_port() || !spec.listen.is_empty() && !spec.runs_in_node();
    if default == signal::INT && is_server { signal::TERM } else { default }
}
