//! Hooks of an instance, and the wait for its dependencies before the first hook.
//!
//! A stop cancels a hook that delays a start. A second stop by a user cancels a hook that delays a
//! stop. The answer of a hook always comes, because the daemon limits its time.

use super::origin::{Origin, PolicyName};
use super::process::Ended;
use super::state::{AfterStop, DesiredState, ExitCause, Instance, InstanceState, ProcessEnding};
use super::step::StepContext;
use super::{Effect, Transition};
use crate::app::hooks::{Hook, OnFailure};
use crate::lifecycle::command::CommandOutcome;
use crate::lifecycle::stop;
use crate::time::Now;

impl InstanceState {
    /// Returns the continuation after a stop in progress, to be changed. The process then no longer
    /// gets time to finish its requests.
    pub(super) fn next_mut(&mut self) -> Option<&mut AfterStop> {
        match self {
            Self::Leaving { next, gently, .. } => {
                *gently = false;
                Some(next)
            }
            Self::Stopping { next, .. } | Self::Clearing { next, .. } => Some(next),
            _ => None,
        }
    }
}

impl Instance {
    /// Starts an instance at rest, by this origin: immediately, or when its dependencies are met.
    pub(super) fn start_from_rest(&mut self, origin: &Origin, turn: &mut StepContext<'_>) {
        let automatic = !origin.is_user();
        match turn.policy.depends_timeout_ms {
            // Before an automatic restart, the dependencies were already met.
            Some(timeout_ms) if !matches!(origin, Origin::Policy(_)) => {
                let deadline_ms = turn.now.mono_ms.saturating_add(timeout_ms);
                self.state = InstanceState::Waiting { since: turn.now, deadline_ms, automatic };
                turn.notify(Transition::Waiting);
            }
            _ => self.spawn(automatic, turn),
        }
    }

    pub(super) fn on_released(&mut self, turn: &mut StepContext<'_>) {
        if let InstanceState::Waiting { automatic, .. } = self.state {
            self.spawn(automatic, turn);
        }
    }

    pub(super) fn on_unmet(&mut self, why: String, turn: &mut StepContext<'_>) {
        let InstanceState::Waiting { since, .. } = self.state else { return };
        // The caller identifies this start by its number.
        self.inc = self.inc.saturating_add(1);
        self.not_started(since, why, turn);
        self.wanted = DesiredState::Down;
        self.state = InstanceState::Errored;
    }

    /// Gives up the start with the newest number, which never got a process.
    fn not_started(&mut self, since: Now, why: String, turn: &mut StepContext<'_>) -> Ended {
        let ended = Ended { inc: self.inc, pid: 0, since, was_ready: false };
        let record = self.record(&ended, ProcessEnding::SpawnFailed { errno: 0 }, ExitCause::NotStarted { why }, turn);
        turn.notify(Transition::CouldNotStart(record));
        ended
    }

    /// Cancels `pre_start`, because the start is no longer wanted.
    pub(super) fn call_off_start(&mut self, origin: Origin, turn: &mut StepContext<'_>) {
        if let InstanceState::Preparing { inc, superseded: superseded @ None, .. } = &mut self.state {
            *superseded = Some(origin);
            turn.effect(Effect::CancelHook { inc: *inc, hook: Hook::PreStart });
        }
    }

    /// Marks it as ready; it was spawned at `since`.
    pub(super) fn became_ready(&mut self, inc: u32, pid: i32, since: Now, turn: &mut StepContext<'_>) {
        if turn.policy.hooks.post_start.is_some() {
            self.state = InstanceState::Completing { inc, pid, since };
            turn.effect(Effect::Hook { inc, hook: Hook::PostStart });
        } else {
            self.online(inc, pid, since, turn);
        }
    }

    fn online(&mut self, inc: u32, pid: i32, since: Now, turn: &mut StepContext<'_>) {
        self.state = InstanceState::Running { inc, pid, since };
        turn.notify(Transition::Online);
    }

