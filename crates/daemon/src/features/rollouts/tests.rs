//! Rollouts over a played context: which processes start and which retire, the reports, and the
//! journal for the next daemon.

use std::rc::Rc;

use ostler_core::app::{AppSpec, ExecMode};
use ostler_core::lifecycle::{Event, ExitReport, InstanceState, Origin, PolicyName, ProcessEnding};
use ostler_proto::control::{Progress, RolloutReport, RolloutState};

use super::*;
use crate::engine::{Input, Replacement, RolloutNews, RolloutRequest, TestContext, reacts};

const TICKET: u64 = 7;

fn user() -> Origin {
    Origin::User { command: "reload".into(), uid: 0, pid: 1, on_behalf_of: None }
}

/// Returns an app of cluster workers, of which two can serve beside each other.
fn app(version: &str) -> AppSpec {
    let node = Some("/usr/bin/node".into());
    let version = Some(version.into());
    AppSpec { name: "api".into(), script: "/app.js".into(), mode: ExecMode::Cluster, interpreter: node, version, ..AppSpec::default() }
}

/// Returns an app of programs that open their port themselves.
fn single(version: &str) -> AppSpec {
    AppSpec { mode: ExecMode::Fork, interpreter: None, script: "/bin/app".into(), ..app(version) }
}

/// Returns this many running instances.
fn running(spec: &AppSpec, count: i32) -> (TestContext, Rollouts, Vec<u32>) {
    let (mut played, mut rollouts) = (TestContext::new(&[]), Rollouts::default());
    let mut start = |pid| {
        let id = played.instance(spec.clone());
        played.start(&mut rollouts, id, pid);
        id
    };
    let ids = (0..count).map(|n| start(4711 + n)).collect();
    (played, rollouts, ids)
}

fn wanted(played: &mut TestContext, ids: &[u32], spec: &AppSpec) -> RolloutRequest {
    let app = played.ctx.state.slots.shared_app(spec.clone()).0;
    let replacement =
        |id: &u32| Replacement { id: *id, app: Rc::clone(&app), base: Rc::clone(played.ctx.state.slots.get(*id).unwrap().base()) };
    let replacements = ids.iter().map(replacement).collect();
    RolloutRequest { ticket: TICKET, app: "api".into(), replacements, parallel: 0, canary_ms: None, watches: false, origin: user() }
}

fn reload(played: &mut TestContext, rollouts: &mut Rollouts, ids: &[u32], spec: &AppSpec) -> Vec<Input> {
    let request = wanted(played, ids, spec);
    played.ctx.request(FeatureRequest::Rollout(Box::new(request)));
    played.settle(rollouts)
}

/// Returns the candidate that was requested.
fn candidate(played: &TestContext) -> u32 {
    let mut all =
        played.ctx.state.slots.iter().filter(|slot| {
            slot.durable.role == Role::Candidate && slot.durable.instance.wanted == ostler_core::lifecycle::DesiredState::Up
        });
    let id = all.next().unwrap().durable.id;
    assert_eq!(all.next().map(|slot| slot.durable.id), None);
    id
}

/// Spawns a process, and lets it prove itself.
fn becomes_ready(played: &mut TestContext, rollouts: &mut Rollouts, id: u32) -> Vec<Input> {
    played.spawned(rollouts, id, 5000);
    let inc = played.ctx.state.slots.get(id).unwrap().durable.instance.inc;
    if matches!(played.ctx.state.slots.get(id).unwrap().durable.instance.state, InstanceState::Starting { .. }) {
        played.dispatch(rollouts, id, Event::Ready { inc });
    }
    played.settle(rollouts)
}

fn process_exits(played: &mut TestContext, rollouts: &mut Rollouts, id: u32, code: i32) -> Vec<Input> {
    let inc = played.ctx.state.slots.get(id).unwrap().durable.instance.inc;
    played.ctx.event(id, Event::Exited { inc, exit: ExitReport { ending: ProcessEnding::Code(code), oom: false } });
    played.ctx.event(id, Event::TreeGone { inc });
    played.settle(rollouts)
}

fn news_in(inputs: &[Input]) -> Vec<&RolloutNews> {
    let news = |input| match input {
        &Input::Answer(FeatureAnswer::Rollout { ticket: TICKET, ref news }) => Some(news),
        _ => None,
    };
    inputs.iter().filter_map(news).collect()
}

fn final_report(inputs: &[Input]) -> Option<&RolloutReport> {
    news_in(inputs).into_iter().find_map(|news| if let RolloutNews::Ended(report) = news { Some(&**report) } else { None })
}

