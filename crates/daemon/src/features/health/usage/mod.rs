//! Instances and their resource usage: `list`, `inspect`, `health`, and measurements for other
//! features.
//!
//! CPU usage is a difference of two readings. If an earlier reading is recent, the answer is
//! immediate. A process that just started is measured from its start. For all others the answer
//! waits a moment for a second reading, so even the first call is accurate.

mod forms;
mod lists;

use ostler_core::time::Now;
use ostler_proto::control::{Failure, Request, Response};

use self::forms::Forms;
use self::lists::{answer_to, health_row};
use crate::engine::{ClientRequest, Ctx, FeatureAnswer, FeatureRequest, Key};
use crate::state::slots::Slot;

/// Time between two readings if there is no earlier reading.
const WINDOW_MS: u64 = 25;

/// Answers that wait for their second reading.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    waiting: Vec<PendingReply>,
    forms: Forms,
}

/// Answer that waits for its second reading.
#[derive(Debug)]
struct PendingReply {
    client: u32,
    request: u64,
    question: UsageRequest,
    /// Time when the second reading is due.
    due_ms: u64,
}

/// Kind of the request.
#[derive(Debug)]
enum UsageRequest {
    /// Table of all instances.
    Table,
    /// Short list of all instances.
    List,
    /// All instances in PM2's form.
    Processes,
    /// These instances, complete.
    Details(Vec<u32>),
}

impl UsageRequest {
    /// Returns the instances that have to be measured; `None` = all.
    fn ids(&self) -> Option<&[u32]> {
        match self {
            Self::Table | Self::List | Self::Processes => None,
            Self::Details(ids) => Some(ids),
        }
    }
}

impl Usage {
    pub(crate) const NAME: &str = "usage";
    /// Timer of the earliest second reading.
    const READ: Key = (Self::NAME, 0);
    /// Timer of the removal of the forms.
    const FORMS: Key = (Self::NAME, 1);

    fn answer(&mut self, ctx: &mut Ctx, question: &UsageRequest, now: Now) -> Response {
        if matches!(question, UsageRequest::Processes) {
            let until_ms = self.forms.note_request(now.mono_ms);
            ctx.outbox.timers.set(Self::FORMS, Some(until_ms));
        }
        answer_to(ctx, question, &mut self.forms, now)
    }

    fn defer_answer(&mut self, ctx: &mut Ctx, client: u32, request: u64, question: UsageRequest) {
        if ctx.read_usage(question.ids()) {
            let response = self.answer(ctx, &question, ctx.now);
            ctx.reply(client, request, response);
        } else {
            let due_ms = ctx.now.mono_ms + WINDOW_MS;
            self.waiting.push(PendingReply { client, request, question, due_ms });
            ctx.outbox.timers.set_if_none(Self::READ, due_ms);
        }
    }
}

impl Usage {
    pub(crate) fn on_client_request(&mut self, ctx: &mut Ctx, ask: ClientRequest) -> Option<ClientRequest> {
        let (client, id) = (ask.client, ask.id);
        match &ask.request {
            Request::List => self.defer_answer(ctx, client, id, UsageRequest::List),
            Request::Table => self.defer_answer(ctx, client, id, UsageRequest::Table),
            Request::Processes => self.defer_answer(ctx, client, id, UsageRequest::Processes),
            Request::Inspect { targets, cwd } => match selected(ctx, targets, cwd) {
                Ok(ids) => self.defer_answer(ctx, client, id, UsageRequest::Details(ids)),
                Err(failure) => ctx.reply(client, id, Response::Failed(failure)),
            },
            Request::Health { targets } => {
                let response = health(ctx, targets);
                ctx.reply(client, id, response);
            }
            _ => return Some(ask),
        }
        None
    }

    pub(crate) fn on_request(&mut self, ctx: &mut Ctx, request: FeatureRequest) -> Option<FeatureRequest> {
        let FeatureRequest::Measure { by, ids } = request else { return Some(request) };
        let is_complete = ctx.read_usage(Some(&ids));
        ctx.answer(FeatureAnswer::Measured { by, is_complete });
        None
    }

