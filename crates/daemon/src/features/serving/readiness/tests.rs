//! Readiness over a played context: the proofs, and messages of an app by sd_notify.

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;

use ostler_core::app::ReadySpec;
use ostler_core::lifecycle::{ExitReport, Origin, PolicyName, ProcessEnding};
use serde_json::json;

use super::*;
use crate::engine::{FeatureRequest, Input, TestContext, reacts};

fn app(played: &TestContext, ready: ReadySpec) -> AppSpec {
    let log = played.home().join("out.log").to_str().unwrap().to_owned();
    let mut spec = AppSpec { name: "api".into(), script: "/bin/true".into(), ready, ..AppSpec::default() };
    spec.logs.out_file = Some(log);
    spec
}

fn by(proof: ReadyBy) -> ReadySpec {
    ReadySpec { by: Some(proof.into()), ..ReadySpec::default() }
}

/// Returns an instance whose process was spawned, and the additions to that process.
fn starting(ready: ReadySpec) -> (TestContext, Readiness, u32, SpawnExtras) {
    let (mut played, mut readiness) = (TestContext::new(&[Readiness::NAME]), Readiness::default());
    let spec = app(&played, ready);
    let id = played.instance(spec);
    played.dispatch(&mut readiness, id, Event::Start(Origin::policy(PolicyName::Recovery)));
    let mut extras = SpawnExtras::default();
    readiness.on_prepare(&mut played.ctx, id, 1, &mut extras).unwrap();
    played.spawned(&mut readiness, id, 4711);
    (played, readiness, id, extras)
}

fn state(played: &TestContext, id: u32) -> InstanceState {
    played.ctx.state.slots.get(id).unwrap().durable.instance.state.clone()
}

/// Returns the decisions, handled as the daemon does.
fn dispatch_queue(played: &mut TestContext, readiness: &mut Readiness) -> Vec<Input> {
    let mut rest = Vec::new();
    for input in played.queued() {
        match input {
            Input::Event(id, event) => played.dispatch(readiness, id, event),
            other => rest.push(other),
        }
    }
    rest
}

fn write_journal(played: &mut TestContext) {
    let (_, written) = played.ctx.state.journal.flush();
    written.unwrap();
}

/// Sends a message as the process would.
fn send(beside: &SpawnExtras, text: &str) {
    let path = &beside.vars.iter().find(|(name, _)| *name == "NOTIFY_SOCKET").unwrap().1;
    UnixDatagram::unbound().unwrap().send_to(text.as_bytes(), path).unwrap();
}

fn receive(played: &mut TestContext, readiness: &mut Readiness, id: u32) -> Vec<Input> {
    readiness.on_notify(&mut played.ctx, id);
    let rest = dispatch_queue(played, readiness);
    write_journal(played);
    rest
}

fn is_running(played: &TestContext, id: u32) -> bool {
    matches!(state(played, id), InstanceState::Running { .. })
}

#[test]
fn ready_message_counts_once() {
    let (mut played, mut readiness, id, _) = starting(ReadySpec { wait_ready: true, ..ReadySpec::default() });
    let listening = Message::Internal(json!({"cmd": "NODE_CLUSTER", "act": "listening"}).as_object().unwrap().clone());
    for message in [listening, Message::Raw(json!("ready!"))] {
        readiness.on_message(&mut played.ctx, id, 1, &message);
    }
    readiness.on_message(&mut played.ctx, id, 0, &Message::Ready);
    assert!(played.ctx.outbox.queue.is_empty(), "these prove something else, or of somebody else");
    readiness.on_message(&mut played.ctx, id, 1, &Message::Ready);
    readiness.on_message(&mut played.ctx, id, 1, &Message::Ready);
    assert_eq!(played.ctx.outbox.queue.len(), 1);
    dispatch_queue(&mut played, &mut readiness);
    assert!(is_running(&played, id) && readiness.proved.is_empty());
    assert_eq!(played.ctx.state.slots.get(id).unwrap().durable.instance.counters.start_ups_ms.len(), 1);
    readiness.on_message(&mut played.ctx, id, 1, &Message::Ready);
    assert!(played.ctx.outbox.queue.is_empty(), "it runs already");
}

#[test]
fn notification_stays_in_the_socket_until_journaled() {
    let (mut played, mut readiness, id, beside) = starting(by(ReadyBy::Notify));
    send(&beside, "READY=1");
    send(&beside, "STATUS=warm");
    readiness.on_notify(&mut played.ctx, id);
    assert!(matches!(played.ctx.outbox.queue.front(), Some(Input::Event(_, Event::Ready { inc: 1 }))));
    // If the daemon is killed now, its successor receives the message again.
    let mut next = Readiness::default();
    let held: Vec<_> = readiness.held(&played.ctx).into_iter().map(|(name, fd)| (name, fd.try_clone_to_owned().unwrap())).collect();
    for (name, fd) in held {
        assert!(next.adopt_fd(&mut played.ctx, &name, fd).is_none());
    }
    let queued = played.ctx.outbox.queue.len();
    next.on_notify(&mut played.ctx, id);
    assert_eq!(played.ctx.outbox.queue.len(), queued + 1);
    dispatch_queue(&mut played, &mut readiness);
    readiness.on_notify(&mut played.ctx, id);
    assert_eq!(played.ctx.state.slots.get(id).unwrap().durable.learned.status, None, "what comes after it has to wait, too");
    write_journal(&mut played);
    readiness.on_notify(&mut played.ctx, id);
    assert_eq!(played.ctx.state.slots.get(id).unwrap().durable.learned.status.as_deref(), Some("warm"));
    assert!(is_running(&played, id) && played.ctx.outbox.queue.is_empty());
}