fn role(played: &TestContext, id: u32) -> Option<Role> {
    played.ctx.state.slots.get(id).map(|slot| slot.durable.role)
}

fn version(played: &TestContext, id: u32) -> String {
    played.ctx.state.slots.get(id).unwrap().spec().version.clone().unwrap()
}

#[test]
fn new_process_serves_before_the_old_one_retires() {
    let (mut played, mut rollouts, ids) = running(&app("1"), 1);
    let restarts = |played: &TestContext, id: u32| played.ctx.state.slots.get(id).unwrap().durable.instance.counters.restarts;
    played.ctx.state.slots.get_mut(ids[0]).unwrap().durable.instance.counters.restarts = 2;
    let news = reload(&mut played, &mut rollouts, &ids, &app("2"));
    assert!(matches!(news_in(&news)[..], [RolloutNews::Progress(Progress::Rollout { .. })]), "{news:?}");
    let new = candidate(&played);
    assert_eq!(restarts(&played, new), 3, "the process sees its own restart");
    assert!(played.ctx.state.slots.is_being_replaced("api"));
    assert_eq!((role(&played, ids[0]), version(&played, new)), (Some(Role::Serving), "2".to_owned()));
    played.ctx.state.slots.get_mut(ids[0]).unwrap().durable.instance.counters.restarts = 3;
    let news = becomes_ready(&mut played, &mut rollouts, new);
    assert_eq!((role(&played, ids[0]), role(&played, new)), (Some(Role::Retiring), Some(Role::Serving)));
    assert_eq!(restarts(&played, new), 4, "the history continues");
    assert!(final_report(&news).is_none(), "the old one has not finished");
    let news = process_exits(&mut played, &mut rollouts, ids[0], 0);
    let report = final_report(&news).unwrap();
    assert_eq!((report.state, report.release, report.replicas[0].state.as_str()), (RolloutState::Done, 2, "new"));
    assert!(!played.ctx.state.slots.is_being_replaced("api"));
    assert!(rollouts.running.is_empty());
    let (spec, _) = rollouts.release_to_undo("api", None).unwrap();
    assert_eq!(spec.version.as_deref(), Some("1"));
}

#[test]
fn instance_starting_at_the_reload_is_replaced_without_a_gap() {
    let (mut played, mut rollouts, ids) = running(&app("1"), 1);
    let late = played.instance(app("1"));
    played.dispatch(&mut rollouts, late, Event::Start(user()));
    reload(&mut played, &mut rollouts, &[ids[0], late], &app("2"));
    let first = candidate(&played);
    becomes_ready(&mut played, &mut rollouts, late);
    becomes_ready(&mut played, &mut rollouts, first);
    process_exits(&mut played, &mut rollouts, ids[0], 0);
    let second = candidate(&played);
    assert_ne!(second, first);
    let state = &played.ctx.state.slots.get(late).unwrap().durable.instance.state;
    assert!(matches!(state, InstanceState::Running { .. }), "it serves until the new one does: {state:?}");
    becomes_ready(&mut played, &mut rollouts, second);
    assert_eq!(role(&played, late), Some(Role::Retiring));
    let news = process_exits(&mut played, &mut rollouts, late, 0);
    assert_eq!(final_report(&news).unwrap().state, RolloutState::Done);
}

#[test]
fn release_that_does_not_start_changes_nothing() {
    let (mut played, mut rollouts, ids) = running(&app("1"), 2);
    reload(&mut played, &mut rollouts, &ids, &app("2"));
    let new = candidate(&played);
    played.spawned(&mut rollouts, new, 5000);
    let rest = process_exits(&mut played, &mut rollouts, new, 1);
    let requested = rest.iter().any(|input| matches!(input, Input::Request(FeatureRequest::LastLines { id }) if *id == new));
    assert!(requested && final_report(&rest).is_none(), "its last lines are waited for: {rest:?}");
    played.ctx.answer(FeatureAnswer::LastLines { id: new, lines: vec!["no such module".into()] });
    let rest = played.settle(&mut rollouts);
    let report = final_report(&rest).unwrap();
    let fault = report.fault.as_ref().unwrap();
    assert_eq!((report.state, fault.reason.as_str()), (RolloutState::Failed, "exited with code 1 before it was ready"));
    assert_eq!(fault.last_lines, ["no such module"]);
    for id in ids {
        assert_eq!((role(&played, id), version(&played, id)), (Some(Role::Serving), "1".to_owned()));
    }
    assert!(rollouts.release_to_undo("api", None).is_err(), "what was refused is no earlier release");
    assert!(played.log().contains("reload failed: exited with code 1"), "{}", played.log());
}

