//! `max_lifetime`: an instance that has run for this long is replaced, without a gap if two
//! processes can share its ports.

use ostler_core::lifecycle::{Event, InstanceState, Origin, PolicyName};
use ostler_core::text::units::in_seconds;
use ostler_proto::control::Action;

use crate::engine::{Ctx, FeatureRequest, InstanceStep};
use crate::state::slots::Slot;
use crate::state::store::Role;

/// Time until the next request if the last one had no effect because a user's reload was in
/// progress.
const RETRY_MS: u64 = 60_000;

/// Deadlines of instances. They follow from the journal, so there is no other state.
#[derive(Debug, Default)]
pub(crate) struct Lifetime;

impl Lifetime {
    pub(crate) const NAME: &str = "lifetime";

    fn follow(ctx: &mut Ctx, id: u32) {
        let due_ms = ctx.state.slots.get(id).and_then(due_ms);
        ctx.outbox.timers.set((Self::NAME, id.into()), due_ms);
    }
}

/// Returns the time at which the instance reaches its lifetime.
fn due_ms(slot: &Slot) -> Option<u64> {
    let lifetime_ms = slot.spec().restart.max_lifetime_ms?;
    match slot.durable.instance.state {
        InstanceState::Running { since, .. } => Some(since.mono_ms.saturating_add(lifetime_ms)),
        _ => None,
    }
}

/// Returns the instances of one app that have reached it. They are replaced one after the other.
fn due_of(ctx: &Ctx, app: &str) -> Vec<u32> {
    let is_due = |slot: &&Slot| due_ms(slot).is_some_and(|due_ms| due_ms <= ctx.now.mono_ms);
    ctx.state.slots.serving().filter(|slot| slot.spec().key() == app).filter(is_due).map(|slot| slot.durable.id).collect()
}

impl Lifetime {
    pub(crate) fn on_boot(&mut self, ctx: &mut Ctx) {
        let limited = ctx.state.slots.iter().filter(|slot| slot.spec().restart.max_lifetime_ms.is_some());
        let ids: Vec<u32> = limited.map(|slot| slot.durable.id).collect();
        ids.into_iter().for_each(|id| Self::follow(ctx, id));
    }

    pub(crate) fn on_step(&mut self, ctx: &mut Ctx, step: &InstanceStep<'_>) {
        let is_limited = |slot: &Slot| slot.spec().restart.max_lifetime_ms.is_some();
        // A tick without effect must not move the deadline, which repeats the attempt.
        if !matches!(step.event, Event::Tick) && ctx.state.slots.get(step.id).is_some_and(is_limited) {
            Self::follow(ctx, step.id);
        }
    }

    pub(crate) fn on_described(&mut self, ctx: &mut Ctx, id: u32) {
        Self::follow(ctx, id);
    }

    pub(crate) fn on_forgotten(&mut self, ctx: &mut Ctx, id: u32) {
        ctx.outbox.timers.set((Self::NAME, id.into()), None);
    }

    pub(crate) fn on_timer(&mut self, ctx: &mut Ctx, key: u64) {
        let retry_ms = ctx.now.mono_ms.saturating_add(RETRY_MS);
        let Some(slot) = ctx.state.slots.get(key as u32) else { return };
        let (spec, role) = (std::rc::Rc::clone(&slot.app().spec), slot.durable.role);
        let Some(lifetime_ms) = spec.restart.max_lifetime_ms else { return };
        ctx.outbox.timers.set((Self::NAME, key), Some(retry_ms));
        if role != Role::Serving || ctx.state.slots.is_being_replaced(spec.key()) {
            return;
        }
        let ids = due_of(ctx, spec.key());
        ids.iter().for_each(|id| ctx.outbox.timers.set((Self::NAME, u64::from(*id)), Some(retry_ms)));
        let origin = Origin::found(PolicyName::MaxLifetime, format!("it has run for {}", in_seconds(lifetime_ms)));
        if spec.shares_its_ports() || spec.shares_opened_port() {
            ctx.request(FeatureRequest::Replace { app: spec.key().to_owned(), ids, origin, canary_ms: None, what: "max_lifetime" });
        } else {
            ctx.request(FeatureRequest::Act { action: Action::Restart, ids, origin });
        }
    }
}

