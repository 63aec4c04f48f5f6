//! Apps that wait for others: when they may start, and when they cannot.
//!
//! Who waits is a state of the instance, so it is in the journal, and a fresh daemon goes on with it. When a turn has nothing left to do,
//! those that wait are looked at; where nobody does it costs nothing. The order in which a request touches what runs already is the
//! request's own affair.

use std::collections::{BTreeMap, BTreeSet};

use ostler_core::lifecycle::{Event, State};
use ostler_core::order::{self, Condition, Standing};

use crate::engine::{Ctx, Feature, Transition};
use crate::slots::Slot;
use crate::store::Role;

/// Instances that wait for others.
#[derive(Debug, Default)]
pub(crate) struct Order {
    waiting: BTreeSet<u32>,
}

/// What users see, by app.
struct Apps<'a> {
    by_name: BTreeMap<&'a str, Vec<&'a Slot>>,
    /// Instances that a request will start when their turn comes.
    coming: &'a BTreeSet<u32>,
}

impl<'a> Apps<'a> {
    fn of(ctx: &'a Ctx) -> Self {
        let mut by_name: BTreeMap<&str, Vec<&Slot>> = BTreeMap::new();
        for slot in ctx.slots.iter().filter(|slot| slot.role == Role::Serving) {
            by_name.entry(&slot.spec().name).or_default().push(slot);
        }
        Self { by_name, coming: &ctx.coming }
    }

    /// How far an app is as somebody else's dependency: as far as that of its instances which is the farthest from it.
    fn standing(&self, name: &str, condition: Condition) -> Standing {
        let instances = self.by_name.get(name).into_iter().flatten();
        let standings = instances.map(|slot| match order::standing(condition, &slot.instance, slot.is_healthy()) {
            Standing::Hopeless(_) if self.coming.contains(&slot.id) => Standing::Pending,
            standing => standing,
        });
        standings.max().unwrap_or(Standing::Hopeless("is not there"))
    }

    /// The dependencies of an instance that are not as they have to be, and what each is instead, in words that follow its name.
    fn missing(&self, slot: &'a Slot) -> Vec<(Standing, &'a str, String)> {
        let look = |(name, condition): (&'a String, &Condition)| match self.standing(name, *condition) {
            Standing::Met => None,
            Standing::Pending => Some((Standing::Pending, name.as_str(), format!("is not {}", condition.word()))),
            hopeless @ Standing::Hopeless(why) => Some((hopeless, name.as_str(), why.to_owned())),
        };
        slot.spec().order.depends_on.iter().filter_map(look).collect()
    }
}

/// `it depends on db, which is stopped, and on cache, which is not ready`.
fn in_words(missing: &[(Standing, &str, String)]) -> String {
    let each: Vec<String> = missing.iter().map(|(_, name, why)| format!("on {name}, which {why}")).collect();
    format!("it depends {}", each.join(", and "))
}

impl Order {
    pub(crate) const NAME: &str = "order";

    /// Somebody waits.
    pub(crate) fn is_needed(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// What an instance waits for, in words.
    pub(crate) fn waits_for(ctx: &Ctx, slot: &Slot) -> Vec<String> {
        if !matches!(slot.instance.state, State::Waiting { .. }) {
            return Vec::new();
        }
        Apps::of(ctx).missing(slot).into_iter().map(|(_, name, why)| format!("{name} {why}")).collect()
    }

    /// Ends the waiting of an instance whose time is over. False if that is not what its deadline is about.
    pub(crate) fn has_waited_in_vain(ctx: &mut Ctx, id: u32) -> bool {
        let Some(slot) = ctx.slots.get(id) else { return false };
        let State::Waiting { deadline_ms, .. } = slot.instance.state else { return false };
        if ctx.now.mono_ms < deadline_ms {
            return false;
        }
        let why = in_words(&Apps::of(ctx).missing(slot));
        let waited_ms = slot.spec().order.timeout_ms();
        ctx.event(id, Event::Unmet(format!("{why}, after {waited_ms} ms")));
        true
    }
}

impl Feature for Order {
    fn on_transition(&mut self, ctx: &mut Ctx, transition: &Transition<'_>) {
        let id = transition.id;
        if ctx.slots.get(id).is_some_and(|slot| matches!(slot.instance.state, State::Waiting { .. })) {
            self.waiting.insert(id);
        } else if !self.waiting.is_empty() {
            self.waiting.remove(&id);
        }
    }

    fn on_forgotten(&mut self, _ctx: &mut Ctx, id: u32) {
        self.waiting.remove(&id);
    }

    /// Starts what need not wait any more, and ends the waiting of what waits in vain.
    fn on_quiet(&mut self, ctx: &mut Ctx) {
        if self.waiting.is_empty() {
            return;
        }
        let apps = Apps::of(ctx);
        let mut events = Vec::new();
        for slot in self.waiting.iter().filter_map(|id| ctx.slots.get(*id)) {
            let mut missing = apps.missing(slot);
            if missing.is_empty() {
                events.push((slot.id, Event::Released));
                continue;
            }
            missing.retain(|(standing, ..)| *standing != Standing::Pending);
            if !missing.is_empty() {
                events.push((slot.id, Event::Unmet(in_words(&missing))));
            }
        }
        events.into_iter().for_each(|(id, event)| ctx.event(id, event));
    }
}