#[test]
fn fork_mode_app_restarts_in_place_with_its_new_spec() {
    let (mut played, mut rollouts, ids) = running(&single("1"), 1);
    let news = reload(&mut played, &mut rollouts, &ids, &single("2"));
    assert_eq!((played.ctx.state.slots.iter().count(), version(&played, ids[0])), (1, "2".to_owned()));
    assert!(matches!(played.ctx.state.slots.get(ids[0]).unwrap().durable.instance.state, InstanceState::Stopping { .. }), "{news:?}");
    process_exits(&mut played, &mut rollouts, ids[0], 0);
    let news = becomes_ready(&mut played, &mut rollouts, ids[0]);
    assert_eq!(final_report(&news).unwrap().state, RolloutState::Done);
}

/// An event that was decided but not handled must not look like its absence.
#[test]
fn reload_starts_a_stopped_instance() {
    let (mut played, mut rollouts, ids) = running(&app("1"), 1);
    played.dispatch(&mut rollouts, ids[0], Event::Stop(user()));
    process_exits(&mut played, &mut rollouts, ids[0], 0);
    let news = reload(&mut played, &mut rollouts, &ids, &app("2"));
    assert!(final_report(&news).is_none(), "{news:?}");
    let news = becomes_ready(&mut played, &mut rollouts, ids[0]);
    assert_eq!(final_report(&news).unwrap().state, RolloutState::Done);
}

#[test]
fn canary_is_watched_for_canary_time() {
    let (mut played, mut rollouts, ids) = running(&app("1"), 1);
    let request = RolloutRequest { canary_ms: Some(5000), ..wanted(&mut played, &ids, &app("2")) };
    played.ctx.request(FeatureRequest::Rollout(Box::new(request)));
    played.settle(&mut rollouts);
    let new = candidate(&played);
    becomes_ready(&mut played, &mut rollouts, new);
    played.pass(&mut rollouts, 4999);
    played.settle(&mut rollouts);
    assert_eq!(role(&played, new), Some(Role::Candidate));
    played.pass(&mut rollouts, 1);
    played.settle(&mut rollouts);
    assert_eq!(role(&played, new), Some(Role::Serving));
    process_exits(&mut played, &mut rollouts, ids[0], 0);
    assert_eq!(played.ctx.outbox.timers.next_ms(), None);
}

#[test]
fn users_reload_overrides_the_reload_of_a_policy() {
    let (mut played, mut rollouts, ids) = running(&app("1"), 3);
    let origin = Origin::policy(PolicyName::Cron);
    let replace = |played: &mut TestContext| {
        let (ids, origin) = (ids.clone(), origin.clone());
        played.ctx.request(FeatureRequest::Replace { app: "api".into(), ids, canary_ms: None, origin, what: "cron restart" });
    };
    replace(&mut played);
    played.settle(&mut rollouts);
    let by_policy = candidate(&played);
    becomes_ready(&mut played, &mut rollouts, by_policy);
    replace(&mut played);
    played.settle(&mut rollouts);
    assert!(played.log().contains("cron restart is skipped: api is already being reloaded"), "{}", played.log());
    // Two more candidates are starting. They are removed, because a user's command takes
    // precedence.
    let now: Vec<u32> = [by_policy].into_iter().chain(ids[1..].iter().copied()).collect();
    let news = reload(&mut played, &mut rollouts, &now, &app("2"));
    assert!(!news_in(&news).iter().any(|news| matches!(news, RolloutNews::Refused { .. })), "{news:?}");
    assert_eq!(version(&played, candidate(&played)), "2");
    let news = reload(&mut played, &mut rollouts, &now, &app("3"));
    let refused = news_in(&news);
    assert!(
        matches!(&refused[..], [RolloutNews::Refused { ids, reason, .. }] if ids.len() == 3 && reason.contains("is already being reloaded")),
        "{refused:?}"
    );
}

