//! `trigger`: calls an action that an app offers, over its channel, and returns its answer to the
//! caller. `profile`, and the way to a worker, call the preload of a Node app in the same manner.
//!
//! An app's answer names only the action. Of several calls of one action the oldest gets it.

use std::collections::BTreeMap;

use ostler_core::text::units::in_seconds;
use ostler_proto::control::{Failure, Profile, Progress, Request, Response};
use ostler_proto::node::Message;
use ostler_proto::node::preload::{self, FromPreload};
use serde_json::{Value, json};

use crate::engine::{ClientRequest, Ctx};
use crate::state::slots::Slot;

/// Type of the message in which an app answers.
const REPLY: &str = "axm:reply";
/// Most calls in progress at the same time.
const MAX_CALLS: usize = 1024;
/// Longest wait for an answer.
const LONGEST_MS: u64 = 24 * 3_600_000;
/// Time to write a profile. The profile of a large heap takes long.
const WRITTEN_MS: u64 = 120_000;

/// Longest wait for a way to a server.
const WAY_MS: u64 = 3_000;

/// Target of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
enum CallTarget {
    /// An action of the app.
    Action(String),
    /// The preload's profiler, with the number of the call.
    Profiler(u64),
    /// The preload's way to a server, with the number of the call.
    Reach(u64),
}

impl CallTarget {
    fn name(&self) -> &str {
        match self {
            Self::Action(name) => name,
            Self::Profiler(_) => "profile",
            Self::Reach(_) => "reach",
        }
    }
}

/// Call that some instances have not answered yet.
#[derive(Debug)]
struct PendingCall {
    client: u32,
    request: u64,
    called: CallTarget,
    within_ms: u64,
    /// Instances that got the call.
    called_ids: Vec<u32>,
    /// Instances that have not answered yet.
    waiting: Vec<u32>,
    failed: u32,
}

/// Calls in progress, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Actions {
    calls: BTreeMap<u64, PendingCall>,
}

impl Actions {
    pub(crate) const NAME: &str = "actions";

    fn call(&mut self, ctx: &mut Ctx, (client, request): (u32, u64), target: &str, action: &str, params: Option<&str>, within_ms: u64) {
        let message = |pm_id: u32| params.map_or_else(|| action.into(), |params| json!({ "id": pm_id, "msg": action, "opts": params }));
        let Some(told) = self.chosen(ctx, (client, request), callable_instances(ctx, target, action)) else { return };
        self.send_call(ctx, (client, request), target, CallTarget::Action(action.to_owned()), told, &message, within_ms);
    }

    fn profile(&mut self, ctx: &mut Ctx, asker: (u32, u64), target: &str, kind: Profile, ms: u64) {
        let ms = if kind == Profile::Heap { 0 } else { ms.min(LONGEST_MS) };
        let Some(told) = self.chosen(ctx, asker, preloaded(ctx, target)) else { return };
        let call = ctx.ticket();
        self.send_call(
            ctx,
            asker,
            target,
            CallTarget::Profiler(call),
            told,
            &|_| preload::profile(kind.as_str(), ms, call),
            ms + WRITTEN_MS,
        );
    }

    fn reach(&mut self, ctx: &mut Ctx, asker: (u32, u64), target: &str, port: u16) {
        let Some(told) = self.chosen(ctx, asker, preloaded(ctx, target)) else { return };
        let call = ctx.ticket();
        self.send_call(ctx, asker, target, CallTarget::Reach(call), told, &|_| preload::reach(port, call), WAY_MS);
    }

    /// Returns the instances to call. If there is a failure, answers with it and returns `None`.
    fn chosen(&self, ctx: &mut Ctx, (client, request): (u32, u64), told: Result<Vec<u32>, Failure>) -> Option<Vec<u32>> {
        let ids = match told {
            Ok(_) if self.calls.len() >= MAX_CALLS => Err(Failure::Other("too many actions are running".into())),
            told => told,
        };
        ids.map_err(|failure| ctx.reply(client, request, Response::Failed(failure))).ok()
    }

