//! Sockets that a process shuts down, over a played context.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;

use ostler_core::lifecycle::Event;
use ostler_core::serving::Scheduling;
use ostler_sys::net::socket::stop_listening;
use rustix::net::sockopt::socket_acceptconn;

use super::super::tests::{address, app, connect, played, port, prepared, running, same, socket, stopped, user, waiting};
use super::*;
use crate::engine::{Input, TestContext};

/// Shuts down these sockets, as their processes could, and lets the daemon handle that.
fn shut_down(played: &mut TestContext, sockets: &mut Sockets, lost: &[&OwnedFd]) {
    lost.iter().for_each(stop_listening);
    sockets.on_ready(&mut played.ctx, WATCH, false);
    sockets.on_settled(&mut played.ctx);
}

/// Starts the next process of an instance. Returns its socket.
fn next_process(played: &mut TestContext, sockets: &mut Sockets, id: u32) -> OwnedFd {
    let fd = prepared(played, sockets, id).unwrap().remove(0).0;
    sockets.mark_dirty(&played.ctx, id);
    sockets.on_settled(&mut played.ctx);
    fd
}

/// Returns the number of new connections that these sockets get.
fn shares(at: SocketAddr, fds: &[&OwnedFd]) -> Vec<usize> {
    let _clients = connect(at, 60);
    fds.iter().map(|fd| waiting(fd)).collect()
}

#[test]
fn others_take_the_connections_until_the_next_process_has_a_shard() {
    let (mut played, mut sockets) = played();
    let spec = app(vec![port()]);
    let (_, of_first) = running(&mut played, &mut sockets, &spec);
    let (second, of_second) = running(&mut played, &mut sockets, &spec);
    let (_, of_third) = running(&mut played, &mut sockets, &spec);
    let at = address(&of_first[0]);
    shut_down(&mut played, &mut sockets, &[&of_second[0]]);
    let counts = shares(at, &[&of_first[0], &of_third[0]]);
    assert!(counts.iter().all(|count| *count > 0) && counts.iter().sum::<usize>() == 60, "{counts:?}");
    // If the process makes it listen again, that fails. Otherwise it would join the group.
    assert!(rustix::net::listen(&of_second[0], 5).is_err());
    let again = next_process(&mut played, &mut sockets, second);
    assert!(!same(&again, &of_second[0]) && address(&again) == at);
    let counts = shares(at, &[&again, &of_first[0], &of_third[0]]);
    assert!(counts.iter().all(|count| *count > 0) && counts.iter().sum::<usize>() == 60, "{counts:?}");
}

#[test]
fn connections_wait_for_the_next_process_of_a_single_instance() {
    let (mut played, mut sockets) = played();
    let (id, fds) = running(&mut played, &mut sockets, &app(vec![port()]));
    let at = address(&fds[0]);
    shut_down(&mut played, &mut sockets, &[&fds[0]]);
    let clients = connect(at, 3);
    assert_eq!(sockets.held(&played.ctx).len(), 1);
    let again = next_process(&mut played, &mut sockets, id);
    assert_eq!((address(&again), waiting(&again)), (at, 3));
    drop(clients);
    // A further one gets its share: the order is known.
    let (_, of_second) = running(&mut played, &mut sockets, &app(vec![port()]));
    let counts = shares(at, &[&again, &of_second[0]]);
    assert!(counts.iter().all(|count| *count > 0) && counts.iter().sum::<usize>() == 60, "{counts:?}");
}

#[test]
fn connections_that_wait_in_vain_are_given_to_another_process() {
    let (mut played, mut sockets) = played();
    let spec = app(vec![port()]);
    let (_, fds) = running(&mut played, &mut sockets, &spec);
    let at = address(&fds[0]);
    shut_down(&mut played, &mut sockets, &[&fds[0]]);
    let _clients = connect(at, 3);
    let (_, of_second) = running(&mut played, &mut sockets, &spec);
    assert_eq!(waiting(&of_second[0]), 3);
    assert_eq!(shares(at, &[&of_second[0]]), [60]);
}

#[test]
fn shutdown_by_a_process_that_is_stopped_closes_the_port() {
    let (mut played, mut sockets) = played();
    let (id, fds) = running(&mut played, &mut sockets, &app(vec![port()]));
    let at = address(&fds[0]);
    played.dispatch(&mut sockets, id, Event::Stop(user()));
    shut_down(&mut played, &mut sockets, &[&fds[0]]);
    assert!(TcpStream::connect(at).is_err() && sockets.by_app.is_empty());
}