#[test]
fn reload_leaves_a_manually_stopped_instance_alone() {
    let (mut played, mut rollouts, ids) = running(&app("1"), 1);
    reload(&mut played, &mut rollouts, &ids, &app("2"));
    let new = candidate(&played);
    played.ctx.event(ids[0], Event::Stop(user()));
    played.ctx.request(FeatureRequest::TakenOver { ids: vec![ids[0]] });
    let news = played.settle(&mut rollouts);
    assert_eq!(final_report(&news).unwrap().state, RolloutState::Overruled);
    let gone = |slot: &crate::state::slots::Slot| slot.durable.instance.wanted == ostler_core::lifecycle::DesiredState::Gone;
    assert!(played.ctx.state.slots.get(new).is_none_or(gone), "the candidate goes");
    assert_eq!(version(&played, ids[0]), "1");
}

/// Programs that open their ports themselves are restarted one after the other. If all are stopped,
/// the stop of one must not restart the next.
#[test]
fn reload_does_not_restart_an_app_stopped_during_it() {
    let (mut played, mut rollouts, ids) = running(&single("1"), 2);
    reload(&mut played, &mut rollouts, &ids, &single("2"));
    ids.iter().for_each(|&id| played.ctx.event(id, Event::Stop(user())));
    played.ctx.request(FeatureRequest::TakenOver { ids: ids.clone() });
    let news = played.settle(&mut rollouts);
    assert_eq!(final_report(&news).unwrap().state, RolloutState::Overruled);
    for id in ids {
        let instance = &played.ctx.state.slots.get(id).unwrap().durable.instance;
        assert_eq!(instance.wanted, ostler_core::lifecycle::DesiredState::Down, "{:?}", instance.state);
    }
}

#[test]
fn next_daemon_continues_the_rollout() {
    let (mut played, mut rollouts, ids) = running(&app("1"), 1);
    reload(&mut played, &mut rollouts, &ids, &app("2"));
    let new = candidate(&played);
    let mut bytes = Vec::new();
    let records = played.ctx.state.slots.records("played").chain(rollouts.records());
    records.for_each(|record| crate::state::store::record::encode(&record, &mut bytes));
    let mut next = Rollouts::default();
    next.restore(&mut Snapshot::read(&bytes).0);
    assert_eq!(
        next.running.iter().map(Running::record).collect::<Vec<_>>(),
        rollouts.running.iter().map(Running::record).collect::<Vec<_>>()
    );
    played.ctx.state.slots.end_replacing("api");
    // This candidate belongs to no rollout.
    let (app, base) = {
        let slot = played.ctx.state.slots.get(new).unwrap();
        (Rc::clone(slot.app()), Rc::clone(slot.base()))
    };
    let lost = played.ctx.state.slots.add_candidate(ids[0], &app, &base, played.ctx.now, &played.ctx.io.settings).unwrap();
    next.on_boot(&mut played.ctx);
    played.settle(&mut next);
    assert!(played.ctx.state.slots.is_being_replaced("api") && played.ctx.state.slots.get(lost).is_none());
    becomes_ready(&mut played, &mut next, new);
    process_exits(&mut played, &mut next, ids[0], 0);
    assert_eq!((role(&played, new), next.releases["api"].len()), (Some(Role::Serving), 2));
}

#[test]
fn releases_are_forgotten_with_the_last_instance() {
    let (mut played, mut rollouts, ids) = running(&single("1"), 2);
    reload(&mut played, &mut rollouts, &ids[..1], &single("2"));
    process_exits(&mut played, &mut rollouts, ids[0], 0);
    becomes_ready(&mut played, &mut rollouts, ids[0]);
    for (id, left) in [(ids[0], true), (ids[1], false)] {
        played.ctx.event(id, Event::Delete(user()));
        played.settle(&mut rollouts);
        process_exits(&mut played, &mut rollouts, id, 0);
        assert_eq!(rollouts.releases.contains_key("api"), left);
    }
}

#[test]
fn cut_requests_are_counted() {
    let (mut played, mut rollouts, ids) = running(&app("1"), 1);
    reload(&mut played, &mut rollouts, &ids, &app("2"));
    let new = candidate(&played);
    becomes_ready(&mut played, &mut rollouts, new);
    played.ctx.answer(FeatureAnswer::Cut { id: ids[0], requests: 2, warning: "2 requests".into() });
    let news = played.settle(&mut rollouts);
    assert!(matches!(news_in(&news)[..], [RolloutNews::Progress(Progress::Warning(text))] if text == "2 requests"), "{news:?}");
    let news = process_exits(&mut played, &mut rollouts, ids[0], 0);
    assert_eq!(final_report(&news).unwrap().cut, 2);
}

reacts!(Rollouts: on_timer, on_transition, on_idle, on_request, on_client_request, on_answer);
