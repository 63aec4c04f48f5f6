//! Events of instances: the event of each transition, and its cause.
//!
//! Numbers, the ring and the journal are in [`crate::state::store::events`].

mod translate;

use ostler_core::lifecycle::{DesiredState, Event, Origin};
use ostler_proto::control::{Request, Response};

use crate::engine::{ClientRequest, Ctx, InstanceStep};
use crate::state::store::events::EventDraft;

/// Emitter of instances' events. It has no state: the cause of an instance's state is on its slot,
/// and in its record.
#[derive(Debug, Default)]
pub(crate) struct Events;

impl Events {
    pub(crate) const NAME: &str = "events";
}

impl Events {
    pub(crate) fn on_client_request(&mut self, ctx: &mut Ctx, ask: ClientRequest) -> Option<ClientRequest> {
        if !matches!(ask.request, Request::Events) {
            return Some(ask);
        }
        let response = Response::Events { list: ctx.state.events.after(None).1, position: ctx.state.events.position() };
        ctx.reply(ask.client, ask.id, response);
        None
    }

    pub(crate) fn on_step(&mut self, ctx: &mut Ctx, step: &InstanceStep<'_>) {
        let Some(slot) = ctx.state.slots.get_mut(step.id) else { return };
        if let Some(origin) = asked_by(step.event)
            && (origin.is_user() || slot.durable.instance.wanted == DesiredState::Up || !step.transitions.is_empty())
        {
            slot.durable.cause = Some(Box::new(origin.into()));
        }
        let (before, after) = (step.before, slot.durable.instance.status());
        for transition in step.transitions {
            let (what, cause) = match translate::of(transition, &slot.durable.instance, slot.durable.cause.as_deref()) {
                Some(told) => told,
                None => continue,
            };
            if translate::decides(&what) {
                slot.durable.cause = Some(Box::new(cause.clone()));
            }
            if slot.is_visible() {
                let draft = EventDraft {
                    app: Some(slot.spec().name.clone()),
                    id: Some(slot.durable.pm_id),
                    kind: what,
                    cause,
                    status: Some((before, after)),
                };
                ctx.state.events.push(ctx.now.wall_ms, draft);
            }
        }
    }
}

/// Returns the origin of this step.
fn asked_by(event: &Event) -> Option<&Origin> {
    match event {
        Event::Start(origin)
        | Event::Stop(origin)
        | Event::Restart(origin)
        | Event::RestartAt { origin, .. }
        | Event::Delete(origin)
        | Event::StopGently(origin)
        | Event::Retire(origin)
        | Event::Fail(origin) => Some(origin),
        Event::Drained { .. }
        | Event::Extend { .. }
        | Event::Hurry
        | Event::Released
        | Event::Unmet(_)
        | Event::HookDone { .. }
        | Event::Unprepared { .. }
        | Event::Reset
        | Event::Spawned { .. }
        | Event::SpawnFailed { .. }
        | Event::Ready { .. }
        | Event::Followed { .. }
        | Event::Exited { .. }
        | Event::TreeGone { .. }
        | Event::Tick
        | Event::Recovered(_) => None,
    }
}
