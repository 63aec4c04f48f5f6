//! Process of an instance: its start, readiness and exit, and the removal of its tree.

use super::origin::{Origin, PolicyFinding, PolicyName};
use super::policy::PATIENCE_MS;
use super::state::{AfterStop, DesiredState, ExitCause, ExitRecord, Instance, InstanceState, ProcessEnding};
use super::step::StepContext;
use super::{Effect, ExitReport, LateAction, Lateness, SpawnFailure, Transition};
use crate::app::hooks::Hook;
use crate::lifecycle::restart::{self, History, RestartDecision, Run};
use crate::lifecycle::{signal, stop};
use crate::time::Now;

/// A process that exited, and its circumstances.
pub(super) struct Ended {
    pub(super) inc: u32,
    pub(super) pid: i32,
    pub(super) since: Now,
    /// Whether it was ready (or did not have to report it).
    pub(super) was_ready: bool,
}

impl Instance {
    pub(super) fn on_spawned(&mut self, inc: u32, pid: i32, turn: &mut StepContext<'_>) {
        if matches!(self.state, InstanceState::Spawning { inc: expected, .. } if expected == inc) {
            self.launched(pid, turn.now, false, turn);
        }
    }

    /// Handles the answer that the process runs, since `since`.
    pub(super) fn launched(&mut self, pid: i32, since: Now, adopted: bool, turn: &mut StepContext<'_>) {
        let InstanceState::Spawning { inc, ready, ref mut superseded, .. } = self.state else { return };
        let superseded = superseded.take();
        self.counters.last_start = Some(since);
        if let Some(origin) = superseded {
            let automatic = !origin.is_user();
            self.state = InstanceState::Running { inc, pid, since };
            self.ask_to_end(origin, AfterStop::Settle { automatic }, turn);
            return;
        }
        turn.notify(Transition::Launched);
        if turn.policy.wait_ready && !ready {
            let ready_deadline_ms = Some(since.mono_ms.saturating_add(turn.policy.listen_timeout_ms));
            self.state = InstanceState::Starting { inc, pid, since, ready_deadline_ms, late: false, adopted };
        } else {
            self.became_ready(inc, pid, since, turn);
        }
    }

    pub(super) fn on_spawn_failed(&mut self, inc: u32, failure: SpawnFailure, turn: &mut StepContext<'_>) {
        let InstanceState::Spawning { inc: expected, since, automatic, ref mut superseded, .. } = self.state else { return };
        if expected != inc {
            return;
        }
        let superseded = superseded.take();
        let ending = ProcessEnding::SpawnFailed { errno: failure.errno };
        let ended = Ended { inc, pid: 0, since, was_ready: false };
        let record = self.record(&ended, ending, ExitCause::CouldNotStart { step: failure.step }, turn);
        turn.notify(Transition::CouldNotStart(record));
        if let Some(origin) = superseded {
            self.settle(!origin.is_user(), turn);
        } else if automatic {
            let next = self.judge(&ended, ending, turn);
            self.after_tree(next, turn);
        } else {
            // The caller gets the error and decides.
            self.wanted = DesiredState::Down;
            self.state = InstanceState::Errored;
        }
    }

    pub(super) fn on_ready(&mut self, inc: u32, turn: &mut StepContext<'_>) {
        match &mut self.state {
            InstanceState::Spawning { inc: expected, ready, .. } if *expected == inc => *ready = true,
            InstanceState::Starting { inc: expected, pid, since, .. } if *expected == inc => {
                let (pid, since) = (*pid, *since);
                self.became_ready(inc, pid, since, turn);
            }
            InstanceState::Stopped
            | InstanceState::Waiting { .. }
            | InstanceState::Preparing { .. }
            | InstanceState::Spawning { .. }
            | InstanceState::Starting { .. }
            | InstanceState::Completing { .. }
            | InstanceState::Running { .. }
            | InstanceState::Leaving { .. }
            | InstanceState::Draining { .. }
            | InstanceState::Stopping { .. }
            | InstanceState::Clearing { .. }
            | InstanceState::Backoff { .. }
            | InstanceState::Errored
            | InstanceState::Gone => {}
        }
    }

    pub(super) fn on_ready_timeout(&mut self, turn: &mut StepContext<'_>) {
        let InstanceState::Starting { inc, pid, since, adopted, .. } = self.state else { return };
        let end = match turn.policy.lateness {
            Lateness::Accept | Lateness::Fail => Some(turn.now.mono_ms),
            Lateness::GoOn { at_most_ms } => at_most_ms.or(adopted.then_some(PATIENCE_MS)).map(|ms| since.mono_ms.saturating_add(ms)),
        };
        if end.is_none_or(|end| end > turn.now.mono_ms) {
            if let InstanceState::Starting { ready_deadline_ms, late, .. } = &mut self.state {
                (*ready_deadline_ms, *late) = (end, true);
            }
            turn.notify(Transition::ReadyTimeout(LateAction::KeepsRunning));
        } else if adopted || turn.policy.lateness == Lateness::Accept {
            turn.notify(Transition::ReadyTimeout(LateAction::Accepted));
            self.became_ready(inc, pid, since, turn);
        } else {
            turn.notify(Transition::ReadyTimeout(LateAction::Stopped));
            self.ask_to_end(Origin::policy(PolicyName::WaitReady), AfterStop::Judge, turn);
        }
    }

