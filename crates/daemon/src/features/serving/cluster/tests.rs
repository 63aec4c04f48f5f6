//! Primary over a played context: workers are ends of channels, clients are real connections.

use std::io::{IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use ostler_core::app::ExecMode;
use ostler_core::app::default_box::DefaultBox;
use ostler_core::lifecycle::{Event, InstanceState, Origin, PolicyName};
use ostler_core::serving::Sticky;
use ostler_proto::node::cluster::WorkerAnswer;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::round_robin::RETRY_MS;
use super::*;
use crate::engine::{TestContext, reacts};
use crate::platform::ipc::{Ipc, READER};
use crate::state::store::Role;

/// Lines that a worker got, and the descriptors that came with them.
type Got = (Vec<Value>, Vec<OwnedFd>);

struct Rig {
    played: TestContext,
    cluster: Cluster,
}

/// Worker's end of its channel.
struct Process {
    id: u32,
    channel: UnixStream,
}

fn app(scheduling: Scheduling) -> AppSpec {
    AppSpec {
        name: "api".into(),
        script: "/srv/api.js".into(),
        interpreter: Some("/usr/bin/node".into()),
        mode: ExecMode::Cluster,
        scheduling,
        ..AppSpec::default()
    }
}

/// Returns a query for any port of this machine, by the first `listen(0)` of a worker.
fn any_port() -> Value {
    json!({"cmd": "NODE_CLUSTER", "act": "queryServer", "seq": 1, "address": "127.0.0.1", "port": 0, "addressType": 4, "index": 0})
}

fn user() -> Origin {
    Origin::User { command: "stop".into(), uid: 0, pid: 1, on_behalf_of: None }
}

impl Rig {
    fn new() -> Self {
        Self { played: TestContext::new(&[Cluster::NAME, READER]), cluster: Cluster::default() }
    }

    /// Returns a rig with this many workers that listen at one port.
    fn with_workers(spec: &AppSpec, count: usize) -> (Self, Vec<Process>, SocketAddr) {
        let mut rig = Self::new();
        let workers: Vec<Process> = (0..count).map(|_| rig.worker(spec)).collect();
        let mut address = None;
        for worker in &workers {
            rig.send_message(worker.id, any_port());
            let (lines, _) = worker.received();
            let name = &lines[0]["sockname"];
            address = name["port"].as_u64().map(|port| SocketAddr::from(([127, 0, 0, 1], port as u16)));
        }
        rig.settle();
        (rig, workers, address.unwrap())
    }

    /// Returns a process that is online.
    fn worker(&mut self, spec: &AppSpec) -> Process {
        let id = self.played.instance(spec.clone());
        self.played.start(&mut self.cluster, id, 4000 + id as i32);
        Process { id, channel: self.channel_of(id) }
    }

    fn channel_of(&mut self, id: u32) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let slot = self.played.ctx.state.slots.get_mut(id).unwrap();
        slot.live.ipc = Ipc::open(ours.into(), id, slot.key(slot.durable.instance.inc), &self.played.ctx.io.reactor).map(Box::new);
        theirs
    }

    fn send_message(&mut self, id: u32, message: Value) {
        let Value::Object(message) = message else { panic!("{message}") };
        self.cluster.on_message(&mut self.played.ctx, id, 1, &Message::Internal(message));
    }

    fn settle(&mut self) {
        self.cluster.on_settled(&mut self.played.ctx);
    }

    /// Handles the ready descriptors, and ends the turn.
    fn turn(&mut self) {
        for ready in self.played.ctx.io.reactor.wait(Some(Duration::from_millis(10))).unwrap() {
            if let crate::platform::reactor::Source::Feature(Cluster::NAME, key) = ready.source {
                self.cluster.on_ready(&mut self.played.ctx, key, ready.writable);
            }
        }
        self.settle();
    }

    fn pass(&mut self, ms: u64) {
        self.played.pass(&mut self.cluster, ms);
        self.settle();
    }

    /// Answers the first connection that a worker has not answered: the worker serves or refuses
    /// it.
    fn answers(&mut self, id: u32, accepted: bool) {
        let worker = self.played.ctx.state.slots.get_mut(id).unwrap().live.worker.own_mut().unwrap();
        let seq = worker.handed.front().unwrap().seq;
        assert!(worker.take(WorkerAnswer::Received) && worker.take(WorkerAnswer::Connection { seq, accepted }));
        self.cluster.on_capacity(&mut self.played.ctx, id);
        self.settle();
    }

    /// Returns the number of connections that each worker has not answered.
    fn handed(&self, workers: &[Process]) -> Vec<usize> {
        workers.iter().map(|worker| self.played.ctx.state.slots.get(worker.id).unwrap().live.worker.handed.len()).collect()
    }

    /// Returns the number of listeners of which the keeper holds a copy. The played keeper never
    /// closes a socket.
    fn listeners(&self) -> usize {
        self.cluster.held(&self.played.ctx).len()
    }

    /// Replaces the daemon by the next one, with the keeper's descriptors and the journal.
    fn next_daemon(&mut self) {
        let held: Vec<(String, OwnedFd)> =
            self.cluster.held(&self.played.ctx).into_iter().map(|(name, fd)| (name, fd.try_clone_to_owned().unwrap())).collect();
        self.cluster = Cluster::default();
        for slot in self.played.ctx.state.slots.iter_mut() {
            slot.live.worker = DefaultBox::default();
        }
        for (name, fd) in held {
            assert!(self.cluster.adopt_fd(&mut self.played.ctx, &name, fd).is_none(), "{name}");
        }
        self.cluster.on_fds_adopted(&mut self.played.ctx);
        self.settle();
    }
}

