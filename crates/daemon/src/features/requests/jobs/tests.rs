//! Requests over a played context: events of instances and their order, answers to clients, and the
//! end of a request.

mod confirm;
mod detached;
mod reload;
mod resurrect;
mod scale;
mod together;

use std::rc::Rc;

use ostler_core::app::{AppSpec, EnvMap};
use ostler_core::cron::{CronSpec, JobSpec};
use ostler_core::lifecycle::order::{Condition, Dependencies};
use ostler_core::lifecycle::{DesiredState, Event, ExitReport, InstanceState, Origin, PolicyName, ProcessEnding, SpawnFailure};
use ostler_proto::control::{Confirm, Existing, Failure, RolloutReport, RolloutState, ScaleTo};
use ostler_proto::event::{Event as ProtoEvent, EventCause, EventKind};

use super::*;
use crate::engine::{Caller, CommandEnd, CommandReport, Input, RolloutNews, TestContext, reacts};
use crate::state::store::command::{CommandOwner, CommandSpec, Output};

const CLIENT: u32 = 1;

fn app(name: &str) -> AppSpec {
    AppSpec { name: name.into(), script: "/bin/app".into(), ..AppSpec::default() }
}

fn needs(name: &str, other: &str) -> AppSpec {
    let order = Dependencies { depends_on: [(other.to_owned(), Condition::Ready)].into(), timeout_ms: None }.into();
    AppSpec { order, ..app(name) }
}

fn empty() -> (TestContext, Jobs) {
    (TestContext::new(&[]), Jobs::default())
}

/// Returns running instances of these apps.
fn running(specs: &[AppSpec]) -> (TestContext, Jobs, Vec<u32>) {
    let (mut played, mut jobs) = empty();
    let mut pid = 4710;
    let mut start = |spec: &AppSpec| {
        let id = played.instance(spec.clone());
        pid += 1;
        played.start(&mut jobs, id, pid);
        id
    };
    let ids = specs.iter().map(&mut start).collect();
    (played, jobs, ids)
}

fn ask_as(played: &mut TestContext, jobs: &mut Jobs, id: u64, request: proto::Request) -> Vec<Input> {
    let caller = Caller { uid: 0, pid: 1, on_behalf_of: None };
    played.ctx.queue_request(ClientRequest { client: CLIENT, id, caller, request });
    played.settle(jobs)
}

fn ask(played: &mut TestContext, jobs: &mut Jobs, request: proto::Request) -> Vec<Input> {
    ask_as(played, jobs, 1, request)
}

fn act(action: Action, targets: &[&str]) -> proto::Request {
    proto::Request::Act {
        action,
        targets: targets.iter().map(|target| (*target).to_owned()).collect(),
        cwd: String::new(),
        change: None,
        parallel: 0,
        gentle: false,
        canary_ms: None,
        command: "test".into(),
        named_only: false,
        confirm: None,
        namespace: None,
        together: false,
    }
}

fn start(apps: Vec<AppSpec>, existing: Existing) -> proto::Request {
    proto::Request::Start {
        apps,
        base_env: EnvMap::default(),
        existing,
        command: "start".into(),
        confirm: None,
        named_only: false,
        as_pm2: false,
    }
}

const PLAIN: Existing = Existing::PlainScript { force: false };

/// Returns the messages to the client since the last call, in short form.
fn replies(played: &mut TestContext) -> Vec<String> {
    std::mem::take(&mut played.ctx.outbox.replies).into_iter().map(|(_, _, response)| short(response)).collect()
}

fn short(response: Response) -> String {
    match response {
        Response::Progress(Progress::Selected { action, ids, .. }) => format!("{action} {ids:?}"),
        Response::Progress(Progress::Launched { name, ids }) => format!("launched {name} {ids:?}"),
        Response::Progress(Progress::InstanceDone { id, .. }) => format!("done {id}"),
        Response::Progress(Progress::InstanceFailed { id, reason, .. }) => format!("failed {id}: {reason}"),
        Response::Progress(Progress::Warning(text)) => text,
        Response::Done { ids } => format!("all done {ids:?}"),
        Response::Failed(Failure::Some { failed, total }) => format!("{failed} of {total} failed"),
        Response::Failed(Failure::Other(text)) => text,
        other => format!("{other:?}"),
    }
}

