//! The step function: commands, and the two results of every path, a spawn or a rest.

use super::origin::Origin;
use super::state::{AfterStop, DesiredState, Instance, InstanceState};
use super::{Effect, Event, Policy, Transition};
use crate::app::hooks::Hook;
use crate::lifecycle::stop;
use crate::time::Now;

/// One call of [`Instance::step`]: its inputs, and its decisions so far.
pub(super) struct StepContext<'a> {
    pub(super) policy: &'a Policy,
    pub(super) now: Now,
    pub(super) effects: Vec<Effect>,
}

impl StepContext<'_> {
    pub(super) fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub(super) fn notify(&mut self, transition: Transition) {
        self.effects.push(Effect::Notify(transition));
    }
}

impl Instance {
    /// Handles one event and returns the effects. Total: every state takes every event. Never
    /// panics, even on restored data.
    pub fn step(&mut self, policy: &Policy, event: Event, now: Now) -> Vec<Effect> {
        let mut turn = StepContext { policy, now, effects: Vec::new() };
        match event {
            Event::Start(origin) => self.on_start(&origin, &mut turn),
            Event::Stop(origin) => self.on_stop(origin, &mut turn),
            Event::Restart(origin) => self.on_restart(origin, &mut turn),
            Event::RestartAt { origin, at_ms } => self.on_restart_at(origin, at_ms, &mut turn),
            Event::Delete(origin) => self.on_delete(origin, &mut turn),
            Event::StopGently(origin) => self.on_stop_gently(origin, &mut turn),
            Event::Retire(origin) => self.on_retire(origin, &mut turn),
            Event::Drained { inc } => self.on_drained(inc, &mut turn),
            Event::Extend { inc, until_ms } => self.on_extend(inc, until_ms),
            Event::Hurry => self.on_hurry(&mut turn),
            Event::Released => self.on_released(&mut turn),
            Event::Unmet(why) => self.on_unmet(why, &mut turn),
            Event::HookDone { inc, hook, outcome } => self.on_hook_done(inc, hook, outcome, &mut turn),
            Event::Unprepared { inc, reason: why } => self.on_unprepared(inc, why, &mut turn),
            Event::Fail(origin) => self.on_fail(origin, &mut turn),
            Event::Reset => self.on_reset(now),
            Event::Spawned { inc, pid } => self.on_spawned(inc, pid, &mut turn),
            Event::SpawnFailed { inc, failure } => self.on_spawn_failed(inc, failure, &mut turn),
            Event::Ready { inc } => self.on_ready(inc, &mut turn),
            Event::Followed { inc, pid } => self.on_followed(inc, pid, &mut turn),
            Event::Exited { inc, exit } => self.on_exited(inc, None, &exit, &mut turn),
            Event::TreeGone { inc } => self.on_tree_gone(inc, &mut turn),
            Event::Tick => self.on_tick(&mut turn),
            Event::Recovered(found) => self.on_recovered(found, &mut turn),
        }
        turn.effects
    }

    fn on_start(&mut self, origin: &Origin, turn: &mut StepContext<'_>) {
        if self.wanted == DesiredState::Gone {
            return;
        }
        let was_wanted = std::mem::replace(&mut self.wanted, DesiredState::Up);
        let automatic = !origin.is_user();
        if !automatic {
            self.counters.recent.clear();
        }
        match &mut self.state {
            InstanceState::Stopped | InstanceState::Errored => {
                self.forgive(turn.now);
                self.start_from_rest(origin, turn);
            }
            InstanceState::Backoff { .. } => {
                self.forgive(turn.now);
                self.spawn(automatic, turn);
            }
            InstanceState::Leaving { .. } | InstanceState::Stopping { .. } | InstanceState::Clearing { .. } => {
                let Some(next) = self.state.next_mut() else { return };
                let restarts_anyway = was_wanted == DesiredState::Up && matches!(next, AfterStop::Settle { .. });
                *next = AfterStop::Settle { automatic };
                if !restarts_anyway {
                    self.forgive(turn.now);
                }
            }
            InstanceState::Preparing { .. } | InstanceState::Spawning { .. } if was_wanted != DesiredState::Up => self.forgive(turn.now),
            // It was draining for a stop: stop it now, and a new process follows it.
            InstanceState::Draining { .. } => {
                self.forgive(turn.now);
                self.ask_to_end(origin.clone(), AfterStop::Settle { automatic }, turn);
            }
            InstanceState::Waiting { .. }
            | InstanceState::Preparing { .. }
            | InstanceState::Spawning { .. }
            | InstanceState::Starting { .. }
            | InstanceState::Completing { .. }
            | InstanceState::Running { .. } => {}
            // A restored slot is gone only if its deletion is wanted.
            InstanceState::Gone => self.wanted = DesiredState::Gone,
        }
    }

