//! The home, the daemon's death, and the things that outlive the daemon.

use std::os::fd::AsFd;
use std::process::Command;

use ostler_keeper::{FromKeeper, LaunchResult, ToKeeper};
use ostler_sys::{ProcTable, WaitStatus, net::socket};

use crate::home::{Home, command_line, fixture, label, labelled, mode, wait_for};

#[test]
fn launch_takes_the_home() {
    let home = Home::new();
    let (keeper, daemon) = home.start();
    let path = home.path.display();
    assert_eq!(command_line(keeper.pid), format!("ostler: keeper ({path})"));
    assert_eq!(command_line(daemon.process.pid), format!("ostler: daemon ({path})"));
    assert_eq!(std::fs::read_to_string(home.path.join("pm2.pid")).unwrap(), keeper.pid.to_string());
    for file in ["pm2.pid", "pm2.log", "ostler.sock", "ostler.lock"] {
        assert_eq!(mode(&home.path.join(file)).unwrap(), 0o600, "{file}");
    }
    assert_eq!(home.launcher().launch().unwrap(), LaunchResult::Already);
    assert!(daemon.process.exists());
}

#[test]
fn keeper_as_pm2_has_the_title_of_the_god_daemon() {
    let home = Home::new();
    let exe = std::ffi::CString::new(fixture()).unwrap();
    let LaunchResult::New(pid) = ostler_keeper::Launcher::new(&home.path, true).exe(exe).launch().unwrap() else { panic!() };
    assert_eq!(command_line(pid), format!("PM2 v7.0.4: God Daemon ({})", home.path.display()));
    home.next_daemon();
}

#[test]
fn launch_waits_for_the_lock_of_a_killed_keeper() {
    let home = Home::new();
    std::fs::create_dir_all(&home.path).unwrap();
    let lock = ostler_sys::fs::lock::try_lock(&home.path.join("ostler.lock")).unwrap().unwrap();
    let launcher = home.launcher();
    let launch = std::thread::spawn(move || launcher.launch());
    // Each try opens the log, so the second try creates it again.
    let log = home.path.join("pm2.log");
    wait_for("a try", || std::fs::remove_file(&log).ok());
    wait_for("another one", || log.exists().then_some(()));
    drop(lock);
    assert!(matches!(launch.join().unwrap(), Ok(LaunchResult::New(_))));
    home.next_daemon();
}

#[test]
fn concurrent_launches_start_one_keeper_and_all_succeed() {
    let home = Home::new();
    let clients: Vec<_> = (0..20).map(|_| Command::new(fixture()).arg("launch").arg(&home.path).spawn().unwrap()).collect();
    let codes: Vec<_> = clients.into_iter().map(|mut client| client.wait().unwrap().code()).collect();
    assert_eq!(codes.iter().filter(|code| **code == Some(0)).count(), 1, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == Some(10)).count(), 19, "{codes:?}");
    let (mut daemon, _) = home.next_daemon();
    daemon.anchor(None);
    assert_eq!(home.processes().len(), 3, "one keeper, one daemon, one anchor");
}

#[test]
fn unusable_home_is_an_error() {
    let home = Home::new();
    std::fs::write(home.path.join("file"), "").unwrap();
    let error = ostler_keeper::Launcher::new(&home.path.join("file"), false).launch().unwrap_err();
    assert!(matches!(error, ostler_keeper::LaunchError::Home { .. }), "{error}");
    // A precious file at the path of the socket.
    std::fs::write(home.path.join("ostler.sock"), "precious").unwrap();
    let error = home.launcher().launch().unwrap_err();
    assert!(error.to_string().contains("cannot listen at"), "{error}");
    assert_eq!(std::fs::read(home.path.join("ostler.sock")).unwrap(), b"precious");
}

#[test]
fn missing_home_is_created_private_to_its_user() {
    let home = Home::new();
    let deep = home.path.join("a/b");
    let exe = std::ffi::CString::new(fixture()).unwrap();
    let launched = ostler_keeper::Launcher::new(&deep, false).exe(exe).launch().unwrap();
    assert_eq!(mode(&deep).unwrap(), 0o700);
    let LaunchResult::New(pid) = launched else { panic!() };
    // Its daemons find no test to report to. They exit, and the keeper restarts them with growing
    // delays.
    ostler_sys::ProcRef::of(pid).unwrap().signal(9).unwrap();
}

#[test]
fn next_daemon_gets_children_and_descriptors() {
    let home = Home::new();
    let (keeper, mut daemon) = home.start();
    let alive = daemon.spawn(home.shell(1, "exec sleep 1000"));
    let unacked = daemon.spawn(home.shell(2, "exit 5"));
    assert!(matches!(daemon.receive(), FromKeeper::Exited { key: 2, .. }));
    daemon.spawn(home.shell(3, "exit 6"));
    assert!(matches!(daemon.receive(), FromKeeper::Exited { key: 3, .. }));
    daemon.send(&ToKeeper::Ack { key: 3 }, &[]);
    for name in ["ipc/1", "gone", "log"] {
        daemon.send(&ToKeeper::Hold { name: name.into() }, &[labelled(name).as_fd()]);
    }
    daemon.send(&ToKeeper::Hold { name: "log".into() }, &[labelled("another log").as_fd()]);
    daemon.send(&ToKeeper::Drop { name: "gone".into() }, &[]);
    // The daemon's last messages are still in flight; the keeper must process them.
    let client = socket::connect_at(&home.path.join("ostler.sock")).unwrap();
    daemon.kill();

    let (mut daemon, (inventory, fds)) = home.next_daemon();
    assert_eq!(inventory.keeper_pid, keeper.pid);
    assert_eq!(inventory.held, ["ipc/1", "journal", "lock", "log", "socket"]);
    let named = |name: &str| &fds[inventory.held.iter().position(|held| held == name).unwrap()];
    assert_eq!((label(named("ipc/1")), label(named("log"))), ("ipc/1".into(), "another log".into()));
    let known: Vec<_> = inventory.children.iter().map(|c| (c.key, c.pid, c.ended.map(|e| e.ending))).collect();
    assert_eq!(known, [(1, alive.pid, None), (2, unacked.pid, Some(WaitStatus::Code(5)))]);
    assert!(alive.exists());
    // The client that connected between the two daemons waits in the queue.
    let waiting = socket::accept(named("socket")).unwrap().expect("a connection");
    assert_eq!(socket::peer(&waiting).unwrap().pid, i32::try_from(std::process::id()).unwrap());
    drop(client);
    daemon.ping();
}

