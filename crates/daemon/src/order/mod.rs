//! Apps that wait for others: when they may start, and when they cannot.
//!
//! Who waits is a state of the instance, so it is in the journal, and a fresh daemon goes on with it. After each round of events
//! [`Control::release`] looks at those that wait; where nobody does it costs nothing. The order in which a request touches what runs already
//! is in [`turns`].

mod turns;

use ostler_core::lifecycle::{Event, State};
use ostler_core::order::{self, Condition, Standing};

use crate::control::Control;
use crate::registry::{Registry, Slot};

/// What the health checks of an app say of a process that is online. Without checks: all is well.
fn is_healthy(_slot: &Slot) -> bool {
    true
}

/// How far an app is as somebody else's dependency; one that is not as it has to be in words.
fn look(registry: &Registry, name: &str, condition: Condition) -> (Standing, String) {
    let instances: Vec<&Slot> = registry.serving().filter(|slot| slot.spec().name == name).collect();
    let worst = instances.iter().map(|slot| order::standing(condition, &slot.instance, is_healthy(slot))).max();
    match worst {
        None => (Standing::Hopeless("is not there"), format!("{name} is not there")),
        Some(Standing::Met) => (Standing::Met, String::new()),
        Some(Standing::Pending) => (Standing::Pending, format!("{name} is not {}", condition.word())),
        Some(hopeless @ Standing::Hopeless(why)) => (hopeless, format!("{name} {why}")),
    }
}

impl Control {
    /// An instance made a step.
    pub(crate) fn note_waiting(&mut self, id: u32) {
        if self.registry.get(id).is_some_and(|slot| matches!(slot.instance.state, State::Waiting { .. })) {
            self.waiting.insert(id);
        } else if !self.waiting.is_empty() {
            self.waiting.remove(&id);
        }
    }

    /// Starts what need not wait any more, and ends the waiting of what waits in vain. True when that made work.
    pub(crate) fn release(&mut self) -> bool {
        let mut moved = false;
        for id in self.waiting.iter().copied().collect::<Vec<_>>() {
            let Some(slot) = self.registry.get(id) else {
                self.waiting.remove(&id);
                continue;
            };
            let dependencies = slot.spec().order.depends_on.iter();
            let (standing, why) = dependencies
                .map(|(name, condition)| look(&self.registry, name, *condition))
                .max()
                .unwrap_or((Standing::Met, String::new()));
            let event = match standing {
                Standing::Met => Event::Released,
                Standing::Pending => continue,
                Standing::Hopeless(_) => Event::Unmet(format!("it depends on {why}")),
            };
            self.feed(id, event);
            moved = true;
        }
        moved
    }

    /// What an instance waits for, in words.
    pub(crate) fn waits_for(&self, slot: &Slot) -> Vec<String> {
        if !matches!(slot.instance.state, State::Waiting { .. }) {
            return Vec::new();
        }
        let dependencies = slot.spec().order.depends_on.iter();
        dependencies
            .map(|(name, condition)| look(&self.registry, name, *condition))
            .filter(|(standing, _)| *standing != Standing::Met)
            .map(|(_, why)| why)
            .collect()
    }

    /// The time of an instance is over, if it waits.
    pub(crate) fn waited_in_vain(&mut self, id: u32, now_ms: u64) -> bool {
        let Some(slot) = self.registry.get(id) else { return false };
        let State::Waiting { deadline_ms, .. } = slot.instance.state else { return false };
        if now_ms < deadline_ms {
            return false;
        }
        let waited = slot.spec().order.timeout_ms();
        let why = format!("it depends on {}, after {waited} ms", self.waits_for(slot).join(", "));
        self.feed(id, Event::Unmet(why));
        true
    }
}
