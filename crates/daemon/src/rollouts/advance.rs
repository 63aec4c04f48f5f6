//! A reload on its way.

use ostler_core::lifecycle::{self, ExitCause, Origin, State, Wanted};
use ostler_core::rollout::{Effect, Event, Outcome, Phase, PlaceState, Rollout};
use ostler_core::units::in_seconds;
use ostler_proto::control::{FaultReport, Progress};
use ostler_proto::event::{Cause, What};

use super::history::{End, Release};
use super::{Lane, Parts, Running};
use crate::control::{Control, why};
use crate::policy::reload_waits_ms;
use crate::slots::Slot;
use crate::store::{Record, Role};

/// What users are told of a process that nothing can be started beside.
const IN_PLACE: &str =
    "is restarted and answers nobody meanwhile, as it opens its ports itself; with `listen` or in cluster mode no request is lost";

impl Control {
    /// Looks at every reload. True when something was done.
    pub(crate) fn advance_rollouts(&mut self) -> bool {
        let numbers: Vec<u32> = self.rollouts.running.iter().map(|running| running.number).collect();
        let mut moved = false;
        for number in numbers {
            while let Some(event) = self.rollout_news(number) {
                let before = self.rollout_of(number).cloned();
                self.feed_rollout(number, event);
                moved = true;
                // News that changes nothing would be seen again for ever.
                if self.rollout_of(number) == before.as_ref() {
                    break;
                }
            }
            moved |= self.end_rollout(number);
        }
        moved
    }

    /// A user's command took over an instance: the reload leaves it alone.
    pub(crate) fn overrule(&mut self, id: u32) {
        let find = |running: &Running| {
            let place = running.lanes.iter().position(|lane| lane.serving == id)?;
            Some((running.number, place))
        };
        if let Some((number, place)) = self.rollouts.running.iter().find_map(find) {
            self.feed_rollout(number, Event::Overruled(place));
        }
    }

    /// Time has passed.
    pub(crate) fn tick_rollouts(&mut self, now_ms: u64) {
        for running in &mut self.rollouts.running {
            // `advance_rollouts` looks at them in this turn anyhow.
            running.look_ms = running.look_ms.filter(|at| *at > now_ms);
        }
        let due = |running: &&Running| running.rollout.deadline_ms().is_some_and(|at| at <= now_ms);
        let numbers: Vec<u32> = self.rollouts.running.iter().filter(due).map(|running| running.number).collect();
        numbers.into_iter().for_each(|number| self.feed_rollout(number, Event::Tick));
    }

    fn rollout_of(&self, number: u32) -> Option<&Rollout> {
        self.rollouts.running.iter().find(|running| running.number == number).map(|running| &running.rollout)
    }

    fn running(&mut self, number: u32) -> Option<&mut Running> {
        self.rollouts.running.iter_mut().find(|running| running.number == number)
    }

    pub(super) fn feed_rollout(&mut self, number: u32, event: Event) {
        if let Event::Failed(place, reason) = &event {
            self.note_fault(number, *place, reason);
        }
        if let Event::Ready(place) = &event {
            self.note_ready(number, *place);
        }
        let now_ms = self.ctx.now.mono_ms;
        let Some(running) = self.running(number) else { return };
        let before: Vec<PlaceState> = running.rollout.places.iter().map(|place| place.state).collect();
        let effects = running.rollout.step(event, now_ms);
        let after = running.rollout.places.iter().map(|place| place.state);
        let is_new = |(before, after): &(PlaceState, PlaceState)| before != after && *after == PlaceState::Done;
        let done = before.into_iter().zip(after).enumerate().filter(|(_, states)| is_new(states));
        let done: Vec<u32> = done.filter_map(|(place, _)| running.lanes.get(place)).map(|lane| lane.pm_id).collect();
        let app = running.app.clone();
        for id in done {
            // With its description it may have got another name.
            let name = self.ctx.slots.serving().find(|slot| slot.pm_id == id).map_or_else(|| app.clone(), |slot| slot.spec().name.clone());
            self.tell_rollout(number, Progress::InstanceDone { id, name });
        }
        self.perform_rollout(number, effects);
    }