    /// Sends the call to instances, and waits for their answers.
    #[expect(clippy::too_many_arguments, reason = "each is one part of the call")]
    fn send_call(
        &mut self,
        ctx: &mut Ctx,
        (client, request): (u32, u64),
        target: &str,
        called: CallTarget,
        told: Vec<u32>,
        message: &dyn Fn(u32) -> Value,
        within_ms: u64,
    ) {
        let pm_ids = pm_ids(ctx, &told);
        let selected = Progress::Selected { action: called.name().to_owned(), target: target.to_owned(), ids: pm_ids.clone() };
        ctx.reply(client, request, Response::Progress(selected));
        for (id, pm_id) in told.iter().zip(pm_ids) {
            ctx.send(*id, &message(pm_id), None);
        }
        let ticket = ctx.ticket();
        let within_ms = within_ms.min(LONGEST_MS);
        ctx.outbox.timers.set((Self::NAME, ticket), Some(ctx.now.mono_ms.saturating_add(within_ms)));
        let calling = PendingCall { client, request, called, within_ms, waiting: told.clone(), called_ids: told, failed: 0 };
        self.calls.insert(ticket, calling);
    }

    /// Handles the answer of an instance, or the reason why none will come.
    fn is_answered(&mut self, ctx: &mut Ctx, ticket: u64, id: u32, answer: Result<Value, String>) {
        let Some(calling) = self.calls.get_mut(&ticket) else { return };
        let Some(at) = calling.waiting.iter().position(|waiting| *waiting == id) else { return };
        calling.waiting.remove(at);
        calling.failed += u32::from(answer.is_err());
        if let Some(slot) = ctx.state.slots.get(id) {
            let (pm_id, name, namespace) = (slot.durable.pm_id, slot.spec().name.clone(), slot.spec().namespace.clone());
            let progress = match answer {
                Ok(value) => Progress::Returned { id: pm_id, name, namespace, value },
                Err(reason) => Progress::InstanceFailed { id: pm_id, name, reason },
            };
            ctx.reply(calling.client, calling.request, Response::Progress(progress));
        }
        if !calling.waiting.is_empty() {
            return;
        }
        ctx.outbox.timers.set((Self::NAME, ticket), None);
        if let Some(PendingCall { client, request, called_ids: told, failed, .. }) = self.calls.remove(&ticket) {
            let response = match failed {
                0 => Response::Done { ids: pm_ids(ctx, &told) },
                failed => Response::Failed(Failure::Some { failed, total: told.len() as u32 }),
            };
            ctx.reply(client, request, response);
        }
    }

    /// Handles an instance that cannot answer any more.
    fn drop_instance(&mut self, ctx: &mut Ctx, id: u32) {
        let of_it: Vec<u64> = self.calls.iter().filter(|(_, calling)| calling.waiting.contains(&id)).map(|(ticket, _)| *ticket).collect();
        for ticket in of_it {
            self.is_answered(ctx, ticket, id, Err("exited before it answered".into()));
        }
    }
}

/// Returns the instances that offer this action and have an open channel.
fn callable_instances(ctx: &Ctx, target: &str, action: &str) -> Result<Vec<u32>, Failure> {
    let ids = ctx.state.slots.select(target, "")?;
    let selected: Vec<&Slot> = ids.iter().filter_map(|id| ctx.state.slots.get(*id)).collect();
    let targets: Vec<u32> = selected.iter().filter(|slot| slot.has_channel() && slot.offers(action)).map(|slot| slot.durable.id).collect();
    if !targets.is_empty() {
        return Ok(targets);
    }
    let mut offered: Vec<&str> = selected.iter().filter(|slot| slot.has_channel()).flat_map(|slot| slot.actions()).collect();
    offered.sort_unstable();
    offered.dedup();
    Err(Failure::Other(if offered.is_empty() {
        format!("{target}: no running app offers actions")
    } else {
        format!("{target} offers no action {action}; available: {}", offered.join(", "))
    }))
}

/// Returns the instances whose preload has an open channel.
fn preloaded(ctx: &Ctx, target: &str) -> Result<Vec<u32>, Failure> {
    let ids = ctx.state.slots.select(target, "")?;
    let slots = ids.iter().filter_map(|id| ctx.state.slots.get(*id));
    let targets: Vec<u32> = slots.filter(|slot| slot.has_channel() && slot.durable.preloaded).map(|slot| slot.durable.id).collect();
    if targets.is_empty() {
        return Err(Failure::Other(format!("{target}: no running Node app has ostler's preload")));
    }
    Ok(targets)
}

fn pm_ids(ctx: &Ctx, ids: &[u32]) -> Vec<u32> {
    ids.iter().filter_map(|id| ctx.state.slots.get(*id)).map(|slot| slot.durable.pm_id).collect()
}

