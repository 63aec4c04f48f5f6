//! Dependencies of instances on other apps before they start, and the state of those apps.

use std::collections::{BTreeMap, BTreeSet};

use ostler_core::lifecycle::InstanceState;
use ostler_core::lifecycle::dependency_state::{DependencyState, standing};
use ostler_core::lifecycle::order::Condition;

use super::{Slot, Slots};
use crate::state::store::Role;

/// Apps that users see.
pub(crate) struct Apps<'a> {
    by_name: BTreeMap<&'a str, Vec<&'a Slot>>,
    /// Instances that a request will start later.
    pending_starts: &'a BTreeSet<u32>,
}

impl<'a> Apps<'a> {
    pub(crate) fn of(slots: &'a Slots, coming: &'a BTreeSet<u32>) -> Self {
        let mut by_name: BTreeMap<&str, Vec<&Slot>> = BTreeMap::new();
        for slot in slots.iter().filter(|slot| slot.durable.role == Role::Serving) {
            by_name.entry(&slot.spec().name).or_default().push(slot);
        }
        Self { by_name, pending_starts: coming }
    }

    /// Returns the standing of an app as a dependency: that of the instance that is farthest from
    /// the condition. If several namespaces have an app of this name, the dependent's own namespace
    /// counts.
    fn standing(&self, name: &str, of: &Slot, condition: Condition) -> DependencyState {
        let named = || self.by_name.get(name).into_iter().flatten();
        let is_near = |slot: &&&Slot| slot.spec().namespace == of.spec().namespace;
        let has_near = named().any(|slot| is_near(&slot));
        let instances = named().filter(|slot| !has_near || is_near(slot));
        let standings = instances.map(|slot| match standing(condition, &slot.durable.instance, slot.is_healthy()) {
            DependencyState::Unreachable(_) if self.pending_starts.contains(&slot.durable.id) => DependencyState::Pending,
            standing => standing,
        });
        standings.max().unwrap_or(DependencyState::Unreachable("does not exist"))
    }

    /// Returns the unmet dependencies of an instance, and the state of each as a text that follows
    /// its name.
    pub(crate) fn missing(&self, slot: &'a Slot) -> Vec<(DependencyState, &'a str, String)> {
        let look = |(name, condition): (&'a String, &Condition)| match self.standing(name, slot, *condition) {
            DependencyState::Met => None,
            DependencyState::Pending => Some((DependencyState::Pending, name.as_str(), format!("is not {}", condition.as_str()))),
            hopeless @ DependencyState::Unreachable(why) => Some((hopeless, name.as_str(), why.to_owned())),
        };
        slot.spec().order.depends_on.iter().filter_map(look).collect()
    }
}

/// Returns the dependencies that an instance waits for, as texts.
pub(crate) fn waits_for(slots: &Slots, coming: &BTreeSet<u32>, slot: &Slot) -> Vec<String> {
    if !matches!(slot.durable.instance.state, InstanceState::Waiting { .. }) {
        return Vec::new();
    }
    Apps::of(slots, coming).missing(slot).into_iter().map(|(_, name, why)| format!("{name} {why}")).collect()
}

/// Returns `it depends on db, which is stopped, and on cache, which is not ready`.
pub(crate) fn describe_missing(missing: &[(DependencyState, &str, String)]) -> String {
    let each: Vec<String> = missing.iter().map(|(_, name, why)| format!("on {name}, which {why}")).collect();
    format!("it depends {}", each.join(", and "))
}
