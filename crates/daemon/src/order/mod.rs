//! Apps that wait for others: when they may start, and when they cannot.
//!
//! Who waits is a state of the instance, so it is in the journal, and a fresh daemon goes on with it. After each round of events
//! [`Control::release`] looks at those that wait; where nobody does it costs nothing. The order in which a request touches what runs already
//! is in [`turns`].

mod turns;

use std::collections::{BTreeMap, BTreeSet};

use ostler_core::lifecycle::{Event, State};
use ostler_core::order::{self, Condition, Standing};
use ostler_proto::control::Action;

use crate::control::{Control, Job, Step};
use crate::slots::{Slot, Slots};
use crate::store::Role;

/// What users see, by app.
struct Apps<'a> {
    by_name: BTreeMap<&'a str, Vec<&'a Slot>>,
    /// Instances that a request will start when their turn comes.
    coming: BTreeSet<u32>,
}

impl<'a> Apps<'a> {
    fn of(slots: &'a Slots, jobs: &[Job]) -> Self {
        let mut by_name: BTreeMap<&str, Vec<&Slot>> = BTreeMap::new();
        for slot in slots.iter().filter(|slot| slot.role == Role::Serving) {
            by_name.entry(&slot.spec().name).or_default().push(slot);
        }
        let starts = |job: &&Job| matches!(job.step, Step::Act(Action::Restart, _));
        let coming = jobs.iter().filter(starts).flat_map(|job| job.pending.iter().copied()).collect();
        Self { by_name, coming }
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

impl Control {
    /// An instance made a step.
    pub(crate) fn note_waiting(&mut self, id: u32) {
        if self.ctx.slots.get(id).is_some_and(|slot| matches!(slot.instance.state, State::Waiting { .. })) {
            self.waiting.insert(id);
        } else if !self.waiting.is_empty() {
            self.waiting.remove(&id);
        }
    }

    /// Starts what need not wait any more, and ends the waiting of what waits in vain. True when that made work.
    pub(crate) fn release(&mut self) -> bool {
        if self.waiting.is_empty() {
            return false;
        }
        let apps = Apps::of(&self.ctx.slots, &self.jobs);
        let mut events = Vec::new();
        for slot in self.waiting.iter().filter_map(|id| self.ctx.slots.get(*id)) {
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
        let moved = !events.is_empty();
        events.into_iter().for_each(|(id, event)| self.feed(id, event));
        moved
    }

    /// What an instance waits for, in words.
    pub(crate) fn waits_for(&self, slot: &Slot) -> Vec<String> {
        if !matches!(slot.instance.state, State::Waiting { .. }) {
            return Vec::new();
        }
        let apps = Apps::of(&self.ctx.slots, &self.jobs);
        apps.missing(slot).into_iter().map(|(_, name, why)| format!("{name} {why}")).collect()
    }

    /// Ends the waiting of an instance whose time is over. False if that is not what its deadline is about.
    pub(crate) fn waited_in_vain(&mut self, id: u32, now_ms: u64) -> bool {
        let Some(slot) = self.ctx.slots.get(id) else { return false };
        let State::Waiting { deadline_ms, .. } = slot.instance.state else { return false };
        if now_ms < deadline_ms {
            return false;
        }
        let why = in_words(&Apps::of(&self.ctx.slots, &self.jobs).missing(slot));
        let waited_ms = slot.spec().order.timeout_ms();
        self.feed(id, Event::Unmet(format!("{why}, after {waited_ms} ms")));
        true
    }
}