impl Actions {
    pub(crate) fn on_client_request(&mut self, ctx: &mut Ctx, ask: ClientRequest) -> Option<ClientRequest> {
        let asker = (ask.client, ask.id);
        match &ask.request {
            Request::Trigger { target, action, params, within_ms } => {
                self.call(ctx, asker, target, action, params.as_deref(), *within_ms);
            }
            Request::Profile { target, kind, ms } => self.profile(ctx, asker, target, *kind, *ms),
            Request::Reach { target, port } => self.reach(ctx, asker, target, *port),
            _ => return Some(ask),
        }
        None
    }

    pub(crate) fn on_message(&mut self, ctx: &mut Ctx, id: u32, _inc: u32, message: &Message) {
        if self.calls.is_empty() {
            return;
        }
        let (called, answer) = match message {
            Message::Typed { topic, data } if topic == REPLY => {
                let Some(action) = data.get("action_name").and_then(Value::as_str) else { return };
                (CallTarget::Action(action.to_owned()), Ok(data.get("return").cloned().unwrap_or_default()))
            }
            Message::Internal(message) => match FromPreload::of(message) {
                Some(FromPreload::Profiled { call, file }) => (CallTarget::Profiler(call), file.map(Value::from)),
                Some(FromPreload::Reached { call, path }) => (CallTarget::Reach(call), path.map(Value::from)),
                _ => return,
            },
            _ => return,
        };
        let is_of = |calling: &PendingCall| calling.called == called && calling.waiting.contains(&id);
        if let Some(ticket) = self.calls.iter().find(|(_, calling)| is_of(calling)).map(|(ticket, _)| *ticket) {
            self.is_answered(ctx, ticket, id, answer);
        }
    }

    pub(crate) fn on_process_gone(&mut self, ctx: &mut Ctx, id: u32, _inc: u32) {
        self.drop_instance(ctx, id);
    }

    pub(crate) fn on_channel_ended(&mut self, ctx: &mut Ctx, id: u32) {
        self.drop_instance(ctx, id);
    }

    pub(crate) fn on_forgotten(&mut self, ctx: &mut Ctx, id: u32) {
        self.drop_instance(ctx, id);
    }