impl Process {
    fn received(&self) -> Got {
        let (mut text, mut fds) = (Vec::new(), Vec::new());
        let mut buffer = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        loop {
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let Ok(got) = recvmsg(&self.channel, &mut [IoSliceMut::new(&mut buffer)], &mut control, RecvFlags::empty()) else { break };
            if got.bytes == 0 {
                break;
            }
            text.extend_from_slice(&buffer[..got.bytes]);
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(rights) = message {
                    fds.extend(rights);
                }
            }
        }
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        (lines.map(|line| serde_json::from_slice(line).unwrap()).collect(), fds)
    }
}

#[test]
fn connections_are_distributed_round_robin() {
    let (mut rig, workers, address) = Rig::with_workers(&app(Scheduling::RoundRobin), 2);
    let queued = rig.played.queued();
    assert!(matches!(queued[..], [Input::Listens(_), Input::Listens(_)]), "{queued:?}");
    let _clients: Vec<TcpStream> = (0..4).map(|_| TcpStream::connect(address).unwrap()).collect();
    rig.turn();
    for worker in &workers {
        let (lines, fds) = worker.received();
        assert_eq!(fds.len(), 2);
        assert!(lines.iter().all(|line| line["msg"]["act"] == "newconn"), "{lines:?}");
    }
    assert_eq!(rig.handed(&workers), [2, 2]);
}

/// The new process of a reload that has not proved itself gets connections only if there is no
/// other process. An unhealthy process is better.
#[test]
fn unready_worker_is_preferred_to_a_starting_candidate() {
    let (mut rig, workers, address) = Rig::with_workers(&app(Scheduling::RoundRobin), 2);
    let slots = &mut rig.played.ctx.state.slots;
    slots.get_mut(workers[0].id).unwrap().live.unready = true;
    let newcomer = slots.get_mut(workers[1].id).unwrap();
    newcomer.durable.role = Role::Candidate;
    let InstanceState::Running { inc, pid, since, .. } = newcomer.durable.instance.state else {
        panic!("{:?}", newcomer.durable.instance.state)
    };
    newcomer.durable.instance.state = InstanceState::Starting { inc, pid, since, ready_deadline_ms: None, late: false, adopted: false };
    let _clients: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
    rig.turn();
    assert_eq!(rig.handed(&workers), [3, 0]);
    rig.played.ctx.state.slots.get_mut(workers[0].id).unwrap().live.unready = false;
    rig.played.dispatch(&mut rig.cluster, workers[0].id, Event::Stop(user()));
    let _client = TcpStream::connect(address).unwrap();
    rig.turn();
    assert_eq!(rig.handed(&workers)[1], 1, "there is nobody else");
}

#[test]
fn connections_stay_in_the_kernel_queue_without_workers() {
    let (mut rig, workers, address) = Rig::with_workers(&app(Scheduling::RoundRobin), 1);
    rig.played.dispatch(&mut rig.cluster, workers[0].id, Event::Stop(user()));
    rig.settle();
    let _client = TcpStream::connect(address).unwrap();
    rig.turn();
    assert_eq!(rig.handed(&workers), [0], "it waits in the kernel's queue");
    assert!(rig.played.ctx.io.reactor.wait(Some(Duration::ZERO)).unwrap().is_empty(), "and nobody is woken for it again");
    let fresh = rig.worker(&app(Scheduling::RoundRobin));
    rig.send_message(fresh.id, any_port());
    rig.turn();
    assert_eq!(rig.handed(&[fresh]), [1], "until somebody takes it");
}

