//! Remediation over a played context: the order of instances, the remedies, and the notifications.

use ostler_core::app::{AppSpec, ExecMode};
use ostler_core::health::safeguards::Safeguards;
use ostler_core::health::{Check, CheckMethod, HealthSpec};
use ostler_core::lifecycle::{ExitReport, ProcessEnding};
use ostler_proto::health::{HealthReport, LastAnswer};

use super::*;
use crate::engine::{Input, TestContext, reacts};

const WHY: &str = "no answer at all";

fn app(safeguards: Safeguards) -> AppSpec {
    AppSpec { name: "api".into(), script: "/bin/true".into(), safeguards: Some(Box::new(safeguards)), ..AppSpec::default() }
}

/// Returns an app whose processes can serve beside each other.
fn cluster(safeguards: Safeguards) -> AppSpec {
    AppSpec { mode: ExecMode::Cluster, interpreter: Some("/usr/bin/node".into()), ..app(safeguards) }
}

fn with_check() -> Safeguards {
    let ask = CheckMethod::Command(vec!["true".into()]);
    let check = Check { method: ask, interval_ms: 1000, timeout_ms: 1000, failures: 1, successes: 1, delay_ms: 0 };
    Safeguards { health: HealthSpec { liveness: Some(check), ..HealthSpec::default() }, ..Safeguards::default() }
}

fn running(specs: &[AppSpec]) -> (TestContext, Remediation, Vec<u32>) {
    let (mut played, mut remediation) = (TestContext::new(&[]), Remediation::default());
    let ids: Vec<u32> = specs.iter().map(|spec| played.instance(spec.clone())).collect();
    for (pid, id) in (101..).zip(&ids) {
        played.start(&mut remediation, *id, pid);
    }
    (played, remediation, ids)
}

fn inc_of(played: &TestContext, id: u32) -> u32 {
    played.ctx.state.slots.get(id).unwrap().durable.instance.inc
}

fn set_health(played: &mut TestContext, id: u32, state: HealthState) {
    let last = LastAnswer { at: played.ctx.now, good: state == HealthState::Healthy, words: WHY.into() };
    let report = HealthReport { state, since: played.ctx.now, failures: 1, last: Some(last) };
    played.ctx.state.slots.get_mut(id).unwrap().live.health = Some(Box::new(report));
}

/// Requests a remedy. Returns true if the cause was new.
fn ask(played: &mut TestContext, remediation: &mut Remediation, id: u32, cause: RemedyCause) -> bool {
    let inc = inc_of(played, id);
    assert!(remediation.on_request(&mut played.ctx, FeatureRequest::Remedy { id, inc, cause, why: WHY.into() }).is_none());
    let queued = played.queued();
    match &queued[..] {
        [] => false,
        [Input::Answer(FeatureAnswer::Remedy { id: of, cause: told, why })] if *of == id && *told == cause && why == WHY => true,
        other => panic!("{other:?}"),
    }
}

/// Returns the remedies that start when no work is left.
fn run_remedies(played: &mut TestContext, remediation: &mut Remediation) -> Vec<Input> {
    remediation.on_idle(&mut played.ctx);
    played.queued()
}

fn is_policy(origin: &Origin, word: &str) -> bool {
    *origin == Origin::found(word.into(), WHY)
}

/// Completes the stop of a process, and starts the next one.
fn restarts(played: &mut TestContext, remediation: &mut Remediation, id: u32) {
    let inc = inc_of(played, id);
    played.dispatch(remediation, id, Event::Exited { inc, exit: ExitReport { ending: ProcessEnding::Code(0), oom: false } });
    played.dispatch(remediation, id, Event::TreeGone { inc });
    played.spawned(remediation, id, 201);
}

