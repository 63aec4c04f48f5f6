//! Health checks over a played context: which probes run when, the effects of answers, and the
//! reports.

use std::net::TcpListener;

use ostler_core::app::AppSpec;
use ostler_core::health::safeguards::Safeguards;
use ostler_core::health::{Check, CheckMethod, HealthSpec};
use ostler_core::lifecycle::command::CommandOutcome;
use ostler_core::lifecycle::{Event, Origin, PolicyName};
use ostler_sys::SecretBytes;
use serde_json::json;

use super::*;
use crate::engine::{CommandEnd, CommandReport, Input, TestContext, reacts};
use crate::state::store::Role;

const NAMES: &[&str] = &[HealthChecks::NAME];

/// Returns a check that runs each second and counts from the second failure in a row.
fn check(ask: CheckMethod) -> Check {
    Check { method: ask, interval_ms: 1000, timeout_ms: 500, failures: 2, successes: 1, delay_ms: 0 }
}

fn command(word: &str) -> Check {
    check(CheckMethod::Command(vec![word.into()]))
}

fn tcp(port: u16) -> Check {
    check(CheckMethod::Tcp { host: "127.0.0.1".into(), port })
}

/// Returns a specification whose failures count from the beginning.
fn strict() -> HealthSpec {
    HealthSpec { grace_ms: Some(0), ..HealthSpec::default() }
}

fn app(health: HealthSpec) -> AppSpec {
    let safeguards = Safeguards { health, ..Safeguards::default() };
    AppSpec { name: "api".into(), script: "/bin/true".into(), safeguards: Some(Box::new(safeguards)), ..AppSpec::default() }
}

fn running(health: HealthSpec) -> (TestContext, HealthChecks, u32) {
    let (mut played, mut checks) = (TestContext::new(NAMES), HealthChecks::default());
    let id = played.instance(app(health));
    played.start(&mut checks, id, 4711);
    (played, checks, id)
}

fn state(played: &TestContext, id: u32) -> Option<HealthState> {
    played.ctx.state.slots.get(id).unwrap().live.health.as_ref().map(|report| report.state)
}

fn notes(played: &TestContext, id: u32) -> Vec<String> {
    played.ctx.state.slots.get(id).unwrap().durable.observations.iter().map(|note| note.text.clone()).collect()
}

/// Advances the time, by at most a second, until a command is requested. Drops other requests.
fn next_command(played: &mut TestContext, checks: &mut HealthChecks) -> CommandOwner {
    for _ in 0..100 {
        played.pass(checks, 10);
        for input in played.queued() {
            if let Input::Request(FeatureRequest::Run { owner, .. }) = input {
                return owner;
            }
        }
    }
    panic!("nothing is asked")
}

fn command_exits(played: &mut TestContext, checks: &mut HealthChecks, owner: CommandOwner, outcome: CommandOutcome) -> Vec<Input> {
    let report = CommandReport { outcome, output: SecretBytes::from(&b""[..]), last_lines: Vec::new() };
    let end = CommandEnd { number: None, slot: None, owner, report };
    checks.on_answer(&mut played.ctx, &FeatureAnswer::CommandEnded(Box::new(end)));
    played.queued()
}

fn is_remedy(input: &Input, words: &str) -> bool {
    matches!(input, Input::Request(FeatureRequest::Remedy { cause: RemedyCause::Health, why, inc: 1, .. }) if why == words)
}

#[test]
fn app_without_checks_is_not_watched() {
    let (played, checks, id) = running(HealthSpec::default());
    assert_eq!((played.ctx.outbox.timers.next_ms(), checks.watched.len(), state(&played, id)), (None, 0, None));
}

#[test]
fn failures_make_unhealthy_and_one_success_heals() {
    let (mut played, mut checks, id) = running(HealthSpec { liveness: Some(command("alive")), ..strict() });
    assert_eq!(state(&played, id), Some(HealthState::Starting));
    let bad = CommandOutcome::Code(1);
    let owner = next_command(&mut played, &mut checks);
    assert!(command_exits(&mut played, &mut checks, owner, bad.clone()).is_empty(), "once is not enough");
    let owner = next_command(&mut played, &mut checks);
    let events = command_exits(&mut played, &mut checks, owner, bad.clone());
    let words = format!("command `alive` {bad}");
    assert!(matches!(&events[..], [Input::Capacity(of), remedy] if *of == id && is_remedy(remedy, &words)), "{events:?}");
    assert_eq!(notes(&played, id), [format!("is unhealthy: {words} (2 times in a row)")]);
    assert!(played.ctx.state.slots.get(id).unwrap().live.unready);
    let owner = next_command(&mut played, &mut checks);
    let told = command_exits(&mut played, &mut checks, owner, CommandOutcome::Code(0));
    assert!(matches!(&told[..], [Input::Capacity(of)] if *of == id), "{told:?}");
    assert_eq!(state(&played, id), Some(HealthState::Healthy));
    assert_eq!(notes(&played, id).last().map(String::as_str), Some("is healthy again"));
}

