//! Apps that wait for others: when they may start, and when they cannot.
//!
//! Waiting is a state of the instance, so it is in the journal, and a new daemon continues it. When
//! a turn has no work left, the waiting instances are checked. Without waiting instances this costs
//! nothing. Each request itself decides the order in which it touches running apps.

use ostler_core::lifecycle::dependency_state::DependencyState;
use ostler_core::lifecycle::{Event, InstanceState};

use crate::engine::{Ctx, InstanceStep};
use crate::state::slots::needs::{Apps, describe_missing};

/// Instances that wait for others. Their list is in the context, because requests report which
/// instances they will start (`DaemonState::pending_starts`).
#[derive(Debug, Default)]
pub(crate) struct StartOrder;

impl StartOrder {
    pub(crate) const NAME: &str = "order";
}

impl StartOrder {
    /// Stops the wait of an instance at its deadline.
    pub(crate) fn on_due(&mut self, ctx: &mut Ctx, id: u32) -> bool {
        let Some(slot) = ctx.state.slots.get(id) else { return false };
        let InstanceState::Waiting { deadline_ms, .. } = slot.durable.instance.state else { return false };
        if ctx.now.mono_ms < deadline_ms {
            return false;
        }
        let why = describe_missing(&Apps::of(&ctx.state.slots, &ctx.state.pending_starts).missing(slot));
        let waited_ms = slot.spec().order.timeout_ms();
        ctx.event(id, Event::Unmet(format!("{why}, after {waited_ms} ms")));
        true
    }

    pub(crate) fn on_step(&mut self, ctx: &mut Ctx, step: &InstanceStep<'_>) {
        let id = step.id;
        if ctx.state.slots.get(id).is_some_and(|slot| matches!(slot.durable.instance.state, InstanceState::Waiting { .. })) {
            ctx.state.waiting.insert(id);
        } else if !ctx.state.waiting.is_empty() {
            ctx.state.waiting.remove(&id);
        }
    }

    pub(crate) fn on_forgotten(&mut self, ctx: &mut Ctx, id: u32) {
        ctx.state.waiting.remove(&id);
    }

    /// Starts instances that need not wait any more, and stops waits that cannot succeed.
    pub(crate) fn on_idle(&mut self, ctx: &mut Ctx) {
        if ctx.state.waiting.is_empty() {
            return;
        }
        let apps = Apps::of(&ctx.state.slots, &ctx.state.pending_starts);
        let mut events = Vec::new();
        for slot in ctx.state.waiting.iter().filter_map(|id| ctx.state.slots.get(*id)) {
            let mut missing = apps.missing(slot);
            if missing.is_empty() {
                events.push((slot.durable.id, Event::Released));
                continue;
            }
            missing.retain(|(standing, ..)| *standing != DependencyState::Pending);
            if !missing.is_empty() {
                events.push((slot.durable.id, Event::Unmet(describe_missing(&missing))));
            }
        }
        events.into_iter().for_each(|(id, event)| ctx.event(id, event));
    }
}

#[cfg(test)]
mod tests {
    use ostler_core::app::AppSpec;
    use ostler_core::lifecycle::Origin;
    use ostler_core::lifecycle::order::{Condition, Dependencies};

    use super::*;
    use crate::engine::{Input, TestContext, reacts};
    use crate::state::slots::needs::waits_for;

    fn user() -> Origin {
        Origin::User { command: "start".into(), uid: 0, pid: 1, on_behalf_of: None }
    }

    fn app(name: &str, depends_on: &[(&str, Condition)]) -> AppSpec {
        let depends_on = depends_on.iter().map(|(name, condition)| ((*name).to_owned(), *condition)).collect();
        let order = Dependencies { depends_on, timeout_ms: Some(5000) }.into();
        AppSpec { name: name.into(), script: "/bin/true".into(), order, ..AppSpec::default() }
    }

    /// Returns `db`, and `api` that waits for it.
    fn waiting() -> (TestContext, StartOrder, u32, u32) {
        let (mut played, mut order) = (TestContext::new(&[]), StartOrder);
        let db = played.instance(app("db", &[]));
        let api = played.instance(app("api", &[("db", Condition::Ready)]));
        played.dispatch(&mut order, api, Event::Start(user()));
        assert!(played.ctx.state.waiting.contains(&api));
        (played, order, db, api)
    }

    fn decided(played: &mut TestContext, order: &mut StartOrder) -> Vec<(u32, Event)> {
        order.on_idle(&mut played.ctx);
        let event = |input| match input {
            Input::Event(id, event) => (id, event),
            other => panic!("{other:?}"),
        };
        played.queued().into_iter().map(event).collect()
    }

    #[test]
    fn start_is_released_when_its_dependency_is_ready() {
        let (mut played, mut order, db, api) = waiting();
        played.dispatch(&mut order, db, Event::Start(user()));
        assert_eq!(decided(&mut played, &mut order), []);
        assert_eq!(
            waits_for(&played.ctx.state.slots, &played.ctx.state.pending_starts, played.ctx.state.slots.get(api).unwrap()),
            ["db is not ready"]
        );
        played.spawned(&mut order, db, 4711);
        assert_eq!(decided(&mut played, &mut order), [(api, Event::Released)]);
        played.dispatch(&mut order, api, Event::Released);
        assert!(played.ctx.state.waiting.is_empty(), "nobody is looked at any more");
    }

    #[test]
    fn dependency_that_will_not_start_fails_the_start() {
        let (mut played, mut order, db, api) = waiting();
        // A request will start it later.
        played.ctx.state.pending_starts.insert(db);
        assert_eq!(decided(&mut played, &mut order), []);
        played.ctx.state.pending_starts.clear();
        let unmet = Event::Unmet("it depends on db, which is stopped".into());
        assert_eq!(decided(&mut played, &mut order), [(api, unmet)]);
        played.ctx.state.slots.remove(api);
        order.on_forgotten(&mut played.ctx, api);
        assert!(played.ctx.state.waiting.is_empty());
    }

    #[test]
    fn waiting_for_dependencies_times_out() {
        let (mut played, mut order, db, api) = waiting();
        played.dispatch(&mut order, db, Event::Start(user()));
        assert!(!order.on_due(&mut played.ctx, api));
        played.pass(&mut order, 5000);
        assert!(order.on_due(&mut played.ctx, api));
        assert!(!order.on_due(&mut played.ctx, db), "its deadline is another one");
        let why = "it depends on db, which is not ready, after 5000 ms";
        assert!(matches!(&played.queued()[..], [Input::Event(id, Event::Unmet(text))] if *id == api && text == why));
    }

    reacts!(StartOrder: on_step, on_forgotten, on_idle);
}
