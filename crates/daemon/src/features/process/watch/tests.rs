//! Changes of files over a played context: which instances are marked, when the timer is due, which
//! requests follow.

use ostler_core::app::AppSpec;
use ostler_core::lifecycle::{Event, Origin, PolicyName};
use ostler_core::watch::WatchSpec;
use ostler_proto::control::Action;

use super::Watches;
use super::act::AGAIN_MS;
use super::watched::Change;
use crate::engine::{Ctx, FeatureRequest, Input, TestContext, reacts};

/// Time without a change after which a burst is over.
const QUIET_MS: u64 = 100;

fn spec(played: &TestContext) -> AppSpec {
    let cwd = played.home().join("app");
    std::fs::create_dir_all(&cwd).unwrap();
    let watch = WatchSpec { on: true, ..WatchSpec::default() };
    let (cwd, script) = (cwd.to_str().unwrap().to_owned(), cwd.join("app.sh").to_str().unwrap().to_owned());
    AppSpec { name: "app".into(), cwd, script, watch: watch.into(), ..AppSpec::default() }
}

/// Returns a running instance that is watched.
fn running() -> (TestContext, Watches, u32) {
    let (mut played, mut watches) = (TestContext::new(&[Watches::NAME]), Watches::default());
    let spec = spec(&played);
    let id = played.instance(spec);
    played.start(&mut watches, id, 4711);
    played.pass(&mut watches, 10_000);
    (played, watches, id)
}

fn change(played: &mut TestContext, watches: &mut Watches, file: &str) -> bool {
    let path = played.home().join("app").join(file).to_str().unwrap().to_owned();
    let group = *watches.groups.keys().next().unwrap();
    watches.file_changed(&mut played.ctx, group, &Change { path, wall_ms: None })
}

/// Returns the requests: action, instances, and origin.
fn acts(queued: &[Input]) -> Vec<(Action, Vec<u32>, String)> {
    let act = |input: &Input| match input {
        Input::Request(FeatureRequest::Act { action, ids, origin: Origin::Policy(who) }) => (*action, ids.clone(), who.to_string()),
        other => panic!("{other:?}"),
    };
    queued.iter().map(act).collect()
}

fn stop() -> Event {
    Event::Stop(Origin::policy(PolicyName::Recovery))
}

#[test]
fn burst_is_marked_immediately_and_restarts_after_quiet() {
    let (mut played, mut watches, id) = running();
    assert!(change(&mut played, &mut watches, "a.js"));
    assert!(played.ctx.state.slots.get(id).unwrap().durable.watch.changed, "a daemon that dies now leaves a mark");
    played.pass(&mut watches, QUIET_MS - 1);
    assert!(change(&mut played, &mut watches, "b.js"));
    played.pass(&mut watches, QUIET_MS - 1);
    assert!(played.queued().is_empty(), "it still goes on");
    played.pass(&mut watches, 1);
    assert_eq!(acts(&played.queued()), [(Action::Restart, vec![id], "watch: a.js".to_owned())]);
    assert!(played.log().contains("Change detected on path a.js for app app - restarting"));
    assert_eq!(played.ctx.outbox.timers.next_ms(), None, "nothing wakes us any more");
}

#[test]
fn watch_restart_waits_for_a_running_reload() {
    let (mut played, mut watches, id) = running();
    played.ctx.state.slots.begin_replacing("app");
    change(&mut played, &mut watches, "a.js");
    played.pass(&mut watches, QUIET_MS + 5 * AGAIN_MS);
    assert!(played.queued().is_empty());
    played.ctx.state.slots.end_replacing("app");
    played.pass(&mut watches, AGAIN_MS);
    assert_eq!(acts(&played.queued()).len(), 1);
    assert!(played.ctx.state.slots.get(id).unwrap().durable.watch.changed, "until it is started");
}

#[test]
fn change_before_the_start_is_ignored() {
    let (mut played, mut watches, id) = running();
    let wall_ms = played.ctx.now.wall_ms - 20_000;
    let path = played.home().join("app/a.js").to_str().unwrap().to_owned();
    assert!(!watches.file_changed(&mut played.ctx, 0, &Change { path, wall_ms: Some(wall_ms) }));
    assert!(!played.ctx.state.slots.get(id).unwrap().durable.watch.changed);
    assert_eq!(played.ctx.outbox.timers.next_ms(), None);
}

