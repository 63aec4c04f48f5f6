//! Starting, signalling and reaping.

use std::os::fd::AsFd;

use ostler_keeper::{FromKeeper, ToKeeper};
use ostler_sys::{ProcTable, WaitStatus};

use crate::home::{Home, wait_for};

#[test]
fn exit_codes_and_signals_are_reported() {
    let home = Home::new();
    let (_, mut daemon) = home.start();
    for (key, script, expected) in [
        (1, "exit 0", WaitStatus::Code(0)),
        (2, "exit 37", WaitStatus::Code(37)),
        (3, "kill -TERM $$", WaitStatus::Signal { signal: 15, core: false }),
        (4, "kill -KILL $$", WaitStatus::Signal { signal: 9, core: false }),
    ] {
        let process = daemon.spawn(home.shell(key, script));
        match daemon.receive() {
            FromKeeper::Exited { key: of, pid, ending, usage, at_boot_ms, at_wall_ms } => {
                assert_eq!((of, pid, ending), (key, process.pid, expected));
                assert!(usage.max_rss_bytes > 100_000 && at_boot_ms > 0 && at_wall_ms > at_boot_ms, "{usage:?}");
            }
            other => panic!("{other:?}"),
        }
        daemon.send(&ToKeeper::Ack { key }, &[]);
    }
}

/// The kernel reports the stops of a traced child to its tracer, and a child can choose its parent
/// as that. Such a program still runs, and its exit is reported.
#[test]
fn program_that_traces_itself_is_still_a_child() {
    let home = Home::new();
    let (_, mut daemon) = home.start();
    let code = "import ctypes, os\nctypes.CDLL(None).ptrace(0, 0, 0, 0)\nos.kill(os.getpid(), 10) if os.sys.argv[1] == 'signal' else os.execv('/bin/sh', ['sh', '-c', 'exit 7'])";
    for (key, how, expected) in [(1, "exec", WaitStatus::Code(7)), (2, "signal", WaitStatus::Signal { signal: 10, core: false })] {
        let process = daemon.spawn(home.program(key, "/usr/bin/python3", &["python3", "-c", code, how]));
        match daemon.receive() {
            FromKeeper::Exited { pid, ending, .. } => assert_eq!((pid, ending), (process.pid, expected)),
            other => panic!("{other:?}"),
        }
        daemon.send(&ToKeeper::Ack { key }, &[]);
    }
}

#[test]
fn failed_start_reports_step_and_errno_and_frees_the_key() {
    let home = Home::new();
    let (_, mut daemon) = home.start();
    let plain = home.path.join("plain");
    std::fs::write(&plain, "no shebang").unwrap();
    let plain = plain.to_str().unwrap();
    let mut bad_cwd = home.shell(1, "true");
    bad_cwd.spec.cwd = c"/nowhere/at/all".into();
    let mut bad_target = home.shell(1, "true");
    bad_target.targets = vec![-5];
    let null = std::fs::File::open("/dev/null").unwrap();
    let requests = [
        (home.program(1, "/no/such/program", &["x"]), "exec", 2),
        (home.program(1, plain, &["x"]), "exec", 13),
        (home.program(1, "/etc", &["x"]), "exec", 13),
        (bad_cwd, "chdir", 2),
        (bad_target, "dup2", 9),
    ];
    for (request, step, errno) in requests {
        let fds: Vec<_> = request.targets.iter().map(|_| null.as_fd()).collect();
        daemon.send(&ToKeeper::Spawn(Box::new(request)), &fds);
        assert_eq!(daemon.receive(), FromKeeper::SpawnFailed { key: 1, step: step.into(), errno });
    }
    // A key in use is rejected, and its process is not disturbed.
    let process = daemon.spawn(home.shell(1, "exec sleep 1000"));
    daemon.send(&ToKeeper::Spawn(Box::new(home.shell(1, "true"))), &[]);
    assert_eq!(daemon.receive(), FromKeeper::SpawnFailed { key: 1, step: "key".into(), errno: 17 });
    assert!(process.exists());
}

