//! Hooks of an instance, and what it waits for before the first of them.
//!
//! A hook that holds up a start is called off by a stop; one that holds up a stop is called off by a second stop of a user, who insists.
//! Its answer comes in any case: whoever runs it bounds its time.

use super::origin::{Origin, PolicyName};
use super::process::Ended;
use super::state::{AfterStop, Ending, ExitCause, Instance, State, Wanted};
use super::step::Turn;
use super::{Effect, Transition};
use crate::app::hooks::{Hook, OnFailure};
use crate::lifecycle::command::Outcome;
use crate::lifecycle::stop;
use crate::time::Now;

impl State {
    /// The continuation after a stop that is under way, to be changed; time to finish its work is then not given any more.
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
    /// Brings it from rest to up, by this origin: at once, or when its dependencies are met.
    pub(super) fn go_up(&mut self, origin: &Origin, turn: &mut Turn<'_>) {
        let automatic = !origin.is_user();
        match turn.policy.depends_timeout_ms {
            // What ostler does by itself was in order before.
            Some(timeout_ms) if !matches!(origin, Origin::Policy(_)) => {
                let deadline_ms = turn.now.mono_ms.saturating_add(timeout_ms);
                self.state = State::Waiting { since: turn.now, deadline_ms, automatic };
                turn.notify(Transition::Waiting);
            }
            _ => self.spawn(automatic, turn),
        }
    }

    pub(super) fn on_released(&mut self, turn: &mut Turn<'_>) {
        if let State::Waiting { automatic, .. } = self.state {
            self.spawn(automatic, turn);
        }
    }

    pub(super) fn on_unmet(&mut self, why: String, turn: &mut Turn<'_>) {
        let State::Waiting { since, .. } = self.state else { return };
        // Who waits for this start knows it by its number.
        self.inc = self.inc.saturating_add(1);
        self.not_started(since, why, turn);
        self.wanted = Wanted::Down;
        self.state = State::Errored;
    }

    /// Gives up the start that has the newest number, which did not come to a process.
    fn not_started(&mut self, since: Now, why: String, turn: &mut Turn<'_>) -> Ended {
        let ended = Ended { inc: self.inc, pid: 0, since, was_ready: false };
        let record = self.record(&ended, Ending::SpawnFailed { errno: 0 }, ExitCause::NotStarted { why }, turn);
        turn.notify(Transition::CouldNotStart(record));
        ended
    }

    /// Calls off `pre_start`: something else is wanted.
    pub(super) fn call_off_start(&mut self, origin: Origin, turn: &mut Turn<'_>) {
        if let State::Preparing { inc, superseded: superseded @ None, .. } = &mut self.state {
            *superseded = Some(origin);
            turn.effect(Effect::CancelHook { inc: *inc, hook: Hook::PreStart });
        }
    }

    /// Makes it ready; it was spawned at `since`.
    pub(super) fn became_ready(&mut self, inc: u32, pid: i32, since: Now, turn: &mut Turn<'_>) {
        if turn.policy.hooks.post_start.is_some() {
            self.state = State::Completing { inc, pid, since };
            turn.effect(Effect::Hook { inc, hook: Hook::PostStart });
        } else {
            self.online(inc, pid, since, turn);
        }
    }

    fn online(&mut self, inc: u32, pid: i32, since: Now, turn: &mut Turn<'_>) {
        self.state = State::Running { inc, pid, since };
        turn.notify(Transition::Online);
    }

    /// Begins to end a live process: `pre_stop` first, where it was ready.
    pub(super) fn begin_stop(&mut self, cause: Origin, next: AfterStop, gently: bool, turn: &mut Turn<'_>) {
        let (inc, pid, since) = match self.state {
            State::Completing { inc, pid, since } => {
                turn.effect(Effect::CancelHook { inc, hook: Hook::PostStart });
                (inc, pid, since)
            }
            State::Running { inc, pid, since } => (inc, pid, since),
            _ => return self.ask_to_end(cause, next, turn),
        };
        if turn.policy.hooks.pre_stop {
            self.state = State::Leaving { inc, pid, since, cause, next, gently, ended: false };
            turn.notify(Transition::Stopping);
            turn.effect(Effect::Hook { inc, hook: Hook::PreStop });
        } else if gently {
            self.finish_or_end(cause, turn);
        } else {
            self.ask_to_end(cause, next, turn);
        }
    }

    /// Takes a user's order to go down, whatever it is doing about that already: what holds it up is called off.
    pub(super) fn insist(&self, was_wanted: Wanted, origin: &Origin, turn: &mut Turn<'_>) {
        if was_wanted != Wanted::Up
            && origin.is_user()
            && let Some((inc, hook)) = self.hook()
        {
            turn.effect(Effect::CancelHook { inc, hook });
        }
    }

