//! Progress of a rollout: observations of its processes, and the events made of them.

use ostler_core::lifecycle::{DesiredState, ExitCause, InstanceState};
use ostler_core::rollout::{ReplicaState, RolloutEvent, RolloutOutcome, RolloutPhase};
use ostler_core::text::units::in_seconds;
use ostler_proto::control::{FaultReport, Progress};
use ostler_proto::event::{EventCause, EventKind};

use super::history::Release;
use super::{Replica, Rollouts, Running};
use crate::engine::{Ctx, FeatureAnswer, FeatureRequest, RolloutNews};
use crate::state::policy::reload_waits_ms;
use crate::state::slots::{Slot, Slots, exit_text};
use crate::state::store::rollouts::RolloutEnd;
use crate::state::store::{Record, Role};

impl Rollouts {
    /// Advances one rollout until an event has effects. The effects are handled before the next
    /// check.
    pub(super) fn advance(&mut self, ctx: &mut Ctx, number: u32) {
        while let Some(news) = self.get(number).and_then(|running| news(ctx, running)) {
            let (before, waiting) = (self.get(number).map(|running| running.rollout.clone()), ctx.outbox.queue.len());
            self.take(ctx, number, news);
            // An event that changes nothing would be found again without end.
            if ctx.outbox.queue.len() > waiting || self.get(number).map(|running| &running.rollout) == before.as_ref() {
                break;
            }
        }
        self.watch(ctx, number);
        self.remove_if_complete(ctx, number);
    }

    /// Sets the time at which a new process that is online has run long enough.
    fn watch(&mut self, ctx: &mut Ctx, number: u32) {
        let Some(running) = self.get_mut(number).filter(|running| running.watches) else { return };
        let now_ms = ctx.now.mono_ms;
        let starts =
            running.replicas.iter().zip(&running.rollout.replicas).filter(|(_, progress)| progress.state == ReplicaState::Starting);
        let slots = starts.filter_map(|(replica, _)| ctx.state.slots.get(replica.candidate.unwrap_or(replica.serving)));
        let next_ms = slots.filter_map(Slot::watched_until).filter(|until_ms| *until_ms > now_ms).min();
        if let Some(at_ms) = next_ms.filter(|at_ms| running.check_ms.is_none_or(|look_ms| *at_ms < look_ms)) {
            running.check_ms = Some(at_ms);
            running.set_timer(ctx);
        }
    }

    /// Handles a command of a user that took over instances. Their rollouts leave them alone.
    pub(super) fn on_taken_over(&mut self, ctx: &mut Ctx, ids: &[u32]) {
        let replicas = |running: &Running| {
            let is_taken = |replica: &Replica| ids.contains(&replica.serving);
            // The last replica comes first, so that a replica that is not started yet does not
            // start because earlier ones are done.
            let taken = running.replicas.iter().enumerate().rev().filter(|(_, replica)| is_taken(replica)).map(|(index, _)| index);
            taken.map(|index| (running.number, index)).collect::<Vec<_>>()
        };
        let taken: Vec<(u32, usize)> = self.running.iter().flat_map(replicas).collect();
        taken.into_iter().for_each(|(number, index)| self.take(ctx, number, RolloutEvent::Overruled(index)));
    }

    /// Dispatches an event to the rollout, and performs its decisions.
    pub(super) fn take(&mut self, ctx: &mut Ctx, number: u32, event: RolloutEvent) {
        match &event {
            RolloutEvent::Failed(index, reason) => self.note_fault(ctx, number, *index, reason),
            RolloutEvent::Ready(index) => self.note_ready(&ctx.state.slots, number, *index),
            RolloutEvent::Gone(_) | RolloutEvent::Overruled(_) | RolloutEvent::Tick => {}
        }
        let Some(running) = self.get_mut(number) else { return };
        let before: Vec<ReplicaState> = running.rollout.replicas.iter().map(|progress| progress.state).collect();
        let effects = running.rollout.step(event, ctx.now.mono_ms);
        let states = before.into_iter().zip(running.rollout.replicas.iter().map(|progress| progress.state));
        let is_new = |(before, after): (ReplicaState, ReplicaState)| before != after && after == ReplicaState::Done;
        for (replica, _) in running.replicas.iter().zip(states).filter(|(_, states)| is_new(*states)) {
            // The new description may have another name.
            let slot = ctx.state.slots.serving().find(|slot| slot.durable.pm_id == replica.pm_id);
            let name = slot.map_or_else(|| running.app.clone(), |slot| slot.spec().name.clone());
            running.send(&mut ctx.outbox.queue, Progress::InstanceDone { id: replica.pm_id, name, late: None });
        }
        self.perform(ctx, number, effects);
        self.set_timer(ctx, number);
    }