#[test]
fn refused_connection_goes_to_another_worker_or_is_retried() {
    let (mut rig, workers, address) = Rig::with_workers(&app(Scheduling::RoundRobin), 2);
    let _client = TcpStream::connect(address).unwrap();
    rig.turn();
    assert_eq!(rig.handed(&workers), [1, 0]);
    rig.answers(workers[0].id, false);
    assert_eq!(rig.handed(&workers), [0, 1]);
    rig.answers(workers[1].id, false);
    assert_eq!(rig.handed(&workers), [0, 0]);
    let _another = TcpStream::connect(address).unwrap();
    rig.turn();
    assert_eq!(rig.handed(&workers), [0, 0], "nothing more is accepted meanwhile");
    rig.pass(RETRY_MS - 1);
    assert_eq!(rig.handed(&workers), [0, 0]);
    rig.pass(1);
    assert_eq!(rig.handed(&workers).iter().sum::<usize>(), 2, "there is a place again, and the next ones follow");
}

#[test]
fn unanswered_connections_of_a_dead_worker_go_to_the_next() {
    let (mut rig, workers, address) = Rig::with_workers(&app(Scheduling::RoundRobin), 2);
    let _clients: Vec<TcpStream> = (0..4).map(|_| TcpStream::connect(address).unwrap()).collect();
    rig.turn();
    // The worker has refused it, but the daemon has not handled the answer yet. The connection must
    // not be lost.
    let worker = rig.played.ctx.state.slots.get_mut(workers[0].id).unwrap().live.worker.own_mut().unwrap();
    let seq = worker.handed.front().unwrap().seq;
    assert!(worker.take(WorkerAnswer::Connection { seq, accepted: false }));
    rig.cluster.on_process_gone(&mut rig.played.ctx, workers[0].id, 1);
    rig.settle();
    assert_eq!(rig.handed(&workers), [0, 4]);
    assert!(rig.played.ctx.state.slots.get(workers[0].id).unwrap().never_listened());
}

#[test]
fn next_daemon_continues_with_the_same_port() {
    let mut spec = app(Scheduling::RoundRobin);
    let (mut rig, workers, address) = Rig::with_workers(&spec, 2);
    rig.send_message(
        workers[0].id,
        json!({"cmd": "NODE_CLUSTER", "act": "queryServer", "seq": 2, "port": 0, "address": "127.0.0.1", "addressType": 4, "index": 1, "data": "keys"}),
    );
    workers[0].received();
    rig.next_daemon();
    let _client = TcpStream::connect(address).unwrap();
    rig.turn();
    assert_eq!(rig.handed(&workers).iter().sum::<usize>(), 1);
    // Later workers get the data of the first worker.
    rig.send_message(
        workers[1].id,
        json!({"cmd": "NODE_CLUSTER", "act": "queryServer", "seq": 2, "port": 0, "address": "127.0.0.1", "addressType": 4, "index": 1}),
    );
    let (lines, _) = workers[1].received();
    assert!(lines.iter().any(|line| line["data"] == "keys"), "{lines:?}");
    // The same holds for the shards of a port.
    spec = AppSpec { name: "other".into(), scheduling: Scheduling::Reuseport, ..spec };
    let mut rig = Rig::new();
    let workers: Vec<Process> = (0..2).map(|_| rig.worker(&spec)).collect();
    let sockets = |rig: &mut Rig| -> Vec<u64> {
        let inode = |worker: &Process| {
            let slot = rig.played.ctx.state.slots.get_mut(worker.id).unwrap();
            slot.durable.listening.clear();
            slot.live.worker = DefaultBox::default();
            rig.send_message(worker.id, any_port());
            let (_, fds) = worker.received();
            ostler_sys::net::listening::inode(std::os::fd::AsFd::as_fd(&fds[0])).unwrap()
        };
        workers.iter().map(inode).collect()
    };
    let first = sockets(&mut rig);
    assert_ne!(first[0], first[1], "each has its own");
    rig.next_daemon();
    assert_eq!(sockets(&mut rig), first);
}

