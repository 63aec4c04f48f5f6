//! Remediation of processes that are unhealthy or use too much: one instance of an app after the
//! other, never all at once.
//!
//! Other features detect the need and request a remedy ([`FeatureRequest::Remedy`]).
//! `ostler_core::health` chooses the remedy ([`RemedyInput`]). The next instance of an app is
//! replaced when the former is healthy again, or has failed. None of this is in the journal: the
//! next daemon detects again which processes are still unhealthy.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use ostler_core::health::Action;
use ostler_core::health::{HealthState, Pace, Remedy, RemedyCause, RemedyInput, is_complete};
use ostler_core::lifecycle::{Event, Origin, Transition};

use crate::engine::{Ctx, FeatureAnswer, FeatureRequest, InstanceStep, Key};
use crate::state::slots::Slot;
use crate::state::store::Role;

/// Instances that must be replaced, and those that are being replaced.
#[derive(Debug, Default)]
pub(crate) struct Remediation {
    /// Wanted remedies, by slot.
    wanted: BTreeMap<u32, PendingRemedy>,
    /// Replacement that must be healthy before the next instance is replaced, by app.
    active: BTreeMap<String, ActiveReplacement>,
    /// Paces, by `pm_id`.
    paces: BTreeMap<u32, Pace>,
    /// Processes whose replacement failed while they ran, by slot and incarnation. The next attempt
    /// is a restart.
    candidate_failed: BTreeMap<u32, u32>,
}

/// Wanted remedy of a process, and its reason.
#[derive(Debug)]
struct PendingRemedy {
    inc: u32,
    cause: RemedyCause,
    reason: String,
}

/// Replacement that the other instances of the app wait for.
#[derive(Clone, Copy, Debug)]
struct ActiveReplacement {
    pm_id: u32,
    /// Instance that was replaced.
    id: u32,
    inc: u32,
}

impl Remediation {
    pub(crate) fn on_request(&mut self, ctx: &mut Ctx, request: FeatureRequest) -> Option<FeatureRequest> {
        match request {
            FeatureRequest::Remedy { id, inc, cause, why } => self.want(ctx, id, PendingRemedy { inc, cause, reason: why }),
            FeatureRequest::NoRemedy { id, cause } => self.want_no_more(id, cause),
            other => return Some(other),
        }
        None
    }

    /// Handles a step of an instance. A process that exits by itself needs no remedy.
    pub(crate) fn on_step(&mut self, ctx: &mut Ctx, step: &InstanceStep<'_>) {
        let id = step.id;
        let runs = |inc: u32| ctx.state.slots.get(id).is_some_and(|slot| runs(slot, inc));
        if self.wanted.get(&id).is_some_and(|wanted| !runs(wanted.inc)) {
            self.wanted.remove(&id);
        }
        if self.candidate_failed.get(&id).is_some_and(|inc| !runs(*inc)) {
            self.candidate_failed.remove(&id);
        }
    }

    pub(crate) fn on_transition(&mut self, ctx: &mut Ctx, id: u32, transition: &Transition) {
        if let Some(slot) = ctx.state.slots.get(id).filter(|slot| *transition == Transition::Deleted && slot.durable.role == Role::Serving)
        {
            self.paces.remove(&slot.durable.pm_id);
        }
    }

    pub(crate) fn on_forgotten(&mut self, _ctx: &mut Ctx, id: u32) {
        self.wanted.remove(&id);
        self.candidate_failed.remove(&id);
    }

    /// Replaces the instances that are next.
    pub(crate) fn on_idle(&mut self, ctx: &mut Ctx) {
        self.finish_replacements(ctx);
        let mut next_ms: Option<u64> = None;
        let ids: Vec<u32> = self.wanted.keys().copied().collect();
        for id in ids {
            match self.remedy(ctx, id) {
                Some(Remedy::Wait(until_ms)) => next_ms = Some(next_ms.map_or(until_ms, |next| next.min(until_ms))),
                Some(remedy) => self.begin(ctx, id, remedy),
                None => {}
            }
        }
        ctx.outbox.timers.set(Self::NEXT, next_ms);
    }
}

impl Remediation {
    pub(crate) const NAME: &str = "remediation";
    /// Time when an instance may be next. It only triggers the check when no work is left.
    const NEXT: Key = (Self::NAME, 0);

    /// Requests a remedy for a process. The requester is notified if the cause is new.
    fn want(&mut self, ctx: &mut Ctx, id: u32, wanted: PendingRemedy) {
        let Some(slot) = ctx.state.slots.get(id).filter(|slot| runs(slot, wanted.inc)) else { return };
        let is_to_be_left = wanted.cause == RemedyCause::Health && action_of(slot) == Action::None;
        let is_under_way = self.active.get(slot.spec().key()).is_some_and(|under_way| under_way.id == id);
        if is_to_be_left || is_under_way || self.wanted.contains_key(&id) {
            return;
        }
        ctx.answer(FeatureAnswer::Remedy { id, cause: wanted.cause, why: wanted.reason.clone() });
        self.wanted.insert(id, wanted);
    }

    /// Withdraws a cause.
    fn want_no_more(&mut self, id: u32, cause: RemedyCause) {
        if self.wanted.get(&id).is_some_and(|wanted| wanted.cause == cause) {
            self.wanted.remove(&id);
        }
    }