    /// Records the process that has to stay from now on, if it was restarted in place. (A candidate
    /// is recorded when it is promoted.)
    fn note_ready(&mut self, slots: &Slots, number: u32, index: usize) {
        let Some(running) = self.get_mut(number).filter(|running| running.is_in_place(index)) else { return };
        if let Some(replica) = running.replicas.get_mut(index)
            && let Some(slot) = slots.get(replica.serving)
        {
            replica.after = slot.durable.instance.inc;
        }
    }

    /// Records the reason of the first fault, and the last lines of the process that is about to be
    /// removed.
    fn note_fault(&mut self, ctx: &mut Ctx, number: u32, index: usize, reason: &str) {
        let Some(running) = self.get_mut(number) else { return };
        let Some(replica) = running.replicas.get(index) else { return };
        ctx.io.log.error(format_args!("App [{}:{}] reload failed: {reason}", running.app, replica.pm_id));
        let slot = replica.candidate.and_then(|id| ctx.state.slots.get(id)).or_else(|| ctx.state.slots.get(replica.serving));
        let Some(slot) = slot.filter(|_| running.fault_lines.is_empty() && running.lines_slot.is_none()) else { return };
        let lines = slot.durable.instance.exits.last().map(|exit| &exit.last_lines).filter(|lines| !lines.is_empty());
        let is_complete = lines.is_some() && !slot.live.seeks_port_holder;
        running.lines_slot = Some(slot.durable.id).filter(|_| !is_complete);
        match lines {
            Some(lines) => running.fault_lines.clone_from(lines),
            None => ctx.request(FeatureRequest::LastLines { id: slot.durable.id }),
        }
    }

    /// Handles the last lines of a process that failed.
    pub(super) fn on_last_lines(&mut self, ctx: &mut Ctx, id: u32, lines: &[String]) {
        for running in self.running.iter_mut().filter(|running| running.lines_slot == Some(id)) {
            running.lines_slot = None;
            running.fault_lines = lines.to_vec();
            ctx.state.journal.push(&running.record());
        }
    }

    /// Removes a completed rollout from the list.
    pub(super) fn remove_if_complete(&mut self, ctx: &mut Ctx, number: u32) {
        let is_over = |running: &Running| running.number == number && running.rollout.outcome().is_some() && running.lines_slot.is_none();
        let Some(index) = self.running.iter().position(is_over) else { return };
        let running = self.running.remove(index);
        self.set_timer(ctx, number);
        ctx.state.slots.end_replacing(&running.app);
        let report = running.report();
        let (end, fault) = end_of(&running);
        let result = match end {
            RolloutEnd::Done => "serves",
            RolloutEnd::Failed => "failed",
            RolloutEnd::Overruled => "was superseded by another command",
        };
        ctx.io.log.line(format_args!("App [{}] reload finished: release {} {result}", running.app, running.release));
        let release = running.release;
        let what = match (&end, &fault) {
            (RolloutEnd::Done, _) => EventKind::ReloadDone { release },
            (RolloutEnd::Overruled, _) => EventKind::ReloadOverruled { release },
            (RolloutEnd::Failed, fault) => {
                EventKind::ReloadFailed { release, why: fault.as_ref().map_or_else(String::new, |fault| fault.reason.clone()) }
            }
        };
        ctx.emit_for_app(&running.app, what, EventCause::from(&running.origin));
        // Releases of an app that was deleted during the rollout are not remembered.
        let is_remembered = !running.by_policy && !ctx.state.slots.of_app(&running.app).is_empty();
        if let Some(replica) = running.replicas.first().filter(|_| is_remembered) {
            let command = report.command.clone();
            let places = report.replicas.iter().map(|replica| (replica.id, replica.state.clone())).collect();
            let (number, parts, started, ended, cut) = (running.release, replica.new.clone(), running.started, ctx.now, running.cut);
            self.add_release(ctx, &running.app, Release { number, parts, command, started, ended, end, fault, places, cut });
        }
        ctx.state.journal.push(&Record::RolloutOver { number });
        if let Some(ticket) = running.ticket {
            ctx.answer(FeatureAnswer::Rollout { ticket, news: RolloutNews::Ended(Box::new(report)) });
        }
    }

