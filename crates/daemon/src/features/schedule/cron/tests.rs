//! Schedules over a played context: the requests of a tick, and the journal on disk before them.

use ostler_core::app::{AppSpec, ExecMode};
use ostler_core::cron::{JobSpec, Overlap};
use ostler_core::lifecycle::{Event, InstanceState, Origin, PolicyName};

use ostler_proto::event::EventKind;

use super::*;
use crate::engine::{FeatureRequest, Input, TestContext, reacts};

const MINUTE_MS: u64 = 60_000;

fn app(cron: CronSpec) -> AppSpec {
    AppSpec { name: "api".into(), script: "/bin/true".into(), cron: Some(Box::new(cron)), ..AppSpec::default() }
}

/// Returns a running instance with armed ticks and a set timer. The clock is at the beginning of a
/// minute.
fn running(spec: AppSpec) -> (TestContext, Cron, u32) {
    let (mut played, mut cron) = (TestContext::new(&[Cron::NAME]), Cron::default());
    played.ctx.now.wall_ms -= played.ctx.now.wall_ms % MINUTE_MS;
    cron.on_boot(&mut played.ctx);
    let id = played.instance(spec);
    played.start(&mut cron, id, 4711);
    cron.on_settled(&mut played.ctx);
    assert!(cron.timer.is_some());
    (played, cron, id)
}

/// Advances both clocks, and fires the timer.
fn tick(played: &mut TestContext, cron: &mut Cron, after_ms: u64) -> Vec<Input> {
    played.pass(cron, after_ms);
    cron.on_ready(&mut played.ctx, 0, false);
    cron.on_settled(&mut played.ctx);
    played.queued()
}

fn is_cron(origin: &Origin) -> bool {
    *origin == Origin::policy(PolicyName::Cron)
}

#[test]
fn cron_tick_restarts_once() {
    let (mut played, mut cron, id) = running(app(CronSpec::restarts("* * * * *".into())));
    assert!(tick(&mut played, &mut cron, MINUTE_MS - 1).is_empty());
    let inputs = tick(&mut played, &mut cron, 1);
    assert!(matches!(&inputs[..], [Input::Event(of, Event::Restart(origin))] if *of == id && is_cron(origin)), "{inputs:?}");
    assert!(tick(&mut played, &mut cron, 0).is_empty());
    assert_eq!(tick(&mut played, &mut cron, MINUTE_MS).len(), 1);
}

#[test]
fn cron_restart_replaces_cluster_workers() {
    let spec =
        AppSpec { mode: ExecMode::Cluster, interpreter: Some("/usr/bin/node".into()), ..app(CronSpec::restarts("* * * * *".into())) };
    let (mut played, mut cron, id) = running(spec);
    let inputs = tick(&mut played, &mut cron, MINUTE_MS);
    let is_it =
        |asked: &[Input]| matches!(asked, [Input::Request(FeatureRequest::Replace { app, ids, .. })] if app == "api" && *ids == [id]);
    assert!(is_it(&inputs), "{inputs:?}");
}

#[test]
fn run_is_on_disk_before_it_starts() {
    let (mut played, mut cron, _) = running(app(CronSpec::restarts("* * * * *".into())));
    cron.on_journaled(&mut played.ctx, &[]);
    assert_ne!(played.ctx.state.state_file.deadline_ms(), Some(0));
    tick(&mut played, &mut cron, MINUTE_MS);
    played.ctx.state.state_file.append(b"x", played.ctx.now.mono_ms);
    cron.on_journaled(&mut played.ctx, &[]);
    assert_eq!(played.ctx.state.state_file.deadline_ms(), Some(0));
}

#[test]
fn missed_run_is_only_an_event() {
    let (mut played, mut cron, _) = running(app(CronSpec::job("0 * * * *".into(), JobSpec::default())));
    let due_ms = played.ctx.state.slots.iter().next().unwrap().durable.ticks.next_ms.unwrap();
    played.events();
    // The daemon checks the clock only long after the tick.
    played.ctx.now.wall_ms = due_ms + 10 * MINUTE_MS;
    assert!(tick(&mut played, &mut cron, 0).is_empty());
    let events = played.events();
    assert!(matches!(&events[..], [event] if event.kind == EventKind::RunMissed { due_ms } && event.id == Some(0)), "{events:?}");
}

#[test]
fn manual_stop_disables_the_schedule() {
    let (mut played, mut cron, id) = running(app(CronSpec::restarts("* * * * *".into())));
    played.dispatch(&mut cron, id, Event::Stop(Origin::User { command: "stop".into(), uid: 0, pid: 1, on_behalf_of: None }));
    cron.on_settled(&mut played.ctx);
    assert!(cron.timer.is_none());
    assert!(tick(&mut played, &mut cron, MINUTE_MS).is_empty());
}

#[test]
fn clock_change_recomputes_the_next_tick() {
    let (mut played, mut cron, id) = running(app(CronSpec::restarts("0 3 * * *".into())));
    let next = played.ctx.state.slots.get(id).unwrap().durable.ticks.next_ms.unwrap();
    // The clock is set to just before the tick. Without a check, the tick would come a day late.
    played.ctx.now.wall_ms = next - 1000;
    cron.on_turn(&mut played.ctx);
    assert!(!cron.was_set(played.ctx.now));
    assert_eq!(tick(&mut played, &mut cron, 1000).len(), 1);
}

#[test]
fn job_attempt_fails_at_its_timeout() {
    let job = JobSpec { timeout_ms: Some(500), ..JobSpec::default() };
    let (mut played, mut cron, id) = running(app(CronSpec::job("* * * * *".into(), job)));
    played.pass(&mut cron, 499);
    assert!(played.queued().is_empty());
    played.pass(&mut cron, 1);
    let inputs = played.queued();
    assert!(
        matches!(&inputs[..], [Input::Event(of, Event::Fail(origin))] if *of == id && *origin == Origin::policy(PolicyName::Timeout)),
        "{inputs:?}"
    );
    assert!(played.log().contains("job takes longer than its timeout"), "{}", played.log());
    cron.on_forgotten(&mut played.ctx, id);
    assert_eq!(played.ctx.outbox.timers.next_ms(), None);
}

#[test]
fn queued_run_starts_when_the_current_one_exits() {
    let spec = CronSpec { overlap: Overlap::Queue, ..CronSpec::job("* * * * *".into(), JobSpec::default()) };
    let (mut played, mut cron, id) = running(app(spec));
    assert!(tick(&mut played, &mut cron, MINUTE_MS).is_empty());
    assert!(played.ctx.state.slots.get(id).unwrap().durable.ticks.queued);
    let inc = played.ctx.state.slots.get(id).unwrap().durable.instance.inc;
    let exit = ostler_core::lifecycle::ExitReport { ending: ostler_core::lifecycle::ProcessEnding::Code(0), oom: false };
    played.dispatch(&mut cron, id, Event::Exited { inc, exit });
    played.dispatch(&mut cron, id, Event::TreeGone { inc });
    assert!(matches!(played.ctx.state.slots.get(id).unwrap().durable.instance.state, InstanceState::Stopped));
    let inputs = played.queued();
    assert!(matches!(&inputs[..], [Input::Event(of, Event::Start(origin))] if *of == id && is_cron(origin)), "{inputs:?}");
}

reacts!(Cron: on_ready, on_step, on_request, on_described, on_forgotten, on_timer);