    /// Sends the answers whose second reading is due.
    pub(crate) fn on_timer(&mut self, ctx: &mut Ctx, key: u64) {
        let now = ctx.now;
        if (Self::NAME, key) == Self::FORMS {
            self.forms.drop_all();
            return;
        }
        let is_due = |waiting: &PendingReply| waiting.due_ms <= now.mono_ms;
        let (due, later) = std::mem::take(&mut self.waiting).into_iter().partition::<Vec<_>, _>(is_due);
        self.waiting = later;
        ctx.outbox.timers.set(Self::READ, self.waiting.iter().map(|waiting| waiting.due_ms).min());
        for PendingReply { client, request, question, .. } in due {
            ctx.read_usage(question.ids());
            let response = self.answer(ctx, &question, now);
            ctx.reply(client, request, response);
        }
    }
}

/// Returns the instances that these targets select, sorted; all if no target is given.
fn selected(ctx: &Ctx, targets: &[String], cwd: &str) -> Result<Vec<u32>, Failure> {
    let mut ids = Vec::new();
    for target in targets {
        match ctx.state.slots.select(target, cwd) {
            Ok(found) => ids.extend(found),
            Err(Failure::Empty) => {}
            Err(failure) => return Err(failure),
        }
    }
    // A request for all instances includes modules.
    if targets.is_empty() || targets.iter().any(|target| target == "all") {
        ids = ctx.state.slots.serving().map(|slot| slot.durable.id).collect();
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// Returns the health of instances. It needs no measurement, so it can be requested each second.
fn health(ctx: &Ctx, targets: &[String]) -> Response {
    match selected(ctx, targets, "") {
        Ok(ids) => {
            let wanted = |slot: &&Slot| ids.binary_search(&slot.durable.id).is_ok();
            Response::Health(ctx.state.slots.serving().filter(wanted).map(health_row).collect())
        }
        Err(failure) => Response::Failed(failure),
    }
}

#[cfg(test)]
mod tests {
    use ostler_core::app::AppSpec;
    use ostler_core::health::limits::{HardLimits, MemoryAmount};
    use ostler_core::health::safeguards::Safeguards;
    use ostler_proto::control::RECENT_MS;
    use ostler_proto::event::LimitKind;

    use super::*;
    use crate::engine::{Caller, TestContext, reacts};

    fn app(name: &str) -> AppSpec {
        AppSpec { name: name.into(), script: "/bin/true".into(), ..AppSpec::default() }
    }

    fn ask(played: &mut TestContext, usage: &mut Usage, request: Request) -> Vec<Response> {
        let caller = Caller { uid: 0, pid: 1, on_behalf_of: None };
        assert!(usage.on_client_request(&mut played.ctx, ClientRequest { client: 1, id: 1, caller, request }).is_none());
        replies(played)
    }

    fn replies(played: &mut TestContext) -> Vec<Response> {
        std::mem::take(&mut played.ctx.outbox.replies).into_iter().map(|(_, _, response)| response).collect()
    }

    /// Returns an app whose process is the test itself, so its usage can be read.
    fn running(played: &mut TestContext, usage: &mut Usage) -> u32 {
        let id = played.instance(app("here"));
        let pid = std::process::id().cast_signed();
        played.start(usage, id, pid);
        played.ctx.state.slots.get_mut(id).unwrap().durable.start_ticks = ostler_sys::ProcRef::of(pid).unwrap().start_ticks;
        id
    }

    #[test]
    fn repeated_list_reflects_only_changes() {
        let (mut played, mut usage) = (TestContext::new(&[]), Usage::default());
        let id = played.instance(app("down"));
        let mut list = |played: &mut TestContext| match ask(played, &mut usage, Request::Processes).pop() {
            Some(Response::Processes(list)) => serde_json::from_str::<serde_json::Value>(list.text()).unwrap(),
            other => panic!("{other:?}"),
        };
        let first = list(&mut played);
        assert_eq!([list(&mut played), list(&mut played)], [first.clone(), first.clone()]);
        let slot = played.ctx.state.slots.get_mut(id).unwrap();
        slot.durable.instance.counters.restarts = 7;
        let third = list(&mut played);
        assert_eq!((&third[0]["pm2_env"]["restart_time"], &first[0]["pm2_env"]["restart_time"]), (&7.into(), &0.into()));
        // This is another description of the same slot.
        let spec = std::rc::Rc::new(AppSpec { cwd: "/elsewhere".into(), ..app("down") });
        let ctx = &mut played.ctx;
        ctx.state.slots.get_mut(id).unwrap().describe(std::rc::Rc::new(crate::state::slots::App { id: 99, spec }), &ctx.io.settings);
        assert_eq!(list(&mut played)[0]["pm2_env"]["pm_cwd"], "/elsewhere");
        let slot = played.ctx.state.slots.get_mut(id).unwrap();
        slot.durable.unique_id = "another".into();
        let last = list(&mut played);
        assert_eq!((&last[0]["pm2_env"]["unique_id"], &last[0]["pm2_env"]["env"]["unique_id"]), (&"another".into(), &"another".into()));
        assert!(usage.forms.are_wanted());
        usage.on_timer(&mut played.ctx, Usage::FORMS.1);
        assert!(!usage.forms.are_wanted());
    }

    #[test]
    fn list_without_processes_is_answered_immediately() {
        let (mut played, mut usage) = (TestContext::new(&[]), Usage::default());
        played.instance(app("down"));
        let replies = ask(&mut played, &mut usage, Request::List);
        assert!(matches!(&*replies, [Response::List(list)] if list.len() == 1), "{replies:?}");
        assert_eq!(played.ctx.outbox.timers.next_ms(), None);
    }

    #[test]
    fn first_list_waits_once_for_a_second_reading() {
        let (mut played, mut usage) = (TestContext::new(&[]), Usage::default());
        running(&mut played, &mut usage);
        // A process that just started is measured from its start.
        played.pass(&mut usage, 60_000);
        assert!(ask(&mut played, &mut usage, Request::Table).is_empty());
        played.pass(&mut usage, WINDOW_MS - 1);
        assert!(replies(&mut played).is_empty());
        played.pass(&mut usage, 1);
        let replies = replies(&mut played);
        assert!(matches!(&*replies, [Response::Table(rows)] if rows[0].monit.memory_bytes > 0), "{replies:?}");
        assert_eq!(played.ctx.outbox.timers.next_ms(), None);
    }

    #[test]
    fn table_has_limits_and_the_limit_that_was_exceeded_lately() {
        let (mut played, mut usage) = (TestContext::new(&[]), Usage::default());
        let soft = Some(MemoryAmount::Bytes(700));
        let hard = HardLimits { memory: Some(MemoryAmount::Bytes(500)), ..HardLimits::default() };
        let safeguards = Some(Box::new(Safeguards { memory: soft, hard, ..Safeguards::default() }));
        let id = played.instance(AppSpec { safeguards, ..app("small") });
        played.instance(app("free"));
        played.ctx.state.slots.get_mut(id).unwrap().live.exceeded = Some((LimitKind::Cpu, played.ctx.now.mono_ms));
        let mut limits = |played: &mut TestContext| match ask(played, &mut usage, Request::Table).pop() {
            Some(Response::Table(rows)) => rows.iter().map(|row| (row.memory_limit, row.exceeded)).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        assert_eq!(limits(&mut played), [(Some(500), Some(LimitKind::Cpu)), (None, None)]);
        played.ctx.now = Now::at(played.ctx.now.mono_ms + RECENT_MS);
        assert_eq!(limits(&mut played)[0], (Some(500), None), "it was long ago");
    }

    #[test]
    fn unknown_target_is_reported() {
        let (mut played, mut usage) = (TestContext::new(&[]), Usage::default());
        played.instance(app("down"));
        for request in [
            Request::Inspect { targets: vec!["nobody".into()], cwd: String::new() },
            Request::Health { targets: vec!["down".into(), "nobody".into()] },
        ] {
            let replies = ask(&mut played, &mut usage, request);
            assert!(matches!(&*replies, [Response::Failed(Failure::NotFound { target })] if target == "nobody"), "{replies:?}");
        }
        let replies = ask(&mut played, &mut usage, Request::Health { targets: Vec::new() });
        assert!(matches!(&*replies, [Response::Health(rows)] if rows.len() == 1), "{replies:?}");
    }

    reacts!(Usage: on_client_request, on_request, on_timer);
}
