//! Promise 1: SIGKILL of the daemon at any instant. No app restarts, no connection is refused, no
//! log line is lost. The next daemon knows every app by its same pid.

use ostler_testkit::{Load, free_port, get, kill};
use rustix::process::Signal;

use crate::setup::{ecosystem, home, numbers_are_whole, start_fixture};

#[test]
fn load_and_log_flood_survive_killed_daemon() {
    let home = home();
    let port = free_port();
    start_fixture(&home, "web", "", &format!("http {port}"));
    start_fixture(&home, "direct", "-f", "count 30000 10");
    let file =
        ecosystem(&home, &format!(r#""name": "piped", "script": "{}", "args": "count 30000 10", "time": true"#, ostler_testkit::fixture()));
    home.ok(format!("start {file}"));
    home.wait_until("the server answers", || get(port, "/").is_ok());
    let before = home.jlist();
    let load = Load::mixed(port, 4);
    for _ in 0..10 {
        let good = load.good();
        home.kill_daemon();
        home.wait_until("requests are answered", || load.good() > good);
    }
    home.wait_log("direct-out.log", "end\n");
    home.wait_log("piped-out.log", "end\n");
    let report = load.stop();
    report.assert_whole();
    let after = home.jlist();
    assert_eq!(after.len(), before.len());
    for (before, after) in before.iter().zip(&after) {
        assert_eq!((after.id(), after.pid(), after.restarts(), after.status()), (before.id(), before.pid(), 0, "online"));
        for key in ["pm_uptime", "created_at", "unique_id"] {
            assert_eq!(after.env(key), before.env(key), "{key} of {}", after.name());
        }
    }
    numbers_are_whole(&home.log("direct-out.log"), 30000);
    numbers_are_whole(&home.log("piped-out.log"), 30000);
}

#[test]
fn next_daemon_supervises_like_the_former() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    home.kill_daemon();
    let pid = home.app("app").pid();
    kill(pid, Signal::KILL);
    home.wait_app("app", "restarted", |item| item.pid() != pid && item.status() == "online");
    home.kill_daemon();
    home.ok("restart app");
    assert_eq!(home.app("app").restarts(), 2);
    home.kill_daemon();
    home.ok("stop app");
    home.kill_daemon();
    assert_eq!(home.app("app").status(), "stopped");
    home.ok("delete app");
    home.kill_daemon();
    assert!(home.jlist().is_empty() && home.app_processes().is_empty());
}

#[test]
fn app_that_dies_without_a_daemon_restarts_once() {
    let home = home();
    let file = home.work().join("starts");
    start_fixture(&home, "app", "", &format!("append {}", file.display()));
    home.wait_file("starts", "\n");
    for round in 2..8 {
        let (pid, daemon) = (home.app("app").pid(), home.daemon_pid());
        kill(daemon, Signal::KILL);
        kill(pid, Signal::KILL);
        home.wait_app("app", "restarted", |item| item.pid() != pid && item.status() == "online");
        home.wait_until("it said so", || home.read("starts").lines().count() >= round);
        assert_eq!(home.read("starts").lines().count(), round, "started twice\n{}", home.report());
    }
    assert_eq!(home.app_processes().len(), 1);
}

#[test]
fn delays_limits_and_counters_survive_the_daemon() {
    let home = home();
    start_fixture(&home, "waits", "--restart-delay 3600000", "exit 1");
    start_fixture(&home, "errored", "-f --max-restarts 2", "exit 1");
    home.wait_status("waits", "waiting restart");
    home.wait_status("errored", "errored");
    let before = home.jlist();
    home.kill_daemon();
    let after = home.jlist();
    for (before, after) in before.iter().zip(&after) {
        assert_eq!((after.status(), after.restarts(), after.pid()), (before.status(), before.restarts(), 0));
    }
}

#[test]
fn interrupted_stop_is_completed() {
    let home = home();
    home.ok(format!("start {} --name app --kill-timeout 1500", ostler_testkit::fixture_app("stubborn.sh")));
    home.wait_log("app-out.log", "stubborn");
    let pid = home.app("app").pid();
    let mut stop = home.cmd("stop app").command().spawn().unwrap();
    home.wait_status("app", "stopping");
    home.kill_daemon();
    stop.wait().unwrap();
    home.wait_status("app", "stopped");
    assert!(!ostler_testkit::alive(pid));
}

#[test]
fn clients_wait_for_the_next_daemon() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    for _ in 0..15 {
        kill(home.daemon_pid(), Signal::KILL);
        assert_eq!(home.jlist().len(), 1);
    }
}

#[test]
fn node_channel_survives_the_daemon() {
    ostler_testkit::needs_program!("node");
    let home = home();
    home.ok(format!("start {} --name m --shutdown-with-message --kill-timeout 20000", ostler_testkit::fixture_app("message.js")));
    home.wait_log("m-out.log", "channel function");
    let pid = home.app("m").pid();
    home.kill_daemon();
    home.kill_daemon();
    assert_eq!(home.app("m").pid(), pid);
    home.ok("stop m");
    assert!(home.log("m-out.log").contains("message \"shutdown\""), "{}", home.report());
}