fn state(played: &TestContext, id: u32) -> &InstanceState {
    &played.ctx.state.slots.get(id).unwrap().durable.instance.state
}

fn is_stopping(played: &TestContext, id: u32) -> bool {
    matches!(state(played, id), InstanceState::Stopping { .. })
}

fn spawned(played: &mut TestContext, jobs: &mut Jobs, id: u32) -> Vec<Input> {
    let InstanceState::Spawning { inc, .. } = *state(played, id) else { panic!("{:?}", state(played, id)) };
    played.ctx.event(id, Event::Spawned { inc, pid: 5000 + id.cast_signed() });
    played.settle(jobs)
}

fn process_exits(played: &mut TestContext, jobs: &mut Jobs, id: u32, code: i32) -> Vec<Input> {
    let inc = played.ctx.state.slots.get(id).unwrap().durable.instance.inc;
    played.ctx.event(id, Event::Exited { inc, exit: ExitReport { ending: ProcessEnding::Code(code), oom: false } });
    played.ctx.event(id, Event::TreeGone { inc });
    played.settle(jobs)
}

#[test]
fn start_is_done_when_all_instances_are_online() {
    let (mut played, mut jobs) = empty();
    ask(&mut played, &mut jobs, start(vec![AppSpec { instances: 2, ..app("api") }], PLAIN));
    assert_eq!(replies(&mut played), ["launched api [0, 1]"]);
    spawned(&mut played, &mut jobs, 1);
    assert_eq!(replies(&mut played), ["done 1"]);
    assert_eq!(played.ctx.state.open_requests, 1);
    spawned(&mut played, &mut jobs, 0);
    assert_eq!(replies(&mut played), ["done 0", "all done [0, 1]"]);
    assert_eq!(played.ctx.state.open_requests, 0);
    ask(&mut played, &mut jobs, start(vec![app("api")], PLAIN));
    assert_eq!(replies(&mut played), ["Failed(AlreadyLaunched)"]);
}

#[test]
fn second_start_of_the_same_app_is_refused() {
    let (mut played, mut jobs) = empty();
    let caller = || Caller { uid: 0, pid: 1, on_behalf_of: None };
    for id in 1..3 {
        // This is the order of a turn: the effects of the first come before the second.
        let mut later = std::mem::take(&mut played.ctx.outbox.queue);
        assert!(
            jobs.on_client_request(
                &mut played.ctx,
                ClientRequest { client: CLIENT, id, caller: caller(), request: start(vec![app("api")], PLAIN) }
            )
            .is_none()
        );
        played.ctx.outbox.queue.append(&mut later);
        played.settle(&mut jobs);
    }
    assert_eq!(replies(&mut played), ["launched api [0]", "Failed(AlreadyLaunched)"]);
}

#[test]
fn failed_first_start_removes_the_instance() {
    let (mut played, mut jobs) = empty();
    ask(&mut played, &mut jobs, start(vec![app("api")], PLAIN));
    replies(&mut played);
    let failure = SpawnFailure { step: "exec /bin/app".into(), errno: 2 };
    played.ctx.event(0, Event::SpawnFailed { inc: 1, failure });
    let rest = played.settle(&mut jobs);
    assert!(rest.iter().any(|input| matches!(input, Input::Answer(FeatureAnswer::Unstartable))), "{rest:?}");
    let sent = replies(&mut played);
    assert!(sent[0].starts_with("failed 0: cannot be started: exec /bin/app") && sent[1] == "1 of 1 failed", "{sent:?}");
    assert!(played.ctx.state.slots.get(0).is_none());
}

#[test]
fn parallel_limits_the_instances_stopped_at_a_time() {
    let (mut played, mut jobs, ids) = running(&[app("a"), app("b"), app("c")]);
    let mut stop = act(Action::Stop, &["all"]);
    let proto::Request::Act { parallel, .. } = &mut stop else { panic!() };
    *parallel = 2;
    ask(&mut played, &mut jobs, stop);
    let stopping = |played: &TestContext| ids.iter().map(|id| is_stopping(played, *id)).collect::<Vec<bool>>();
    assert_eq!(stopping(&played), [true, true, false]);
    process_exits(&mut played, &mut jobs, ids[0], 0);
    assert_eq!(stopping(&played), [false, true, true]);
    process_exits(&mut played, &mut jobs, ids[1], 0);
    process_exits(&mut played, &mut jobs, ids[2], 0);
    assert_eq!(replies(&mut played), ["stopProcessId [0, 1, 2]", "done 0", "done 1", "done 2", "all done [0, 1, 2]"]);
}