#[test]
fn last_messages_of_a_dead_daemon_are_processed() {
    let home = Home::new();
    let (keeper, mut daemon) = home.start();
    // The keeper notices neither before both are gone.
    keeper.signal(19).unwrap();
    let stopped = || ProcTable::scan().get(keeper.pid).is_some_and(|e| e.state == b'T').then_some(());
    wait_for("the keeper to stop", stopped);
    for n in 0..150 {
        daemon.send(&ToKeeper::Hold { name: format!("{n:03}") }, &[labelled("x").as_fd()]);
    }
    assert!(daemon.link.flush().unwrap(), "all of it is on its way");
    daemon.kill();
    keeper.signal(18).unwrap();
    let (_, (inventory, _)) = home.next_daemon();
    assert_eq!(inventory.held.len(), 153);
}

#[test]
fn exits_without_a_daemon_are_kept() {
    let home = Home::new();
    let (_, mut daemon) = home.start();
    let (read, write) = ostler_sys::fd::pipe::pipe().unwrap();
    for key in 0..50 {
        let mut request = home.shell(key, "read line <&5; exit 9");
        request.targets = vec![5];
        daemon.send(&ToKeeper::Spawn(Box::new(request)), &[read.as_fd()]);
    }
    for _ in 0..50 {
        assert!(matches!(daemon.receive(), FromKeeper::Spawned { .. }));
    }
    daemon.kill();
    drop(read);
    drop(write);
    let (mut daemon, (inventory, _)) = home.next_daemon();
    let mut ended: Vec<_> = inventory.children.iter().filter(|c| c.ended.is_some()).map(|c| c.key).collect();
    while ended.len() < 50 {
        let FromKeeper::Exited { key, ending, .. } = daemon.receive() else { panic!() };
        assert_eq!(ending, WaitStatus::Code(9));
        ended.push(key);
    }
    ended.sort_unstable();
    assert_eq!(ended, (0..50).collect::<Vec<_>>());
}

#[test]
fn three_thousand_descriptors_are_held_and_handed_over() {
    let home = Home::new();
    ostler_sys::process::rlimit::raise_nofile();
    let (_, mut daemon) = home.start();
    for n in 0..3000 {
        let fd = labelled(&n.to_string());
        daemon.send(&ToKeeper::Hold { name: format!("{n:04}") }, &[fd.as_fd()]);
        daemon.link.flush_blocking().unwrap();
    }
    daemon.ping();
    daemon.kill();
    let (_, (inventory, fds)) = home.next_daemon();
    assert_eq!(inventory.held.len(), 3003);
    for (name, fd) in inventory.held.iter().zip(&fds).filter(|(name, _)| name.len() == 4 && name.as_str() != "lock") {
        assert_eq!(name.parse::<u32>().unwrap().to_string(), label(fd));
    }
}

#[test]
fn daemon_that_sends_malformed_messages_is_replaced() {
    let home = Home::new();
    let (_, mut daemon) = home.start();
    let app = daemon.spawn(home.shell(1, "exec sleep 1000"));
    for nonsense in [&[1u8, 0, 99][..], &[7, 0, 1], &[1, 1], &[1, 0, 1, 2, 3], &[1, 0, 4, 1, 0, 0, 0, b'x']] {
        ostler_sys::fd::fdpass::send(&daemon.link, &[std::io::IoSlice::new(nonsense)], &[]).unwrap();
        wait_for("the end of the daemon", || (!daemon.process.exists()).then_some(()));
        let (next, (inventory, _)) = home.next_daemon();
        assert_eq!(inventory.children.len(), 1, "{nonsense:?}");
        daemon = next;
    }
    assert!(app.exists());
    daemon.ping();
}

#[test]
fn keeper_forwards_its_signals_to_the_daemon() {
    let home = Home::new();
    let (keeper, mut daemon) = home.start();
    for signal in [15, 2, 3, 12, 1] {
        keeper.signal(signal).unwrap();
        assert_eq!(daemon.receive(), FromKeeper::Signal { signal });
    }
    daemon.ping();
    assert!(keeper.exists());
}

#[test]
fn exit_keeps_only_the_apps_running() {
    let home = Home::new();
    let (keeper, mut daemon) = home.start();
    let app = daemon.spawn(home.shell(1, "exec sleep 1000"));
    daemon.send(&ToKeeper::Exit, &[]);
    wait_for("the files to go", || (!home.path.join("ostler.sock").exists() && !home.path.join("pm2.pid").exists()).then_some(()));
    let lock = home.path.join("ostler.lock");
    assert!(ostler_sys::fs::lock::try_lock(&lock).unwrap().is_none(), "the home is theirs while the daemon lives");
    drop(daemon);
    assert_eq!(ostler_sys::process::child::reap(keeper.pid).unwrap().ending, WaitStatus::Code(0));
    assert!(ostler_sys::fs::lock::try_lock(&lock).unwrap().is_some());
    assert!(app.exists());
}
