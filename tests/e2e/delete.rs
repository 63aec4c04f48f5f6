//! `delete`: a deleted app never returns.

use ostler_testkit::alive;

use crate::setup::{home, start_fixture};

#[test]
fn deleted_app_leaves_only_its_logs() {
    let home = home();
    start_fixture(&home, "app", "", "report");
    home.wait_log("app-out.log", "\n");
    let pid = home.app("app").pid();
    home.ok("delete app");
    assert!(home.jlist().is_empty() && !alive(pid) && !home.dir().join("pids/app-0.pid").exists());
    assert!(!home.log("app-out.log").is_empty(), "delete removed the log");
}

#[test]
fn deleted_crash_loop_does_not_restart() {
    // PM2 differs: there a scheduled restart may restore the entry.
    let home = home();
    for round in 0..10 {
        start_fixture(&home, "loop", "--max-restarts 100000", "exit 1");
        home.wait_app("loop", "crashing", |item| item.restarts() > round % 3);
        home.ok("delete loop");
        assert!(home.jlist().is_empty(), "{}", home.report());
    }
    assert!(home.app_processes().is_empty());
}

#[test]
fn delete_during_start_removes_the_app() {
    let home = home();
    let script = ostler_testkit::fixture_app("ready.js");
    ostler_testkit::needs_program!("node");
    let mut start = home.cmd(format!("start {script} --name slow --wait-ready --listen-timeout 30000")).command().spawn().unwrap();
    home.wait_until("it is launching", || {
        home.dir().join("pm2.pid").exists() && home.jlist().iter().any(|item| item.status() == "launching" && item.pid() > 0)
    });
    home.ok("delete slow");
    start.wait().unwrap();
    assert!(home.jlist().is_empty() && home.app_processes().is_empty(), "{}", home.report());
}

#[test]
fn ids_are_not_reused_while_other_apps_exist() {
    let home = home();
    start_fixture(&home, "a", "", "hold");
    start_fixture(&home, "b", "-f", "hold");
    home.ok("delete b");
    start_fixture(&home, "c", "-f", "hold");
    assert_eq!(home.app("c").id(), 2);
    home.ok("delete all");
    start_fixture(&home, "d", "", "hold");
    assert_eq!(home.app("d").id(), 0);
}