#[test]
fn restart_leaves_half_of_each_app_serving() {
    let (mut played, mut jobs, ids) = running(&[app("a"), app("a"), app("a"), app("b")]);
    ask(&mut played, &mut jobs, act(Action::Restart, &["all"]));
    let stopping: Vec<bool> = ids.iter().map(|id| is_stopping(&played, *id)).collect();
    assert_eq!(stopping, [true, true, false, true]);
    process_exits(&mut played, &mut jobs, 3, 0);
    spawned(&mut played, &mut jobs, 3);
    assert!(!is_stopping(&played, 2), "another app's is not its own");
    for id in [0, 1, 2] {
        process_exits(&mut played, &mut jobs, id, 0);
        spawned(&mut played, &mut jobs, id);
    }
    assert_eq!(replies(&mut played).last().unwrap(), "all done [0, 1, 2, 3]");
}

#[test]
fn restart_of_a_job_only_schedules_it() {
    let (mut played, mut jobs) = empty();
    let cron = CronSpec { job: Some(JobSpec::default()), ..CronSpec::restarts("* * * * *".into()) };
    let spec = AppSpec { cron: Some(Box::new(cron)), ..app("nightly") };
    (0..3).for_each(|_| _ = played.instance(spec.clone()));
    let rest = ask(&mut played, &mut jobs, act(Action::Restart, &["nightly"]));
    let scheduled = rest.iter().filter(|input| matches!(input, Input::Request(FeatureRequest::Schedule { saved: None, .. }))).count();
    assert_eq!(scheduled, 3, "{rest:?}");
    assert_eq!(replies(&mut played), ["restartProcessId [0, 1, 2]", "done 0", "done 1", "done 2", "all done [0, 1, 2]"]);
    assert!((0..3).all(|id| *state(&played, id) == InstanceState::Stopped), "they are not run now");
}

#[test]
fn targets_are_processed_in_order_until_one_fails() {
    let (mut played, mut jobs, _) = running(&[app("a"), app("b")]);
    ask(&mut played, &mut jobs, act(Action::Stop, &["a", "nobody", "b"]));
    assert!(!is_stopping(&played, 1));
    process_exits(&mut played, &mut jobs, 0, 0);
    let sent = replies(&mut played);
    assert_eq!(sent[..2], ["stopProcessId [0]", "done 0"]);
    assert!(sent[2].contains("NotFound") && sent.len() == 3, "{sent:?}");
    assert!(!is_stopping(&played, 1));
}

/// The second request sees the instance as the first request left it.
#[test]
fn stop_queued_behind_a_restart_succeeds() {
    let (mut played, mut jobs, _) = running(&[app("a")]);
    let caller = || Caller { uid: 0, pid: 1, on_behalf_of: None };
    for (id, action) in [(1, Action::Restart), (2, Action::Stop)] {
        played.ctx.queue_request(ClientRequest { client: CLIENT, id, caller: caller(), request: act(action, &["a"]) });
    }
    played.settle(&mut jobs);
    process_exits(&mut played, &mut jobs, 0, 0);
    let sent = replies(&mut played);
    assert!(sent.contains(&"failed 0: was stopped during the operation".to_owned()), "the restart: {sent:?}");
    assert!(sent.contains(&"all done [0]".to_owned()), "the stop: {sent:?}");
    assert_eq!(*state(&played, 0), InstanceState::Stopped);
}

