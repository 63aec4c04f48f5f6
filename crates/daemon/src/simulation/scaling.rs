//! Promises about apps that scale themselves.

use std::collections::BTreeMap;

use ostler_core::app::AppSpec;
use ostler_core::lifecycle::{PolicyName, State};
use ostler_core::serving::Autoscale;
use ostler_proto::event::{Cause, Event, What};

use super::machine::Machine;
use super::verdict::Verdict;
use crate::control::Control;

/// After any change of the number the load of so long decides whether there are too many.
const DOWN_AFTER_MS: u64 = 60_000;

/// What was seen of them.
#[derive(Default)]
pub(super) struct Scaling {
    rules: BTreeMap<String, Autoscale>,
    /// When the number of each was changed, by anybody.
    changed: BTreeMap<String, u64>,
}

impl Scaling {
    pub(super) fn of(specs: &[AppSpec]) -> Self {
        let rules = specs.iter().filter_map(|spec| Some((spec.name.clone(), spec.autoscale.clone()?))).collect();
        Self { rules, changed: BTreeMap::new() }
    }

    /// One less only where the load of a minute says so, whoever changed the number before; and one at a time.
    pub(super) fn take(&mut self, event: &Event) -> Verdict {
        let (What::Scaled { from, to }, Some(app)) = (&event.what, &event.app) else { return Ok(()) };
        let Some(rules) = self.rules.get(app) else { return Ok(()) };
        let before = self.changed.insert(app.clone(), event.at_ms);
        if !matches!(&event.cause, Cause::Policy { name: PolicyName::Autoscale, .. }) {
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

    /// The same load for more than a minute: there are as many as it needs.
    pub(super) fn at_rest(&self, control: &Control, machine: &Machine) -> Verdict {
        for (app, rules) in &self.rules {
            let of_app = || control.ctx.state.slots.iter().filter(|slot| slot.spec().name == *app);
            let count = of_app().count() as u64;
            // What a user stopped, or gave up, is left alone.
            if count == 0 || of_app().any(|slot| !matches!(slot.durable.instance.state, State::Running { .. })) {
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
