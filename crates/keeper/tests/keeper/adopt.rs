//! Processes that are not the keeper's children, and the revival of a killed keeper.

use std::os::fd::{AsFd, BorrowedFd};

use ostler_keeper::{Child, FromKeeper, Revival, ToKeeper, anchor_of};
use ostler_sys::{ProcRef, WaitStatus};

use crate::home::{Home, has_exited, label, labelled, wait_for};

#[test]
fn killed_keeper_is_revived_with_children_and_descriptors() {
    let home = Home::new();
    let (keeper, mut daemon) = home.start();
    daemon.send(&ToKeeper::Hold { name: "log".into() }, &[labelled("log").as_fd()]);
    daemon.ping();
    let process = daemon.process;
    daemon.kill();
    let (mut daemon, (inventory, fds)) = home.next_daemon();
    assert_ne!(process, daemon.process);
    let (read, write) = ostler_sys::fd::pipe::pipe().unwrap();
    let mut request = home.shell(1, "read line <&5; exit 7");
    request.targets = vec![5];
    daemon.send(&ToKeeper::Spawn(Box::new(request)), &[read.as_fd()]);
    let FromKeeper::Spawned { pid, start_ticks, .. } = daemon.receive() else { panic!() };
    let app = ProcRef { pid, start_ticks };
    let gone = daemon.spawn(home.shell(2, "exec sleep 1000"));
    keeper.signal(9).unwrap();
    let end = wait_for("the end of the link", || daemon.link.recv().err());
    assert_eq!(end.kind(), std::io::ErrorKind::UnexpectedEof);
    // This process exits while there is no keeper.
    gone.signal(9).unwrap();
    wait_for("its end", || has_exited(gone).then_some(()));

    let child = |key, process: ProcRef| Child { key, pid: process.pid, start_ticks: process.start_ticks, ended: None };
    let held: Vec<(&str, BorrowedFd<'_>)> = inventory.held.iter().map(String::as_str).zip(fds.iter().map(AsFd::as_fd)).collect();
    let former_anchor = daemon.anchor.take();
    let anchor = former_anchor.as_ref().map(|(name, fd)| (name.as_str(), fd.as_fd()));
    let held: Vec<_> = held.into_iter().chain(anchor).collect();
    // This process exited before any keeper could watch it.
    let unseen = ProcRef { pid: i32::MAX, start_ticks: 5 };
    let children = [child(1, app), child(2, gone), child(4, unseen)];
    let revival = Revival { originals: inventory.originals, children: &children, held: &held };
    let (link, pid) = home.launcher().revive_for(daemon.process, &revival).unwrap();
    daemon.link = link;
    daemon.send(&ToKeeper::Ping, &[]);
    // The daemon knows of neither exit, so the keeper reports both. If the zombie still exists, the
    // new keeper even knows how the process exited.
    let mut told = Vec::new();
    let mut is_alive = false;
    while told.len() < 2 || !is_alive {
        match daemon.receive() {
            FromKeeper::Exited { key, ending: WaitStatus::Unknown | WaitStatus::Signal { signal: 9, .. }, .. } => told.push(key),
            FromKeeper::Pong => is_alive = true,
            other => panic!("{other:?}"),
        }
    }
    told.sort_unstable();
    assert_eq!(told, [2, 4]);
    assert_eq!(std::fs::read_to_string(home.path.join("pm2.pid")).unwrap(), pid.to_string());
    // The new keeper takes requests, knows the old app, and starts no second daemon while this one
    // lives.
    daemon.send(&ToKeeper::Kill { key: 1, signal: 0, group: true }, &[]);
    let fresh = daemon.spawn(home.shell(3, "exec sleep 1000"));
    drop(held);
    drop(fds);
    // The new keeper has its own anchor, and the former anchor has left.
    let former_anchor = former_anchor.and_then(|(name, _)| anchor_of(&name));
    daemon.anchor(former_anchor);
    wait_for("the former anchor has left", || former_anchor.is_none_or(has_exited).then_some(()));
    let former = daemon.process;
    daemon.kill();

    let (mut daemon, (inventory, fds)) = home.next_daemon();
    assert_ne!(daemon.process, former);
    assert_eq!(inventory.keeper_pid, pid);
    assert_eq!(inventory.held, ["journal", "lock", "log", "socket"]);
    assert_eq!(label(&fds[2]), "log");
    let known: Vec<_> = inventory.children.iter().map(|c| (c.key, c.pid, c.ended.is_some())).collect();
    assert_eq!(known, [(1, app.pid, false), (2, gone.pid, true), (3, fresh.pid, false), (4, i32::MAX, true)]);
    // The keeper notices the adopted process's exit by its pidfd. The exit code is known from Linux
    // 6.15 on, or if the parent reaps the zombie a moment later.
    drop(read);
    drop(write);
    match daemon.receive() {
        FromKeeper::Exited { key: 1, pid, ending, .. } => {
            assert_eq!(pid, app.pid);
            assert!(matches!(ending, WaitStatus::Code(7) | WaitStatus::Unknown), "{ending:?}");
        }
        other => panic!("{other:?}"),
    }
    daemon.ping();
}

#[test]
fn verify_repeats_the_exit_of_a_missing_process() {
    let home = Home::new();
    let (_, mut daemon) = home.start();
    let app = daemon.spawn(home.shell(1, "exit 3"));
    let first = daemon.receive();
    assert!(matches!(first, FromKeeper::Exited { key: 1, ending: WaitStatus::Code(3), .. }), "{first:?}");
    let verify = |key, ProcRef { pid, start_ticks }| ToKeeper::Verify { key, pid, start_ticks };
    // Before the acknowledgement, the keeper repeats the same report, to the millisecond. After it,
    // the keeper only knows that the process is gone.
    daemon.send(&verify(1, app), &[]);
    assert_eq!(daemon.receive(), first);
    daemon.send(&ToKeeper::Ack { key: 1 }, &[]);
    daemon.send(&verify(1, app), &[]);
    assert!(matches!(daemon.receive(), FromKeeper::Exited { key: 1, ending: WaitStatus::Unknown, .. }));
    // There is no answer about a living process, and an unwatched one becomes watched.
    let lives = daemon.spawn(home.shell(2, "exec sleep 1000"));
    let mut stranger = std::process::Command::new("sleep").arg("1000").env("OSTLER_TEST_HOME", &home.path).spawn().unwrap();
    daemon.send(&verify(2, lives), &[]);
    daemon.send(&verify(3, ProcRef::of(stranger.id() as i32).unwrap()), &[]);
    daemon.ping();
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    assert!(matches!(daemon.receive(), FromKeeper::Exited { key: 3, .. }));
}

#[test]
fn any_process_can_be_adopted() {
    let home = Home::new();
    let (_, mut daemon) = home.start();
    let mut strangers: Vec<_> =
        (0..2).map(|_| std::process::Command::new("sleep").arg("1000").env("OSTLER_TEST_HOME", &home.path).spawn().unwrap()).collect();
    let refs: Vec<_> = strangers.iter().map(|s| ProcRef::of(s.id() as i32).unwrap()).collect();
    for (key, process) in (1..).zip(&refs) {
        let pidfd = process.open().unwrap();
        let fds = if key == 1 { vec![pidfd.as_fd()] } else { vec![] };
        let ProcRef { pid, start_ticks } = *process;
        daemon.send(&ToKeeper::Adopt { key, pid, start_ticks }, &fds);
        assert_eq!(daemon.receive(), FromKeeper::Spawned { key, pid, start_ticks });
    }
    // A process that is gone, and a pid that belongs to another process by now.
    let ProcRef { pid, start_ticks } = refs[0];
    daemon.send(&ToKeeper::Adopt { key: 3, pid: i32::MAX, start_ticks: 5 }, &[]);
    assert!(matches!(daemon.receive(), FromKeeper::Spawned { key: 3, .. }));
    assert!(matches!(daemon.receive(), FromKeeper::Exited { key: 3, ending: WaitStatus::Unknown, .. }));
    daemon.send(&ToKeeper::Adopt { key: 1, pid, start_ticks }, &[]);
    assert_eq!(daemon.receive(), FromKeeper::SpawnFailed { key: 1, step: "key".into(), errno: 17 });

    for (key, group) in [(1, false), (2, false)] {
        daemon.send(&ToKeeper::Kill { key, signal: 15, group }, &[]);
    }
    for stranger in &mut strangers {
        stranger.wait().unwrap();
    }
    let mut ended: Vec<_> = (0..2)
        .map(|_| match daemon.receive() {
            FromKeeper::Exited { key, ending, .. } => {
                assert!(matches!(ending, WaitStatus::Signal { signal: 15, .. } | WaitStatus::Unknown), "{ending:?}");
                key
            }
            other => panic!("{other:?}"),
        })
        .collect();
    ended.sort_unstable();
    assert_eq!(ended, [1, 2]);
}

#[test]
fn app_hands_over_to_another_of_its_processes() {
    let home = Home::new();
    let (_, mut daemon) = home.start();
    // Two children that exit with the code they read. They become the keeper's when their parent is
    // gone; the app itself exits with code 5.
    let child = "sh -c 'read code < $0; exit $code'";
    let script = format!(
        "cd {}; mkfifo a b end; {child} a & echo $! > pid_a; {child} b & echo $! > pid_b; echo > made; read x < end; exit 5",
        home.path.display()
    );
    let app = daemon.spawn(home.shell(1, &script));
    let file = |name: &str| home.path.join(name);
    wait_for("the children", || file("made").exists().then_some(()));
    let process = |name| ProcRef::of(std::fs::read_to_string(file(name)).unwrap().trim().parse().unwrap()).unwrap();
    let (a, b) = (process("pid_a"), process("pid_b"));
    let follow = |ProcRef { pid, start_ticks }| ToKeeper::Follow { key: 1, pid, start_ticks };

    // The exit of the former process was reported, and is forgotten without an acknowledgement. A
    // repeated follow changes nothing.
    std::fs::write(file("end"), "x\n").unwrap();
    assert!(matches!(daemon.receive(), FromKeeper::Exited { key: 1, pid, ending: WaitStatus::Code(5), .. } if pid == app.pid));
    daemon.send(&follow(a), &[]);
    daemon.send(&follow(a), &[a.open().unwrap().as_fd()]);
    daemon.send(&ToKeeper::Ack { key: 1 }, &[]);
    daemon.ping();
    daemon.kill();
    let (mut daemon, (inventory, _)) = home.next_daemon();
    let known: Vec<_> = inventory.children.iter().map(|c| (c.key, c.pid, c.start_ticks, c.ended)).collect();
    assert_eq!(known, [(1, a.pid, a.start_ticks, None)]);
    // Follow the other process. The exit of the first is no longer reported, that of the second is
    // reported with its code.
    daemon.send(&follow(b), &[b.open().unwrap().as_fd()]);
    daemon.ping();
    std::fs::write(file("a"), "1\n").unwrap();
    assert_eq!(daemon.next().0, FromKeeper::OrphanExited { pid: a.pid });
    std::fs::write(file("b"), "7\n").unwrap();
    assert!(matches!(daemon.receive(), FromKeeper::Exited { key: 1, pid, ending: WaitStatus::Code(7), .. } if pid == b.pid));
    // Follow a process that has already exited.
    daemon.send(&follow(a), &[]);
    assert!(matches!(daemon.receive(), FromKeeper::Exited { key: 1, pid, ending: WaitStatus::Unknown, .. } if pid == a.pid));
    daemon.send(&ToKeeper::Ack { key: 1 }, &[]);
    daemon.ping();
}