    fn on_stop(&mut self, origin: Origin, turn: &mut StepContext<'_>) {
        if self.wanted == DesiredState::Gone {
            return;
        }
        let was_wanted = std::mem::replace(&mut self.wanted, DesiredState::Down);
        self.stop_running(was_wanted, origin, turn);
    }

    fn on_delete(&mut self, origin: Origin, turn: &mut StepContext<'_>) {
        let was_wanted = std::mem::replace(&mut self.wanted, DesiredState::Gone);
        self.stop_running(was_wanted, origin, turn);
    }

    /// Stops the running process; the instance is wanted `Down` or `Gone`.
    fn stop_running(&mut self, was_wanted: DesiredState, origin: Origin, turn: &mut StepContext<'_>) {
        match &mut self.state {
            InstanceState::Stopped if self.wanted == DesiredState::Down => {}
            InstanceState::Stopped | InstanceState::Waiting { .. } | InstanceState::Errored | InstanceState::Backoff { .. } => {
                self.settle(false, turn)
            }
            InstanceState::Preparing { .. } => self.call_off_start(origin, turn),
            InstanceState::Spawning { superseded, .. } => {
                superseded.get_or_insert(origin);
            }
            InstanceState::Starting { .. }
            | InstanceState::Completing { .. }
            | InstanceState::Running { .. }
            | InstanceState::Draining { .. } => {
                self.begin_stop(origin, AfterStop::default(), false, turn);
            }
            InstanceState::Leaving { .. } | InstanceState::Stopping { .. } | InstanceState::Clearing { .. } => {
                self.state.next_mut().into_iter().for_each(|next| *next = AfterStop::default());
                self.insist(was_wanted, &origin, turn);
            }
            InstanceState::Gone => {}
        }
    }

    fn on_stop_gently(&mut self, origin: Origin, turn: &mut StepContext<'_>) {
        if self.wanted == DesiredState::Gone {
            return;
        }
        let was_wanted = std::mem::replace(&mut self.wanted, DesiredState::Down);
        self.drain_and_stop(was_wanted, origin, turn);
    }

    fn on_retire(&mut self, origin: Origin, turn: &mut StepContext<'_>) {
        let was_wanted = std::mem::replace(&mut self.wanted, DesiredState::Gone);
        self.drain_and_stop(was_wanted, origin, turn);
    }

    /// Stops the running process after it finished its requests; the instance is wanted `Down` or
    /// `Gone`.
    fn drain_and_stop(&mut self, was_wanted: DesiredState, origin: Origin, turn: &mut StepContext<'_>) {
        match &mut self.state {
            InstanceState::Draining { .. } => {}
            InstanceState::Leaving { next, .. } => *next = AfterStop::default(),
            InstanceState::Completing { .. } | InstanceState::Running { .. } => self.begin_stop(origin, AfterStop::default(), true, turn),
            _ => self.stop_running(was_wanted, origin, turn),
        }
    }

    fn on_drained(&mut self, inc: u32, turn: &mut StepContext<'_>) {
        if matches!(self.state, InstanceState::Draining { inc: expected, .. } if expected == inc) {
            self.end_drain(turn);
        }
    }

