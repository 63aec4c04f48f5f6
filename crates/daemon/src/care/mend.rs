//! Replacing what is not well, or uses too much: one instance of an app after the other, never all at once.
//!
//! The next one has its turn when the one before is healthy again (or has failed). Where a new process can serve beside the old one it is a
//! reload of that instance; elsewhere a restart. With `autokill` it counts as a crash and the restart policy decides.

use std::collections::BTreeMap;

use ostler_core::care::Action;
use ostler_core::health::{Case, Cause, Pace, Remedy, State as Health, is_over};
use ostler_core::lifecycle::{Event, Origin, State};
use ostler_proto::event::{self, Limit, What};

use crate::control::Control;
use crate::engine::Request;
use crate::slots::Slot;
use crate::store::Role;

/// What is to be replaced, and what is being replaced.
#[derive(Debug, Default)]
pub(super) struct Mending {
    /// By slot.
    wants: BTreeMap<u32, Want>,
    /// By app: the instance whose replacement has to be well before the next one has its turn.
    under_way: BTreeMap<String, UnderWay>,
    /// By `pm_id`.
    paces: BTreeMap<u32, Pace>,
    next_ms: Option<u64>,
}

#[derive(Clone, Debug)]
struct Want {
    inc: u32,
    cause: Cause,
    why: String,
}

impl Want {
    fn origin(&self) -> Origin {
        Origin::Policy(format!("{}: {}", self.cause.word(), self.why))
    }
}

#[derive(Clone, Copy, Debug)]
struct UnderWay {
    pm_id: u32,
    /// What was replaced.
    id: u32,
    inc: u32,
}

impl Mending {
    /// When somebody's turn may have come.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        self.next_ms
    }

    /// Its health is no reason any more.
    pub(super) fn is_well(&mut self, id: u32) {
        self.is_within(id, Cause::Health);
    }

    /// This is no reason any more.
    pub(super) fn is_within(&mut self, id: u32, cause: Cause) {
        if self.wants.get(&id).is_some_and(|want| want.cause == cause) {
            self.wants.remove(&id);
        }
    }

    /// It is not looked after any more.
    pub(super) fn wants_no_more(&mut self, id: u32) {
        self.wants.remove(&id);
    }

    /// A slot is forgotten.
    pub(super) fn forget(&mut self, slot: &Slot) {
        if slot.role == Role::Serving {
            self.paces.remove(&slot.pm_id);
        }
    }
}

impl Control {
    /// Asks for a replacement. True when that is news.
    pub(super) fn want_mending(&mut self, id: u32, cause: Cause, why: String) -> bool {
        let Some(slot) = self.ctx.slots.get(id) else { return false };
        let Some(watched) = self.care.watched.get(&id) else { return false };
        let action = slot.spec().care.as_ref().map_or(Action::Restart, |care| care.health.action);
        if cause == Cause::Health && action == Action::None {
            return false;
        }
        let under_way = self.care.mending.under_way.get(&slot.spec().name).is_some_and(|under_way| under_way.id == id);
        if under_way || self.care.mending.wants.contains_key(&id) {
            return false;
        }
        self.care.mending.wants.insert(id, Want { inc: watched.inc, cause, why });
        true
    }

    /// It uses or reports more than it may.
    pub(super) fn tell_limit(&mut self, id: u32, cause: Cause, warning: bool, why: String) {
        let limit = match cause {
            Cause::Memory => Limit::Memory,
            Cause::Cpu => Limit::Cpu,
            Cause::Errors => Limit::Errors,
            Cause::Health => return,
        };
        self.ctx.tell(id, What::LimitExceeded { limit, warning }, event::Cause::policy(cause.word(), why));
    }

