//! Hooks over a played context: the requests of a step, and the effects of a hook's end.

use ostler_core::app::AppSpec;
use ostler_core::app::hooks::HookSpec;
use ostler_core::app::secrets::SecretSource;
use ostler_core::lifecycle::command::Command;
use ostler_core::lifecycle::{ExitReport, Origin};
use ostler_sys::SecretBytes;

use super::*;
use crate::engine::{CommandEnd, Input, TestContext, reacts};

fn start() -> Event {
    Event::Start(user("start"))
}

fn user(command: &str) -> Origin {
    Origin::User { command: command.into(), uid: 0, pid: 1, on_behalf_of: None }
}

fn app() -> AppSpec {
    AppSpec { name: "api".into(), script: "/bin/true".into(), ..AppSpec::default() }
}

fn with(hook: Hook) -> AppSpec {
    let mut spec = app();
    spec.hooks.set(hook, Some(HookSpec { command: Command::shell("true"), timeout_ms: None, on_failure: None }));
    spec
}

/// Returns an app with this many secrets that come from commands.
fn with_secrets(count: usize) -> AppSpec {
    let source = |n: usize| SecretSource::Command { command: Command::shell(format!("pass {n}")), timeout_ms: 100 };
    AppSpec { secrets: (0..count).map(|n| (format!("S{n:02}"), source(n))).collect(), ..app() }
}

fn played(spec: AppSpec) -> (TestContext, Hooks, u32) {
    let mut played = TestContext::new(&[Hooks::NAME]);
    let id = played.instance(spec);
    (played, Hooks::default(), id)
}

/// Queued requests and events: owners of commands to run and to cancel, and events.
#[derive(Debug, Default)]
struct Asked {
    run: Vec<CommandOwner>,
    called_off: Vec<CommandOwner>,
    events: Vec<Event>,
}

fn asked(played: &mut TestContext) -> Asked {
    let mut requests = Asked::default();
    for input in played.queued() {
        match input {
            Input::Request(FeatureRequest::Run { owner, .. }) => requests.run.push(owner),
            Input::Request(FeatureRequest::CallOff(owner)) => requests.called_off.push(owner),
            Input::Event(_, event) => requests.events.push(event),
            other => panic!("{other:?}"),
        }
    }
    requests
}

/// Completes a command; its owner gets the report.
fn command_exits(played: &mut TestContext, hooks: &mut Hooks, owner: &CommandOwner, outcome: CommandOutcome, output: &[u8]) {
    let report = CommandReport { outcome, output: SecretBytes::from(output), last_lines: vec!["why".into()] };
    let end = CommandEnd { number: None, slot: None, owner: owner.clone(), report };
    hooks.on_answer(&mut played.ctx, &FeatureAnswer::CommandEnded(Box::new(end)));
}

/// Dispatches the only event.
fn dispatch_one(played: &mut TestContext, hooks: &mut Hooks, id: u32) -> Event {
    let mut events = asked(played).events;
    let (Some(event), true) = (events.pop(), events.is_empty()) else { panic!("{events:?}") };
    played.dispatch(hooks, id, event.clone());
    event
}

fn state(played: &TestContext, id: u32) -> &InstanceState {
    &played.ctx.state.slots.get(id).unwrap().durable.instance.state
}

#[test]
fn start_waits_for_its_hook() {
    let (mut played, mut hooks, id) = played(with(Hook::PreStart));
    played.dispatch(&mut hooks, id, start());
    let owner = CommandOwner::Hook { slot: id, inc: 1, hook: Hook::PreStart };
    assert_eq!(asked(&mut played).run, std::slice::from_ref(&owner));
    command_exits(&mut played, &mut hooks, &owner, CommandOutcome::Code(0), b"");
    dispatch_one(&mut played, &mut hooks, id);
    assert!(matches!(state(&played, id), InstanceState::Spawning { inc: 1, .. }));
}

