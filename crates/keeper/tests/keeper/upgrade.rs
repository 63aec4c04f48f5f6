//! The keeper becomes a new binary.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use ostler_keeper::{FromKeeper, ToKeeper};
use ostler_sys::WaitStatus;

use crate::home::{Home, command_line, fixture, has_exited, label, labelled, wait_for};

#[test]
fn upgrade_keeps_pid_children_and_descriptors() {
    let home = Home::new();
    let (keeper, mut daemon) = home.start();
    let (read, write) = ostler_sys::fd::pipe::pipe().unwrap();
    let mut request = home.shell(1, "read line <&5; exit 7");
    request.targets = vec![5];
    daemon.send(&ToKeeper::Spawn(Box::new(request)), &[read.as_fd()]);
    assert!(matches!(daemon.receive(), FromKeeper::Spawned { .. }));
    daemon.spawn(home.shell(2, "exit 5"));
    assert!(matches!(daemon.receive(), FromKeeper::Exited { key: 2, .. }));
    daemon.send(&ToKeeper::Hold { name: "log".into() }, &[labelled("log").as_fd()]);
    let anchor = daemon.anchor(None);
    let new = home.path.join("new-binary");
    std::fs::copy(fixture(), &new).unwrap();
    daemon.send(&ToKeeper::Upgrade { exe: new.clone() }, &[]);
    assert_eq!(daemon.receive(), FromKeeper::Retire);
    assert_eq!(std::fs::read_link(format!("/proc/{}/exe", keeper.pid)).unwrap(), new);
    assert_eq!(command_line(keeper.pid), format!("ostler: keeper ({})", home.path.display()));
    // The old daemon may still send requests.
    let late = daemon.spawn(home.shell(3, "exec sleep 1000"));
    let old = daemon.process;
    drop(daemon);

    let (mut daemon, (inventory, fds)) = home.next_daemon();
    assert!(!old.exists() && keeper.exists());
    assert_eq!(std::fs::read_link(format!("/proc/{}/exe", daemon.process.pid)).unwrap(), new);
    let next = daemon.anchor(Some(anchor));
    assert_eq!(std::fs::read_link(format!("/proc/{}/exe", next.pid)).unwrap(), new);
    wait_for("the former anchor has left", || has_exited(anchor).then_some(()));
    assert_eq!(inventory.keeper_pid, keeper.pid);
    assert_eq!(inventory.held, ["journal", "lock", "log", "socket"]);
    assert_eq!(label(&fds[2]), "log");
    let known: Vec<_> = inventory.children.iter().map(|c| (c.key, c.ended.map(|e| e.ending))).collect();
    assert_eq!(known, [(1, None), (2, Some(WaitStatus::Code(5))), (3, None)]);
    // The keeper is still the parent: it reaps the process and knows the exit code.
    drop(read);
    drop(write);
    assert!(matches!(daemon.receive(), FromKeeper::Exited { key: 1, ending: WaitStatus::Code(7), .. }));
    daemon.send(&ToKeeper::Kill { key: 3, signal: 9, group: false }, &[]);
    assert!(matches!(daemon.receive(), FromKeeper::Exited { key: 3, pid, .. } if pid == late.pid));
}

#[test]
fn daemon_that_does_not_retire_is_killed() {
    let home = Home::new();
    let (_, mut daemon) = home.start();
    daemon.send(&ToKeeper::Upgrade { exe: PathBuf::from(fixture()) }, &[]);
    assert_eq!(daemon.receive(), FromKeeper::Retire);
    wait_for("its end", || (!daemon.process.exists()).then_some(()));
    home.next_daemon();
}

#[test]
fn upgrade_to_a_bad_binary_changes_nothing() {
    let home = Home::new();
    let (keeper, mut daemon) = home.start();
    let app = daemon.spawn(home.shell(1, "exec sleep 1000"));
    let text = home.path.join("text");
    std::fs::write(&text, "text").unwrap();
    for (exe, step, errno) in [(Path::new("/no/such/binary"), "open", 2), (Path::new("/bin/true"), "check", 0), (&text, "check", 13)] {
        daemon.send(&ToKeeper::Upgrade { exe: exe.to_owned() }, &[]);
        assert_eq!(daemon.receive(), FromKeeper::UpgradeFailed { step: step.into(), errno });
        daemon.ping();
    }
    assert!(app.exists() && keeper.exists() && daemon.process.exists());
    daemon.send(&ToKeeper::Kill { key: 1, signal: 9, group: false }, &[]);
    assert!(matches!(daemon.receive(), FromKeeper::Exited { key: 1, .. }));
}