#[cfg(test)]
mod tests {
    use ostler_core::app::{AppSpec, ExecMode};

    use super::*;
    use crate::engine::{Input, TestContext, reacts};

    /// Returns two instances of an app with a lifetime of one minute. The second started 10 s after
    /// the first.
    fn two(mode: ExecMode) -> (TestContext, Lifetime, [u32; 2]) {
        let (mut played, mut lifetime) = (TestContext::new(&[]), Lifetime);
        let mut spec =
            AppSpec { name: "app".into(), script: "/app.js".into(), interpreter: Some("node".into()), mode, ..AppSpec::default() };
        spec.restart.max_lifetime_ms = Some(60_000);
        let ids = [played.instance(spec.clone()), played.instance(spec)];
        played.start(&mut lifetime, ids[0], 101);
        played.pass(&mut lifetime, 10_000);
        played.start(&mut lifetime, ids[1], 102);
        (played, lifetime, ids)
    }

    #[test]
    fn instance_restarts_at_its_max_lifetime() {
        let (mut played, mut lifetime, [first, second]) = two(ExecMode::Fork);
        played.pass(&mut lifetime, 49_999);
        assert!(played.queued().is_empty());
        for (after_ms, id) in [(1, first), (10_000, second)] {
            played.pass(&mut lifetime, after_ms);
            let queued = played.queued();
            let [Input::Request(FeatureRequest::Act { action: Action::Restart, ids, origin })] = &*queued else { panic!("{queued:?}") };
            assert!(ids.contains(&id) && *origin == Origin::found(PolicyName::MaxLifetime, "it has run for 60 s"), "{queued:?}");
        }
    }

    #[test]
    fn workers_at_max_lifetime_are_replaced_in_one_rollout() {
        let (mut played, mut lifetime, ids) = two(ExecMode::Cluster);
        played.ctx.state.slots.begin_replacing("app");
        // A user's reload is in progress, so the replacement comes later.
        played.pass(&mut lifetime, 60_000);
        assert!(played.queued().is_empty());
        played.ctx.state.slots.end_replacing("app");
        played.pass(&mut lifetime, RETRY_MS);
        let queued = played.queued();
        let Input::Request(FeatureRequest::Replace { ids: replaced, .. }) = &queued[0] else { panic!("{queued:?}") };
        assert_eq!(replaced[..], ids);
        assert_eq!(queued.len(), 1, "what was asked for is not asked for again: {queued:?}");
    }

    #[test]
    fn stopped_or_unlimited_instance_has_no_deadline() {
        let (mut played, mut lifetime, [first, second]) = two(ExecMode::Fork);
        played.dispatch(&mut lifetime, first, Event::Stop(Origin::policy(PolicyName::Recovery)));
        let mut spec = played.ctx.state.slots.get(second).unwrap().spec().clone();
        spec.restart.max_lifetime_ms = None;
        played.ctx.redescribe(second, spec);
        lifetime.on_described(&mut played.ctx, second);
        assert_eq!(played.ctx.outbox.timers.next_ms(), None);
    }

    #[test]
    fn new_daemon_keeps_the_lifetime_deadline() {
        let (mut played, _, [first, _]) = two(ExecMode::Fork);
        played.ctx.outbox.timers = crate::engine::Timers::default();
        let mut fresh = Lifetime;
        fresh.on_boot(&mut played.ctx);
        assert_eq!(played.ctx.outbox.timers.next_ms(), due_ms(played.ctx.state.slots.get(first).unwrap()));
        assert_eq!(played.ctx.outbox.timers.next_ms(), Some(61_000));
    }

    reacts!(Lifetime: on_step, on_described, on_forgotten, on_timer);
}