    /// Does what was decided, and journals all of it.
    pub(super) fn perform_rollout(&mut self, number: u32, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Launch(place) => self.launch(number, place, false),
                Effect::LaunchOld(place) => self.launch(number, place, true),
                Effect::Promote(place) => self.promote(number, place),
                Effect::Discard(place) => self.discard(number, place),
            }
        }
        if let Some(running) = self.rollouts.running.iter().find(|running| running.number == number) {
            running
                .lanes
                .iter()
                .flat_map(|lane| [&lane.old, &lane.new])
                .flat_map(Parts::records)
                .for_each(|part| self.ctx.journal.push(&part));
            self.ctx.journal.push(&Record::Rollout(Box::new(running.record())));
        }
    }

    fn launch(&mut self, number: u32, place: usize, old: bool) {
        let Some(running) = self.rollouts.running.iter_mut().find(|running| running.number == number) else { return };
        let origin = running.origin.clone();
        let in_place = running.rollout.places.get(place).is_some_and(|place| place.in_place);
        let Some(lane) = running.lanes.get_mut(place) else { return };
        let parts = if old { lane.old.clone() } else { lane.new.clone() };
        let serving = lane.serving;
        let runs = self.ctx.slots.get(serving).is_some_and(|slot| matches!(slot.instance.state, State::Running { .. }));
        if in_place {
            if let Some(slot) = self.ctx.slots.get_mut(serving) {
                // What was asked for but does not run yet began before.
                lane.after = slot.instance.inc;
                slot.base = parts.base;
                slot.describe(parts.app, &self.ctx.settings);
                self.ctx.slots.changed(serving);
            }
            if runs {
                self.tell_step(number, place, IN_PLACE);
            }
            return self.feed(serving, lifecycle::Event::Restart(origin));
        }
        let candidate = self.ctx.slots.add_candidate(serving, &parts.app, &parts.base, self.ctx.now, &self.ctx.settings);
        lane.beside = candidate;
        if let Some(id) = candidate {
            self.feed(id, lifecycle::Event::Start(origin));
        }
        self.tell_step(number, place, if old { "starts the old release again" } else { "starts the new release beside the old one" });
    }

    /// The candidate serves, the old process retires: one step, one journal write.
    fn promote(&mut self, number: u32, place: usize) {
        let Some(running) = self.running(number) else { return };
        let origin = running.origin.clone();
        let Some(lane) = running.lanes.get_mut(place) else { return };
        let Some(new) = lane.beside.take() else { return };
        let old = std::mem::replace(&mut lane.serving, new);
        lane.going = Some(old);
        let Some(former) = self.ctx.slots.get_mut(old) else { return };
        former.role = Role::Retiring;
        former.pid_file_written = false;
        former.settle_policy(&self.ctx.settings);
        let (restarts, exits, created) = (former.instance.counters.restarts, former.instance.exits.clone(), self.ctx.now);
        let (recent, notes) = (former.instance.counters.recent.clone(), former.notes.clone());
        let start_ups = former.instance.counters.clone();
        let Some(slot) = self.ctx.slots.get_mut(new) else { return };
        slot.role = Role::Serving;
        slot.settle_policy(&self.ctx.settings);
        slot.instance.counters.restarts = restarts.saturating_add(1);
        slot.instance.counters.created = Some(created);
        slot.instance.counters.recent = recent;
        slot.instance.counters.follow_start_ups(&start_ups);
        if !origin.is_user() {
            slot.instance.spend_restart(&slot.policy, created);
        }
        slot.notes = notes;
        slot.instance.exits.splice(0..0, exits);
        let surplus = slot.instance.exits.len().saturating_sub(slot.policy.exits_kept);
        slot.instance.exits.drain(..surplus);
        let (inc, pid, pm_id, name) = (slot.instance.inc, slot.instance.pid(), slot.pm_id, slot.spec().name.clone());
        if let Some(lane) = self.running(number).and_then(|running| running.lanes.get_mut(place)) {
            lane.after = inc;
        }
        self.ctx.slots.changed(old);
        self.ctx.slots.changed(new);
        self.follow_care(new);
        if let Some(pid) = pid {
            self.write_pid_file(new, pid);
        }
        self.ctx.log.line(format_args!("App [{name}:{pm_id}] the new process serves, the old one is told to finish"));
        self.ctx.tell(new, What::Replaced { pid: pid.unwrap_or(0) }, Cause::from(&origin));
        self.feed(old, lifecycle::Event::Retire(origin));
        self.tell_step(number, place, "is ready; the old process finishes its requests");
    }

    fn discard(&mut self, number: u32, place: usize) {
        let Some(running) = self.running(number) else { return };
        let origin = running.origin.clone();
        if let Some(id) = running.lanes.get_mut(place).and_then(|lane| lane.beside.take()) {
            // It may have clients already.
            self.feed(id, lifecycle::Event::Retire(origin));
        }
    }

    /// What can be seen that the rollout does not know yet.
    fn rollout_news(&self, number: u32) -> Option<Event> {
        let running = self.rollouts.running.iter().find(|running| running.number == number)?;
        let is_advancing = matches!(running.rollout.phase, Phase::Advancing | Phase::Watching { .. });
        let (now_ms, waits_ms) = (self.ctx.now.mono_ms, reload_waits_ms(&self.ctx.settings));
        running.lanes.iter().zip(&running.rollout.places).enumerate().find_map(|(index, (lane, place))| {
            let beside = lane.beside.and_then(|id| self.ctx.slots.get(id));
            let serving = self.ctx.slots.get(lane.serving);
            match place.state {
                PlaceState::Starting | PlaceState::Reverting if place.in_place => restarted(index, lane, serving, now_ms, waits_ms),
                PlaceState::Starting | PlaceState::Reverting => candidate(index, beside, false),
                PlaceState::Ready if !place.in_place => candidate(index, beside, true),
                PlaceState::Retiring | PlaceState::Returning => {
                    let is_gone = lane.going.is_none_or(|id| self.ctx.slots.get(id).is_none());
                    let has_to_stay = is_advancing && place.state == PlaceState::Retiring;
                    let gone = is_gone.then_some(Event::Gone(index));
                    gone.or_else(|| if has_to_stay { still_up(index, lane, serving) } else { None })
                }
                // One fault is enough: on the way back nobody is asked whether it stayed.
                PlaceState::Done if is_advancing => still_up(index, lane, serving),
                _ => None,
            }
        })
    }

    /// From now on this process has to stay, where it was restarted in place. (A candidate is noted when it is promoted.)
    fn note_ready(&mut self, number: u32, place: usize) {
        let Some(running) = self.rollouts.running.iter_mut().find(|running| running.number == number) else { return };
        let in_place = running.rollout.places.get(place).is_some_and(|place| place.in_place);
        let lane = running.lanes.get_mut(place).filter(|_| in_place);
        if let Some((lane, slot)) = lane.and_then(|lane| self.ctx.slots.get(lane.serving).map(|slot| (lane, slot))) {
            lane.after = slot.instance.inc;
        }
    }

    /// The reason, and the last lines: the candidate is about to be removed.
    fn note_fault(&mut self, number: u32, place: usize, reason: &str) {
        let Some(running) = self.rollouts.running.iter().find(|running| running.number == number) else { return };
        let Some(lane) = running.lanes.get(place) else { return };
        let slot = lane.beside.and_then(|id| self.ctx.slots.get(id)).or_else(|| self.ctx.slots.get(lane.serving));
        let lines = slot.and_then(|slot| slot.instance.exits.last()).map(|exit| exit.last_lines.clone()).unwrap_or_default();
        let lines = if lines.is_empty() {
            let mut lines = slot.map(crate::slots::Slot::last_lines).unwrap_or_default();
            self.name_port_holder(&mut lines);
            lines
        } else {
            lines
        };
        let (app, pm_id) = (running.app.clone(), lane.pm_id);
        self.ctx.log.error(format_args!("App [{app}:{pm_id}] reload fails: {reason}"));
        if let Some(running) = self.running(number)
            && running.fault_lines.is_empty()
        {
            running.fault_lines = lines;
        }
    }

    /// Takes a reload that is over out of the list.
    pub(super) fn end_rollout(&mut self, number: u32) -> bool {
        let over = |running: &Running| running.number == number && running.rollout.outcome().is_some();
        let Some(index) = self.rollouts.running.iter().position(over) else { return false };
        let running = self.rollouts.running.remove(index);
        self.ctx.slots.end_replacing(&running.app);
        let report = self.report(&running);
        let (end, fault) = match running.rollout.outcome() {
            Some(Outcome::Failed(fault)) => {
                let id = running.lanes.get(fault.place).map_or(0, |lane| lane.pm_id);
                (End::Failed, Some(FaultReport { id, reason: fault.reason.clone(), last_lines: running.fault_lines.clone() }))
            }
            Some(Outcome::Overruled) => (End::Overruled, None),
            Some(Outcome::Done) | None => (End::Done, None),
        };
        self.ctx.log.line(format_args!("App [{}] reload is over: release {} {end:?}", running.app, running.release));
        let release = running.release;
        let what = match (&end, &fault) {
            (End::Done, _) => What::ReloadDone { release },
            (End::Overruled, _) => What::ReloadOverruled { release },
            (End::Failed, fault) => {
                What::ReloadFailed { release, why: fault.as_ref().map_or_else(String::new, |fault| fault.reason.clone()) }
            }
        };
        self.ctx.tell_of_app(&running.app, what, Cause::from(&running.origin));
        if let Some(lane) = running.lanes.first().filter(|_| !running.mends) {
            let command = report.command.clone();
            let places = report.places.iter().map(|place| (place.id, place.state.clone())).collect();
            let (number, parts, started, ended) = (running.release, lane.new.clone(), running.started, self.ctx.now);
            self.add_release(&running.app, Release { number, parts, command, started, ended, end, fault, places, cut: running.cut });
        }
        self.ctx.journal.push(&Record::RolloutOver { number });
        self.rollout_is_over(number, report);
        true
    }

    /// After a restart of the daemon: a candidate of no reload is removed.
    pub(crate) fn remove_lost_candidates(&mut self) {
        let known = |id: u32| self.rollouts.running.iter().flat_map(|running| &running.lanes).any(|lane| lane.beside == Some(id));
        let lost: Vec<u32> =
            self.ctx.slots.iter().filter(|slot| slot.role == Role::Candidate && !known(slot.id)).map(|slot| slot.id).collect();
        for id in lost {
            self.feed(id, lifecycle::Event::Retire(Origin::Policy("reload".into())));
        }
    }
}