#[test]
fn silent_client_is_assigned_by_its_address() {
    let spec = AppSpec { sticky: Some(Sticky::Cookie("who".into())), ..app(Scheduling::RoundRobin) };
    let (mut rig, workers, address) = Rig::with_workers(&spec, 2);
    let mut named = TcpStream::connect(address).unwrap();
    let _silent = TcpStream::connect(address).unwrap();
    rig.turn();
    assert_eq!(rig.handed(&workers), [0, 0], "their first requests are awaited");
    let index = rig.played.ctx.state.slots.get(workers[1].id).unwrap().durable.index;
    named.write_all(format!("GET / HTTP/1.1\r\nCookie: who={index}\r\n\r\n").as_bytes()).unwrap();
    rig.turn();
    assert_eq!(rig.handed(&workers), [0, 1]);
    rig.pass(199);
    assert_eq!(rig.handed(&workers).iter().sum::<usize>(), 1);
    rig.pass(1);
    assert_eq!(rig.handed(&workers).iter().sum::<usize>(), 2);
    assert_eq!(rig.played.ctx.outbox.timers.next_ms(), None);
}

/// A session begins with several requests, and only the process that began it knows it.
#[test]
fn draining_worker_keeps_its_sticky_clients_briefly() {
    let spec = AppSpec { sticky: Some(Sticky::Cookie("who".into())), ..app(Scheduling::RoundRobin) };
    let (mut rig, workers, address) = Rig::with_workers(&spec, 2);
    let slot = rig.played.ctx.state.slots.get_mut(workers[1].id).unwrap();
    let (index, inc) = (slot.durable.index, slot.durable.instance.inc);
    let now = rig.played.ctx.now;
    slot.durable.instance.state =
        InstanceState::Draining { inc, pid: 4711, since: now, deadline_ms: u64::MAX, cause: Origin::policy(PolicyName::Recovery) };
    slot.live.drain_began_ms = Some(now.mono_ms);
    let ask = |cookie: String| {
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(format!("GET / HTTP/1.1\r\nCookie: who={cookie}\r\n\r\n").as_bytes()).unwrap();
        client
    };
    let mut clients = Vec::new();
    for (cookie, after_ms, handed) in [
        (format!("{index}.{inc}"), 0, [0, 1]),
        // Other clients go to the serving processes, and so does a client of a former process.
        (format!("{index}"), 0, [1, 0]),
        (format!("{index}.{}", inc + 1), 0, [1, 0]),
        (format!("{index}.{inc}"), 999, [0, 1]),
        (format!("{index}.{inc}"), 1, [1, 0]),
    ] {
        rig.pass(after_ms);
        clients.push(ask(cookie.clone()));
        rig.turn();
        assert_eq!(rig.handed(&workers), handed, "{cookie} after {after_ms} ms more");
        rig.answers(workers[usize::from(handed[1] == 1)].id, true);
    }
}

#[test]
fn port_unused_by_the_new_release_is_closed_later() {
    let (mut rig, workers, _) = Rig::with_workers(&app(Scheduling::RoundRobin), 1);
    let id = workers[0].id;
    rig.cluster.on_process_gone(&mut rig.played.ctx, id, 1);
    rig.send_message(
        id,
        json!({"cmd": "NODE_CLUSTER", "act": "queryServer", "seq": 1, "address": "127.0.0.1", "port": 0, "addressType": 4, "index": 5}),
    );
    rig.send_message(id, json!({"cmd": "NODE_CLUSTER", "act": "listening"}));
    if !matches!(rig.played.ctx.state.slots.get(id).unwrap().durable.instance.state, InstanceState::Running { .. }) {
        let inc = rig.played.ctx.state.slots.get(id).unwrap().durable.instance.inc;
        rig.played.dispatch(&mut rig.cluster, id, Event::Ready { inc });
    }
    rig.pass(9999);
    assert_eq!(rig.listeners(), 2, "its servers may begin one after the other");
    rig.pass(1);
    assert_eq!(rig.listeners(), 1);
    assert!(rig.cluster.held(&rig.played.ctx)[0].0.contains(":5"), "the one that it listens at stays");
}