/// The order of the kernel's moves is unknown, so it is read.
#[test]
fn connections_are_steered_after_several_shutdowns_at_once() {
    let (mut played, mut sockets) = played();
    let spec = app(vec![port()]);
    let mut all: Vec<(u32, OwnedFd)> = (0..5)
        .map(|_| {
            let (id, fds) = running(&mut played, &mut sockets, &spec);
            (id, fds.into_iter().next().unwrap())
        })
        .collect();
    let rest = all.split_off(2);
    shut_down(&mut played, &mut sockets, &[&all[1].1, &all[0].1]);
    for (id, fd) in &rest {
        let set_unready = |played: &mut TestContext, sockets: &mut Sockets, unready: bool| {
            for (other, _) in rest.iter().filter(|(other, _)| other != id) {
                played.ctx.state.slots.get_mut(*other).unwrap().live.unready = unready;
                sockets.on_capacity(&mut played.ctx, *other);
            }
            sockets.on_settled(&mut played.ctx);
        };
        set_unready(&mut played, &mut sockets, true);
        assert_eq!(shares(address(fd), &[fd]), [60]);
        set_unready(&mut played, &mut sockets, false);
    }
}

/// The keeper holds the sockets under names with their positions.
#[test]
fn next_daemon_knows_the_order_and_notices_shutdowns_in_between() {
    let (mut played, mut sockets) = played();
    let spec = app(vec![port()]);
    let all: Vec<OwnedFd> = (0..4).map(|_| running(&mut played, &mut sockets, &spec).1.remove(0)).collect();
    shut_down(&mut played, &mut sockets, &[&all[0]]);
    let held = sockets.held(&played.ctx);
    let copies: Vec<(String, OwnedFd)> = held.into_iter().map(|(name, fd)| (name, fd.try_clone_to_owned().unwrap())).collect();
    assert_eq!(copies.len(), 3);
    drop(sockets);
    stop_listening(&all[1]);
    let mut next = Sockets::default();
    for (name, fd) in copies {
        assert!(next.adopt_fd(&mut played.ctx, &name, fd).is_none());
    }
    shut_down(&mut played, &mut next, &[]);
    let second = played.ctx.state.slots.iter().find(|slot| slot.durable.shard == 2).unwrap().durable.id;
    played.ctx.state.slots.get_mut(second).unwrap().live.unready = true;
    next.on_capacity(&mut played.ctx, second);
    next.on_settled(&mut played.ctx);
    assert_eq!(shares(address(&all[3]), &[&all[2], &all[3]]), [0, 60]);
}

#[test]
fn sockets_that_a_former_daemon_has_closed_are_dropped() {
    let (mut played, mut sockets) = played();
    let (id, fds) = running(&mut played, &mut sockets, &app(vec![port()]));
    let (name, copy) = sockets.held(&played.ctx).into_iter().map(|(name, fd)| (name, fd.try_clone_to_owned().unwrap())).next().unwrap();
    stopped(&mut played, &mut sockets, id);
    assert!(TcpStream::connect(address(&fds[0])).is_err());
    let mut next = Sockets::default();
    assert!(next.adopt_fd(&mut played.ctx, &name, copy).is_none());
    shut_down(&mut played, &mut next, &[]);
    assert!(next.by_app.is_empty() && next.held(&played.ctx).is_empty());
}

#[test]
fn tcp_socket_of_all_processes_listens_again() {
    let (mut played, mut sockets) = played();
    let spec = AppSpec { scheduling: Scheduling::Shared, ..app(vec![port()]) };
    let (first, of_first) = running(&mut played, &mut sockets, &spec);
    let (second, _) = running(&mut played, &mut sockets, &spec);
    let at = address(&of_first[0]);
    for _ in 0..2 {
        shut_down(&mut played, &mut sockets, &[&of_first[0]]);
        assert_eq!(shares(at, &[&of_first[0]]), [60]);
    }
    // The process of a single instance does not want connections any more.
    stopped(&mut played, &mut sockets, first);
    shut_down(&mut played, &mut sockets, &[&of_first[0]]);
    let _clients = connect(at, 3);
    assert_eq!(socket_acceptconn(&of_first[0]), Ok(false));
    let again = next_process(&mut played, &mut sockets, second);
    assert_eq!((address(&again), waiting(&again)), (at, 3));
}

#[test]
fn unix_socket_is_replaced_and_other_processes_are_restarted() {
    let (mut played, mut sockets) = played();
    let path = played.home().join("a.sock");
    let spec = app(vec![socket(ListenAt::Unix { path: path.to_str().unwrap().into() })]);
    let (first, of_first) = running(&mut played, &mut sockets, &spec);
    let (second, _) = running(&mut played, &mut sockets, &spec);
    played.queued();
    shut_down(&mut played, &mut sockets, &[&of_first[0]]);
    let _waits = UnixStream::connect(&path).unwrap();
    let remedied: Vec<u32> = played
        .queued()
        .iter()
        .filter_map(|input| match input {
            Input::Request(FeatureRequest::Remedy { id, .. }) => Some(*id),
            _ => None,
        })
        .collect();
    assert_eq!(remedied, [first, second]);
    let again = next_process(&mut played, &mut sockets, first);
    assert!(!same(&again, &of_first[0]));
    let listener = std::os::unix::net::UnixListener::from(again);
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_ok());
    stopped(&mut played, &mut sockets, first);
    stopped(&mut played, &mut sockets, second);
    assert!(!path.exists() && sockets.by_app.is_empty());
}