    pub(crate) fn on_timer(&mut self, ctx: &mut Ctx, key: u64) {
        let Some(calling) = self.calls.get(&key) else { return };
        let reason = format!("has not answered within {}", in_seconds(calling.within_ms));
        for id in calling.waiting.clone() {
            self.is_answered(ctx, key, id, Err(reason.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use ostler_core::app::AppSpec;

    use super::*;
    use crate::engine::{Caller, TestContext, reacts};
    use crate::platform::ipc::Ipc;

    /// Returns an instance that runs, has a channel, and offers `gc`.
    fn offering(played: &mut TestContext, actions: &mut Actions, pid: i32) -> (u32, UnixStream) {
        let spec = AppSpec { name: "app".into(), cwd: "/".into(), script: "/bin/app".into(), ..AppSpec::default() };
        let id = played.instance(spec);
        played.start(actions, id, pid);
        let (ours, theirs) = UnixStream::pair().unwrap();
        let slot = played.ctx.state.slots.get_mut(id).unwrap();
        slot.live.ipc = Ipc::open(ours.into(), id, slot.key(1), &played.ctx.io.reactor).map(Box::new);
        slot.live.axm.actions.push(json!({ "action_name": "gc" }));
        (id, theirs)
    }

    fn trigger(played: &mut TestContext, actions: &mut Actions, request: u64, action: &str) {
        let caller = Caller { uid: 0, pid: 1, on_behalf_of: None };
        let request_of = Request::Trigger { target: "app".into(), action: action.into(), params: None, within_ms: 1000 };
        assert!(
            actions.on_client_request(&mut played.ctx, ClientRequest { client: 1, id: request, caller, request: request_of }).is_none()
        );
    }

    fn replies(played: &mut TestContext) -> Vec<(u64, Response)> {
        std::mem::take(&mut played.ctx.outbox.replies).into_iter().map(|(_, request, response)| (request, response)).collect()
    }

    #[test]
    fn profiles_are_matched_by_their_call() {
        let (mut played, mut actions) = (TestContext::new(&[Actions::NAME]), Actions::default());
        let (id, _app) = offering(&mut played, &mut actions, 10);
        let mut profile = |played: &mut TestContext, request: u64| {
            let caller = Caller { uid: 0, pid: 1, on_behalf_of: None };
            let request_of = Request::Profile { target: "app".into(), kind: Profile::Cpu, ms: 1000 };
            assert!(
                actions.on_client_request(&mut played.ctx, ClientRequest { client: 1, id: request, caller, request: request_of }).is_none()
            );
        };
        profile(&mut played, 1);
        assert!(matches!(&replies(&mut played)[..], [(1, Response::Failed(Failure::Other(_)))]), "without a preload");
        played.ctx.state.slots.get_mut(id).unwrap().durable.preloaded = true;
        profile(&mut played, 2);
        profile(&mut played, 3);
        replies(&mut played);
        let calls: Vec<u64> = actions.calls.keys().copied().collect();
        let CallTarget::Profiler(second) = actions.calls[&calls[1]].called else { panic!() };
        let message = json!({"cmd": "NODE_OSTLER", "act": "profiled", "call": second, "error": "is being profiled already"});
        actions.on_message(&mut played.ctx, id, 1, &ostler_proto::node::classify(message));
        let answers = replies(&mut played);
        assert!(
            matches!(&answers[..], [(3, Response::Progress(Progress::InstanceFailed { .. })), (3, Response::Failed(_))]),
            "{answers:?}"
        );
        actions.on_process_gone(&mut played.ctx, id, 1);
        assert_eq!(replies(&mut played).last().map(|(request, _)| *request), Some(2));
    }

    fn answer(value: u32) -> Message {
        Message::Typed { topic: REPLY.into(), data: json!({ "action_name": "gc", "return": value }) }
    }

    #[test]
    fn each_action_call_gets_its_answer() {
        let (mut played, mut actions) = (TestContext::new(&[Actions::NAME]), Actions::default());
        let (id, _theirs) = offering(&mut played, &mut actions, 7);
        trigger(&mut played, &mut actions, 1, "gc");
        trigger(&mut played, &mut actions, 2, "gc");
        replies(&mut played);
        let other = Message::Typed { topic: REPLY.into(), data: json!({ "action_name": "other", "return": 1 }) };
        actions.on_message(&mut played.ctx, id, 1, &other);
        assert_eq!(replies(&mut played), [], "of another action");
        for value in [10, 20] {
            actions.on_message(&mut played.ctx, id, 1, &answer(value));
        }
        let returned = |value: u32| {
            Response::Progress(Progress::Returned { id: 0, name: "app".into(), namespace: "default".into(), value: value.into() })
        };
        let done = || Response::Done { ids: vec![0] };
        assert_eq!(replies(&mut played), [(1, returned(10)), (1, done()), (2, returned(20)), (2, done())]);
        actions.on_message(&mut played.ctx, id, 1, &answer(30));
        assert_eq!((replies(&mut played), played.ctx.outbox.timers.next_ms()), (vec![], None), "nobody waits any more");
    }

    #[test]
    fn action_without_an_answer_times_out() {
        let (mut played, mut actions) = (TestContext::new(&[Actions::NAME]), Actions::default());
        let (id, _theirs) = offering(&mut played, &mut actions, 7);
        let failed = |reason: &str| Response::Progress(Progress::InstanceFailed { id: 0, name: "app".into(), reason: reason.into() });
        let some = || Response::Failed(Failure::Some { failed: 1, total: 1 });
        trigger(&mut played, &mut actions, 1, "gc");
        replies(&mut played);
        played.pass(&mut actions, 999);
        assert_eq!(replies(&mut played), []);
        played.pass(&mut actions, 1);
        assert_eq!(replies(&mut played), [(1, failed("has not answered within 1 s")), (1, some())]);
        trigger(&mut played, &mut actions, 2, "gc");
        replies(&mut played);
        actions.on_process_gone(&mut played.ctx, id, 1);
        assert_eq!(replies(&mut played), [(2, failed("exited before it answered")), (2, some())]);
        assert!(actions.calls.is_empty());
    }

    #[test]
    fn unknown_action_error_lists_the_offered_ones() {
        let (mut played, mut actions) = (TestContext::new(&[Actions::NAME]), Actions::default());
        trigger(&mut played, &mut actions, 1, "gc");
        let (_, _theirs) = offering(&mut played, &mut actions, 7);
        trigger(&mut played, &mut actions, 2, "nope");
        let words: Vec<String> = replies(&mut played)
            .into_iter()
            .map(|(_, response)| match response {
                Response::Failed(failure) => failure.to_string(),
                other => format!("{other:?}"),
            })
            .collect();
        assert_eq!(words, ["process or namespace app not found", "app offers no action nope; available: gc"]);
    }

    reacts!(Actions: on_client_request, on_message, on_channel_ended, on_forgotten, on_timer);
}
