//! Declared sockets over a played context: which process gets which socket and which connections,
//! and when sockets are closed.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};

use ostler_core::lifecycle::{Event, ExitReport, InstanceState, Origin};
use ostler_core::serving::probe_route::ProbeRoute;
use ostler_core::serving::{Listen, ListenAt, Scheduling};
use ostler_sys::net::dial;
use ostler_sys::net::listening::inode;

use super::*;
use crate::engine::{FeatureRequest, Input, TestContext, reacts};

pub(super) fn user() -> Origin {
    Origin::User { command: "stop".into(), uid: 0, pid: 1, on_behalf_of: None }
}

pub(super) fn socket(at: ListenAt) -> Listen {
    Listen { at, name: "web".into(), backlog: None, mode: None }
}

/// Returns a port that the kernel chooses.
pub(super) fn port() -> Listen {
    socket(ListenAt::Tcp { address: Some([127, 0, 0, 1].into()), port: 0 })
}

pub(super) fn app(listen: Vec<Listen>) -> AppSpec {
    AppSpec { name: "api".into(), script: "/bin/true".into(), listen, ..AppSpec::default() }
}

pub(super) fn played() -> (TestContext, Sockets) {
    (TestContext::new(&[Sockets::NAME]), Sockets::default())
}

/// Returns the descriptors for the next process of an instance.
pub(super) fn prepared(played: &mut TestContext, sockets: &mut Sockets, id: u32) -> Result<Vec<(OwnedFd, i32)>, SpawnFailure> {
    let mut extras = SpawnExtras::default();
    sockets.on_prepare(&mut played.ctx, id, 1, &mut extras)?;
    Ok(extras.fds)
}

/// Returns the process of a new instance that has run for long, with its copies.
pub(super) fn running(played: &mut TestContext, sockets: &mut Sockets, spec: &AppSpec) -> (u32, Vec<OwnedFd>) {
    let id = played.instance(spec.clone());
    let fds = prepared(played, sockets, id).unwrap();
    played.start(sockets, id, 4711);
    sockets.on_settled(&mut played.ctx);
    played.pass(sockets, 2000);
    sockets.on_settled(&mut played.ctx);
    (id, fds.into_iter().map(|(fd, _)| fd).collect())
}

/// Stops an instance as a user's command does.
pub(super) fn stopped(played: &mut TestContext, sockets: &mut Sockets, id: u32) {
    played.dispatch(sockets, id, Event::Stop(user()));
    let inc = played.ctx.state.slots.get(id).unwrap().durable.instance.inc;
    let exit = ExitReport { ending: ostler_core::lifecycle::ProcessEnding::Code(0), oom: false };
    played.dispatch(sockets, id, Event::Exited { inc, exit });
    played.dispatch(sockets, id, Event::TreeGone { inc });
    sockets.on_transition(&mut played.ctx, id, &Transition::Stopped);
}

pub(super) fn address(fd: &OwnedFd) -> SocketAddr {
    rustix::net::getsockname(fd).unwrap().try_into().unwrap()
}

/// Returns the number of connections that wait there.
pub(super) fn waiting(fd: &OwnedFd) -> usize {
    let listener = TcpListener::from(fd.try_clone().unwrap());
    listener.set_nonblocking(true).unwrap();
    let accepted = std::iter::from_fn(|| match listener.accept() {
        Ok(accepted) => Some(accepted),
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(error) => panic!("{error}"),
    });
    accepted.count()
}

pub(super) fn connect(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    (0..count).map(|_| TcpStream::connect(address).unwrap()).collect()
}

pub(super) fn same(a: &OwnedFd, b: &OwnedFd) -> bool {
    inode(a.as_fd()) == inode(b.as_fd())
}