    pub(super) fn on_hook_done(&mut self, inc: u32, hook: Hook, outcome: Outcome, turn: &mut Turn<'_>) {
        if self.hook() != Some((inc, hook)) {
            return;
        }
        let failed = !outcome.is_success() && outcome != Outcome::Cancelled;
        // A failed start is reported by itself.
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
                if let State::Clearing { next, .. } = self.state {
                    self.after_tree(next, turn);
                }
            }
            Hook::OnCrash => {}
        }
    }

    /// Goes on after the preparation of a start; `Err`: the reason why there is no start.
    fn prepared(&mut self, result: Result<(), String>, turn: &mut Turn<'_>) {
        let State::Preparing { inc, since, automatic, ref mut superseded } = self.state else { return };
        if let Some(origin) = superseded.take() {
            return self.settle(!origin.is_user(), turn);
        }
        let Err(why) = result else { return self.spawn_now(inc, automatic, turn) };
        let ended = self.not_started(since, why, turn);
        let next = self.judge(&ended, Ending::SpawnFailed { errno: 0 }, turn);
        self.after_tree(next, turn);
    }

    pub(super) fn on_unprepared(&mut self, inc: u32, why: String, turn: &mut Turn<'_>) {
        if self.hook() == Some((inc, Hook::PreStart)) {
            self.prepared(Err(why), turn);
        }
    }

    fn completed(&mut self, outcome: &Outcome, turn: &mut Turn<'_>) {
        let State::Completing { inc, pid, since } = self.state else { return };
        if outcome.is_success() || turn.policy.hooks.post_start != Some(OnFailure::Abort) {
            self.online(inc, pid, since, turn);
        } else {
            self.ask_to_end(Origin::found(PolicyName::PostStart, format!("{} {outcome}", Hook::PostStart)), AfterStop::Judge, turn);
        }
    }

    /// Goes on after `pre_stop`, or after that was called off.
    fn may_leave(&mut self, turn: &mut Turn<'_>) {
        let State::Leaving { inc, pid, since, ref cause, next, gently, ended } = self.state else { return };
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

    /// Ends the time of a hook that holds up an end.
    pub(super) fn cut_hook_short(&mut self, turn: &mut Turn<'_>) {
        if let (Some((inc, hook)), State::Leaving { .. } | State::Clearing { .. }) = (self.hook(), &self.state) {
            turn.effect(Effect::CancelHook { inc, hook });
        }
        if let State::Leaving { cause, next, ended: false, .. } = &self.state {
            self.ask_to_end(cause.clone(), *next, turn);
        }
    }

    /// Drains it where that can be asked of it, else ends it.
    fn finish_or_end(&mut self, cause: Origin, turn: &mut Turn<'_>) {
        let (State::Running { inc, pid, since } | State::Completing { inc, pid, since } | State::Leaving { inc, pid, since, .. }) =
            self.state
        else {
            return;
        };
        match turn.policy.drain_timeout_ms {
            Some(drain_ms) => {
                let deadline_ms = turn.now.mono_ms.saturating_add(drain_ms.min(turn.policy.drain_answer_ms.unwrap_or(u64::MAX)));
                self.state = State::Draining { inc, pid, since, deadline_ms, cause };
                turn.notify(Transition::Draining);
                turn.effect(Effect::Drain { inc });
            }
            None => self.ask_to_end(cause, AfterStop::default(), turn),
        }
    }

    /// Sends the polite request.
    pub(super) fn ask_to_end(&mut self, cause: Origin, next: AfterStop, turn: &mut Turn<'_>) {
        let is_told = matches!(self.state, State::Leaving { .. });
        let (inc, pid, since) = match self.state {
            State::Starting { inc, pid, since, .. }
            | State::Completing { inc, pid, since }
            | State::Running { inc, pid, since }
            | State::Leaving { inc, pid, since, .. }
            | State::Draining { inc, pid, since, .. } => (inc, pid, since),
            State::Stopped
            | State::Waiting { .. }
            | State::Preparing { .. }
            | State::Spawning { .. }
            | State::Stopping { .. }
            | State::Clearing { .. }
            | State::Backoff { .. }
            | State::Errored
            | State::Gone => return,
        };
        let deadline_ms = stop::grace_deadline(turn.policy, turn.now.mono_ms);
        self.state = State::Stopping { inc, pid, since, deadline_ms, killed: false, leader_gone: false, cause, next };
        if !is_told {
            turn.notify(Transition::Stopping);
        }
        turn.effect(stop::ask(turn.policy, inc));
    }

    /// Runs `post_stop` when nothing of a process is left, then what comes next.
    pub(super) fn tree_gone(&mut self, inc: u32, next: AfterStop, turn: &mut Turn<'_>) {
        if turn.policy.hooks.post_stop {
            self.state = State::Clearing { inc, next };
            turn.effect(Effect::Hook { inc, hook: Hook::PostStop });
        } else {
            self.after_tree(next, turn);
        }
    }

    /// Runs `on_crash`: a process ended although nobody asked it to, and not in the way that it was declared to.
    pub(super) fn run_on_crash(inc: u32, ending: Ending, turn: &mut Turn<'_>) {
        let as_declared = match ending {
            Ending::Code(code) => turn.policy.stop_exit_codes.contains(&code) || code == 0 && !turn.policy.autorestart,
            Ending::Signal { .. } | Ending::Unknown | Ending::SpawnFailed { .. } => false,
        };
        if turn.policy.hooks.on_crash && !as_declared {
            turn.effect(Effect::Hook { inc, hook: Hook::OnCrash });
        }
    }
}
