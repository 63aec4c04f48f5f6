//! Channels over a played context: how messages of apps are handled, and when they leave the
//! socket.

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use ostler_core::app::AppSpec;
use ostler_core::app::default_box::DefaultBox;
use ostler_core::serving::budget::INTERNAL;

use super::*;
use crate::engine::{TestContext, reacts};
use crate::state::slots::{Connection, HandedConnection, SentDescriptor, Worker};

/// Incarnation of the app's process.
const INC: u32 = 3;

struct App {
    played: TestContext,
    channels: Channels,
    id: u32,
    /// The app's end.
    theirs: UnixStream,
}

impl App {
    fn new() -> Self {
        let mut played = TestContext::new(&[Channels::NAME]);
        let id = played.instance(AppSpec { name: "api".into(), script: "/bin/true".into(), ..AppSpec::default() });
        let (ours, theirs) = UnixStream::pair().unwrap();
        let slot = played.ctx.state.slots.get_mut(id).unwrap();
        slot.live.ipc = Ipc::open(ours.into(), id, slot.key(INC), &played.ctx.io.reactor).map(Box::new);
        Self { played, channels: Channels::default(), id, theirs }
    }

    fn write(&mut self, text: &str) {
        self.theirs.write_all(text.as_bytes()).unwrap();
    }

    /// Reads the channel, and returns the queue after that.
    fn look(&mut self) -> Vec<Input> {
        self.channels.on_ready(&mut self.played.ctx, u64::from(self.id), false);
        self.played.queued()
    }

    fn messages(&mut self) -> Vec<Message> {
        let message = |input| if let Input::Message(_, INC, message) = input { message } else { panic!("{input:?}") };
        self.look().into_iter().map(message).collect()
    }

    /// Returns the number of bytes that a next daemon would find.
    fn left(&self) -> usize {
        let ipc = self.played.ctx.state.slots.get(self.id).unwrap().live.ipc.as_ref().unwrap();
        usize::try_from(rustix::io::ioctl_fionread(ipc.as_fd()).unwrap()).unwrap()
    }

    fn worker(&mut self) -> &mut DefaultBox<Worker> {
        &mut self.played.ctx.state.slots.get_mut(self.id).unwrap().live.worker
    }
}

#[test]
fn each_valid_line_is_a_message() {
    let mut app = App::new();
    app.write("\"ready\"\n{\"a\":\nnull\n\u{2}{\"cmd\":\"NODE_X\"}\n{\"node_ver");
    let messages = app.messages();
    assert!(matches!(&messages[..], [Message::Ready, Message::Raw(Value::Null), Message::Internal(_)]), "{messages:?}");
    app.write("sion\":\"22.1.0\"}\n");
    assert_eq!(app.messages(), [Message::NodeVersion("22.1.0".into())]);
}

#[test]
fn journaled_messages_stay_in_the_socket_until_the_next_read() {
    let mut app = App::new();
    app.write("\"ready\"\n");
    assert_eq!(app.messages(), [Message::Ready]);
    assert_eq!(app.left(), 8, "a daemon that dies now leaves it to the next one");
    assert!(app.look().is_empty(), "and this one has it once");
    assert_eq!(app.left(), 0);
}

#[test]
fn worker_answers_are_stored_and_announced_once_per_read() {
    let mut app = App::new();
    for seq in [7, 8] {
        let connection = Connection::from(std::os::fd::OwnedFd::from(std::fs::File::open("/dev/null").unwrap()));
        app.worker().sent(SentDescriptor::Connection);
        app.worker().handed.push_back(HandedConnection { seq, listener: 0, at_ms: 0, connection });
    }
    let ack = "{\"cmd\":\"NODE_HANDLE_ACK\"}\n";
    app.write(ack);
    assert!(app.look().is_empty(), "that it has arrived changes nothing");
    assert_eq!(app.left(), 0, "and needs no journal");
    app.write(&format!(
        "{{\"cmd\":\"NODE_CLUSTER\",\"ack\":7,\"accepted\":true}}\n{ack}{{\"cmd\":\"NODE_CLUSTER\",\"ack\":8,\"accepted\":false}}\n"
    ));
    let inputs = app.look();
    assert!(matches!(&inputs[..], [Input::Capacity(_)]), "{inputs:?}");
    let answered: Vec<(u64, bool)> = app.worker().answered.iter().map(|(handed, accepted)| (handed.seq, *accepted)).collect();
    assert_eq!(answered, [(7, true), (8, false)]);
    // These answer no connection, so they are messages like any other, with a budget.
    app.write(&format!("{ack}{{\"cmd\":\"NODE_CLUSTER\",\"ack\":8,\"accepted\":true}}\n"));
    assert_eq!(app.messages().len(), 2);
}