    /// Returns the remedy of a process now; `None` if it has to wait for others, or needs no remedy
    /// any more.
    fn remedy(&mut self, ctx: &Ctx, id: u32) -> Option<Remedy> {
        let wanted = self.wanted.get(&id)?;
        // A check that has become broken is no more reason to act than a passed check.
        let is_well = |slot: &Slot| {
            wanted.cause == RemedyCause::Health && matches!(health_of(slot), Some(HealthState::Healthy | HealthState::Broken))
        };
        let Some(slot) = ctx.state.slots.get(id).filter(|slot| runs(slot, wanted.inc) && !is_well(slot)) else {
            self.wanted.remove(&id);
            return None;
        };
        let name = slot.spec().key();
        // A reload replaces the process anyway, and only one instance is replaced at a time.
        if ctx.state.slots.is_being_replaced(name) || self.active.contains_key(name) {
            return None;
        }
        Some(self.case(ctx, slot, wanted).remedy(ctx.now.mono_ms))
    }

    /// Returns the facts about a process that needs a remedy.
    fn case(&self, ctx: &Ctx, slot: &Slot, wanted: &PendingRemedy) -> RemedyInput {
        RemedyInput {
            cause: wanted.cause,
            action: action_of(slot),
            autokill: slot.spec().safeguards.as_ref().is_some_and(|safeguards| safeguards.autokill),
            may_restart: slot.durable.instance.may_restart(&slot.live.policy, ctx.now),
            overlaps: slot.shares_its_ports(),
            candidate_failed: self.candidate_failed.get(&slot.durable.id) == Some(&wanted.inc),
            not_before_ms: self.paces.get(&slot.durable.pm_id).map_or(0, Pace::not_before_ms),
        }
    }

    /// Starts the remedy of a process. The other instances of its app wait.
    fn begin(&mut self, ctx: &mut Ctx, id: u32, remedy: Remedy) {
        let Some(PendingRemedy { inc, cause, reason: why }) = self.wanted.remove(&id) else { return };
        let Some(slot) = ctx.state.slots.get(id) else { return };
        let (app, pm_id) = (slot.spec().key().to_owned(), slot.durable.pm_id);
        let pace = self.paces.entry(pm_id).or_default();
        pace.replaced(pace.not_before_ms().max(ctx.now.mono_ms));
        self.active.insert(app.clone(), ActiveReplacement { pm_id, id, inc });
        let origin = Origin::found(cause.into(), why);
        match remedy {
            Remedy::Wait(_) => {}
            Remedy::Fail => ctx.event(id, Event::Fail(origin)),
            Remedy::Restart => ctx.event(id, Event::Restart(origin)),
            Remedy::RestartAt(at_ms) => ctx.event(id, Event::RestartAt { origin, at_ms }),
            Remedy::Replace => {
                ctx.request(FeatureRequest::Replace { app, ids: vec![id], canary_ms: Some(0), origin, what: cause.as_str() })
            }
        }
    }

    /// Completes replacements that are over. The next instances of their apps can then be replaced.
    fn finish_replacements(&mut self, ctx: &mut Ctx) {
        if self.active.is_empty() {
            return;
        }
        let all: Vec<(String, ActiveReplacement)> = self.active.iter().map(|(name, under_way)| (name.clone(), *under_way)).collect();
        for (name, ActiveReplacement { pm_id, id, inc }) in all {
            if ctx.state.slots.is_being_replaced(&name) {
                continue;
            }
            let slot = ctx.state.slots.serving().find(|slot| slot.durable.pm_id == pm_id && slot.spec().key() == name);
            let is_same = slot.is_some_and(|slot| slot.durable.id == id && slot.durable.instance.inc == inc);
            if !slot.is_none_or(|slot| is_complete(&slot.durable.instance, is_same, health_of(slot))) {
                continue;
            }
            self.active.remove(&name);
            if let Some(slot) = slot.filter(|slot| is_same && runs(slot, inc)) {
                self.candidate_failed.insert(id, inc);
                if let Some(wanted) = still_unhealthy(slot, inc) {
                    self.want(ctx, id, wanted);
                }
            }
        }
    }
}

/// Returns true if this process serves.
fn runs(slot: &Slot, inc: u32) -> bool {
    slot.serving_inc() == Some(inc)
}

fn health_of(slot: &Slot) -> Option<HealthState> {
    slot.live.health.as_ref().map(|report| report.state)
}

/// Returns the action that the app sets for an unhealthy process.
fn action_of(slot: &Slot) -> Action {
    slot.spec().health().map_or(Action::Restart, |health| health.action)
}

/// Returns the cause for a process that is still unhealthy after its replacement failed. It is
/// replaced in another way.
fn still_unhealthy(slot: &Slot, inc: u32) -> Option<PendingRemedy> {
    let report = slot.live.health.as_ref().filter(|report| report.state == HealthState::Unhealthy)?;
    let why = report.last.as_ref().map_or_else(|| "no answer".into(), |last| last.words.clone());
    Some(PendingRemedy { inc, cause: RemedyCause::Health, reason: why })
}