    /// Follows another main process and repeats pending requests to it, because it may not have got
    /// them.
    pub(super) fn on_followed(&mut self, inc: u32, successor: i32, turn: &mut StepContext<'_>) {
        if self.inc != inc {
            return;
        }
        match &mut self.state {
            // The app's report arrived before the keeper's report that it runs.
            InstanceState::Spawning { .. } => {
                turn.effect(Effect::Follow { inc, pid: successor });
                self.launched(successor, turn.now, false, turn);
            }
            InstanceState::Starting { pid, .. }
            | InstanceState::Completing { pid, .. }
            | InstanceState::Running { pid, .. }
            | InstanceState::Leaving { pid, ended: false, .. }
            | InstanceState::Draining { pid, .. }
            | InstanceState::Stopping { pid, leader_gone: false, .. }
                if *pid != successor =>
            {
                *pid = successor;
                turn.effect(Effect::Follow { inc, pid: successor });
                self.repeat_request(turn);
            }
            InstanceState::Stopped
            | InstanceState::Waiting { .. }
            | InstanceState::Preparing { .. }
            | InstanceState::Starting { .. }
            | InstanceState::Completing { .. }
            | InstanceState::Running { .. }
            | InstanceState::Leaving { .. }
            | InstanceState::Draining { .. }
            | InstanceState::Stopping { .. }
            | InstanceState::Clearing { .. }
            | InstanceState::Backoff { .. }
            | InstanceState::Errored
            | InstanceState::Gone => {}
        }
    }

    /// Sends the request once more, because the main process may not have got it. Otherwise the
    /// daemon would kill the process without asking it first.
    pub(super) fn repeat_request(&self, turn: &mut StepContext<'_>) {
        match self.state {
            InstanceState::Draining { inc, .. } => turn.effect(Effect::Drain { inc }),
            InstanceState::Stopping { inc, killed, leader_gone: false, .. } => {
                turn.effect(if killed { stop::kill(turn.policy, inc) } else { stop::stop_request(turn.policy, inc) });
            }
            InstanceState::Stopped
            | InstanceState::Waiting { .. }
            | InstanceState::Preparing { .. }
            | InstanceState::Spawning { .. }
            | InstanceState::Starting { .. }
            | InstanceState::Completing { .. }
            | InstanceState::Running { .. }
            | InstanceState::Leaving { .. }
            | InstanceState::Stopping { .. }
            | InstanceState::Clearing { .. }
            | InstanceState::Backoff { .. }
            | InstanceState::Errored
            | InstanceState::Gone => {}
        }
    }