#[test]
fn stopped_app_is_not_watched() {
    let (mut played, mut watches, id) = running();
    change(&mut played, &mut watches, "a.js");
    played.ctx.state.slots.get_mut(id).unwrap().durable.watch.stopped = true;
    played.dispatch(&mut watches, id, stop());
    assert!(watches.groups.is_empty() && watches.members.is_empty());
    played.pass(&mut watches, 10 * QUIET_MS);
    assert!(played.queued().is_empty());
    assert_eq!(played.ctx.outbox.timers.next_ms(), None);
}

/// The instance is stopped before its process is there. The daemon's later request for the process
/// changes nothing.
#[test]
fn app_stopped_while_starting_is_not_watched() {
    let (mut played, mut watches) = (TestContext::new(&[Watches::NAME]), Watches::default());
    let spec = spec(&played);
    let id = played.instance(spec);
    let user = || Origin::User { command: "stop".into(), uid: 0, pid: 1, on_behalf_of: None };
    played.dispatch(&mut watches, id, Event::Start(user()));
    played.dispatch(&mut watches, id, Event::Stop(user()));
    watches.on_spawn(&mut played.ctx, id);
    let mark = played.ctx.state.slots.get(id).unwrap().durable.watch;
    assert!(mark.stopped && !mark.changed && watches.groups.is_empty(), "{mark:?}");
    // If the instance is started again, it keeps that process.
    played.dispatch(&mut watches, id, Event::Start(user()));
    assert!(!played.ctx.state.slots.get(id).unwrap().durable.watch.stopped && !watches.groups.is_empty());
}

/// The mark was set between the step and the spawn. The process has read the change, and the
/// journal drops the mark.
#[test]
fn spawn_clears_the_change_mark_in_the_journal() {
    let (mut played, mut watches, id) = running();
    change(&mut played, &mut watches, "a.js");
    while played.ctx.state.slots.next_changed().is_some() {}
    watches.on_spawn(&mut played.ctx, id);
    assert!(!played.ctx.state.slots.get(id).unwrap().durable.watch.changed);
    assert_eq!(played.ctx.state.slots.next_changed().map(|slot| slot.durable.id), Some(id));
}

#[test]
fn change_starts_an_instance_that_has_exited() {
    let (mut played, mut watches, id) = running();
    played.dispatch(&mut watches, id, stop());
    let exit = ostler_core::lifecycle::ExitReport { ending: ostler_core::lifecycle::ProcessEnding::Code(0), oom: false };
    played.dispatch(&mut watches, id, Event::Exited { inc: 1, exit });
    played.dispatch(&mut watches, id, Event::TreeGone { inc: 1 });
    change(&mut played, &mut watches, "a.js");
    played.pass(&mut watches, QUIET_MS);
    let queued = played.queued();
    assert!(matches!(queued[..], [Input::Event(started, Event::Start(_))] if started == id), "{queued:?}");
}

/// The marks come from a daemon that was killed before the burst was over.
#[test]
fn next_daemon_restarts_marked_instances() {
    let (mut played, mut watches, id) = running();
    change(&mut played, &mut watches, "a.js");
    drop(watches);
    played.ctx.outbox.timers = crate::engine::Timers::default();
    let mut watches = Watches::default();
    let recovered = ostler_core::lifecycle::Recovered::Alive { inc: 1, pid: 4711 };
    played.dispatch(&mut watches, id, Event::Recovered(recovered));
    watches.on_boot(&mut played.ctx);
    played.pass(&mut watches, QUIET_MS);
    assert_eq!(acts(&played.queued()).len(), 1);
}

#[test]
fn watch_thread_reports_and_exits_with_the_last_app() {
    let (mut played, mut watches, id) = running();
    watches.on_boot(&mut played.ctx);
    assert_eq!(watches.held(&played.ctx).len(), 1, "a new keeper gets the queue of changes");
    let is_told =
        |_: &Watches, ctx: &Ctx| std::fs::read_to_string(ctx.io.log.path()).is_ok_and(|log| log.contains("Watching 1 folder for app"));
    played.wait(&mut watches, is_told);
    std::fs::write(played.home().join("app/a.js"), "changed").unwrap();
    played.wait(&mut watches, |_, ctx| ctx.state.slots.get(id).is_some_and(|slot| slot.durable.watch.changed));
    played.ctx.state.slots.remove(id);
    watches.on_forgotten(&mut played.ctx, id);
    assert!(watches.engine.is_none() && watches.held(&played.ctx).is_empty());
    assert_eq!(played.ctx.outbox.timers.next_ms(), None);
}

reacts!(Watches: on_step, on_described, on_forgotten, on_timer, on_ready);