/// The program of the check is missing, cannot be started, or is killed. The app has then not
/// answered, regardless of the number of times.
#[test]
fn broken_check_is_reported_without_a_remedy() {
    let missing = CommandOutcome::CouldNotStart("exec pg_isready: No such file or directory (os error 2)".into());
    for broken in [CommandOutcome::Code(127), CommandOutcome::Code(126), CommandOutcome::Signal(9), missing] {
        for health in [
            HealthSpec { liveness: Some(command("alive")), ..strict() },
            HealthSpec { readiness: Some(command("alive")), ..strict() },
            HealthSpec { startup: Some(command("alive")), ..strict() },
        ] {
            let (mut played, mut checks, id) = running(health);
            for _ in 0..5 {
                let owner = next_command(&mut played, &mut checks);
                let told = command_exits(&mut played, &mut checks, owner, broken.clone());
                assert!(told.is_empty(), "{told:?}");
            }
            let slot = played.ctx.state.slots.get(id).unwrap();
            assert_eq!(state(&played, id), Some(HealthState::Broken));
            assert!(!slot.live.unready);
            let report = slot.live.health.as_ref().unwrap();
            assert_eq!(report.trouble(), Some(format!("health check broken: command `alive` {broken}")));
            let words = format!("has a broken health check; no action is taken: command `alive` {broken}");
            assert_eq!(notes(&played, id), [words], "once");
            // The check is repaired.
            let owner = next_command(&mut played, &mut checks);
            command_exits(&mut played, &mut checks, owner, CommandOutcome::Code(0));
            assert_eq!(state(&played, id), Some(HealthState::Healthy));
            assert_eq!(notes(&played, id).last().map(String::as_str), Some("is healthy again"));
        }
    }
}

/// The daemon does not resolve this host. The description did not come from our own configuration.
#[test]
fn unresolved_host_is_a_broken_check() {
    let ask = CheckMethod::Tcp { host: "db.example".into(), port: 5432 };
    let (mut played, _checks, id) = running(HealthSpec { liveness: Some(check(ask)), ..strict() });
    assert_eq!(state(&played, id), Some(HealthState::Broken));
    assert!(played.queued().is_empty());
    assert!(notes(&played, id)[0].contains("db.example is neither an address nor localhost"));
}

#[test]
fn unready_instance_gets_no_connections_and_no_remedy() {
    let (mut played, mut checks, id) = running(HealthSpec { readiness: Some(command("ready")), ..strict() });
    for outcome in [CommandOutcome::Code(0), CommandOutcome::Code(7), CommandOutcome::Code(7)] {
        let owner = next_command(&mut played, &mut checks);
        let told = command_exits(&mut played, &mut checks, owner, outcome);
        assert!(told.iter().all(|input| matches!(input, Input::Capacity(_))), "{told:?}");
    }
    assert_eq!(state(&played, id), Some(HealthState::Unready));
    let slot = played.ctx.state.slots.get(id).unwrap();
    assert!(slot.live.unready && !slot.is_healthy());
    assert_eq!(notes(&played, id).len(), 1);
}

#[test]
fn liveness_check_follows_the_startup_check() {
    let health = HealthSpec { startup: Some(command("up")), liveness: Some(command("alive")), ..strict() };
    let (mut played, mut checks, id) = running(health);
    let word = |checks: &HealthChecks| checks.questions.values().flat_map(|question| question.phases.clone()).collect::<Vec<_>>();
    assert_eq!(word(&checks), [CheckPhase::Startup]);
    let owner = next_command(&mut played, &mut checks);
    command_exits(&mut played, &mut checks, owner, CommandOutcome::Code(0));
    assert_eq!(word(&checks), [CheckPhase::Liveness]);
    let owner = next_command(&mut played, &mut checks);
    command_exits(&mut played, &mut checks, owner, CommandOutcome::Code(0));
    assert_eq!(state(&played, id), Some(HealthState::Healthy));
}