    /// Handles a process of a rollout that takes long. If it was restarted in place, its last check
    /// is scheduled.
    pub(super) fn on_late(&mut self, ctx: &mut Ctx, id: u32) {
        let Some(slot) = ctx.state.slots.get(id) else { return };
        let waits = |running: &&mut Running| {
            running.replicas.iter().zip(&running.rollout.replicas).any(|(replica, progress)| {
                matches!(progress.state, ReplicaState::Starting | ReplicaState::Reverting)
                    && (replica.candidate == Some(id)
                        || progress.in_place && replica.serving == id && slot.durable.instance.inc > replica.after)
            })
        };
        let Some(running) = self.running.iter_mut().find(waits) else { return };
        let waits_ms = reload_waits_ms(&ctx.io.settings);
        let in_place = slot.durable.role == Role::Serving;
        if in_place && let InstanceState::Starting { since, .. } = slot.durable.instance.state {
            let at = since.mono_ms.saturating_add(waits_ms);
            running.check_ms = Some(running.check_ms.map_or(at, |look| look.min(at)));
        }
        let still_serving = if in_place { "" } else { "; the old process keeps serving" };
        let words = format!(
            "[{}]({}) {}{still_serving}; waiting up to {}",
            slot.spec().name,
            slot.durable.pm_id,
            slot.still_starting(ctx.now),
            in_seconds(waits_ms)
        );
        running.send(&mut ctx.outbox.queue, Progress::Warning(words));
        running.set_timer(ctx);
    }
}

/// Returns the outcome of a rollout, and its fault.
fn end_of(running: &Running) -> (RolloutEnd, Option<FaultReport>) {
    match running.rollout.outcome() {
        Some(RolloutOutcome::Failed(fault)) => {
            let id = running.replicas.get(fault.replica).map_or(0, |replica| replica.pm_id);
            (RolloutEnd::Failed, Some(FaultReport { id, reason: fault.reason.clone(), last_lines: running.fault_lines.clone() }))
        }
        Some(RolloutOutcome::Overruled) => (RolloutEnd::Overruled, None),
        Some(RolloutOutcome::Done) | None => (RolloutEnd::Done, None),
    }
}

/// Returns an event that the rollout has not received yet.
fn news(ctx: &Ctx, running: &Running) -> Option<RolloutEvent> {
    let is_advancing = matches!(running.rollout.phase, RolloutPhase::Advancing | RolloutPhase::Watching { .. });
    let (now_ms, waits_ms) = (ctx.now.mono_ms, reload_waits_ms(&ctx.io.settings));
    running.replicas.iter().zip(&running.rollout.replicas).enumerate().find_map(|(index, (replica, progress))| {
        let candidate_slot = replica.candidate.and_then(|id| ctx.state.slots.get(id));
        let serving = ctx.state.slots.get(replica.serving);
        match progress.state {
            ReplicaState::Starting if is_watched(running, candidate_slot.or(serving), now_ms) => None,
            ReplicaState::Starting | ReplicaState::Reverting if progress.in_place => restarted(index, replica, serving, now_ms, waits_ms),
            ReplicaState::Starting | ReplicaState::Reverting => candidate(index, candidate_slot, false),
            ReplicaState::Ready if !progress.in_place => candidate(index, candidate_slot, true),
            ReplicaState::Retiring | ReplicaState::Returning => {
                let is_gone = replica.going.is_none_or(|id| ctx.state.slots.get(id).is_none());
                let has_to_stay = is_advancing && progress.state == ReplicaState::Retiring;
                let gone = is_gone.then_some(RolloutEvent::Gone(index));
                gone.or_else(|| if has_to_stay { survivor_event(index, replica, serving) } else { None })
            }
            // One fault is enough: during a rollback, processes are no longer checked for whether
            // they stayed.
            ReplicaState::Done if is_advancing => survivor_event(index, replica, serving),
            _ => None,
        }
    })
}