#[test]
fn instances_of_an_app_are_remedied_one_at_a_time() {
    let (mut played, mut remediation, ids) = running(&[app(with_check()), app(with_check())]);
    let [first, second] = ids[..] else { panic!("{ids:?}") };
    assert!(ask(&mut played, &mut remediation, second, RemedyCause::Cpu) && ask(&mut played, &mut remediation, first, RemedyCause::Errors));
    let queued = run_remedies(&mut played, &mut remediation);
    let [Input::Event(id, Event::Restart(origin))] = &queued[..] else { panic!("{queued:?}") };
    assert!(*id == first && is_policy(origin, "errors"), "{queued:?}");
    played.dispatch(&mut remediation, first, Event::Restart(origin.clone()));
    assert!(run_remedies(&mut played, &mut remediation).is_empty(), "it is on its way");
    restarts(&mut played, &mut remediation, first);
    set_health(&mut played, first, HealthState::Starting);
    assert!(run_remedies(&mut played, &mut remediation).is_empty(), "its health is unknown");
    set_health(&mut played, first, HealthState::Healthy);
    let queued = run_remedies(&mut played, &mut remediation);
    let [Input::Event(id, Event::Restart(origin))] = &queued[..] else { panic!("{queued:?}") };
    assert!(*id == second && is_policy(origin, "cpu"), "{queued:?}");
}

#[test]
fn apps_are_remedied_independently() {
    let other = AppSpec { name: "other".into(), ..app(Safeguards::default()) };
    let (mut played, mut remediation, ids) = running(&[app(Safeguards::default()), other]);
    for id in ids {
        ask(&mut played, &mut remediation, id, RemedyCause::Errors);
    }
    assert_eq!(run_remedies(&mut played, &mut remediation).len(), 2);
}

#[test]
fn replacement_is_tried_before_a_restart() {
    let (mut played, mut remediation, ids) = running(&[cluster(with_check())]);
    let id = ids[0];
    set_health(&mut played, id, HealthState::Unhealthy);
    ask(&mut played, &mut remediation, id, RemedyCause::Health);
    let queued = run_remedies(&mut played, &mut remediation);
    let [Input::Request(FeatureRequest::Replace { ids, canary_ms: Some(0), origin, what: "health", .. })] = &queued[..] else {
        panic!("{queued:?}")
    };
    assert!(*ids == [id] && is_policy(origin, "health"), "{queued:?}");
    assert!(!ask(&mut played, &mut remediation, id, RemedyCause::Memory), "it is being replaced");
    played.ctx.state.slots.begin_replacing("api");
    assert!(run_remedies(&mut played, &mut remediation).is_empty());
    // The new process failed.
    played.ctx.state.slots.end_replacing("api");
    let queued = run_remedies(&mut played, &mut remediation);
    let [Input::Answer(FeatureAnswer::Remedy { .. }), Input::Event(of, Event::Restart(origin))] = &queued[..] else { panic!("{queued:?}") };
    assert!(*of == id && is_policy(origin, "health"), "{queued:?}");
}

#[test]
fn remedy_waits_for_a_running_reload() {
    let (mut played, mut remediation, ids) = running(&[app(Safeguards::default())]);
    played.ctx.state.slots.begin_replacing("api");
    ask(&mut played, &mut remediation, ids[0], RemedyCause::Cpu);
    assert!(run_remedies(&mut played, &mut remediation).is_empty());
    played.ctx.state.slots.end_replacing("api");
    assert_eq!(run_remedies(&mut played, &mut remediation).len(), 1);
}

#[test]
fn repeated_remedies_back_off_except_for_memory() {
    let (mut played, mut remediation, ids) = running(&[app(Safeguards::default())]);
    let id = ids[0];
    for _ in 0..2 {
        ask(&mut played, &mut remediation, id, RemedyCause::Errors);
        let queued = run_remedies(&mut played, &mut remediation);
        let [Input::Event(_, event)] = &queued[..] else { panic!("{queued:?}") };
        played.dispatch(&mut remediation, id, event.clone());
        restarts(&mut played, &mut remediation, id);
        assert!(run_remedies(&mut played, &mut remediation).is_empty());
    }
    ask(&mut played, &mut remediation, id, RemedyCause::Errors);
    assert!(run_remedies(&mut played, &mut remediation).is_empty());
    let not_before_ms = played.ctx.now.mono_ms + 1000;
    assert_eq!(played.ctx.outbox.timers.next_ms(), Some(not_before_ms));
    remediation.on_request(&mut played.ctx, FeatureRequest::NoRemedy { id, cause: RemedyCause::Errors });
    assert!(run_remedies(&mut played, &mut remediation).is_empty());
    assert_eq!(played.ctx.outbox.timers.next_ms(), None);
    ask(&mut played, &mut remediation, id, RemedyCause::Memory);
    let queued = run_remedies(&mut played, &mut remediation);
    assert!(matches!(&queued[..], [Input::Event(_, Event::RestartAt { at_ms, .. })] if *at_ms == not_before_ms), "{queued:?}");
}