/// A failed start of a user is not repeated, so clients would wait for nothing.
#[test]
fn failed_start_closes_the_port() {
    let (mut played, mut sockets) = played();
    let id = played.instance(app(vec![port()]));
    played.dispatch(&mut sockets, id, Event::Start(user()));
    let fds = prepared(&mut played, &mut sockets, id).unwrap();
    let address = address(&fds[0].0);
    drop((fds, connect(address, 1)));
    let inc = played.ctx.state.slots.get(id).unwrap().durable.instance.inc;
    let failure = SpawnFailure { step: "exec".into(), errno: 2 };
    played.dispatch(&mut sockets, id, Event::SpawnFailed { inc, failure });
    let record = played.ctx.state.slots.get(id).unwrap().durable.instance.exits.iter().next_back().unwrap().clone();
    sockets.on_transition(&mut played.ctx, id, &Transition::CouldNotStart(record));
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn shared_scheduling_gives_all_instances_the_same_socket() {
    let (mut played, mut sockets) = played();
    let path = played.home().join("a.sock").to_str().unwrap().to_owned();
    let spec = AppSpec { scheduling: Scheduling::Shared, ..app(vec![port(), socket(ListenAt::Unix { path: path.clone() })]) };
    let (first, second) = (played.instance(spec.clone()), played.instance(spec));
    let of_first = prepared(&mut played, &mut sockets, first).unwrap();
    let of_second = prepared(&mut played, &mut sockets, second).unwrap();
    assert_eq!(of_first.iter().map(|(_, number)| *number).collect::<Vec<_>>(), [3, 4]);
    assert!(of_first.iter().zip(&of_second).all(|((a, _), (b, _))| same(a, b)));
    let shown = &played.ctx.state.slots.get(first).unwrap().durable.learned.sockets;
    assert_eq!(shown.iter().map(|socket| &socket.address).collect::<Vec<_>>(), [&address(&of_first[0].0).to_string(), &path]);
    assert_eq!(played.ctx.state.listening.app_of(inode(of_first[1].0.as_fd()).unwrap()), Some("api"));
}

#[test]
fn failed_listen_opens_no_sockets() {
    let (mut played, mut sockets) = played();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = |port| ListenAt::Tcp { address: Some([127, 0, 0, 1].into()), port };
    let path = played.home().join("a.sock");
    let unix = ListenAt::Unix { path: path.to_str().unwrap().into() };
    let id = played.instance(app(vec![socket(unix), socket(at(taken.local_addr().unwrap().port()))]));
    let failure = prepared(&mut played, &mut sockets, id).unwrap_err();
    assert_eq!(failure.step, format!("listen at {}", taken.local_addr().unwrap()));
    assert!(!path.exists() && sockets.by_app.is_empty(), "{sockets:?}");
}

#[test]
fn next_daemon_hands_on_the_held_socket() {
    let (mut played, mut sockets) = played();
    let spec = app(vec![port()]);
    let (_, of_first) = running(&mut played, &mut sockets, &spec);
    let held: Vec<(String, OwnedFd)> =
        sockets.held(&played.ctx).into_iter().map(|(name, fd)| (name, fd.try_clone_to_owned().unwrap())).collect();
    assert_eq!(held.len(), 1);
    let mut next = Sockets::default();
    for (name, fd) in held {
        assert!(next.adopt_fd(&mut played.ctx, &name, fd).is_none());
    }
    assert!(next.adopt_fd(&mut played.ctx, "other:1", OwnedFd::from(std::fs::File::open("/dev/null").unwrap())).is_some());
    let id = *played.ctx.state.slots.of_app("api").first().unwrap();
    let again = prepared(&mut played, &mut next, id).unwrap();
    assert!(same(&of_first[0], &again[0].0));
}

#[test]
fn new_connections_go_to_serving_instances() {
    let (mut played, mut sockets) = played();
    let spec = app(vec![port()]);
    let (first, of_first) = running(&mut played, &mut sockets, &spec);
    let at = address(&of_first[0]);
    let second = played.instance(spec);
    let of_second = prepared(&mut played, &mut sockets, second).unwrap().remove(0).0;
    assert!(!same(&of_first[0], &of_second) && address(&of_second) == at);
    played.start(&mut sockets, second, 4712);
    sockets.on_settled(&mut played.ctx);
    let clients = connect(at, 20);
    assert_eq!((waiting(&of_first[0]), waiting(&of_second)), (20, 0), "nobody knows whether it accepts already");
    drop(clients);
    played.pass(&mut sockets, 1000);
    sockets.on_settled(&mut played.ctx);
    let clients = connect(at, 100);
    let (one, other) = (waiting(&of_first[0]), waiting(&of_second));
    assert!(one > 0 && other > 0 && one + other == 100, "{one} {other}");
    drop(clients);
    // Its readiness check fails.
    played.ctx.state.slots.get_mut(first).unwrap().live.unready = true;
    sockets.on_capacity(&mut played.ctx, first);
    sockets.on_settled(&mut played.ctx);
    let _clients = connect(at, 20);
    assert_eq!((waiting(&of_first[0]), waiting(&of_second)), (0, 20));
}

#[test]
fn draining_process_gets_no_new_connections_and_keeps_its_queue() {
    let (mut played, mut sockets) = played();
    let spec = app(vec![port()]);
    let (first, of_first) = running(&mut played, &mut sockets, &spec);
    assert!(!sockets.on_drain(&mut played.ctx, first, 1), "there is nobody else");
    let (_, of_second) = running(&mut played, &mut sockets, &spec);
    let early = connect(address(&of_first[0]), 40);
    played.dispatch(&mut sockets, first, Event::StopGently(user()));
    let InstanceState::Draining { inc, .. } = played.ctx.state.slots.get(first).unwrap().durable.instance.state else { panic!() };
    assert!(sockets.on_drain(&mut played.ctx, first, inc));
    let late = connect(address(&of_first[0]), 20);
    played.pass(&mut sockets, 10_000);
    assert!(played.queued().is_empty(), "some wait there still");
    let accepted = waiting(&of_first[0]);
    assert_eq!(accepted + waiting(&of_second[0]), early.len() + late.len());
    assert!((1..=early.len()).contains(&accepted), "{accepted}");
    played.pass(&mut sockets, 200);
    assert!(played.queued().is_empty(), "another one may be on its way");
    // On a busy machine, the checks are further apart.
    let inputs = (0..1000).find_map(|_| {
        played.pass(&mut sockets, 200);
        Some(played.queued()).filter(|inputs| !inputs.is_empty())
    });
    let inputs = inputs.unwrap_or_default();
    assert!(
        matches!(&inputs[..], [Input::Request(FeatureRequest::FinishRequests { id, inc: of })] if *id == first && *of == inc),
        "{inputs:?}"
    );
    assert_eq!(played.ctx.outbox.timers.next_ms(), None);
}

#[test]
fn sockets_close_when_no_instance_is_wanted_up() {
    let (mut played, mut sockets) = played();
    let path = played.home().join("a.sock");
    let spec = app(vec![socket(ListenAt::Unix { path: path.to_str().unwrap().into() })]);
    let (first, fds) = running(&mut played, &mut sockets, &spec);
    let (second, _) = running(&mut played, &mut sockets, &spec);
    stopped(&mut played, &mut sockets, first);
    assert!(path.exists() && sockets.by_app.len() == 1);
    stopped(&mut played, &mut sockets, second);
    assert!(!path.exists() && sockets.by_app.is_empty());
    assert_eq!(played.ctx.state.listening.app_of(inode(fds[0].as_fd()).unwrap()), None);
}

#[test]
fn foreign_socket_file_is_kept() {
    let (mut played, mut sockets) = played();
    let path = played.home().join("a.sock");
    let (id, _) = running(&mut played, &mut sockets, &app(vec![socket(ListenAt::Unix { path: path.to_str().unwrap().into() })]));
    std::fs::remove_file(&path).unwrap();
    let _theirs = std::os::unix::net::UnixListener::bind(&path).unwrap();
    stopped(&mut played, &mut sockets, id);
    assert!(path.exists() && sockets.by_app.is_empty());
}

#[test]
fn socket_removed_from_the_spec_is_closed() {
    let (mut played, mut sockets) = played();
    let (id, _) = running(&mut played, &mut sockets, &app(vec![port(), port()]));
    assert_eq!(sockets.by_app.len(), 2);
    let (edited, _) = played.ctx.state.slots.shared_app(app(vec![port()]));
    let settings = crate::platform::settings::Settings::from_env(played.home().to_owned());
    played.ctx.state.slots.get_mut(id).unwrap().describe(edited, &settings);
    prepared(&mut played, &mut sockets, id).unwrap();
    assert_eq!(sockets.by_app.keys().map(|owner| owner.key.as_str()).collect::<Vec<_>>(), ["127.0.0.1:0#1"]);
}

#[test]
fn adopted_process_hands_back_its_socket() {
    let (mut played, mut sockets) = played();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let id = played.instance(app(vec![socket(ListenAt::Tcp { address: Some([127, 0, 0, 1].into()), port: 0 })]));
    let stdin = Stdio::from(OwnedFd::from(listener.try_clone().unwrap()));
    let mut child = Command::new("/bin/sh").args(["-c", "exec sleep 60 3<&0"]).stdin(stdin).spawn().unwrap();
    let comm = format!("/proc/{}/comm", child.id());
    while std::fs::read_to_string(&comm).unwrap().trim() != "sleep" {
        std::thread::yield_now();
    }
    let process = ProcRef::of(i32::try_from(child.id()).unwrap()).unwrap();
    sockets.on_adopted(&mut played.ctx, id, process);
    child.kill().unwrap();
    child.wait().unwrap();
    let given = prepared(&mut played, &mut sockets, id).unwrap();
    assert!(same(&given[0].0, &listener.into()));
}

/// A probe reaches the process that it means, although another one gets all connections.
#[test]
fn probe_reaches_the_shard_of_its_process() {
    let (mut played, mut sockets) = played();
    let spec = app(vec![port()]);
    let (first, of_first) = running(&mut played, &mut sockets, &spec);
    let at = address(&of_first[0]);
    let second = played.instance(spec.clone());
    let of_second = prepared(&mut played, &mut sockets, second).unwrap();
    let other = played.instance(AppSpec { name: "other".into(), ..spec });
    let routes = [first, second, other].map(|id| played.ctx.state.probe_route(id, at));
    assert_eq!(routes, [ProbeRoute::Position(0), ProbeRoute::Position(1), ProbeRoute::Common]);
    let probes = [1, 1, 0].map(|position| dial::connect(at, Some(position)).unwrap());
    assert_eq!((waiting(&of_first[0]), waiting(&of_second[0].0)), (1, 2));
    drop(probes);
    stopped(&mut played, &mut sockets, first);
    assert_eq!(played.ctx.state.probe_route(first, at), ProbeRoute::Common);
}

/// A process that opens its port by itself has no socket before that.
#[test]
fn probe_of_a_process_without_its_port_reaches_no_other() {
    let (mut played, mut sockets) = played();
    let spec = AppSpec { mode: ostler_core::app::ExecMode::Cluster, ..app(Vec::new()) };
    let [first, second] = [(); 2].map(|()| played.instance(spec.clone()));
    let at = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let listen = socket(ListenAt::Tcp { address: Some(at.ip()), port: at.port() });
    let mut opens = |id: u32| {
        let shard = shards::shard_of(played.ctx.state.slots.get(id).unwrap());
        let shown = sockets.open_all(&mut played.ctx, &spec, shard, std::slice::from_ref(&listen)).unwrap().shown;
        played.ctx.state.slots.get_mut(id).unwrap().durable.learned.sockets = shown;
        [first, second].map(|id| played.ctx.state.probe_route(id, at))
    };
    assert_eq!(opens(first), [ProbeRoute::Position(0), ProbeRoute::NotOpened]);
    assert_eq!(opens(second), [ProbeRoute::Position(0), ProbeRoute::Position(1)]);
}

/// Returns a port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

reacts!(Sockets: on_step, on_capacity, on_transition, on_timer, on_forgotten);