/// A process beside the one that serves.
fn candidate(place: usize, slot: Option<&Slot>, is_ready: bool) -> Option<Event> {
    let Some(slot) = slot else { return Some(Event::Failed(place, "was removed".into())) };
    match slot.instance.state {
        State::Running { .. } if !is_ready => Some(Event::Ready(place)),
        State::Waiting { .. }
        | State::Preparing { .. }
        | State::Spawning { .. }
        | State::Starting { .. }
        | State::Completing { .. }
        | State::Running { .. } => None,
        // It is on its way down, for whatever reason: when it is down its last words are known.
        State::Leaving { .. } | State::Draining { .. } | State::Stopping { .. } | State::Clearing { .. } => None,
        State::Stopped | State::Backoff { .. } | State::Errored | State::Gone => {
            let late = if is_ready { " while the others of its batch started" } else { "" };
            Some(Event::Failed(place, format!("{}{late}", why_not(slot))))
        }
    }
}

/// A process that was restarted in place.
fn restarted(place: usize, lane: &Lane, slot: Option<&Slot>, now_ms: u64, waits_ms: u64) -> Option<Event> {
    let Some(slot) = slot else { return Some(Event::Overruled(place)) };
    match slot.instance.state {
        State::Running { inc, .. } if inc > lane.after => Some(Event::Ready(place)),
        _ if slot.instance.exits.last().is_some_and(|exit| exit.inc > lane.after) => Some(Event::Failed(place, why_not(slot))),
        State::Starting { inc, since, ready_deadline_ms: None, .. }
            if inc > lane.after && now_ms >= since.mono_ms.saturating_add(waits_ms) =>
        {
            let words = format!("was not ready within {waits_ms} ms; `listen_timeout` sets that time");
            Some(Event::Failed(place, words))
        }
        State::Stopped | State::Errored | State::Gone if slot.instance.wanted != Wanted::Up => Some(Event::Failed(place, why_not(slot))),
        _ => None,
    }
}