#[test]
fn start_prevented_by_a_hook_shows_the_hook_output() {
    let (mut played, mut hooks, id) = played(with(Hook::PreStart));
    played.dispatch(&mut hooks, id, start());
    let owner = asked(&mut played).run.remove(0);
    command_exits(&mut played, &mut hooks, &owner, CommandOutcome::Code(1), b"");
    dispatch_one(&mut played, &mut hooks, id);
    let exits = &played.ctx.state.slots.get(id).unwrap().durable.instance.exits;
    assert_eq!(exits.last().unwrap().last_lines, ["why"]);
    assert!(hooks.last_lines.is_empty());
}

#[test]
fn cancelled_start_cancels_its_hook() {
    let (mut played, mut hooks, id) = played(with(Hook::PreStart));
    played.dispatch(&mut hooks, id, start());
    let owner = asked(&mut played).run.remove(0);
    played.dispatch(&mut hooks, id, Event::Stop(user("stop")));
    assert_eq!(asked(&mut played).called_off, std::slice::from_ref(&owner));
    command_exits(&mut played, &mut hooks, &owner, CommandOutcome::Cancelled, b"");
    dispatch_one(&mut played, &mut hooks, id);
    assert!(matches!(state(&played, id), InstanceState::Stopped));
}

#[test]
fn on_crash_hook_runs_once_at_a_time_and_stops_with_the_app() {
    let (mut played, mut hooks, id) = played(with(Hook::OnCrash));
    let crash = |played: &mut TestContext, hooks: &mut Hooks| {
        let inc = played.ctx.state.slots.get(id).unwrap().durable.instance.inc;
        let ending = ostler_core::lifecycle::ProcessEnding::Code(1);
        played.dispatch(hooks, id, Event::Exited { inc, exit: ExitReport { ending, oom: false } });
        played.dispatch(hooks, id, Event::TreeGone { inc });
    };
    played.start(&mut hooks, id, 4711);
    crash(&mut played, &mut hooks);
    let owner = CommandOwner::Hook { slot: id, inc: 1, hook: Hook::OnCrash };
    assert_eq!(asked(&mut played).run, std::slice::from_ref(&owner));
    played.spawned(&mut hooks, id, 4712);
    crash(&mut played, &mut hooks);
    assert!(asked(&mut played).run.is_empty());
    assert!(played.log().contains("on_crash of the previous crash is still running: not started again"), "{}", played.log());
    played.dispatch(&mut hooks, id, Event::Stop(user("stop")));
    assert_eq!(asked(&mut played).called_off, std::slice::from_ref(&owner));
    command_exits(&mut played, &mut hooks, &owner, CommandOutcome::Cancelled, b"");
    assert!(asked(&mut played).events.is_empty() && hooks.crashed.is_empty());
}

#[test]
fn secrets_are_fetched_in_batches_and_delivered_once() {
    let (mut played, mut hooks, id) = played(with_secrets(10));
    played.dispatch(&mut hooks, id, start());
    let mut run = asked(&mut played).run;
    assert_eq!(run.len(), 8);
    while !run.is_empty() {
        let owner = run.remove(0);
        command_exits(&mut played, &mut hooks, &owner, CommandOutcome::Code(0), b"v4lue\n");
        if run.len() == 7 && hooks_values(&hooks) == 1 {
            // The result of this command is unknown, so it runs again.
            let lost = run.remove(0);
            command_exits(&mut played, &mut hooks, &lost, CommandOutcome::Lost, b"v4l");
        }
        if let [Input::Event(..)] = played.ctx.outbox.queue.make_contiguous() {
            break;
        }
        run.extend(asked(&mut played).run);
        assert!(run.len() <= 8, "{run:?}");
    }
    dispatch_one(&mut played, &mut hooks, id);
    assert!(matches!(state(&played, id), InstanceState::Spawning { inc: 1, .. }));
    let mut extras = SpawnExtras::default();
    hooks.on_prepare(&mut played.ctx, id, 1, &mut extras).unwrap();
    assert_eq!(extras.secrets.iter().count(), 10);
    assert_eq!(hooks_values(&hooks), 0);
}

fn hooks_values(hooks: &Hooks) -> usize {
    hooks.fetches.values()
}