#[test]
fn descriptors_and_a_large_environment_arrive() {
    let home = Home::new();
    let (_, mut daemon) = home.start();
    let (read, write) = ostler_sys::fd::pipe::pipe().unwrap();
    let mut request = home.shell(1, "printf '%s' \"$A$B$C$D$E$F$G$H\" | wc -c; umask; ls /proc/self/fd | wc -l");
    // A single variable may have 128 KiB at most.
    request.spec.envp.extend((b'A'..=b'H').map(|name| {
        let mut text = vec![name, b'='];
        text.resize(100_002, b'x');
        std::ffi::CString::new(text).unwrap()
    }));
    request.targets = vec![1];
    daemon.send(&ToKeeper::Spawn(Box::new(request)), &[write.as_fd()]);
    drop(write);
    assert!(matches!(daemon.receive(), FromKeeper::Spawned { key: 1, .. }));
    let mut text = String::new();
    std::io::Read::read_to_string(&mut std::fs::File::from(read), &mut text).unwrap();
    // The mask is the launcher's, not the keeper's own. `ls` itself has one descriptor more than 0,
    // 1, 2.
    let mask = rustix::process::umask(rustix::fs::Mode::empty());
    assert_eq!(text.split_whitespace().collect::<Vec<_>>(), ["800000", &format!("{:04o}", mask.as_raw_mode()), "4"]);
}

#[test]
fn keeper_reaps_orphans() {
    let home = Home::new();
    let (keeper, mut daemon) = home.start();
    // A double fork: the middle process exits, the grandchild waits for a line.
    let (read, write) = ostler_sys::fd::pipe::pipe().unwrap();
    let mut request = home.shell(1, "(setsid sh -c 'read line; exit 3' <&4 &) ; exit 0");
    request.targets = vec![4];
    daemon.send(&ToKeeper::Spawn(Box::new(request)), &[read.as_fd()]);
    let FromKeeper::Spawned { pid: leader, start_ticks, .. } = daemon.receive() else { panic!() };
    assert!(matches!(daemon.receive(), FromKeeper::Exited { key: 1, ending: WaitStatus::Code(0), .. }));
    let leader = ostler_sys::ProcRef { pid: leader, start_ticks };
    let mark = home.path.as_os_str().as_encoded_bytes();
    let orphan = wait_for("the orphan", || {
        let left = ProcTable::scan().knowing([daemon.process.pid]).tree(leader, "OSTLER_TEST_HOME", mark, keeper.pid);
        left.first().copied().filter(|e| e.ppid == keeper.pid && e.sid == e.pid)
    });
    drop(read);
    drop(write);
    wait_for("the end of the orphan", || match daemon.next().0 {
        FromKeeper::OrphanExited { pid } if pid == orphan.pid => Some(()),
        _ => None,
    });
    let anchor = daemon.anchor(None);
    assert_eq!(ProcTable::scan().children_of(keeper.pid).map(|e| e.pid).collect::<Vec<_>>(), [daemon.process.pid, anchor.pid]);
}

#[test]
fn signals_reach_the_process_or_group_but_never_an_exited_one() {
    let home = Home::new();
    let (_, mut daemon) = home.start();
    daemon.spawn(home.shell(1, "exec sleep 1000"));
    daemon.send(&ToKeeper::Kill { key: 1, signal: 15, group: false }, &[]);
    assert!(matches!(daemon.receive(), FromKeeper::Exited { key: 1, ending: WaitStatus::Signal { signal: 15, .. }, .. }));
    daemon.send(&ToKeeper::Kill { key: 1, signal: 9, group: true }, &[]);
    daemon.send(&ToKeeper::Kill { key: 77, signal: 9, group: false }, &[]);
    daemon.send(&ToKeeper::Kill { key: 1, signal: 9999, group: false }, &[]);

    let leader = daemon.spawn(home.shell(2, "sleep 1000 & sleep 1000 & wait"));
    wait_for("both children", || (ProcTable::scan().in_group(leader.pid).count() == 3).then_some(()));
    daemon.send(&ToKeeper::Kill { key: 2, signal: 9, group: true }, &[]);
    assert!(matches!(daemon.receive(), FromKeeper::Exited { key: 2, ending: WaitStatus::Signal { signal: 9, .. }, .. }));
    wait_for("the end of the group", || (ProcTable::scan().in_group(leader.pid).count() == 0).then_some(()));
    daemon.ping();
}
