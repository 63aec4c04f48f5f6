//! Signals and shutdown over a played context: in the background, and in the foreground of a
//! container.

use ostler_core::app::{AppSpec, RestartSpec};
use ostler_core::lifecycle::{Event, ExitReport, InstanceState, ProcessEnding};
use ostler_keeper::{Child, Ended};
use ostler_sys::process::signal::{HUP, WINCH};

use super::*;
use crate::engine::{Input, TestContext, Work, reacts};

fn app() -> AppSpec {
    let restart = RestartSpec { autorestart: false, ..RestartSpec::default() };
    AppSpec { name: "api".into(), script: "/bin/app".into(), restart, ..AppSpec::default() }
}

fn spec() -> RuntimeSpec {
    RuntimeSpec { stop: vec![TERM], stop_timeout_ms: Some(5000), ..RuntimeSpec::default() }
}

/// Returns a daemon in the foreground of a container, with an app that runs.
fn in_front(spec: RuntimeSpec, starter: Option<&Child>) -> (TestContext, Runtime) {
    let (mut played, mut runtime) = (TestContext::new(&[]), Runtime { front: Some(Foreground::new(spec, starter)) });
    let id = played.instance(app());
    played.start(&mut runtime, id, 4711);
    runtime.on_boot(&mut played.ctx);
    played.settle(&mut runtime);
    assert_eq!(played.ctx.outbox.shutdown.exit_code, Some(0));
    (played, runtime)
}

fn starter(ended: Option<ostler_sys::WaitStatus>) -> Child {
    Child {
        key: STARTER_KEY,
        pid: 4000,
        start_ticks: 1,
        ended: ended.map(|ending| Ended { ending, usage: Default::default(), at_boot_ms: 0, at_wall_ms: 0 }),
    }
}

fn app_exits(played: &mut TestContext, runtime: &mut Runtime, code: i32) -> Vec<Input> {
    let inc = played.ctx.state.slots.get(0).unwrap().durable.instance.inc;
    played.ctx.event(0, Event::Exited { inc, exit: ExitReport { ending: ProcessEnding::Code(code), oom: false } });
    played.ctx.event(0, Event::TreeGone { inc });
    played.settle(runtime)
}

/// Returns whether the list is saved before the requested shutdown; `None`: no shutdown was
/// requested.
fn shutdown_request(rest: &[Input]) -> Option<bool> {
    let end = |input: &Input| {
        if let Input::Request(FeatureRequest::End { saves_list, client: 0, .. }) = input { Some(*saves_list) } else { None }
    };
    rest.iter().find_map(end)
}

#[test]
fn background_daemon_saves_and_stops_on_a_signal() {
    let (mut played, mut runtime) = (TestContext::new(&[]), Runtime::default());
    runtime.on_boot(&mut played.ctx);
    assert!(runtime.on_signal(&mut played.ctx, TERM));
    let rest = played.settle(&mut runtime);
    assert!(matches!(rest[0], Input::Request(FeatureRequest::SaveList)), "{rest:?}");
    assert_eq!((shutdown_request(&rest), played.ctx.outbox.shutdown.exit_code), (Some(true), None));
    played.ctx.outbox.shutdown.is_closing = true;
    runtime.on_signal(&mut played.ctx, INT);
    assert!(played.settle(&mut runtime).is_empty(), "it ends already");
    runtime.on_signal(&mut played.ctx, USR2);
    assert!(matches!(played.settle(&mut runtime)[..], [Input::Request(FeatureRequest::ReloadLogs)]));
    assert!(!runtime.on_signal(&mut played.ctx, HUP), "others may know what it means");
    runtime.on_new_keeper(&mut played.ctx, &[]);
    assert!(played.settle(&mut runtime).is_empty(), "apps go on");
}

#[test]
fn foreground_daemon_stops_without_saving_and_kills_at_timeout() {
    let (mut played, mut runtime) = in_front(spec(), None);
    assert!(runtime.on_signal(&mut played.ctx, TERM));
    assert_eq!(shutdown_request(&played.settle(&mut runtime)), Some(false));
    played.pass(&mut runtime, 4999);
    assert!(!played.ctx.outbox.shutdown.is_hasty);
    played.pass(&mut runtime, 1);
    assert!(played.ctx.outbox.shutdown.is_hasty);
    let events = played.queued();
    assert!(matches!(events[..], [Input::Event(0, Event::Delete(Origin::Shutdown)), Input::Event(0, Event::Hurry)]), "{events:?}");
    assert_eq!(played.ctx.outbox.shutdown.exit_code, Some(137));
    assert!(played.log().contains("the time limit for stopping has passed"), "{}", played.log());
}

#[test]
fn second_signal_kills_immediately() {
    let (mut played, mut runtime) = in_front(spec(), None);
    runtime.on_signal(&mut played.ctx, TERM);
    played.settle(&mut runtime);
    runtime.on_signal(&mut played.ctx, TERM);
    played.settle(&mut runtime);
    assert_eq!((played.ctx.outbox.shutdown.is_hasty, played.ctx.outbox.timers.next_ms()), (true, None));
    let InstanceState::Stopping { deadline_ms, .. } = played.ctx.state.slots.get(0).unwrap().durable.instance.state else { panic!() };
    assert_eq!(deadline_ms, played.ctx.now.mono_ms);
}