#[test]
fn failed_secret_fails_the_start() {
    let (mut played, mut hooks, id) = played(with_secrets(3));
    played.dispatch(&mut hooks, id, start());
    let run = asked(&mut played).run;
    command_exits(&mut played, &mut hooks, &run[1], CommandOutcome::Code(4), b"");
    assert_eq!(asked(&mut played).called_off, [run[0].clone(), run[2].clone()]);
    command_exits(&mut played, &mut hooks, &run[0], CommandOutcome::Code(0), b"v4lue");
    command_exits(&mut played, &mut hooks, &run[2], CommandOutcome::Cancelled, b"");
    let event = dispatch_one(&mut played, &mut hooks, id);
    let why = "secret S01: its command exited with code 4";
    assert!(matches!(&event, Event::Unprepared { inc: 1, reason: told } if told == why), "{event:?}");
    assert_eq!(played.ctx.state.slots.get(id).unwrap().durable.instance.exits.last().unwrap().last_lines, ["why"]);
    assert_eq!(hooks_values(&hooks), 0);
}

#[test]
fn secrets_of_a_cancelled_start_are_dropped() {
    let (mut played, mut hooks, id) = played(with_secrets(2));
    played.dispatch(&mut hooks, id, start());
    let run = asked(&mut played).run;
    command_exits(&mut played, &mut hooks, &run[0], CommandOutcome::Code(0), b"v4lue");
    command_exits(&mut played, &mut hooks, &run[1], CommandOutcome::Code(0), b"v4lue");
    let mut events = asked(&mut played).events;
    // The stop came first.
    played.dispatch(&mut hooks, id, Event::Stop(user("stop")));
    played.dispatch(&mut hooks, id, events.remove(0));
    assert!(matches!(state(&played, id), InstanceState::Stopped));
    assert_eq!(hooks_values(&hooks), 0);
}

#[test]
fn secrets_are_fetched_after_the_hook() {
    let hooked = AppSpec { hooks: with(Hook::PreStart).hooks, ..with_secrets(1) };
    let (mut played, mut hooks, id) = played(hooked);
    played.dispatch(&mut hooks, id, start());
    let owner = asked(&mut played).run.remove(0);
    assert!(matches!(owner, CommandOwner::Hook { .. }), "{owner:?}");
    command_exits(&mut played, &mut hooks, &owner, CommandOutcome::Code(0), b"");
    let then = asked(&mut played);
    assert!(matches!(&then.run[..], [CommandOwner::Secret { name, .. }] if name == "S00"), "{then:?}");
    played.dispatch(&mut hooks, id, Event::Stop(user("stop")));
    assert_eq!(asked(&mut played).called_off, then.run);
}

#[test]
fn new_daemon_does_not_wait_for_a_missing_hook() {
    let (mut played, mut hooks, id) = played(with(Hook::PreStart));
    played.dispatch(&mut hooks, id, start());
    asked(&mut played);
    let mut next = Hooks::default();
    next.on_boot(&mut played.ctx);
    let events = asked(&mut played).events;
    assert!(matches!(&events[..], [Event::HookDone { inc: 1, hook: Hook::PreStart, outcome: CommandOutcome::Lost }]), "{events:?}");
}

#[test]
fn new_daemon_waits_for_running_commands() {
    let (mut played, mut hooks, id) = played(with_secrets(9));
    played.dispatch(&mut hooks, id, start());
    let run = asked(&mut played).run;
    let spec = CommandSpec { slot: id, command: Command::shell("true"), vars: IndexMap::new(), timeout_ms: 1, output: Output::Captured };
    for (number, owner) in (1..).zip(&run) {
        played.ctx.state.commands.add(number, owner.clone(), &spec, "mark");
    }
    let mut next = Hooks::default();
    next.on_boot(&mut played.ctx);
    // The last command has no room, because the others are still running.
    assert!(played.queued().is_empty());
    command_exits(&mut played, &mut next, &run[0], CommandOutcome::Lost, b"");
    assert_eq!(asked(&mut played).run, run[..1]);
}

reacts!(Hooks: on_step, on_transition, on_answer, on_forgotten);