#[test]
fn stop_waits_for_the_hooks_of_an_instance() {
    let (mut played, mut jobs, _) = running(&[app("a")]);
    let owner = CommandOwner::Hook { slot: 0, inc: 1, hook: ostler_core::app::hooks::Hook::PostStop };
    ask(&mut played, &mut jobs, act(Action::Stop, &["a"]));
    let command = ostler_core::lifecycle::command::Command::shell("true");
    let spec = CommandSpec { slot: 0, command, vars: Default::default(), timeout_ms: 1000, output: Output::Nowhere };
    played.ctx.state.commands.add(3, owner.clone(), &spec, "mark");
    process_exits(&mut played, &mut jobs, 0, 0);
    assert_eq!(replies(&mut played), ["stopProcessId [0]"]);
    played.ctx.state.commands.remove(3);
    let report = CommandReport {
        outcome: ostler_core::lifecycle::command::CommandOutcome::Code(0),
        output: ostler_sys::SecretBytes::default(),
        last_lines: Vec::new(),
    };
    played.ctx.answer(FeatureAnswer::CommandEnded(Box::new(CommandEnd { number: Some(3), slot: Some(0), owner, report })));
    played.settle(&mut jobs);
    assert_eq!(replies(&mut played), ["done 0", "all done [0]"]);
}

#[test]
fn dependencies_stop_last_and_restart_first() {
    let (mut played, mut jobs, _) = running(&[app("db"), needs("api", "db")]);
    ask(&mut played, &mut jobs, act(Action::Stop, &["all"]));
    assert_eq!((is_stopping(&played, 0), is_stopping(&played, 1)), (false, true));
    process_exits(&mut played, &mut jobs, 1, 0);
    assert!(is_stopping(&played, 0));
    process_exits(&mut played, &mut jobs, 0, 0);
    replies(&mut played);

    let (mut played, mut jobs, _) = running(&[needs("api", "db"), app("db")]);
    ask(&mut played, &mut jobs, act(Action::Restart, &["all"]));
    assert_eq!((is_stopping(&played, 0), is_stopping(&played, 1)), (false, true));
    process_exits(&mut played, &mut jobs, 1, 0);
    // It fails to start, so its dependants are left unchanged.
    let failure = SpawnFailure { step: "exec".into(), errno: 2 };
    let InstanceState::Spawning { inc, .. } = *state(&played, 1) else { panic!() };
    played.ctx.event(1, Event::SpawnFailed { inc, failure });
    played.settle(&mut jobs);
    let sent = replies(&mut played);
    assert!(sent.contains(&"failed 0: was left unchanged, because it depends on db".to_owned()), "{sent:?}");
    assert_eq!(sent.last().unwrap(), "2 of 2 failed");
    assert!(matches!(state(&played, 0), InstanceState::Running { .. }));
}

#[test]
fn coming_starts_are_announced_only_while_an_app_waits() {
    let (mut played, mut jobs, _) = running(&[app("a"), app("a"), app("a")]);
    let restart = |played: &mut TestContext, jobs: &mut Jobs| ask(played, jobs, act(Action::Restart, &["a"]));
    restart(&mut played, &mut jobs);
    assert!(played.ctx.state.pending_starts.is_empty());
    played.ctx.state.waiting.insert(99);
    played.settle(&mut jobs);
    assert_eq!(played.ctx.state.pending_starts, BTreeSet::from([2]));
}

#[test]
fn missing_or_circular_dependency_fails_the_start() {
    let (mut played, mut jobs) = empty();
    ask(&mut played, &mut jobs, start(vec![needs("api", "db")], PLAIN));
    ask(&mut played, &mut jobs, start(vec![needs("a", "b"), needs("b", "a")], PLAIN));
    let sent = replies(&mut played);
    assert!(sent[0].contains("not in the list and is not started with it") && sent[1].contains("in a circle"), "{sent:?}");
    assert!(played.ctx.state.slots.nothing_to_save());
}

#[test]
fn counters_are_reset_immediately() {
    let (mut played, mut jobs, _) = running(&[app("a")]);
    played.ctx.state.slots.get_mut(0).unwrap().durable.instance.counters.restarts = 5;
    ask(&mut played, &mut jobs, act(Action::Reset, &["a"]));
    assert_eq!(replies(&mut played), ["resetMetaProcessId [0]", "done 0", "all done [0]"]);
    assert_eq!(played.ctx.state.slots.get(0).unwrap().durable.instance.counters.restarts, 0);
}