/// Returns true while a new process is online but has not run long enough.
fn is_watched(running: &Running, slot: Option<&Slot>, now_ms: u64) -> bool {
    running.watches && slot.and_then(Slot::watched_until).is_some_and(|until_ms| now_ms < until_ms)
}

/// Returns the event of a candidate, the process beside the serving one.
fn candidate(index: usize, slot: Option<&Slot>, is_ready: bool) -> Option<RolloutEvent> {
    let Some(slot) = slot else { return Some(RolloutEvent::Failed(index, "was removed".into())) };
    match slot.durable.instance.state {
        InstanceState::Running { .. } if !is_ready => Some(RolloutEvent::Ready(index)),
        InstanceState::Waiting { .. }
        | InstanceState::Preparing { .. }
        | InstanceState::Spawning { .. }
        | InstanceState::Starting { .. }
        | InstanceState::Completing { .. }
        | InstanceState::Running { .. } => None,
        // It is being stopped for any reason. When it is down, its last lines are known.
        InstanceState::Leaving { .. }
        | InstanceState::Draining { .. }
        | InstanceState::Stopping { .. }
        | InstanceState::Clearing { .. } => None,
        InstanceState::Stopped | InstanceState::Backoff { .. } | InstanceState::Errored | InstanceState::Gone => {
            let late = if is_ready { " while the rest of its batch started" } else { "" };
            Some(RolloutEvent::Failed(index, format!("{}{late}", unready_reason(slot))))
        }
    }
}

/// Returns the event of a process that was restarted in place.
fn restarted(index: usize, replica: &Replica, slot: Option<&Slot>, now_ms: u64, waits_ms: u64) -> Option<RolloutEvent> {
    let Some(slot) = slot else { return Some(RolloutEvent::Overruled(index)) };
    match slot.durable.instance.state {
        InstanceState::Running { inc, .. } if inc > replica.after => Some(RolloutEvent::Ready(index)),
        _ if slot.durable.instance.exits.last().is_some_and(|exit| exit.inc > replica.after) => {
            Some(RolloutEvent::Failed(index, unready_reason(slot)))
        }
        InstanceState::Starting { inc, since, ready_deadline_ms: None, .. }
            if inc > replica.after && now_ms >= since.mono_ms.saturating_add(waits_ms) =>
        {
            let words = format!("was not ready within {waits_ms} ms; `listen_timeout` sets that time");
            Some(RolloutEvent::Failed(index, words))
        }
        InstanceState::Stopped | InstanceState::Errored | InstanceState::Gone if slot.durable.instance.wanted != DesiredState::Up => {
            Some(RolloutEvent::Failed(index, unready_reason(slot)))
        }
        _ => None,
    }
}

/// Returns the event of a process that took over and has to stay.
fn survivor_event(index: usize, replica: &Replica, slot: Option<&Slot>) -> Option<RolloutEvent> {
    let Some(slot) = slot else { return Some(RolloutEvent::Overruled(index)) };
    // Any other command that stops the process takes over its instance first.
    let is_up = matches!(slot.durable.instance.state, InstanceState::Running { inc, .. } if inc == replica.after);
    (!is_up).then(|| RolloutEvent::Failed(index, format!("{} after it was ready", ended(slot))))
}

/// Returns the reason why it is not ready, in words that follow a name.
fn unready_reason(slot: &Slot) -> String {
    match slot.durable.instance.exits.last() {
        Some(exit) if exit.cause == ExitCause::NotReady => slot.not_ready(),
        Some(exit) if matches!(exit.cause, ExitCause::CouldNotStart { .. } | ExitCause::NotStarted { .. }) => exit_text(exit),
        Some(_) => format!("{} before it was ready", ended(slot)),
        None => "did not start".into(),
    }
}

/// Returns the manner of its exit, in words that follow a name.
fn ended(slot: &Slot) -> String {
    slot.durable.instance.exits.last().map_or_else(|| "ended".into(), exit_text)
}
