//! A daemon that lives but hangs, for example because it was stopped. Commands return, the keeper
//! replaces the daemon, crashed apps restart, and nothing is done twice.

use std::process::Stdio;
use std::time::{Duration, Instant};

use ostler_testkit::{KilledOnDrop, kill};
use rustix::process::Signal;

use crate::setup::{ecosystem, home, sleeper, start_fixture, start_sleeper};

#[test]
fn command_to_stopped_daemon_is_answered_by_the_next() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let pid = home.app("app").pid();
    for words in ["list", "ping", "health", "describe app", "why app", "jlist"] {
        let daemon = home.stop_process(home.daemon_pid());
        let said = home.ok(words);
        assert!(said.stderr.contains(&format!("the daemon (pid {daemon})")) && said.stderr.contains("stopped"), "{said}");
        home.wait_other_daemon(daemon);
    }
    let app = home.app("app");
    assert_eq!((app.pid(), app.restarts()), (pid, 0), "{}", home.report());
    let log = home.daemon_log();
    assert!(log.contains("stopped"), "the log says why the daemon was replaced\n{log}");
}

#[test]
fn keeper_notices_crash_while_daemon_is_stopped() {
    let home = home();
    start_sleeper(&home, "steady", 1001);
    start_sleeper(&home, "crashes", 1002);
    let (steady, crashed) = (home.app("steady").pid(), home.app("crashes").pid());
    let daemon = home.stop_process(home.daemon_pid());
    kill(crashed, Signal::KILL);
    // No command runs: the keeper detects it by itself.
    home.wait_until("the app is back", || home.pids_of("sleep 1002").iter().any(|&pid| pid != crashed));
    home.wait_other_daemon(daemon);
    let app = home.wait_status("crashes", "online");
    assert_eq!(app.restarts(), 1, "counted once\n{}", home.report());
    home.wait_until("its program runs", || home.pids_of("sleep 1002").contains(&app.pid()));
    assert_eq!(home.pids_of("sleep 1002"), [app.pid()], "started once");
    assert_eq!((home.app("steady").pid(), home.app("steady").restarts()), (steady, 0), "nobody else is touched");
}

#[test]
fn command_to_stopped_daemon_is_executed_once() {
    let home = home();
    start_sleeper(&home, "first", 1001);
    let daemon = home.stop_process(home.daemon_pid());
    let said = home.ok(format!("start {} --name second", sleeper(&home, "second", 1002)));
    assert!(said.stderr.contains(&format!("the daemon (pid {daemon})")), "{said}");
    home.wait_until("its program runs", || !home.pids_of("sleep 1002").is_empty());
    assert_eq!(home.pids_of("sleep 1002"), [home.app("second").pid()]);
    assert_eq!(home.jlist().len(), 2);
}

#[test]
fn daemon_stopped_during_start_fails_command_not_app() {
    let home = home();
    start_fixture(&home, "anchor", "", "hold");
    let script = home.write("slow.sh", "#!/bin/sh\nexec sleep 1000\n");
    let file =
        ecosystem(&home, &format!(r#""name": "slow", "script": "{script}", "ready": {{"uptime": 600000}}, "listen_timeout": 900000"#));
    let mut start = KilledOnDrop(home.cmd(format!("start {file}")).command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let pid = home.wait_app("slow", "launching", |item| item.status() == "launching" && item.pid() != 0).pid();
    let daemon = home.stop_process(home.daemon_pid());
    let until = Instant::now() + Duration::from_secs(60);
    while start.0.try_wait().unwrap().is_none() {
        assert!(Instant::now() < until, "the command goes on for ever");
        std::thread::sleep(Duration::from_millis(10));
    }
    home.wait_other_daemon(daemon);
    assert_eq!(home.app("slow").pid(), pid);
}

#[test]
fn daemon_busy_with_slow_start_is_not_reported() {
    let home = home();
    start_fixture(&home, "first", "", "hold");
    let daemon = home.daemon_pid();
    let script = home.write("slow.sh", "#!/bin/sh\nexec sleep 1000\n");
    let file = ecosystem(&home, &format!(r#""name": "slow", "script": "{script}", "ready": {{"uptime": 4000}}"#));
    home.ok(format!("start {file}")).never_says("answer");
    assert_eq!(home.daemon_pid(), daemon);
}

#[test]
fn waiting_command_names_the_stopped_keeper() {
    let home = home();
    start_fixture(&home, "first", "", "hold");
    let keeper = home.keeper_pid();
    kill(keeper, Signal::STOP);
    let stderr = home.work().join("stderr");
    let file = std::fs::File::create(&stderr).unwrap();
    let start = home.cmd(format!("start {} --name second", sleeper(&home, "second", 1002))).command();
    let mut start = KilledOnDrop({ start }.stdout(Stdio::null()).stderr(file).spawn().unwrap());
    home.wait_file("stderr", &format!("the keeper (pid {keeper})"));
    kill(keeper, Signal::CONT);
    assert!(start.0.wait().unwrap().success());
    home.wait_until("its program runs", || !home.pids_of("sleep 1002").is_empty());
    assert_eq!(home.pids_of("sleep 1002"), [home.app("second").pid()]);
}