#[test]
fn start_waits_until_the_deletion_is_complete() {
    for existing in [PLAIN, Existing::PlainScript { force: true }] {
        let (mut played, mut jobs, _) = running(&[app("a")]);
        ask(&mut played, &mut jobs, act(Action::Delete, &["a"]));
        ask(&mut played, &mut jobs, start(vec![app("a")], existing.clone()));
        assert_eq!(replies(&mut played), ["deleteProcessId [0]"], "{existing:?}: it takes its time to end");
        assert_eq!(played.ctx.state.open_requests, 2);
        process_exits(&mut played, &mut jobs, 0, 0);
        assert_eq!(replies(&mut played), ["done 0", "all done [0]", "launched a [0]"], "{existing:?}");
        assert!(played.ctx.state.slots.get(0).is_none(), "what the keeper may still tell of the former one is not about this one");
        spawned(&mut played, &mut jobs, 1);
        assert_eq!(replies(&mut played), ["done 0", "all done [0]"], "{existing:?}");
        assert_eq!(played.ctx.state.open_requests, 0);
    }
}

fn restart_by(wait: Confirm, targets: &[&str]) -> proto::Request {
    let mut restart = act(Action::Restart, targets);
    let proto::Request::Act { confirm, .. } = &mut restart else { panic!() };
    *confirm = Some(wait);
    restart
}

/// Exits the old process of an instance, and spawns the new one.
fn restarts(played: &mut TestContext, jobs: &mut Jobs, id: u32) {
    process_exits(played, jobs, id, 0);
    spawned(played, jobs, id);
}

#[test]
fn kill_stops_hidden_candidates_too() {
    let (mut played, mut jobs, _) = running(&[app("a")]);
    let slot = played.ctx.state.slots.get(0).unwrap();
    let (same, base) = (Rc::clone(slot.app()), Rc::clone(slot.base()));
    let now = played.ctx.now;
    let ctx = &mut played.ctx;
    let hidden = ctx.state.slots.add_candidate(0, &same, &base, now, &ctx.io.settings).unwrap();
    played.start(&mut jobs, hidden, 6000);
    let rest = ask(&mut played, &mut jobs, proto::Request::Kill);
    assert!(matches!(&rest[..], [Input::Request(FeatureRequest::SaveList)]), "{rest:?}");
    assert!(is_stopping(&played, 0) && is_stopping(&played, hidden));
    ask_as(&mut played, &mut jobs, 2, start(vec![app("late")], PLAIN));
    assert!(replies(&mut played).last().unwrap().contains("is shutting down"));
    process_exits(&mut played, &mut jobs, 0, 0);
    assert_eq!(played.ctx.outbox.shutdown.ending, None);
    process_exits(&mut played, &mut jobs, hidden, 0);
    assert_eq!(replies(&mut played), ["done 0", "all done [0]"]);
    assert_eq!(played.ctx.outbox.shutdown.ending, Some(crate::engine::ShutdownKind::Everything));
}

#[test]
fn shutdown_saves_the_list_only_if_requested() {
    for saves_list in [true, false] {
        let (mut played, mut jobs, _) = running(&[app("a")]);
        let end = || FeatureRequest::End { client: 0, id: 0, origin: Origin::Shutdown, saves_list };
        played.ctx.request(end());
        played.settle(&mut jobs);
        assert_eq!(played.ctx.io.settings.paths.dump.exists(), saves_list);
        played.ctx.request(end());
        played.settle(&mut jobs);
        assert_eq!(played.ctx.state.open_requests, 1, "once is enough");
    }
}

#[test]
fn client_gets_the_cut_warning_of_its_instance() {
    let (mut played, mut jobs, _) = running(&[app("a"), app("b")]);
    ask(&mut played, &mut jobs, act(Action::Stop, &["a"]));
    replies(&mut played);
    for (id, is_told) in [(1, false), (0, true)] {
        played.ctx.answer(FeatureAnswer::Cut { id, requests: 2, warning: "2 requests were cut".into() });
        played.settle(&mut jobs);
        assert_eq!(replies(&mut played), if is_told { vec!["2 requests were cut"] } else { Vec::new() });
    }
}

#[test]
fn action_of_a_policy_sends_no_replies() {
    let (mut played, mut jobs, _) = running(&[app("a")]);
    played.ctx.request(FeatureRequest::Act { action: Action::Restart, ids: vec![0], origin: Origin::policy(PolicyName::Watch) });
    played.settle(&mut jobs);
    assert!(is_stopping(&played, 0));
    assert!(played.ctx.outbox.replies.iter().all(|(client, ..)| *client == 0));
}

reacts!(Jobs: on_client_request, on_request, on_answer, on_step, on_transition, on_forgotten, on_message, on_timer, on_idle);