#[test]
fn delayed_remedy_runs_after_its_backoff() {
    let (mut played, mut remediation, ids) = running(&[app(Safeguards::default())]);
    let pace = remediation.paces.entry(0).or_default();
    pace.replaced(played.ctx.now.mono_ms);
    pace.replaced(played.ctx.now.mono_ms);
    ask(&mut played, &mut remediation, ids[0], RemedyCause::Cpu);
    assert!(run_remedies(&mut played, &mut remediation).is_empty());
    played.pass(&mut remediation, 999);
    assert!(run_remedies(&mut played, &mut remediation).is_empty());
    played.pass(&mut remediation, 1);
    assert_eq!(run_remedies(&mut played, &mut remediation).len(), 1);
}

#[test]
fn autokill_fails_the_instance_like_a_crash() {
    let (mut played, mut remediation, ids) = running(&[cluster(Safeguards { autokill: true, ..Safeguards::default() })]);
    ask(&mut played, &mut remediation, ids[0], RemedyCause::Health);
    let queued = run_remedies(&mut played, &mut remediation);
    assert!(matches!(&queued[..], [Input::Event(_, Event::Fail(origin))] if is_policy(origin, "health")), "{queued:?}");
}

#[test]
fn recovered_or_exited_instance_gets_no_remedy() {
    let (mut played, mut remediation, ids) = running(&[app(with_check())]);
    let id = ids[0];
    set_health(&mut played, id, HealthState::Unhealthy);
    ask(&mut played, &mut remediation, id, RemedyCause::Health);
    set_health(&mut played, id, HealthState::Healthy);
    assert!(run_remedies(&mut played, &mut remediation).is_empty());
    assert!(ask(&mut played, &mut remediation, id, RemedyCause::Memory), "that it is healthy says nothing of its memory");
    remediation.on_request(&mut played.ctx, FeatureRequest::NoRemedy { id, cause: RemedyCause::Health });
    assert!(!ask(&mut played, &mut remediation, id, RemedyCause::Cpu), "one reason at a time");
    let inc = inc_of(&played, id);
    played.dispatch(&mut remediation, id, Event::Exited { inc, exit: ExitReport { ending: ProcessEnding::Code(1), oom: false } });
    assert!(run_remedies(&mut played, &mut remediation).is_empty());
    assert!(remediation.wanted.is_empty());
}

#[test]
fn health_action_none_suppresses_the_health_remedy() {
    let mut safeguards = with_check();
    safeguards.health.action = Action::None;
    let (mut played, mut remediation, ids) = running(&[app(safeguards)]);
    assert!(!ask(&mut played, &mut remediation, ids[0], RemedyCause::Health));
    assert!(ask(&mut played, &mut remediation, ids[0], RemedyCause::Memory), "its limits are another matter");
}

#[test]
fn reused_id_gets_a_fresh_backoff() {
    let (mut played, mut remediation, ids) = running(&[app(Safeguards::default())]);
    ask(&mut played, &mut remediation, ids[0], RemedyCause::Cpu);
    run_remedies(&mut played, &mut remediation);
    assert_eq!(remediation.paces.len(), 1);
    remediation.on_transition(&mut played.ctx, ids[0], &Transition::Deleted);
    assert!(remediation.paces.is_empty());
}

reacts!(Remediation: on_request, on_step, on_transition, on_forgotten, on_idle);