#[test]
fn unconfigured_signal_is_consumed_without_effect() {
    let (mut played, mut runtime) = in_front(spec(), None);
    for signal in [HUP, INT, WINCH] {
        assert!(runtime.on_signal(&mut played.ctx, signal));
    }
    assert!(played.settle(&mut runtime).is_empty());
}

#[test]
fn container_exits_with_the_code_of_its_app() {
    let (mut played, mut runtime) = in_front(spec(), None);
    played.ctx.state.open_requests = 1;
    assert_eq!(shutdown_request(&app_exits(&mut played, &mut runtime, 3)), None, "a user may start another app");
    played.ctx.state.open_requests = 0;
    assert_eq!(shutdown_request(&played.settle(&mut runtime)), Some(false));
    assert_eq!(played.ctx.outbox.shutdown.exit_code, Some(3));
    assert!(played.settle(&mut runtime).is_empty(), "once is enough");
}

#[test]
fn manually_stopped_app_can_be_started_again_before_the_exit() {
    let (mut played, mut runtime) = in_front(spec(), None);
    played.ctx.event(0, Event::Stop(Origin::User { command: "stop".into(), uid: 0, pid: 1, on_behalf_of: None }));
    assert_eq!(shutdown_request(&app_exits(&mut played, &mut runtime, 0)), None);
    let at_ms = played.ctx.outbox.timers.next_ms().unwrap();
    assert_eq!(at_ms, played.ctx.now.mono_ms + 6000);
    played.pass(&mut runtime, 3000);
    assert_eq!(shutdown_request(&played.settle(&mut runtime)), None);
    assert_eq!(played.ctx.outbox.timers.next_ms(), Some(at_ms), "the wait does not begin anew");
    played.start(&mut runtime, 0, 4712);
    played.settle(&mut runtime);
    assert_eq!(played.ctx.outbox.timers.next_ms(), None);
    played.ctx.event(0, Event::Stop(Origin::Resurrect));
    app_exits(&mut played, &mut runtime, 0);
    played.pass(&mut runtime, 6000);
    assert_eq!((shutdown_request(&played.settle(&mut runtime)), played.ctx.outbox.shutdown.exit_code), (Some(false), Some(0)));
}

#[test]
fn staying_runtime_exits_only_on_a_signal() {
    let (mut played, mut runtime) = in_front(RuntimeSpec { stays: true, ..spec() }, None);
    assert_eq!(shutdown_request(&app_exits(&mut played, &mut runtime, 3)), None);
}

fn acks(played: &mut TestContext) -> usize {
    played.written().0.iter().filter(|work| matches!(work, Work::Ack(STARTER_KEY))).count()
}

#[test]
fn container_does_not_exit_while_the_starter_runs() {
    let (mut played, mut runtime) = in_front(spec(), Some(&starter(None)));
    assert_eq!(shutdown_request(&app_exits(&mut played, &mut runtime, 3)), None);
    assert!(runtime.on_child(&mut played.ctx, STARTER_KEY, ChildEvent::Exited(ostler_sys::WaitStatus::Code(0))));
    assert_eq!(acks(&mut played), 1);
    assert_eq!((shutdown_request(&played.settle(&mut runtime)), played.ctx.outbox.shutdown.exit_code), (Some(false), Some(3)));
}

#[test]
fn failed_start_exits_the_container_with_its_code() {
    for (is_unstartable, ending, code) in [
        (true, ostler_sys::WaitStatus::Code(2), Some(2)),
        (true, ostler_sys::WaitStatus::Signal { signal: 9, core: false }, Some(137)),
        (false, ostler_sys::WaitStatus::Code(2), None),
        (true, ostler_sys::WaitStatus::Code(0), None),
    ] {
        let (mut played, mut runtime) = in_front(spec(), Some(&starter(None)));
        if is_unstartable {
            played.ctx.answer(FeatureAnswer::Unstartable);
            played.settle(&mut runtime);
        }
        runtime.on_child(&mut played.ctx, STARTER_KEY, ChildEvent::Exited(ending));
        let request = shutdown_request(&played.settle(&mut runtime));
        assert_eq!(request.is_some(), code.is_some(), "{ending:?}");
        assert_eq!(played.ctx.outbox.shutdown.exit_code, Some(code.unwrap_or(0)), "{ending:?}");
        assert_eq!(acks(&mut played), usize::from(code.is_none()), "the next daemon has to know of a failure");
    }
}

#[test]
fn starter_exit_during_daemon_absence_is_recovered() {
    let (mut played, mut runtime) = in_front(spec(), Some(&starter(Some(ostler_sys::WaitStatus::Code(0)))));
    assert_eq!(acks(&mut played), 1);
    assert_eq!((shutdown_request(&app_exits(&mut played, &mut runtime, 1)), played.ctx.outbox.shutdown.exit_code), (Some(false), Some(1)));
}

#[test]
fn new_keeper_in_a_container_stops_everything() {
    let (mut played, mut runtime) = in_front(spec(), None);
    runtime.on_new_keeper(&mut played.ctx, &[]);
    assert_eq!(shutdown_request(&played.settle(&mut runtime)), Some(false));
    assert_eq!(played.ctx.outbox.timers.next_ms(), None, "each app has its own time");
}

reacts!(Runtime: on_answer, on_timer, on_idle);
