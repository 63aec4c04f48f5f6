//! The kernel or an old container runtime refuses newer system calls (`pidfd_open`,
//! `pidfd_send_signal`, `clone3`), and no cgroup is writable: everything still works in other ways.

use ostler_testkit::{Home, alive, fixture_path, kill, needs_program, nodes};
use rustix::process::Signal;

use crate::setup::{home, refusing};

const ALL: &str = "clone3,pidfd_open,pidfd_send_signal";

/// Checks that the app still has this pid and this number of restarts.
#[track_caller]
fn is_untouched(home: &Home, pid: i32, restarts: u64) {
    let app = home.wait_status("app", "online");
    assert_eq!((app.pid(), app.restarts()), (pid, restarts), "{}", home.report());
}

/// Crashes the app. Waits for the next process, and until all former processes are gone.
#[track_caller]
fn crash(home: &Home, pid: i32) -> i32 {
    let left = tree(home, pid);
    kill(pid, Signal::KILL);
    let app = home.wait_app("app", "back", |app| app.pid() != pid && app.status() == "online");
    assert!(alive(app.pid()));
    home.wait_until("its children are gone", || !left.iter().any(|pid| alive(*pid)));
    app.pid()
}

/// Returns all processes of the app: it is the only app, so these are all running processes.
fn tree(home: &Home, pid: i32) -> Vec<i32> {
    home.wait_until("its child has a child", || home.app_processes().iter().any(|process| process.cmdline == "sleep 1003"));
    home.app_processes().iter().map(|process| process.pid).filter(|&other| other != pid).collect()
}

#[track_caller]
fn everything_works(errno: &str) {
    let home = home();
    let script = home.write(
        "orphan.sh",
        "#!/bin/bash\nsetsid bash -c 'trap \"\" INT TERM; while :; do sleep 1003 & wait; done' &\nwhile :; do echo alive; sleep 0.1; done\n",
    );
    let start = home.cmd(format!("start {script} --name app --time")).env("OSTLER_CGROUP", "off");
    let said = start.after(&refusing(errno, ALL)).run().ok().all();
    assert!(said.contains("pidfd_open is not permitted") && said.contains("clone3 is not permitted"), "{said}");
    let log = home.daemon_log();
    assert!(log.contains("pidfd_open is not permitted"), "{log}");
    // A thread prepends the date to each line.
    home.wait_log("app-out.log", ": alive");
    home.wait_until("its child runs", || home.pids_with("trap").len() == 1);
    home.ok("stop app");
    assert!(home.pids_with("trap").is_empty(), "stop ends the whole tree");
    home.ok("restart app");
    let pid = crash(&home, home.app("app").pid());
    // Kills the daemon, then the keeper (so that the app loses its parent), then both.
    kill(home.daemon_pid(), Signal::KILL);
    is_untouched(&home, pid, 1);
    let keeper = home.keeper_pid();
    kill(keeper, Signal::KILL);
    home.wait_until("there is another keeper", || home.keeper_pid() != keeper && home.daemons().len() == 1);
    is_untouched(&home, pid, 1);
    // Exits are noticed for processes that are polled, and for a daemon that is not the keeper's
    // child.
    let pid = crash(&home, pid);
    let daemon = home.daemon_pid();
    kill(daemon, Signal::KILL);
    home.wait_until("there is another daemon", || !alive(daemon) && home.daemons().len() == 1);
    is_untouched(&home, pid, 2);
    let (keeper, left) = (home.keeper_pid(), home.pids_with("trap"));
    kill(keeper, Signal::KILL);
    home.wait_until("there is another keeper", || home.keeper_pid() != keeper && home.daemons().len() == 1);
    home.ok("restart app");
    assert!(!alive(pid) && !left.iter().any(|&pid| alive(pid)), "an adopted tree is ended, too");
    home.ok("kill");
    home.wait_no_processes();
}

#[test]
fn everything_works_if_calls_fail_with_eperm() {
    needs_program!("python3");
    everything_works("EPERM");
}

#[test]
fn everything_works_if_calls_fail_with_enosys() {
    needs_program!("python3");
    everything_works("ENOSYS");
}

#[test]
fn cluster_reloads_without_the_newer_calls() {
    needs_program!("python3");
    // If clone3 fails with EPERM and the C library is newer than the container runtime, Node itself
    // cannot create threads.
    for (errno, calls) in [("EPERM", "pidfd_open,pidfd_send_signal"), ("ENOSYS", ALL)] {
        let Some(node) = nodes().pop() else { return };
        let home = home();
        let port = ostler_testkit::free_port();
        let script = home.write("web.js", format!("require('http').createServer((_, answer) => answer.end('ok')).listen({port})\n"));
        let path = format!("{}:{}", node.dir().display(), std::env::var("PATH").unwrap());
        let wrapper = format!("exec python3 '{}' {errno} {calls} \"$0\" \"$@\"", fixture_path("refused.py"));
        home.cmd(format!("start {script} --name web -i 2")).env("OSTLER_CGROUP", "off").env("PATH", path).after(&wrapper).run().ok();
        let before: Vec<i32> = home.jlist().iter().map(|item| item.pid()).collect();
        home.ok("reload web");
        let after: Vec<i32> = home.jlist().iter().map(|item| item.pid()).collect();
        assert!(after.iter().all(|pid| alive(*pid) && !before.contains(pid)), "{errno}: {before:?} {after:?}");
        home.wait_until("the old processes are gone", || !before.iter().any(|pid| alive(*pid)));
        home.ok("kill");
    }
}

/// Without a fallback, the daemon accepts no client or the keeper receives no request, and each command
/// hangs.
#[test]
fn commands_work_without_the_usual_calls_of_the_event_loop() {
    needs_program!("python3");
    for (errno, call) in [("EPERM", "accept4"), ("ENOSYS", "accept4"), ("EPERM", "epoll_pwait"), ("EPERM", "prlimit64")] {
        let home = home();
        let start = home.cmd(format!("start {} --name app -- hold", ostler_testkit::fixture()));
        start.after(&refusing(errno, call)).run().ok();
        let pid = home.app("app").pid();
        home.ok("restart app");
        let next = home.wait_status("app", "online").pid();
        assert_ne!(next, pid, "{call}");
        home.kill_daemon();
        assert_eq!(home.app("app").pid(), next, "{call}");
        home.ok("kill");
    }
}