    /// Begins to stop a live process: runs `pre_stop` first if the process was ready.
    pub(super) fn begin_stop(&mut self, cause: Origin, next: AfterStop, gently: bool, turn: &mut StepContext<'_>) {
        let (inc, pid, since) = match self.state {
            InstanceState::Completing { inc, pid, since } => {
                turn.effect(Effect::CancelHook { inc, hook: Hook::PostStart });
                (inc, pid, since)
            }
            InstanceState::Running { inc, pid, since } => (inc, pid, since),
            _ => return self.ask_to_end(cause, next, turn),
        };
        if turn.policy.hooks.pre_stop {
            self.state = InstanceState::Leaving { inc, pid, since, cause, next, gently, ended: false };
            turn.notify(Transition::Stopping);
            turn.effect(Effect::Hook { inc, hook: Hook::PreStop });
        } else if gently {
            self.finish_or_end(cause, turn);
        } else {
            self.ask_to_end(cause, next, turn);
        }
    }

    /// Takes a user's order to go down in any state: a hook that delays it is cancelled.
    pub(super) fn insist(&self, was_wanted: DesiredState, origin: &Origin, turn: &mut StepContext<'_>) {
        if was_wanted != DesiredState::Up
            && origin.is_user()
            && let Some((inc, hook)) = self.hook()
        {
            turn.effect(Effect::CancelHook { inc, hook });
        }
    }

    pub(super) fn on_hook_done(&mut self, inc: u32, hook: Hook, outcome: CommandOutcome, turn: &mut StepContext<'_>) {
        if self.hook() != Some((inc, hook)) {
            return;
        }
        let failed = !outcome.is_success() && outcome != CommandOutcome::Cancelled;
        // A failed start is reported separately.
        let ends_start = hook == Hook::PreStart && turn.policy.hooks.pre_start != Some(OnFailure::Continue);
        if failed && !ends_start {
            turn.notify(Transition::HookFailed { hook, outcome: outcome.clone() });
        }
        match hook {
            Hook::PreStart => {
                let goes_on = outcome.is_success() || turn.policy.hooks.pre_start == Some(OnFailure::Continue);
                self.prepared(if goes_on { Ok(()) } else { Err(format!("{hook} {outcome}")) }, turn);
            }
            Hook::PostStart => self.completed(&outcome, turn),
            Hook::PreStop => self.may_leave(turn),
            Hook::PostStop => {
                if let InstanceState::Clearing { next, .. } = self.state {
                    self.after_tree(next, turn);
                }
            }
            Hook::OnCrash => {}
        }
    }

    /// Continues after the preparation of a start; `Err` holds the reason why there is no start.
    fn prepared(&mut self, result: Result<(), String>, turn: &mut StepContext<'_>) {
        let InstanceState::Preparing { inc, since, automatic, ref mut superseded } = self.state else { return };
        if let Some(origin) = superseded.take() {
            return self.settle(!origin.is_user(), turn);
        }
        let Err(why) = result else { return self.spawn_now(inc, automatic, turn) };
        let ended = self.not_started(since, why, turn);
        let next = self.judge(&ended, ProcessEnding::SpawnFailed { errno: 0 }, turn);
        self.after_tree(next, turn);
    }

    pub(super) fn on_unprepared(&mut self, inc: u32, why: String, turn: &mut StepContext<'_>) {
        if self.hook() == Some((inc, Hook::PreStart)) {
            self.prepared(Err(why), turn);
        }
    }

    fn completed(&mut self, outcome: &CommandOutcome, turn: &mut StepContext<'_>) {
        let InstanceState::Completing { inc, pid, since } = self.state else { return };
        if outcome.is_success() || turn.policy.hooks.post_start != Some(OnFailure::Abort) {
            self.online(inc, pid, since, turn);
        } else {
            self.ask_to_end(Origin::found(PolicyName::PostStart, format!("{} {outcome}", Hook::PostStart)), AfterStop::Judge, turn);
        }
    }

    /// Continues after `pre_stop` has finished or was cancelled.
    fn may_leave(&mut self, turn: &mut StepContext<'_>) {
        let InstanceState::Leaving { inc, pid, since, ref cause, next, gently, ended } = self.state else { return };
        let cause = cause.clone();
        if ended {
            let ended = Ended { inc, pid, since, was_ready: true };
            self.sweep_then(&ended, false, cause, next, turn);
        } else if gently {
            self.finish_or_end(cause, turn);
        } else {
            self.ask_to_end(cause, next, turn);
        }
    }

