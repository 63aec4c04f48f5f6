//! Drains: processes that get no new requests any more and finish their present ones.
//!
//! # Theory of operation
//!
//! A Node process with our preload sends `Connection: close` to its clients, closes idle
//! connections, and reports when no client is connected any more. Without the preload, a cluster
//! worker gets Node's own order to disconnect: it closes its servers, finishes, and exits. A
//! process with its own shard (`crate::features::serving::sockets`) first has to empty it.
//!
//! WebSockets, streams of events and similar connections last until the app closes them. If only
//! these are left, the preload reports that the process has finished, and the app gets its stop
//! signal. It can then close them, and its clients reconnect to the serving processes. If the app
//! does not handle that signal, it would exit immediately. These connections therefore have
//! `kill_timeout` first.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use ostler_core::app::ExecMode;
use ostler_core::lifecycle::{DesiredState, Event, InstanceState, Transition};
use ostler_core::serving::Scheduling;
use ostler_core::serving::unanswered::cut_warning;
use ostler_proto::node::Message;
use ostler_proto::node::preload::{Drain, FromPreload};
use serde_json::{Value, json};

use crate::engine::{Ctx, FeatureAnswer, FeatureRequest};
use crate::state::policy::DRAIN_IDLE_MS;
use crate::state::slots::Slot;
use crate::state::store::Role;

/// Processes with our preload that finish their requests, by slot.
#[derive(Debug, Default)]
pub(crate) struct Drains(BTreeMap<u32, Draining>);

/// Last report of such a process.
#[derive(Clone, Copy, Debug)]
struct Draining {
    inc: u32,
    /// Open requests; `None`: the process has not answered yet.
    requests: Option<u32>,
}

impl Drains {
    pub(crate) fn on_request(&mut self, ctx: &mut Ctx, request: FeatureRequest) -> Option<FeatureRequest> {
        match request {
            FeatureRequest::FinishRequests { id, inc } => self.begin(ctx, id, inc),
            request => return Some(request),
        }
        None
    }

    pub(crate) fn on_message(&mut self, ctx: &mut Ctx, id: u32, _inc: u32, message: &Message) {
        if let Message::Internal(message) = message
            && ctx.state.slots.get(id).is_some_and(|slot| slot.durable.preloaded)
            && let Some(said) = FromPreload::of(message)
        {
            self.on_preload(ctx, id, said);
        }
    }

    /// Handles the end of its time to finish, or to exit. Requests that are still open are cut,
    /// unless the app finishes them now.
    pub(crate) fn on_transition(&mut self, ctx: &mut Ctx, id: u32, transition: &Transition) {
        if !matches!(transition, Transition::DrainTimeout | Transition::KillTimeout) {
            return;
        }
        let draining = self.0.remove(&id);
        let Some(slot) = ctx.state.slots.get(id) else { return };
        let Some((requests, text)) = unfinished(slot, transition, draining) else { return };
        let (pm_id, name) = (slot.durable.pm_id, &slot.spec().name);
        ctx.io.log.error(format_args!("App [{name}:{pm_id}] {text}"));
        let warning = format!("[{name}]({pm_id}) {text}");
        ctx.answer(FeatureAnswer::Cut { id, requests, warning });
    }

    pub(crate) fn on_forgotten(&mut self, _ctx: &mut Ctx, id: u32) {
        self.0.remove(&id);
    }
}

impl Drains {
    pub(crate) const NAME: &str = "drains";

    /// Starts a drain: the process gets no new requests and finishes its present ones.
    fn begin(&mut self, ctx: &mut Ctx, id: u32, inc: u32) {
        let now_ms = ctx.now.mono_ms;
        let Some(slot) = ctx.state.slots.get_mut(id) else { return };
        slot.live.drain_began_ms = Some(now_ms);
        let is_preloaded = slot.durable.preloaded;
        match order(slot) {
            Some(message) => ctx.send(id, &message, None),
            None => return ctx.event(id, Event::Drained { inc }),
        }
        if is_preloaded {
            self.0.insert(id, Draining { inc, requests: None });
        } else {
            // The process finishes in Node's own way, and sends nothing.
            extend(ctx, id, inc);
        }
    }

    fn on_preload(&mut self, ctx: &mut Ctx, id: u32, said: FromPreload) {
        let Some(InstanceState::Draining { inc, .. }) = ctx.state.slots.get(id).map(|slot| &slot.durable.instance.state) else { return };
        let inc = *inc;
        let Some(draining) = self.0.get_mut(&id).filter(|draining| draining.inc == inc) else { return };
        match said {
            FromPreload::Drained => {
                self.0.remove(&id);
                ctx.event(id, Event::Drained { inc });
            }
            FromPreload::Open { requests } => {
                if draining.requests.replace(requests).is_none() {
                    extend(ctx, id, inc);
                }
            }
            FromPreload::Runs
            | FromPreload::Turns
            | FromPreload::Figures(_)
            | FromPreload::Profiled { .. }
            | FromPreload::Reached { .. } => {}
        }
    }
}

/// Returns the order to finish for a process; `None` if no message can be sent to it.
fn order(slot: &Slot) -> Option<Value> {
    slot.live.ipc.as_ref()?;
    let spec = slot.spec();
    let is_cluster = spec.mode == ExecMode::Cluster;
    if !slot.durable.preloaded {
        let disconnects = is_cluster && (spec.ends_in_node() || spec.runs_in_deno());
        return disconnects.then(|| json!({"cmd": "NODE_CLUSTER", "act": "disconnect"}));
    }
    // In round robin the daemon hands it no new connection. The app itself may call `server.close`.
    let by_turns = is_cluster && spec.scheduling == Scheduling::RoundRobin;
    let policy = &slot.live.policy;
    let signal = (!policy.shutdown_with_message).then(|| ostler_sys::process::signal::name(policy.kill_signal));
    Some(Drain { stop_listening: !by_turns, idle_ms: DRAIN_IDLE_MS, lasting_ms: policy.kill_timeout_ms, signal }.message())
}

/// Restarts its time to finish.
fn extend(ctx: &mut Ctx, id: u32, inc: u32) {
    let drain_ms = ctx.state.slots.get(id).and_then(|slot| slot.live.policy.drain_timeout_ms).unwrap_or(0);
    ctx.event(id, Event::Extend { inc, until_ms: ctx.now.mono_ms.saturating_add(drain_ms) });
}

/// Returns the known number of requests that are cut, and words that follow the name of the app.
/// `None` if nothing is cut.
fn unfinished(slot: &Slot, transition: &Transition, draining: Option<Draining>) -> Option<(u32, String)> {
    let (drain_ms, kill_ms) = (slot.live.policy.drain_timeout_ms.unwrap_or(0), slot.live.policy.kill_timeout_ms);
    let gently = slot.durable.role == Role::Retiring || slot.durable.instance.wanted != DesiredState::Up;
    match (transition, draining) {
        (Transition::DrainTimeout, Some(Draining { requests: Some(0), .. })) => None,
        (Transition::DrainTimeout, Some(Draining { requests: Some(requests), .. })) => Some((requests, cut_warning(requests, drain_ms))),
        (Transition::DrainTimeout, Some(Draining { requests: None, .. })) => {
            Some((0, "the old process does not answer and is stopped".to_owned()))
        }
        (Transition::KillTimeout, _) if gently && slot.live.policy.drains_after_signal => {
            let ms = drain_ms.max(kill_ms);
            Some((1, format!("the old process did not finish within drain_timeout ({ms} ms) and was killed")))
        }
        _ => None,
    }
}