    /// Completes a drain: the process has finished, or its time is over.
    fn end_drain(&mut self, turn: &mut StepContext<'_>) {
        let InstanceState::Draining { cause, deadline_ms: until_ms, .. } = &self.state else { return };
        let (cause, until_ms) = (cause.clone(), *until_ms);
        self.ask_to_end(cause, AfterStop::default(), turn);
        if let InstanceState::Stopping { deadline_ms, .. } = &mut self.state
            && turn.policy.drains_after_signal
        {
            *deadline_ms = until_ms.max(*deadline_ms);
        }
    }

    /// Gives the process more time, if it is in a state with a limit that the app may know. A
    /// process that is being killed gets no more time.
    fn on_extend(&mut self, inc: u32, until_ms: u64) {
        match &mut self.state {
            // Without a limit it already has all the time.
            InstanceState::Starting { inc: expected, ready_deadline_ms: Some(deadline_ms), .. }
            | InstanceState::Draining { inc: expected, deadline_ms, .. }
            | InstanceState::Stopping { inc: expected, deadline_ms, killed: false, leader_gone: false, .. }
                if *expected == inc =>
            {
                *deadline_ms = until_ms.max(*deadline_ms);
            }
            _ => {}
        }
    }

    /// Cuts short the time of a process that has to exit: its deadline is now, and a hook before it
    /// is cancelled. The following tick does the rest, as at any deadline.
    fn on_hurry(&mut self, turn: &mut StepContext<'_>) {
        self.end_drain(turn);
        self.cut_hook_short(turn);
        if let InstanceState::Stopping { deadline_ms, killed: false, .. } = &mut self.state {
            *deadline_ms = turn.now.mono_ms.min(*deadline_ms);
        }
    }

    fn on_restart(&mut self, origin: Origin, turn: &mut StepContext<'_>) {
        let automatic = !origin.is_user();
        let refused = match self.wanted {
            DesiredState::Up => false,
            // An instance that a user wants down stays down.
            DesiredState::Down => matches!(origin, Origin::Policy(_)),
            DesiredState::Gone => true,
        };
        if refused {
            return;
        }
        self.wanted = DesiredState::Up;
        self.forgive(turn.now);
        if automatic {
            self.spend_restart(turn.policy, turn.now);
        } else {
            self.counters.recent.clear();
        }
        match &mut self.state {
            InstanceState::Stopped | InstanceState::Errored => self.start_from_rest(&origin, turn),
            InstanceState::Backoff { .. } => self.spawn(automatic, turn),
            // The start has not begun yet.
            InstanceState::Waiting { .. } => {}
            InstanceState::Preparing { .. } => self.call_off_start(origin, turn),
            InstanceState::Spawning { superseded, .. } => {
                superseded.get_or_insert(origin);
            }
            InstanceState::Starting { .. } | InstanceState::Completing { .. } | InstanceState::Draining { .. } => {
                self.begin_stop(origin, AfterStop::Settle { automatic }, false, turn);
            }
            InstanceState::Running { .. } => {
                // PM2 counts a manual restart only if the process is online.
                self.count_restart();
                self.begin_stop(origin, AfterStop::Settle { automatic }, false, turn);
            }
            InstanceState::Leaving { .. } | InstanceState::Stopping { .. } | InstanceState::Clearing { .. } => {
                self.state.next_mut().into_iter().for_each(|next| *next = AfterStop::Settle { automatic });
            }
            InstanceState::Gone => self.wanted = DesiredState::Gone,
        }
    }

    fn on_restart_at(&mut self, origin: Origin, at_ms: u64, turn: &mut StepContext<'_>) {
        if self.wanted != DesiredState::Up || !matches!(self.state, InstanceState::Running { .. }) {
            return;
        }
        self.forgive(turn.now);
        self.spend_restart(turn.policy, turn.now);
        // The restart is counted when it happens.
        self.begin_stop(origin, AfterStop::Restart { at_ms }, false, turn);
    }