    /// Cancels a hook that delays a stop.
    pub(super) fn cut_hook_short(&mut self, turn: &mut StepContext<'_>) {
        if let (Some((inc, hook)), InstanceState::Leaving { .. } | InstanceState::Clearing { .. }) = (self.hook(), &self.state) {
            turn.effect(Effect::CancelHook { inc, hook });
        }
        if let InstanceState::Leaving { cause, next, ended: false, .. } = &self.state {
            self.ask_to_end(cause.clone(), *next, turn);
        }
    }

    /// Drains the process if it supports that, otherwise stops it.
    fn finish_or_end(&mut self, cause: Origin, turn: &mut StepContext<'_>) {
        let (InstanceState::Running { inc, pid, since }
        | InstanceState::Completing { inc, pid, since }
        | InstanceState::Leaving { inc, pid, since, .. }) = self.state
        else {
            return;
        };
        match turn.policy.drain_timeout_ms {
            Some(drain_ms) => {
                let deadline_ms = turn.now.mono_ms.saturating_add(drain_ms.min(turn.policy.drain_answer_ms.unwrap_or(u64::MAX)));
                self.state = InstanceState::Draining { inc, pid, since, deadline_ms, cause };
                turn.notify(Transition::Draining);
                turn.effect(Effect::Drain { inc });
            }
            None => self.ask_to_end(cause, AfterStop::default(), turn),
        }
    }

    /// Sends the polite request to stop.
    pub(super) fn ask_to_end(&mut self, cause: Origin, next: AfterStop, turn: &mut StepContext<'_>) {
        let is_told = matches!(self.state, InstanceState::Leaving { .. });
        let (inc, pid, since) = match self.state {
            InstanceState::Starting { inc, pid, since, .. }
            | InstanceState::Completing { inc, pid, since }
            | InstanceState::Running { inc, pid, since }
            | InstanceState::Leaving { inc, pid, since, .. }
            | InstanceState::Draining { inc, pid, since, .. } => (inc, pid, since),
            InstanceState::Stopped
            | InstanceState::Waiting { .. }
            | InstanceState::Preparing { .. }
            | InstanceState::Spawning { .. }
            | InstanceState::Stopping { .. }
            | InstanceState::Clearing { .. }
            | InstanceState::Backoff { .. }
            | InstanceState::Errored
            | InstanceState::Gone => return,
        };
        let deadline_ms = stop::grace_deadline(turn.policy, turn.now.mono_ms);
        self.state = InstanceState::Stopping { inc, pid, since, deadline_ms, killed: false, leader_gone: false, cause, next };
        if !is_told {
            turn.notify(Transition::Stopping);
        }
        turn.effect(stop::stop_request(turn.policy, inc));
    }

    /// Runs `post_stop` when no process is left, then continues.
    pub(super) fn tree_gone(&mut self, inc: u32, next: AfterStop, turn: &mut StepContext<'_>) {
        if turn.policy.hooks.post_stop {
            self.state = InstanceState::Clearing { inc, next };
            turn.effect(Effect::Hook { inc, hook: Hook::PostStop });
        } else {
            self.after_tree(next, turn);
        }
    }

    /// Runs `on_crash` if a process exited without a request, and not in the way that its app
    /// declares as normal.
    pub(super) fn run_on_crash(inc: u32, ending: ProcessEnding, turn: &mut StepContext<'_>) {
        let as_declared = match ending {
            ProcessEnding::Code(code) => turn.policy.stop_exit_codes.contains(&code) || code == 0 && !turn.policy.autorestart,
            ProcessEnding::Signal { .. } | ProcessEnding::Unknown | ProcessEnding::SpawnFailed { .. } => false,
        };
        if turn.policy.hooks.on_crash && !as_declared {
            turn.effect(Effect::Hook { inc, hook: Hook::OnCrash });
        }
    }
}