impl Readiness {
    /// Receives everything of a process as the daemon does, and returns the requests to others.
    fn receive_out(&mut self, played: &mut TestContext, id: u32) -> Vec<Input> {
        let mut inputs = Vec::new();
        while self.on_end(&mut played.ctx, id) {
            inputs.extend(dispatch_queue(played, self));
            write_journal(played);
        }
        inputs
    }
}

#[test]
fn notifications_are_processed_before_the_exit() {
    let (mut played, mut readiness, id, beside) = starting(by(ReadyBy::Notify));
    for said in ["STATUS=a", "MAINPID=4712\nREADY=1", "MAINPID=4713", "MAINPID=4711", "STATUS=b"] {
        send(&beside, said);
    }
    readiness.on_notify(&mut played.ctx, id);
    let inputs = readiness.receive_out(&mut played, id);
    // The last message contains nothing new.
    let follow = |pid, is_rare| move |input: &Input| matches!(input, Input::Request(FeatureRequest::Follow { pid: to, is_rare: rare, inc: 1, .. }) if *to == pid && *rare == is_rare);
    assert_eq!(inputs.len(), 2, "{inputs:?}");
    assert!(follow(4712, true)(&inputs[0]) && follow(4713, false)(&inputs[1]), "{inputs:?}");
    assert_eq!(played.ctx.state.slots.get(id).unwrap().durable.learned.status.as_deref(), Some("b"));
    assert!(is_running(&played, id));
    assert!(!readiness.on_end(&mut played.ctx, id));
}

#[test]
fn newline_on_the_descriptor_means_ready_and_early_close_is_noted() {
    let (mut played, mut readiness, id, mut beside) = starting(by(ReadyBy::Descriptor(7)));
    let (fd, number) = beside.fds.pop().unwrap();
    assert_eq!(number, 7);
    std::fs::File::from(fd).write_all(b"soon\n").unwrap();
    played.wait(&mut readiness, |_, ctx| !ctx.outbox.queue.is_empty());
    dispatch_queue(&mut played, &mut readiness);
    assert!(is_running(&played, id) && readiness.newlines.is_empty());

    let (mut played, mut readiness, id, beside) = starting(by(ReadyBy::Descriptor(7)));
    drop(beside);
    played.wait(&mut readiness, |readiness, _| readiness.newlines.is_empty());
    let trouble = played.ctx.state.slots.get(id).unwrap().live.trouble.clone();
    assert_eq!(trouble.as_deref(), Some("the descriptor was closed without a newline"));
}

/// Returns an instance whose readiness probe of a port failed, and that port.
fn refused() -> (TestContext, Readiness, u32, u16) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (mut played, mut readiness, id, _) = starting(by(ReadyBy::Tcp { host: "127.0.0.1".into(), port }));
    played.pass(&mut readiness, 0);
    while played.ctx.state.slots.get(id).unwrap().start_trouble().is_none() {
        played.pass(&mut readiness, 10);
        std::thread::yield_now();
    }
    (played, readiness, id, port)
}

fn trouble(played: &TestContext, id: u32) -> Option<String> {
    played.ctx.state.slots.get(id).unwrap().start_trouble().map(str::to_owned)
}

#[test]
fn readiness_trouble_is_cleared_when_the_app_is_ready() {
    let (mut played, mut readiness, id, port) = refused();
    assert_eq!(trouble(&played, id), Some(format!("connection to 127.0.0.1:{port}: Connection refused")));
    let _listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    while played.ctx.outbox.queue.is_empty() {
        played.pass(&mut readiness, 10);
        std::thread::yield_now();
    }
    dispatch_queue(&mut played, &mut readiness);
    assert!(is_running(&played, id));
    assert_eq!(trouble(&played, id), None);
    assert_eq!(played.ctx.state.slots.get(id).unwrap().live.trouble, None, "it does not come back with the next crash either");
}

#[test]
fn readiness_trouble_is_cleared_when_the_app_is_stopped() {
    let (mut played, mut readiness, id, _) = refused();
    played.dispatch(&mut readiness, id, Event::Stop(Origin::policy(PolicyName::Recovery)));
    assert!(trouble(&played, id).is_some(), "it is still being stopped");
    let exit = ExitReport { ending: ProcessEnding::Code(0), oom: false };
    played.dispatch(&mut readiness, id, Event::Exited { inc: 1, exit });
    played.dispatch(&mut readiness, id, Event::TreeGone { inc: 1 });
    assert_eq!(state(&played, id), InstanceState::Stopped);
    assert_eq!(trouble(&played, id), None);
}