    /// Handles the exit of the main process. `found_pid` is set if the keeper reported the pid with
    /// the exit.
    pub(super) fn on_exited(&mut self, inc: u32, found_pid: Option<i32>, exit: &ExitReport, turn: &mut StepContext<'_>) {
        match &mut self.state {
            InstanceState::Spawning { inc: expected, since, superseded, .. } if *expected == inc => {
                // The answer to the spawn is still on its way, or a dead daemon got it.
                let pid = found_pid.unwrap_or(0);
                let (since, superseded) = (*since, superseded.take());
                self.counters.last_start = Some(since);
                let ended = Ended { inc, pid, since, was_ready: !turn.policy.wait_ready };
                match superseded {
                    Some(origin) => {
                        let next = AfterStop::Settle { automatic: !origin.is_user() };
                        self.on_requested_exit(&ended, exit, origin, next, turn);
                    }
                    None => self.ended_by_itself(&ended, exit, turn),
                }
            }
            InstanceState::Starting { inc: expected, pid, since, .. } if *expected == inc => {
                let ended = Ended { inc, pid: *pid, since: *since, was_ready: false };
                self.ended_by_itself(&ended, exit, turn);
            }
            InstanceState::Completing { inc: expected, pid, since } if *expected == inc => {
                let ended = Ended { inc, pid: *pid, since: *since, was_ready: true };
                turn.effect(Effect::CancelHook { inc, hook: Hook::PostStart });
                self.ended_by_itself(&ended, exit, turn);
            }
            InstanceState::Running { inc: expected, pid, since } if *expected == inc => {
                let ended = Ended { inc, pid: *pid, since: *since, was_ready: true };
                self.ended_by_itself(&ended, exit, turn);
            }
            // It had finished and exited by itself.
            InstanceState::Draining { inc: expected, pid, since, cause, .. } if *expected == inc => {
                let ended = Ended { inc, pid: *pid, since: *since, was_ready: true };
                let cause = cause.clone();
                self.on_requested_exit(&ended, exit, cause, AfterStop::default(), turn);
            }
            // The hook may continue: it concerns more than the process.
            InstanceState::Leaving { inc: expected, pid, since, cause, ended: ended @ false, .. } if *expected == inc => {
                *ended = true;
                let cause = if exit.oom { ExitCause::OutOfMemory } else { ExitCause::Requested(cause.clone()) };
                let ended = Ended { inc, pid: *pid, since: *since, was_ready: true };
                let record = self.record(&ended, exit.ending, cause, turn);
                turn.notify(Transition::Exit(record));
            }
            InstanceState::Stopping { inc: expected, leader_gone: false, .. } if *expected == inc => self.ended_in_stop(exit, turn),
            InstanceState::Stopped
            | InstanceState::Waiting { .. }
            | InstanceState::Preparing { .. }
            | InstanceState::Spawning { .. }
            | InstanceState::Starting { .. }
            | InstanceState::Completing { .. }
            | InstanceState::Running { .. }
            | InstanceState::Leaving { .. }
            | InstanceState::Draining { .. }
            | InstanceState::Stopping { .. }
            | InstanceState::Clearing { .. }
            | InstanceState::Backoff { .. }
            | InstanceState::Errored
            | InstanceState::Gone => {}
        }
    }

    /// Handles an unrequested exit. The rest of the tree must not meet the next process, so it is
    /// killed; then the verdict of the policy holds.
    fn ended_by_itself(&mut self, ended: &Ended, exit: &ExitReport, turn: &mut StepContext<'_>) {
        let cause = if exit.oom { ExitCause::OutOfMemory } else { ExitCause::Itself };
        let record = self.record(ended, exit.ending, cause, turn);
        turn.notify(Transition::Exit(record));
        let next = self.judge(ended, exit.ending, turn);
        Self::run_on_crash(ended.inc, exit.ending, turn);
        self.sweep_then(ended, true, Origin::policy(PolicyName::Exit), next, turn);
    }

    /// Handles an exit after a stop that was requested before the process was known to run.
    fn on_requested_exit(&mut self, ended: &Ended, exit: &ExitReport, origin: Origin, next: AfterStop, turn: &mut StepContext<'_>) {
        let record = self.record(ended, exit.ending, ExitCause::Requested(origin.clone()), turn);
        turn.notify(Transition::Exit(record));
        self.sweep_then(ended, false, origin, next, turn);
    }

    /// Handles the exit of a main process that obeyed (or was killed): the rest of its tree gets
    /// the remaining time.
    fn ended_in_stop(&mut self, exit: &ExitReport, turn: &mut StepContext<'_>) {
        let InstanceState::Stopping { inc, pid, since, killed, ref mut leader_gone, ref cause, next, .. } = self.state else { return };
        *leader_gone = true;
        let cause = match (next, exit.ending) {
            (AfterStop::Judge, _) => match cause {
                Origin::Policy(PolicyFinding { name, detail }) if *name != PolicyName::WaitReady => {
                    ExitCause::NotStarted { why: detail.clone().unwrap_or_else(|| name.to_string()) }
                }
                _ => ExitCause::NotReady,
            },
            _ if exit.oom && !killed => ExitCause::OutOfMemory,
            (_, ProcessEnding::Signal { signal: signal::KILL, .. } | ProcessEnding::Unknown) if killed => {
                ExitCause::KilledAfterTimeout(cause.clone())
            }
            (AfterStop::Settle { .. } | AfterStop::Failed | AfterStop::Restart { .. } | AfterStop::GiveUp { .. }, _) => {
                ExitCause::Requested(cause.clone())
            }
        };
        let ended = Ended { inc, pid, since, was_ready: !matches!(next, AfterStop::Judge) };
        let record = self.record(&ended, exit.ending, cause, turn);
        turn.notify(Transition::Exit(record));
        let after = match next {
            // The code is the answer to the daemon's signal. It does not show what the app wants.
            AfterStop::Judge | AfterStop::Failed => self.judge(&ended, ProcessEnding::Unknown, turn),
            AfterStop::Settle { .. } | AfterStop::Restart { .. } | AfterStop::GiveUp { .. } => next,
        };
        if next == AfterStop::Failed {
            Self::run_on_crash(inc, ProcessEnding::Unknown, turn);
        }
        if let InstanceState::Stopping { next, .. } = &mut self.state {
            *next = after;
        }
        if turn.policy.owns_tree() {
            self.sweep_rest(inc, turn);
        } else {
            self.tree_gone(inc, after, turn);
        }
    }