    /// Replaces those whose turn it is. True when that made work.
    pub(crate) fn mend(&mut self) -> bool {
        let mending = &mut self.care.mending;
        if mending.wants.is_empty() && mending.under_way.is_empty() {
            mending.next_ms = None;
            return false;
        }
        self.look_at_mended();
        let now_ms = self.ctx.now.mono_ms;
        self.care.mending.next_ms = None;
        let mut mended = false;
        for (id, want) in self.care.mending.wants.clone() {
            let Some(slot) = self.ctx.slots.get(id) else {
                self.care.mending.wants.remove(&id);
                continue;
            };
            let (name, pm_id) = (slot.spec().name.clone(), slot.pm_id);
            if !matches!(slot.instance.state, State::Running { inc, .. } if inc == want.inc) {
                self.care.mending.wants.remove(&id);
                continue;
            }
            // A reload replaces it anyhow; and one at a time.
            if self.ctx.slots.is_being_replaced(&name) || self.care.mending.under_way.contains_key(&name) {
                continue;
            }
            let remedy = self.case(slot, &want).remedy(now_ms);
            if let Remedy::Wait(until_ms) = remedy {
                let next = &mut self.care.mending.next_ms;
                *next = Some(next.map_or(until_ms, |next| next.min(until_ms)));
                continue;
            }
            let mending = &mut self.care.mending;
            mending.wants.remove(&id);
            let pace = mending.paces.entry(pm_id).or_default();
            pace.replaced(pace.not_before_ms().max(now_ms));
            mending.under_way.insert(name, UnderWay { pm_id, id, inc: want.inc });
            self.treat(id, &want, remedy);
            mended = true;
        }
        mended
    }

    /// What is known of what is wanted for a process that runs.
    fn case(&self, slot: &Slot, want: &Want) -> Case {
        let care = slot.spec().care.as_ref();
        Case {
            cause: want.cause,
            action: care.map_or(Action::Restart, |care| care.health.action),
            autokill: care.is_some_and(|care| care.autokill),
            may_restart: slot.instance.may_restart(&slot.policy, self.ctx.now),
            overlaps: slot.spec().shares_its_ports(),
            beside_failed: self.care.watched.get(&slot.id).is_some_and(|watched| watched.beside_failed),
            not_before_ms: self.care.mending.paces.get(&slot.pm_id).map_or(0, Pace::not_before_ms),
        }
    }

    fn treat(&mut self, id: u32, want: &Want, remedy: Remedy) {
        let Some(slot) = self.ctx.slots.get(id) else { return };
        let origin = want.origin();
        match remedy {
            Remedy::Wait(_) => {}
            Remedy::Fail => self.feed(id, Event::Fail(origin)),
            Remedy::Restart => self.feed(id, Event::Restart(origin)),
            Remedy::RestartAt(at_ms) => self.feed(id, Event::RestartAt { origin, at_ms }),
            Remedy::Replace => {
                let app = slot.spec().name.clone();
                self.ctx.request(Request::Replace { app, ids: vec![id], canary_ms: Some(0), origin, what: want.cause.word() });
            }
        }
    }

    /// Ends what is under way where it is over.
    fn look_at_mended(&mut self) {
        let all: Vec<(String, UnderWay)> = self.care.mending.under_way.iter().map(|(name, under_way)| (name.clone(), *under_way)).collect();
        for (name, UnderWay { pm_id, id, inc }) in all {
            if self.ctx.slots.is_being_replaced(&name) {
                continue;
            }
            let slot = self.ctx.slots.serving().find(|slot| slot.pm_id == pm_id && slot.spec().name == name);
            let same = slot.is_some_and(|slot| slot.id == id && slot.instance.inc == inc);
            let health = |slot: &Slot| self.care.report(slot).map(|report| report.state);
            let over = slot.is_none_or(|slot| is_over(&slot.instance, same, health(slot)));
            if !over {
                continue;
            }
            self.care.mending.under_way.remove(&name);
            if let Some(watched) = self.care.watched.get_mut(&id).filter(|_| same) {
                watched.beside_failed = true;
                self.want_again(id);
            }
        }
    }

    /// A replacement did not come up: what is still unhealthy is to be replaced in another way.
    fn want_again(&mut self, id: u32) {
        let Some(slot) = self.ctx.slots.get(id) else { return };
        let unhealthy = self.care.report(slot).filter(|report| report.state == Health::Unhealthy);
        if let Some(report) = unhealthy {
            let why = report.last.map_or_else(|| "no answer".into(), |last| last.words);
            self.want_mending(id, Cause::Health, why);
        }
    }
}