#[test]
fn flooding_app_is_throttled() {
    let mut app = App::new();
    let line = "{\"cmd\":\"NODE_X\"}\n";
    let key = Channels::unmuting(app.id);
    let (mut said, mut looks) = (0, 0);
    while app.played.ctx.outbox.timers.get(key).is_none() {
        app.write(&line.repeat(500));
        said += app.look().len();
        looks += 1;
        assert!(looks < 20);
    }
    assert_eq!(said as u64, INTERNAL.burst + 500, "what was read is heard, whoever waits for an answer gets it");
    assert!(app.played.log().contains("sends more than ostler reads from its channel"));
    app.write(line);
    assert!(app.played.ctx.io.reactor.wait(Some(std::time::Duration::ZERO)).unwrap().is_empty(), "nobody looks");
    let TestContext { ctx, .. } = &app.played;
    let wait_ms = ctx.outbox.timers.get(key).unwrap() - ctx.now.mono_ms;
    assert_eq!(wait_ms, 500);
    app.played.pass(&mut app.channels, wait_ms);
    assert_eq!(app.played.ctx.io.reactor.wait(Some(std::time::Duration::ZERO)).unwrap().len(), 1, "until its time has come");
    assert_eq!(app.messages().len(), 1);
}

#[test]
fn last_messages_are_read_before_the_exit() {
    let mut app = App::new();
    let lines = 3000;
    app.write(&"[1]\n".repeat(lines));
    app.write("\"ready\"\n");
    app.theirs = UnixStream::pair().unwrap().0;
    let mut messages = Vec::new();
    while app.channels.on_end(&mut app.played.ctx, app.id) {
        assert!(!app.played.ctx.outbox.queue.is_empty());
        messages.extend(app.played.queued());
    }
    // This many messages that are not Node's own are taken at once.
    assert_eq!(messages.len() as u64, MESSAGES.burst);
    assert!(matches!(app.played.queued()[..], [Input::ChannelEnded(_)]));
    app.channels.on_process_gone(&mut app.played.ctx, app.id, INC);
    assert!(app.played.ctx.state.slots.get(app.id).unwrap().live.ipc.is_none());
    assert!(!app.channels.on_end(&mut app.played.ctx, app.id));
}

#[test]
fn reading_at_exit_is_bounded_while_a_child_writes() {
    let mut app = App::new();
    let mut looks = 0;
    app.write("[1]\n");
    while app.channels.on_end(&mut app.played.ctx, app.id) {
        looks += 1;
        assert!(looks <= LOOKS_AT_END);
        app.write("[1]\n");
    }
    assert_eq!(looks, LOOKS_AT_END);
    app.write("[1]\n");
    assert!(app.channels.on_end(&mut app.played.ctx, app.id), "the next one has as many");
}

#[test]
fn app_metrics_are_dropped_with_the_process() {
    let mut app = App::new();
    app.write("{\"type\":\"axm:monitor\",\"data\":{\"rps\":{\"value\":7}}}\n{\"type\":\"axm:action\",\"data\":{\"action_name\":\"gc\"}}\n");
    for message in app.messages() {
        app.channels.on_message(&mut app.played.ctx, app.id, INC, &message);
    }
    let says = |app: &App| app.played.ctx.state.slots.get(app.id).map(|slot| (slot.live.axm.monitor.len(), slot.live.axm.actions.len()));
    assert_eq!(says(&app), Some((1, 1)));
    app.channels.on_process_gone(&mut app.played.ctx, app.id, INC);
    assert_eq!(says(&app), Some((0, 0)));
}

