//! Promises about apps that scale themselves.

use std::collections::BTreeMap;

use ostler_core::app::AppSpec;
use ostler_core::lifecycle::{InstanceState, PolicyName};
use ostler_core::serving::AutoscaleSettings;
use ostler_proto::event::{Event, EventCause, EventKind};

use super::machine::Machine;
use super::verdict::Verdict;
use crate::control::Control;

/// Time after a change of the number of instances before a scale-down: the load of this time
/// decides.
const DOWN_AFTER_MS: u64 = 60_000;

/// Observations of self-scaling apps.
#[derive(Default)]
pub(super) struct Scaling {
    rules: BTreeMap<String, AutoscaleSettings>,
    /// Time of the last change of each app's number of instances, by anyone.
    changed: BTreeMap<String, u64>,
}

impl Scaling {
    pub(super) fn of(specs: &[AppSpec]) -> Self {
        let rules = specs.iter().filter_map(|spec| Some((spec.name.clone(), spec.autoscale.clone()?))).collect();
        Self { rules, changed: BTreeMap::new() }
    }

    /// Checks that an app removes one instance at a time, and only after a minute since the last
    /// change of the number by anyone.
    pub(super) fn take(&mut self, event: &Event) -> Verdict {
        let (EventKind::Scaled { from, to }, Some(app)) = (&event.kind, &event.app) else { return Ok(()) };
        let Some(rules) = self.rules.get(app) else { return Ok(()) };
        let before = self.changed.insert(app.clone(), event.at_ms);
        if !matches!(&event.cause, EventCause::Policy { name: PolicyName::Autoscale, .. }) {
            return Ok(());
        }
        ensure!((rules.min..=rules.max).contains(to), "{app} is scaled from {from} to {to}, outside of {rules:?}");
        if *from <= rules.max && to < from {
            ensure!(from - to == 1, "{app} is scaled from {from} to {to} at once");
            let settled = before.is_none_or(|before| event.at_ms.saturating_sub(before) >= DOWN_AFTER_MS);
            ensure!(settled, "{app} is scaled from {from} to {to}, {:?} ms after a change", before.map(|before| event.at_ms - before));
        }
        Ok(())
    }

    /// Checks that each app has the number of instances that its constant load needs.
    pub(super) fn at_rest(&self, control: &Control, machine: &Machine) -> Verdict {
        for (app, rules) in &self.rules {
            let of_app = || control.ctx.state.slots.iter().filter(|slot| slot.spec().name == *app);
            let count = of_app().count() as u64;
            // Instances that a user stopped, or that gave up, are not scaled.
            if count == 0 || of_app().any(|slot| !matches!(slot.durable.instance.state, InstanceState::Running { .. })) {
                continue;
            }
            let (min, max, aim) = (u64::from(rules.min), u64::from(rules.max), u64::from(rules.cpu));
            ensure!((min..=max).contains(&count), "{app} has {count} instances, outside of {rules:?}");
            let load = machine.load_of(app);
            ensure!(count == max || load <= aim * count, "{app} has only {count} instances for a load of {load} with {rules:?}");
            let is_least = count == min || load * 100 > aim * (count - 1) * 80;
            ensure!(is_least, "{app} still has {count} instances for a load of {load} with {rules:?}");
        }
        Ok(())
    }
}