/// Returns a worker that was stopped, before any feature handled that.
fn stopped() -> (Rig, u32) {
    let (mut rig, workers, _) = Rig::with_workers(&app(Scheduling::RoundRobin), 1);
    let id = workers[0].id;
    rig.cluster.on_transition(&mut rig.played.ctx, id, &Transition::Stopped);
    assert_eq!(rig.listeners(), 1, "one of it is to run");
    rig.played.dispatch(&mut rig.cluster, id, Event::Stop(user()));
    let inc = rig.played.ctx.state.slots.get(id).unwrap().durable.instance.inc;
    let exit = ostler_core::lifecycle::ExitReport { ending: ostler_core::lifecycle::ProcessEnding::Code(0), oom: false };
    rig.played.dispatch(&mut rig.cluster, id, Event::Exited { inc, exit });
    rig.played.dispatch(&mut rig.cluster, id, Event::TreeGone { inc });
    assert_eq!(rig.played.ctx.state.slots.get(id).unwrap().durable.instance.state, InstanceState::Stopped);
    (rig, id)
}

#[test]
fn stopped_app_has_no_sockets() {
    let (mut rig, id) = stopped();
    rig.cluster.on_transition(&mut rig.played.ctx, id, &Transition::Stopped);
    assert_eq!(rig.listeners(), 0);
    for is_listed in [true, false] {
        let (mut rig, id) = stopped();
        if !is_listed {
            rig.played.ctx.state.slots.remove(id);
        }
        assert_eq!(rig.listeners(), 1);
        rig.next_daemon();
        assert_eq!(rig.listeners(), 0, "the former daemon died before it closed it");
    }
}

#[test]
fn query_interrupted_by_a_daemon_death_is_answered_again() {
    let mut rig = Rig::new();
    let worker = rig.worker(&app(Scheduling::RoundRobin));
    rig.send_message(worker.id, any_port());
    let (lines, _) = worker.received();
    let key = lines[0]["key"].as_str().unwrap().to_owned();
    // The journal has the answer, but the keeper does not have the socket.
    rig.cluster = Cluster::default();
    rig.send_message(worker.id, any_port());
    let (lines, _) = worker.received();
    assert_eq!((lines[0]["errno"].is_null(), rig.listeners()), (true, 1), "{lines:?}");
    assert_eq!(rig.played.ctx.state.slots.get(worker.id).unwrap().durable.served, [key]);
    rig.send_message(worker.id, any_port());
    assert!(worker.received().0[0]["errno"].as_i64().is_some_and(|errno| errno < 0), "the same a second time is a mistake of the worker");
}

#[test]
fn worker_id_is_journaled_before_the_spawn() {
    let mut rig = Rig::new();
    let id = rig.played.instance(app(Scheduling::RoundRobin));
    rig.played.dispatch(&mut rig.cluster, id, Event::Start(user()));
    assert_eq!(rig.played.ctx.state.slots.get(id).unwrap().durable.worker_id, 1);
    rig.played.dispatch(&mut rig.cluster, id, Event::Stop(user()));
    assert_eq!(rig.played.ctx.state.slots.get(id).unwrap().durable.worker_id, 1, "the same process");
}

#[test]
fn fork_mode_process_gets_no_cluster_socket() {
    let mut rig = Rig::new();
    let process = rig.worker(&AppSpec { mode: ExecMode::Fork, ..app(Scheduling::RoundRobin) });
    rig.send_message(process.id, any_port());
    assert!(process.received().0.is_empty());
    assert_eq!(rig.listeners(), 0);
    assert!(rig.played.log().contains("requests sockets like a cluster worker, but is not one"));
}

#[test]
fn listening_sockets_are_mapped_to_their_app() {
    let (mut rig, workers, _) = Rig::with_workers(&app(Scheduling::RoundRobin), 1);
    let inode = ostler_sys::net::listening::inode(rig.cluster.held(&rig.played.ctx)[0].1).unwrap();
    assert_eq!(rig.played.ctx.state.listening.app_of(inode), Some("api"));
    rig.played.ctx.state.listening = crate::state::slots::listening::Listening::default();
    rig.next_daemon();
    assert_eq!(rig.played.ctx.state.listening.app_of(inode), Some("api"));
    let key = rig.played.ctx.state.slots.get(workers[0].id).unwrap().durable.served[0].clone();
    rig.send_message(workers[0].id, json!({"cmd": "NODE_CLUSTER", "act": "close", "key": key}));
    assert_eq!(rig.played.ctx.state.listening.app_of(inode), None);
    assert_eq!(rig.listeners(), 0, "the app means it");
}

reacts!(Cluster: on_ready, on_timer, on_message, on_step, on_capacity, on_channel_ended, on_transition, on_request);