#[test]
fn unwanted_handle_is_acknowledged() {
    let mut app = App::new();
    app.write("{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Socket\"}\n");
    for message in app.messages() {
        app.channels.on_message(&mut app.played.ctx, app.id, INC, &message);
    }
    let mut answer = [0; 64];
    let len = std::io::Read::read(&mut app.theirs, &mut answer).unwrap();
    assert_eq!(&answer[..len], b"{\"cmd\":\"NODE_HANDLE_ACK\"}\n");
}

#[test]
fn channel_descriptor_follows_sockets_and_readiness() {
    let spec = |sockets: usize| {
        let at = |index: usize| ostler_core::serving::ListenAt::Unix { path: format!("/{index}") };
        let listen = |index: usize| ostler_core::serving::Listen { at: at(index), name: format!("s{index}"), backlog: None, mode: None };
        AppSpec { listen: (0..sockets).map(listen).collect(), ..AppSpec::default() }
    };
    assert_eq!(number(&spec(0), None), 3);
    assert_eq!(number(&spec(2), None), 5);
    assert_eq!(number(&spec(0), Some(&ReadyBy::Descriptor(3))), 4);
    assert_eq!(number(&spec(1), Some(&ReadyBy::Descriptor(4))), 5);
    assert_eq!(number(&spec(1), Some(&ReadyBy::Descriptor(9))), 4);
}

#[test]
fn each_process_gets_a_new_channel() {
    let mut app = App::new();
    let (id, channels) = (app.id, &mut app.channels);
    let key = |played: &TestContext| played.ctx.state.slots.get(id).unwrap().live.ipc.as_ref().map(|ipc| split_key(ipc.key()).1);
    let mut extras = SpawnExtras::default();
    channels.on_prepare(&mut app.played.ctx, id, INC + 1, &mut extras).unwrap();
    assert_eq!((extras.fds.len(), extras.fds[0].1, key(&app.played)), (1, 3, Some(INC + 1)));
    assert_eq!(extras.vars[0], ("NODE_CHANNEL_FD", "3".to_owned()));
    // The start failed, or the instance is deleted.
    channels.on_process_gone(&mut app.played.ctx, id, INC + 1);
    assert_eq!(key(&app.played), None);
    channels.on_prepare(&mut app.played.ctx, id, INC + 2, &mut SpawnExtras::default()).unwrap();
    channels.on_transition(&mut app.played.ctx, id, &Transition::Deleted);
    assert_eq!(key(&app.played), None);
}

#[test]
fn new_keeper_gets_the_open_channels() {
    let mut app = App::new();
    let key = app.played.ctx.state.slots.get(app.id).unwrap().key(INC);
    let names = |app: &App| app.channels.held(&app.played.ctx).into_iter().map(|(name, _)| name).collect::<Vec<String>>();
    assert_eq!(names(&app), [held_name(key)]);
    app.channels.on_process_gone(&mut app.played.ctx, app.id, INC);
    assert!(names(&app).is_empty());
}

#[test]
fn held_channel_is_restored_only_for_the_newest_process() {
    let mut app = App::new();
    let (id, held) = (app.id, |key: u64| (held_name(key), UnixStream::pair().unwrap().0.into()));
    let slot = app.played.ctx.state.slots.get_mut(id).unwrap();
    (slot.live.ipc, slot.durable.instance.inc) = (None, INC);
    let (present, former) = (slot.key(INC), slot.key(INC - 1));
    for key in [former, present] {
        let (name, fd): (String, OwnedFd) = held(key);
        assert!(app.channels.adopt_fd(&mut app.played.ctx, &name, fd).is_none());
        assert_eq!(app.played.ctx.state.slots.get(id).unwrap().live.ipc.is_some(), key == present);
    }
    let (_, fd): (String, OwnedFd) = held(1);
    assert!(app.channels.adopt_fd(&mut app.played.ctx, "listen:3000", fd).is_some(), "of somebody else");
}

reacts!(Channels: on_transition, on_ready, on_timer, on_message, on_forgotten);