    /// Stops the process as if it had crashed, without `pre_stop`.
    fn on_fail(&mut self, origin: Origin, turn: &mut StepContext<'_>) {
        if self.wanted != DesiredState::Up {
            return;
        }
        match self.state {
            InstanceState::Completing { inc, .. } => {
                turn.effect(Effect::CancelHook { inc, hook: Hook::PostStart });
                self.ask_to_end(origin, AfterStop::Failed, turn);
            }
            InstanceState::Starting { .. } | InstanceState::Running { .. } => self.ask_to_end(origin, AfterStop::Failed, turn),
            _ => {}
        }
    }

    fn on_reset(&mut self, now: Now) {
        self.counters.recent.clear();
        self.counters.restarts = 0;
        self.forgive(now);
    }

    /// Resets the restart history after a user's command.
    fn forgive(&mut self, now: Now) {
        self.counters.unstable = 0;
        self.counters.last_delay_ms = 0;
        self.counters.created = Some(now);
    }

    pub(super) fn count_restart(&mut self) {
        self.counters.restarts = self.counters.restarts.saturating_add(1);
    }

    fn on_tick(&mut self, turn: &mut StepContext<'_>) {
        if self.deadline_ms().is_none_or(|due| turn.now.mono_ms < due) {
            return;
        }
        match self.state {
            InstanceState::Waiting { .. } => self.on_unmet("its dependencies were not ready in time".into(), turn),
            InstanceState::Starting { .. } => self.on_ready_timeout(turn),
            InstanceState::Draining { .. } => {
                turn.notify(Transition::DrainTimeout);
                self.end_drain(turn);
            }
            InstanceState::Stopping { .. } => self.escalate(turn),
            InstanceState::Backoff { .. } => {
                self.count_restart();
                self.spawn(true, turn);
            }
            InstanceState::Stopped
            | InstanceState::Preparing { .. }
            | InstanceState::Spawning { .. }
            | InstanceState::Completing { .. }
            | InstanceState::Running { .. }
            | InstanceState::Leaving { .. }
            | InstanceState::Clearing { .. }
            | InstanceState::Errored
            | InstanceState::Gone => {}
        }
    }

    /// Begins a new process: no process of the old incarnation is left.
    pub(super) fn spawn(&mut self, automatic: bool, turn: &mut StepContext<'_>) {
        // Saturating: a damaged journal must not bring the daemon down.
        self.inc = self.inc.saturating_add(1);
        let inc = self.inc;
        if turn.policy.hooks.pre_start.is_some() {
            self.state = InstanceState::Preparing { inc, since: turn.now, automatic, superseded: None };
            turn.effect(Effect::Hook { inc, hook: Hook::PreStart });
        } else {
            self.spawn_now(inc, automatic, turn);
        }
    }

    /// Spawns the process: the preparation is complete.
    pub(super) fn spawn_now(&mut self, inc: u32, automatic: bool, turn: &mut StepContext<'_>) {
        self.state = InstanceState::Spawning { inc, since: turn.now, automatic, ready: false, superseded: None };
        turn.effect(Effect::Spawn { inc });
    }

    /// Brings it to the wanted state: no process of the old incarnation is left.
    pub(super) fn settle(&mut self, automatic: bool, turn: &mut StepContext<'_>) {
        match self.wanted {
            DesiredState::Up => self.spawn(automatic, turn),
            DesiredState::Down => {
                self.state = InstanceState::Stopped;
                turn.notify(Transition::Stopped);
            }
            DesiredState::Gone => {
                self.state = InstanceState::Gone;
                turn.notify(Transition::Deleted);
            }
        }
    }

    /// Sends SIGKILL: the deadline of a stop has passed. Sends it again at each further deadline,
    /// without limit.
    fn escalate(&mut self, turn: &mut StepContext<'_>) {
        let InstanceState::Stopping { inc, ref mut deadline_ms, ref mut killed, leader_gone, .. } = self.state else { return };
        *deadline_ms = stop::rekill_deadline(turn.policy, turn.now.mono_ms);
        let is_first = !std::mem::replace(killed, true);
        turn.effect(if leader_gone { stop::sweep(turn.policy, inc, true) } else { stop::kill(turn.policy, inc) });
        if is_first {
            turn.notify(Transition::KillTimeout);
        }
    }
}