    /// Waits for the rest of the tree, if ostler has to remove it.
    pub(super) fn sweep_then(&mut self, ended: &Ended, kill: bool, cause: Origin, next: AfterStop, turn: &mut StepContext<'_>) {
        if !turn.policy.owns_tree() {
            return if ended.pid == 0 { self.after_tree(next, turn) } else { self.tree_gone(ended.inc, next, turn) };
        }
        let deadline_ms = stop::grace_deadline(turn.policy, turn.now.mono_ms);
        let Ended { inc, pid, since, .. } = *ended;
        self.state = InstanceState::Stopping { inc, pid, since, deadline_ms, killed: kill, leader_gone: true, cause, next };
        self.sweep_rest(inc, turn);
    }

    /// Handles the rest of the tree after the main process has exited: it gets the polite signal
    /// until the deadline of the stop, or is killed immediately.
    fn sweep_rest(&mut self, inc: u32, turn: &mut StepContext<'_>) {
        let InstanceState::Stopping { deadline_ms, killed, .. } = &mut self.state else { return };
        *killed |= stop::sweeps_with_kill(turn.policy);
        let kill = *killed;
        if kill {
            *deadline_ms = stop::rekill_deadline(turn.policy, turn.now.mono_ms);
        }
        turn.effect(stop::sweep(turn.policy, inc, kill));
    }

    pub(super) fn on_tree_gone(&mut self, inc: u32, turn: &mut StepContext<'_>) {
        if let InstanceState::Stopping { inc: expected, pid, leader_gone: true, next, .. } = self.state
            && expected == inc
        {
            // A process that never ran needs no cleanup.
            if pid == 0 { self.after_tree(next, turn) } else { self.tree_gone(inc, next, turn) }
        }
    }

    /// Continues when no process is left.
    pub(super) fn after_tree(&mut self, next: AfterStop, turn: &mut StepContext<'_>) {
        match next {
            AfterStop::Settle { automatic } => self.settle(automatic, turn),
            // Only with a damaged journal: this was judged when the main process exited.
            AfterStop::Judge | AfterStop::Failed => self.settle(true, turn),
            AfterStop::Restart { at_ms } => {
                let delay_ms = at_ms.saturating_sub(turn.now.mono_ms);
                turn.notify(Transition::RestartScheduled { delay_ms });
                if delay_ms == 0 {
                    self.count_restart();
                    self.spawn(true, turn);
                } else {
                    self.state = InstanceState::Backoff { until_ms: at_ms };
                }
            }
            AfterStop::GiveUp { unstable } => {
                self.wanted = DesiredState::Down;
                self.state = InstanceState::Errored;
                // As in PM2.
                self.counters.unstable = 0;
                self.counters.created = None;
                turn.notify(Transition::Overlimit { unstable });
            }
        }
    }

    /// Asks the restart policy and remembers its verdict.
    pub(super) fn judge(&mut self, ended: &Ended, ending: ProcessEnding, turn: &StepContext<'_>) -> AfterStop {
        let run = Run { uptime_ms: turn.now.mono_ms.saturating_sub(ended.since.mono_ms), was_ready: ended.was_ready, ending };
        let before = History { unstable: self.counters.unstable, last_delay_ms: self.counters.last_delay_ms };
        let (verdict, history) = restart::decide(turn.policy, before, run);
        self.counters.unstable = history.unstable;
        self.counters.last_delay_ms = history.last_delay_ms;
        match verdict {
            RestartDecision::Restart { .. } if !self.may_restart(turn.policy, turn.now) => AfterStop::GiveUp { unstable: history.unstable },
            RestartDecision::Restart { delay_ms } => {
                self.spend_restart(turn.policy, turn.now);
                AfterStop::Restart { at_ms: turn.now.mono_ms.saturating_add(delay_ms) }
            }
            RestartDecision::Stay => {
                self.wanted = DesiredState::Down;
                AfterStop::Settle { automatic: true }
            }
            RestartDecision::GiveUp => AfterStop::GiveUp { unstable: history.unstable },
        }
    }

    /// Adds an exit to the history.
    pub(super) fn record(&mut self, ended: &Ended, ending: ProcessEnding, cause: ExitCause, turn: &StepContext<'_>) -> ExitRecord {
        let Ended { inc, pid, since, .. } = *ended;
        let record = ExitRecord { inc, pid, started: since, ended: turn.now, ending, cause, last_lines: Vec::new() };
        let surplus = (self.exits.len() + 1).saturating_sub(turn.policy.exits_kept);
        self.exits.drain(..surplus);
        self.exits.push(record.clone());
        record
    }
}
