//! `instances: {min, max, cpu}`: measures the load of such apps, and scales them as the core
//! decides.

use std::collections::BTreeMap;

use ostler_core::health::autoscale::{INTERVAL_MS, Scaler};
use ostler_core::lifecycle::{Event, InstanceState, Origin, PolicyName};

use crate::engine::{Ctx, FeatureAnswer, FeatureRequest, InstanceStep, Key};
use crate::state::slots::{Slot, Slots};

/// Load of each app that scales itself.
#[derive(Debug, Default)]
pub(crate) struct Autoscale {
    all: BTreeMap<String, Scaler>,
}

impl Autoscale {
    pub(crate) const NAME: &str = "autoscale";
    /// Time of the next reading; unset if no app scales itself.
    const READ: Key = (Self::NAME, 0);
}

impl Autoscale {
    pub(crate) fn on_boot(&mut self, ctx: &mut Ctx) {
        if ctx.state.slots.iter().any(scales_itself) {
            ctx.outbox.timers.set(Self::READ, Some(ctx.now.mono_ms + INTERVAL_MS));
        }
    }

    /// Schedules a reading when a process runs whose load may have to be measured.
    pub(crate) fn on_step(&mut self, ctx: &mut Ctx, step: &InstanceStep<'_>) {
        if matches!(step.event, Event::Spawned { .. }) && ctx.state.slots.get(step.id).is_some_and(scales_itself) {
            ctx.outbox.timers.set_if_none(Self::READ, ctx.now.mono_ms + INTERVAL_MS);
        }
    }

    pub(crate) fn on_timer(&mut self, ctx: &mut Ctx, _key: u64) {
        let apps = apps(&ctx.state.slots);
        self.all.retain(|name, _| apps.contains_key(name));
        if !apps.is_empty() {
            ctx.outbox.timers.set(Self::READ, Some(ctx.now.mono_ms + INTERVAL_MS));
            let mut ids: Vec<u32> = apps.into_values().flatten().collect();
            ids.sort_unstable();
            ctx.request(FeatureRequest::Measure { by: Self::NAME, ids });
        }
    }

    pub(crate) fn on_answer(&mut self, ctx: &mut Ctx, answer: &FeatureAnswer) {
        let FeatureAnswer::Measured { by: Self::NAME, is_complete: true } = answer else { return };
        for (name, ids) in apps(&ctx.state.slots) {
            let slots = || ids.iter().filter_map(|id| ctx.state.slots.get(*id));
            // An app that a user stopped, or that is being replaced, is left alone.
            let is_running = slots().all(|slot| matches!(slot.durable.instance.state, InstanceState::Running { .. }));
            let Some(rules) = slots().next().and_then(|slot| slot.spec().autoscale.clone()) else { continue };
            if !is_running || ctx.state.slots.is_being_replaced(&name) {
                continue;
            }
            let load: f64 = slots().map(|slot| slot.live.cpu.monit().cpu_pct).sum();
            let have = ids.len() as u32;
            let want = self.all.entry(name.clone()).or_default().decide(&rules, have, load, ctx.now.mono_ms);
            if want != have {
                let instances = if have == 1 { "instance" } else { "instances" };
                let measured = format!("uses {load:.0} % of a core with {have} {instances}");
                ctx.io.log.line(format_args!("App [{name}] {measured}: scaling to {want}"));
                ctx.request(FeatureRequest::Scale { ids, to: want, origin: Origin::found(PolicyName::Autoscale, measured) });
            }
        }
    }
}

fn scales_itself(slot: &Slot) -> bool {
    slot.spec().autoscale.is_some()
}

/// Returns the instances of each app that scales itself, without those on their way down.
fn apps(slots: &Slots) -> BTreeMap<String, Vec<u32>> {
    let leaves = |state: &InstanceState| {
        matches!(
            state,
            InstanceState::Leaving { .. }
                | InstanceState::Draining { .. }
                | InstanceState::Stopping { .. }
                | InstanceState::Clearing { .. }
                | InstanceState::Gone
        )
    };
    let mut apps: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for slot in slots.serving().filter(|slot| scales_itself(slot)) {
        let ids = apps.entry(slot.spec().key().to_owned()).or_default();
        ids.extend((!leaves(&slot.durable.instance.state)).then_some(slot.durable.id));
    }
    apps
}

#[cfg(test)]
mod tests {
    use ostler_core::app::AppSpec;
    use ostler_core::serving::AutoscaleSettings as Rules;

    use super::*;
    use crate::engine::{Input, TestContext, reacts};

    fn running(min: u32) -> (TestContext, Autoscale, u32) {
        let (mut played, mut autoscale) = (TestContext::new(&[]), Autoscale::default());
        autoscale.on_boot(&mut played.ctx);
        assert_eq!(played.ctx.outbox.timers.next_ms(), None, "nobody is measured where nobody scales itself");
        let rules = Rules { min, max: 4, cpu: 50 };
        let id = played.instance(AppSpec { name: "api".into(), script: "/bin/true".into(), autoscale: Some(rules), ..AppSpec::default() });
        played.start(&mut autoscale, id, 4711);
        (played, autoscale, id)
    }

    #[test]
    fn autoscaled_app_is_measured_at_intervals() {
        let (mut played, mut autoscale, id) = running(1);
        for _ in 0..3 {
            played.pass(&mut autoscale, INTERVAL_MS);
            let inputs = played.queued();
            assert!(matches!(&inputs[..], [Input::Request(FeatureRequest::Measure { ids, .. })] if *ids == [id]), "{inputs:?}");
        }
        played.ctx.state.slots.remove(id);
        played.pass(&mut autoscale, INTERVAL_MS);
        assert!(played.queued().is_empty());
        assert_eq!(played.ctx.outbox.timers.next_ms(), None, "and not once nobody does any more");
    }

    #[test]
    fn autoscale_starts_missing_instances_unless_reloading() {
        let (mut played, mut autoscale, id) = running(2);
        let mut decided = |played: &mut TestContext, is_complete| {
            autoscale.on_answer(&mut played.ctx, &FeatureAnswer::Measured { by: "somebody else", is_complete });
            assert!(played.queued().is_empty(), "not requested by us, perhaps of others");
            autoscale.on_answer(&mut played.ctx, &FeatureAnswer::Measured { by: Autoscale::NAME, is_complete });
            played.queued()
        };
        assert!(decided(&mut played, false).is_empty(), "half a reading says nothing");
        played.ctx.state.slots.begin_replacing("api");
        assert!(decided(&mut played, true).is_empty());
        played.ctx.state.slots.end_replacing("api");
        let inputs = decided(&mut played, true);
        let [Input::Request(FeatureRequest::Scale { ids, to: 2, origin })] = &inputs[..] else { panic!("{inputs:?}") };
        let measured = Origin::found(PolicyName::Autoscale, "uses 0 % of a core with 1 instance");
        assert_eq!((&ids[..], origin), (&[id][..], &measured));
    }

    reacts!(Autoscale: on_step, on_timer, on_answer);
}