#[test]
fn status_text_is_cleared_with_its_process() {
    let (mut played, mut readiness, id, beside) = starting(by(ReadyBy::Notify));
    send(&beside, "STATUS=warm");
    receive(&mut played, &mut readiness, id);
    let status = |played: &TestContext| played.ctx.state.slots.get(id).unwrap().durable.learned.status.clone();
    assert_eq!(status(&played).as_deref(), Some("warm"));
    readiness.on_process_gone(&mut played.ctx, id, 1);
    assert_eq!(status(&played), None);
}

#[test]
fn answering_port_means_ready() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (mut played, mut readiness, id, _) = starting(by(ReadyBy::Tcp { host: "127.0.0.1".into(), port }));
    played.pass(&mut readiness, 0);
    if played.ctx.outbox.queue.is_empty() {
        played.wait(&mut readiness, |_, ctx| !ctx.outbox.queue.is_empty());
    }
    dispatch_queue(&mut played, &mut readiness);
    assert!(is_running(&played, id));
    assert_eq!(played.ctx.outbox.timers.next_ms(), None, "nobody asks any more");
}

#[test]
fn matching_log_line_means_ready() {
    let (mut played, mut readiness, id, _) = starting(by(ReadyBy::Log("^up$".into())));
    played.pass(&mut readiness, 500);
    assert!(played.ctx.outbox.queue.is_empty());
    let path = played.ctx.state.slots.get(id).unwrap().live.files.out.clone().unwrap();
    std::fs::write(path, "up\n").unwrap();
    played.pass(&mut readiness, 100);
    dispatch_queue(&mut played, &mut readiness);
    assert!(is_running(&played, id));
    assert_eq!(played.ctx.outbox.timers.next_ms(), None);
}

#[test]
fn uptime_means_ready_while_the_process_lives() {
    let (mut played, mut readiness, id, _) = starting(by(ReadyBy::Uptime { ms: 300 }));
    played.pass(&mut readiness, 299);
    assert!(played.ctx.outbox.queue.is_empty());
    played.pass(&mut readiness, 1);
    dispatch_queue(&mut played, &mut readiness);
    assert!(is_running(&played, id));

    let (mut played, mut readiness, id, _) = starting(by(ReadyBy::Uptime { ms: 300 }));
    readiness.on_process_gone(&mut played.ctx, id, 1);
    assert_eq!(played.ctx.outbox.timers.next_ms(), None);
}

#[test]
fn missed_watchdog_notification_restarts() {
    let (mut played, mut readiness, id, beside) = starting(ReadySpec { watchdog_ms: Some(200), ..by(ReadyBy::Notify) });
    assert!(beside.vars.contains(&("WATCHDOG_USEC", "200000".into())));
    played.pass(&mut readiness, 1000);
    assert!(played.ctx.outbox.queue.is_empty(), "it does not run yet");
    send(&beside, "READY=1");
    receive(&mut played, &mut readiness, id);
    played.pass(&mut readiness, 150);
    send(&beside, "WATCHDOG=1");
    receive(&mut played, &mut readiness, id);
    played.pass(&mut readiness, 199);
    assert!(played.ctx.outbox.queue.is_empty());
    played.pass(&mut readiness, 1);
    let inputs = played.queued();
    assert!(
        matches!(&inputs[..], [Input::Event(of, Event::Restart(origin))] if *of == id && *origin == Origin::policy(PolicyName::Watchdog)),
        "{inputs:?}"
    );
    assert!(played.log().contains("watchdog: no watchdog message for 200 ms"), "{}", played.log());
}

#[test]
fn watchdog_ignores_suspend_and_stopping_apps() {
    let (mut played, mut readiness, id, beside) = starting(ReadySpec { watchdog_ms: Some(200), ..by(ReadyBy::Notify) });
    send(&beside, "READY=1");
    receive(&mut played, &mut readiness, id);
    // The machine slept.
    played.ctx.now.mono_ms += 60_000;
    readiness.on_timer(&mut played.ctx, ReadinessTimer::Watchdog.of(id).1);
    assert!(played.ctx.outbox.queue.is_empty());
    send(&beside, "STOPPING=1");
    receive(&mut played, &mut readiness, id);
    assert_eq!(played.ctx.outbox.timers.next_ms(), None);
}

#[test]
fn readiness_state_is_removed_with_the_process() {
    let (mut played, mut readiness, id, beside) = starting(ReadySpec { watchdog_ms: Some(200), ..by(ReadyBy::Notify) });
    let path = beside.vars[0].1.clone();
    assert!(std::fs::exists(&path).unwrap());
    send(&beside, "READY=1");
    receive(&mut played, &mut readiness, id);
    readiness.on_process_gone(&mut played.ctx, id, 1);
    assert!(!std::fs::exists(&path).unwrap() && readiness.held(&played.ctx).is_empty());
    assert_eq!(played.ctx.outbox.timers.next_ms(), None);
}

reacts!(Readiness: on_step, on_message, on_ready, on_effect, on_timer, on_forgotten);
