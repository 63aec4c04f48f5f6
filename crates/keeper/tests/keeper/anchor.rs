//! Daemon and keeper killed together.

use std::os::fd::AsFd;

use ostler_keeper::ToKeeper;
use ostler_sys::ProcRef;

use crate::home::{Daemon, Home, command_line, has_exited, label, labelled, wait_for};

/// Waits until the anchor sleeps again: then it has read the last message.
fn settled(daemon: &mut Daemon, anchor: ProcRef) {
    daemon.ping();
    wait_for("the anchor sleeps", || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", anchor.pid)).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('S')).then_some(())
    });
}

/// Sends SIGKILL to both.
fn kill_both(keeper: ProcRef, daemon: Daemon) {
    let process = daemon.process;
    keeper.signal(9).unwrap();
    daemon.kill();
    wait_for("both are gone", || (has_exited(keeper) && has_exited(process)).then_some(()));
}

#[test]
fn next_keeper_gets_all_held_descriptors() {
    let home = Home::new();
    let (keeper, mut daemon) = home.start();
    let hold = |daemon: &mut Daemon, name: &str, text: &str| {
        daemon.send(&ToKeeper::Hold { name: name.into() }, &[labelled(text).as_fd()]);
    };
    hold(&mut daemon, "early", "held before there was an anchor, perhaps");
    let anchor = daemon.anchor(None);
    let title = format!("ostler: anchor ({})", home.path.display());
    wait_for("it shows what it is", || (command_line(anchor.pid) == title).then_some(()));
    assert_eq!(ostler_sys::process::tree::marker(anchor.pid, "OSTLER_ROLE").as_deref(), Some(&b"anchor"[..]));
    for name in ["a", "b", "c"] {
        hold(&mut daemon, name, name);
    }
    hold(&mut daemon, "b", "another");
    daemon.send(&ToKeeper::Drop { name: "c".into() }, &[]);
    let app = daemon.spawn(home.shell(1, "exec sleep 1000"));
    settled(&mut daemon, anchor);
    kill_both(keeper, daemon);
    let (mut daemon, (inventory, fds)) = home.next_daemon();
    assert_eq!(inventory.keeper_pid, anchor.pid, "it is the keeper now");
    assert_eq!(command_line(anchor.pid), format!("ostler: keeper ({})", home.path.display()));
    assert_eq!(std::fs::read_to_string(home.path.join("pm2.pid")).unwrap(), anchor.pid.to_string());
    assert_eq!(inventory.held, ["a", "b", "early", "journal", "lock", "socket"]);
    assert_eq!((label(&fds[0]), label(&fds[1])), ("a".into(), "another".into()));
    assert_eq!(inventory.children, [], "whose children they were is gone");
    assert!(!has_exited(app));
    // The new keeper also has an anchor of its own, for the next time.
    let next = daemon.anchor(None);
    assert!(next != anchor);
    kill_both(anchor, daemon);
    let (_daemon, (inventory, _)) = home.next_daemon();
    assert_eq!((inventory.keeper_pid, inventory.held.len()), (next.pid, 6));
}

#[test]
fn anchor_holds_hundreds_of_descriptors() {
    let home = Home::new();
    let (keeper, mut daemon) = home.start();
    let anchor = daemon.anchor(None);
    for n in 0..700 {
        daemon.send(&ToKeeper::Hold { name: format!("{n:03}") }, &[labelled(&n.to_string()).as_fd()]);
    }
    daemon.link.flush_blocking().unwrap();
    // The messages do not fit into the anchor's socket, so the anchor sleeps in between while the
    // keeper waits for room.
    let open = || std::fs::read_dir(format!("/proc/{}/fd", anchor.pid)).map_or(0, Iterator::count);
    wait_for("the anchor has all of them", || (open() >= 700 + 3).then_some(()));
    settled(&mut daemon, anchor);
    kill_both(keeper, daemon);
    let (_daemon, (inventory, fds)) = home.next_daemon();
    assert_eq!(inventory.held.len(), 700 + 3);
    assert!((0..700).all(|n| inventory.held[n] == format!("{n:03}") && label(&fds[n]) == n.to_string()));
}

#[test]
fn killed_anchor_is_replaced_with_all_descriptors() {
    let home = Home::new();
    let (keeper, mut daemon) = home.start();
    daemon.send(&ToKeeper::Hold { name: "x".into() }, &[labelled("x").as_fd()]);
    let first = daemon.anchor(None);
    first.signal(9).unwrap();
    let second = daemon.anchor(Some(first));
    settled(&mut daemon, second);
    kill_both(keeper, daemon);
    let (_daemon, (inventory, _)) = home.next_daemon();
    assert_eq!((inventory.keeper_pid, inventory.held), (second.pid, ["journal", "lock", "socket", "x"].map(String::from).to_vec()));
}

#[test]
fn stopped_anchor_is_replaced() {
    let home = Home::new();
    let (_, mut daemon) = home.start();
    let first = daemon.anchor(None);
    first.signal(19).unwrap();
    // At some point the socket is full.
    let fd = labelled("x");
    for _ in 0..1000 {
        daemon.send(&ToKeeper::Hold { name: "x".into() }, &[fd.as_fd()]);
    }
    daemon.link.flush_blocking().unwrap();
    daemon.anchor(Some(first));
    wait_for("the first is gone", || has_exited(first).then_some(()));
}

#[test]
fn deliberate_exit_stops_the_anchor_too() {
    let home = Home::new();
    let (keeper, mut daemon) = home.start();
    let anchor = daemon.anchor(None);
    daemon.send(&ToKeeper::Exit, &[]);
    wait_for("the anchor has left", || has_exited(anchor).then_some(()));
    daemon.kill();
    wait_for("the keeper has left", || has_exited(keeper).then_some(()));
    assert_eq!(home.processes(), []);
    // No process holds the home any more.
    let (_, daemon) = home.start();
    drop(daemon);
}

#[test]
fn anchor_ignores_signals_meant_for_the_daemon() {
    let home = Home::new();
    let (keeper, mut daemon) = home.start();
    let anchor = daemon.anchor(None);
    for signal in [15, 2, 1, 12, 3] {
        anchor.signal(signal).unwrap();
    }
    settled(&mut daemon, anchor);
    kill_both(keeper, daemon);
    let (mut daemon, (inventory, _)) = home.next_daemon();
    assert_eq!(inventory.keeper_pid, anchor.pid);
    // The new keeper does not forward the signals that were sent before.
    daemon.ping();
}

#[test]
fn anchor_exits_if_the_home_is_gone() {
    let home = Home::new();
    let (keeper, mut daemon) = home.start();
    let anchor = daemon.anchor(None);
    std::fs::remove_file(home.path.join("ostler.lock")).unwrap();
    std::fs::write(home.path.join("ostler.lock"), "another one's").unwrap();
    kill_both(keeper, daemon);
    wait_for("the anchor has left", || has_exited(anchor).then_some(()));
    assert_eq!(home.processes(), []);
}