#[test]
fn identical_checks_share_one_probe() {
    let health = HealthSpec { readiness: Some(command("alive")), liveness: Some(command("alive")), ..strict() };
    let (_, checks, _) = running(health);
    assert_eq!(checks.questions.len(), 1);
}

#[test]
fn command_that_did_not_run_changes_nothing() {
    let (mut played, mut checks, id) = running(HealthSpec { liveness: Some(command("alive")), ..strict() });
    for outcome in [CommandOutcome::Lost, CommandOutcome::Cancelled, CommandOutcome::Lost] {
        let owner = next_command(&mut played, &mut checks);
        assert!(command_exits(&mut played, &mut checks, owner, outcome).is_empty());
        assert_eq!(played.ctx.outbox.timers.next_ms(), Some(played.ctx.now.mono_ms + 500));
    }
    assert_eq!(state(&played, id), Some(HealthState::Starting));
}

#[test]
fn running_check_is_cancelled_with_its_process() {
    let (mut played, mut checks, id) = running(HealthSpec { liveness: Some(command("alive")), ..strict() });
    let owner = next_command(&mut played, &mut checks);
    played.dispatch(&mut checks, id, Event::Stop(Origin::policy(PolicyName::Recovery)));
    let queued = played.queued();
    assert!(matches!(&queued[..], [Input::Request(FeatureRequest::CallOff(of))] if *of == owner), "{queued:?}");
    assert_eq!((played.ctx.outbox.timers.next_ms(), state(&played, id)), (None, None));
    assert!(command_exits(&mut played, &mut checks, owner, CommandOutcome::Code(1)).is_empty());
}

#[test]
fn scheduled_check_is_cancelled_with_its_process() {
    let (mut played, mut checks, id) = running(HealthSpec { liveness: Some(command("alive")), ..strict() });
    played.dispatch(&mut checks, id, Event::Stop(Origin::policy(PolicyName::Recovery)));
    assert_eq!((played.ctx.outbox.timers.next_ms(), played.queued().len()), (None, 0));
}

#[test]
fn answer_for_another_process_is_ignored() {
    let (mut played, mut checks, id) = running(HealthSpec { liveness: Some(command("alive")), ..strict() });
    let CommandOwner::Check { slot, inc, key } = next_command(&mut played, &mut checks) else { panic!() };
    // A former daemon may have given the same number to a probe.
    assert!(command_exits(&mut played, &mut checks, CommandOwner::Check { slot, inc: inc + 1, key }, CommandOutcome::Code(0)).is_empty());
    assert_eq!(state(&played, id), Some(HealthState::Starting));
    command_exits(&mut played, &mut checks, CommandOwner::Check { slot, inc, key }, CommandOutcome::Code(0));
    assert_eq!(state(&played, id), Some(HealthState::Healthy));
}

#[test]
fn tcp_check_connects_to_the_port() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (mut played, mut checks, id) = running(HealthSpec { liveness: Some(tcp(listener.local_addr().unwrap().port())), ..strict() });
    for _ in 0..200 {
        if state(&played, id) == Some(HealthState::Healthy) {
            break;
        }
        played.pass(&mut checks, 10);
        for ready in played.ctx.io.reactor.wait(Some(std::time::Duration::ZERO)).unwrap() {
            let Source::Feature(HealthChecks::NAME, key) = ready.source else { panic!("{ready:?}") };
            checks.on_ready(&mut played.ctx, key, ready.writable);
        }
    }
    assert_eq!(state(&played, id), Some(HealthState::Healthy));
    played.dispatch(&mut checks, id, Event::Stop(Origin::policy(PolicyName::Recovery)));
    assert_eq!((played.ctx.outbox.timers.next_ms(), played.ctx.io.checks.deadline_ms()), (None, None));
}

#[test]
fn closed_port_is_a_failed_check() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (mut played, mut checks, id) = running(HealthSpec { liveness: Some(tcp(port)), ..strict() });
    played.pass(&mut checks, 3500);
    assert_eq!(state(&played, id), Some(HealthState::Unhealthy));
    let notes = notes(&played, id);
    assert!(notes[0].starts_with(&format!("is unhealthy: connection to 127.0.0.1:{port}: ")), "{notes:?}");
}

/// Returns a Node process whose event loop must send a heartbeat each second.
fn with_preload() -> (TestContext, HealthChecks, u32) {
    let (mut played, checks, id) = running(HealthSpec { heartbeat_ms: Some(1000), ..HealthSpec::default() });
    played.ctx.state.slots.get_mut(id).unwrap().durable.preloaded = true;
    (played, checks, id)
}