/// One that took over has to stay.
fn still_up(place: usize, lane: &Lane, slot: Option<&Slot>) -> Option<Event> {
    let Some(slot) = slot else { return Some(Event::Overruled(place)) };
    // Whoever else ends it takes the place over first.
    let is_up = matches!(slot.instance.state, State::Running { inc, .. } if inc == lane.after);
    (!is_up).then(|| Event::Failed(place, format!("{} after it was ready", ended(slot))))
}

/// Why it is not ready, in words that follow a name.
fn why_not(slot: &Slot) -> String {
    match slot.instance.exits.last() {
        Some(exit) if exit.cause == ExitCause::NotReady => slot.not_ready(),
        Some(exit) if matches!(exit.cause, ExitCause::CouldNotStart { .. } | ExitCause::NotStarted { .. }) => why(exit),
        Some(_) => format!("{} before it was ready", ended(slot)),
        None => "did not start".into(),
    }
}

/// How it ended, in words that follow a name.
fn ended(slot: &Slot) -> String {
    slot.instance.exits.last().map_or_else(|| "ended".into(), why)
}

impl Control {
    /// A process that a reload waits for takes long. The one that was restarted in place has its last look in [`Control::tick_rollouts`].
    pub(crate) fn reload_waits(&mut self, id: u32) {
        let Some(slot) = self.ctx.slots.get(id) else { return };
        let waits = |running: &&mut Running| {
            running.lanes.iter().zip(&running.rollout.places).any(|(lane, place)| {
                matches!(place.state, PlaceState::Starting | PlaceState::Reverting)
                    && (lane.beside == Some(id) || place.in_place && lane.serving == id && slot.instance.inc > lane.after)
            })
        };
        let Some(running) = self.rollouts.running.iter_mut().find(waits) else { return };
        let waits_ms = reload_waits_ms(&self.ctx.settings);
        let in_place = slot.role == Role::Serving;
        if in_place && let State::Starting { since, .. } = slot.instance.state {
            let at = since.mono_ms.saturating_add(waits_ms);
            running.look_ms = Some(running.look_ms.map_or(at, |look| look.min(at)));
        }
        let meanwhile = if in_place { "" } else { ", the old process serves meanwhile" };
        let words = format!(
            "[{}]({}) {}{meanwhile}; waiting up to {}",
            slot.spec().name,
            slot.pm_id,
            slot.still_starting(self.ctx.now),
            in_seconds(waits_ms)
        );
        let number = running.number;
        self.tell_rollout(number, Progress::Warning(words));
    }

    /// What happens in one place, for whoever waits.
    fn tell_step(&mut self, number: u32, place: usize, step: &str) {
        let Some(running) = self.rollouts.running.iter().find(|running| running.number == number) else { return };
        let Some(lane) = running.lanes.get(place) else { return };
        let (id, name, step) = (lane.pm_id, running.app.clone(), step.to_owned());
        self.tell_rollout(number, Progress::Rollout { id, name, step });
    }
}