fn heartbeat(played: &mut TestContext, checks: &mut HealthChecks, id: u32) {
    let Some(message) = json!({"cmd": "NODE_OSTLER", "act": "turns"}).as_object().cloned() else { return };
    checks.on_message(&mut played.ctx, id, 1, &Message::Internal(message));
}

#[test]
fn blocked_event_loop_makes_the_app_unhealthy() {
    let (mut played, mut checks, id) = with_preload();
    assert_eq!(played.ctx.outbox.timers.next_ms(), None, "it has not said anything yet");
    for _ in 0..5 {
        heartbeat(&mut played, &mut checks, id);
        played.pass(&mut checks, 999);
    }
    assert!(played.queued().is_empty());
    played.pass(&mut checks, 1);
    let queued = played.queued();
    let words = "its event loop has been blocked for 1000 ms";
    assert!(matches!(&queued[..], [Input::Capacity(_), remedy] if is_remedy(remedy, words)), "{queued:?}");
    heartbeat(&mut played, &mut checks, id);
    assert_eq!(state(&played, id), Some(HealthState::Healthy));
}

#[test]
fn silence_during_a_daemon_pause_is_ignored() {
    let (mut played, mut checks, id) = with_preload();
    heartbeat(&mut played, &mut checks, id);
    played.ctx.now.mono_ms += 10_000;
    played.pass(&mut checks, 0);
    assert_eq!(state(&played, id), Some(HealthState::Healthy));
    played.pass(&mut checks, 1000);
    assert_eq!(state(&played, id), Some(HealthState::Unhealthy), "the next silence counts");
}

#[test]
fn closed_channel_disables_the_heartbeat_check() {
    let (mut played, mut checks, id) = with_preload();
    heartbeat(&mut played, &mut checks, id);
    checks.on_channel_ended(&mut played.ctx, id);
    assert_eq!(played.ctx.outbox.timers.next_ms(), None);
    // The heartbeats do not come from our preload.
    played.ctx.state.slots.get_mut(id).unwrap().durable.preloaded = false;
    heartbeat(&mut played, &mut checks, id);
    assert_eq!(played.ctx.outbox.timers.next_ms(), None);
}

#[test]
fn next_process_starts_with_fresh_health() {
    let (mut played, mut checks, id) = with_preload();
    heartbeat(&mut played, &mut checks, id);
    played.pass(&mut checks, 1000);
    assert_eq!(state(&played, id), Some(HealthState::Unhealthy));
    // An instance that takes the place of another has made no step.
    played.ctx.state.slots.get_mut(id).unwrap().durable.role = Role::Retiring;
    checks.on_serving(&mut played.ctx, id);
    let slot = played.ctx.state.slots.get_mut(id).unwrap();
    assert!(slot.live.health.is_none() && !slot.live.unready);
    slot.durable.role = Role::Serving;
    checks.on_serving(&mut played.ctx, id);
    assert_eq!(state(&played, id), Some(HealthState::Healthy), "nothing is known against it");
}

/// An app with only a heartbeat is healthy from the start. No change of its state reports that the
/// next process is healthy.
#[test]
fn process_is_reported_healthy_at_its_first_heartbeat() {
    let (mut played, mut checks, id) = with_preload();
    let healthy = |played: &mut TestContext| {
        let is_healthy = |event: &ostler_proto::event::Event| matches!(event.kind, EventKind::Health { state: Health::Healthy });
        played.events().iter().filter(|event| is_healthy(event)).count()
    };
    heartbeat(&mut played, &mut checks, id);
    heartbeat(&mut played, &mut checks, id);
    assert_eq!(healthy(&mut played), 1);
    played.pass(&mut checks, 1000);
    assert_eq!(state(&played, id), Some(HealthState::Unhealthy));
    played.events();
    for role in [Role::Retiring, Role::Serving] {
        played.ctx.state.slots.get_mut(id).unwrap().durable.role = role;
        checks.on_serving(&mut played.ctx, id);
    }
    assert_eq!(healthy(&mut played), 0, "nothing is known of it yet");
    heartbeat(&mut played, &mut checks, id);
    assert_eq!(healthy(&mut played), 1);
}

reacts!(HealthChecks: on_step, on_serving, on_message, on_channel_ended, on_ready, on_timer, on_answer, on_forgotten);
