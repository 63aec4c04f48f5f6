//! `stop`: signals, time limits, and conflicting commands.

use ostler_testkit::{alive, fixture_app, needs_program};

use crate::setup::{ecosystem, home, home_as_pm2, start_fixture};

#[test]
fn app_that_exits_in_time_is_not_killed() {
    let home = home();
    start_fixture(&home, "app", "--kill-timeout 60000", "hold");
    let pid = home.app("app").pid();
    let output = home.ok("stop app");
    assert!(output.elapsed.as_secs() < 30, "the stop waited for the kill timeout\n{output}");
    let item = home.app("app");
    assert_eq!((item.status(), item.pid(), alive(pid)), ("stopped", 0, false));
    assert!(!home.dir().join("pids/app-0.pid").exists(), "the pid file is left");
}

#[test]
fn stop_signal_is_sigint_by_default() {
    let home = home();
    let script = fixture_app("traps.sh");
    for (name, more) in [("usual", ""), ("term", r#", "kill_signal": "SIGTERM""#), ("quit", r#", "kill_signal": "QUIT""#)] {
        let file = ecosystem(&home, &format!(r#""name": "{name}", "script": "{script}", "kill_timeout": 20000{more}"#));
        home.ok(format!("start {file}"));
        home.wait_log(&format!("{name}-out.log"), "trapping");
        home.ok(format!("stop {name}"));
    }
    for (name, signal) in [("usual", "INT"), ("term", "TERM"), ("quit", "QUIT")] {
        assert_eq!(home.log(&format!("{name}-out.log")), format!("trapping\ngot {signal}\n"));
    }
}

#[test]
fn app_that_ignores_the_signal_is_killed_after_timeout() {
    let home = home();
    home.ok(format!("start {} --name app --kill-timeout 400", fixture_app("stubborn.sh")));
    home.wait_log("app-out.log", "stubborn");
    let pid = home.app("app").pid();
    let output = home.ok("stop app");
    assert!(output.elapsed.as_millis() >= 400, "killed before its time\n{output}");
    assert!(!alive(pid) && home.app("app").status() == "stopped");
}

#[test]
fn stop_cancels_a_waiting_restart() {
    let home = home();
    start_fixture(&home, "app", "--restart-delay 3600000", "exit 1");
    home.wait_status("app", "waiting restart");
    home.ok("stop app");
    assert_eq!((home.app("app").status(), home.app("app").pid()), ("stopped", 0));
}

#[test]
fn stop_cancels_a_crash_loop() {
    let home = home();
    start_fixture(&home, "app", "--max-restarts 100000", "exit 1 5");
    home.wait_app("app", "restarted a few times", |item| item.restarts() > 3);
    home.ok("stop app");
    let item = home.app("app");
    assert_eq!((item.status(), item.pid()), ("stopped", 0));
    assert_eq!(home.app("app").restarts(), item.restarts());
    assert!(home.app_processes().is_empty(), "{}", home.report());
}

#[test]
fn restart_during_a_slow_stop_leaves_one_process() {
    let home = home();
    let script = home.write("slow.sh", "#!/bin/sh\ntrap 'sleep 0.5; exit 0' INT\necho up\nwhile :; do sleep 0.1; done\n");
    home.ok(format!("start {script} --name slow --kill-timeout 20000"));
    home.wait_log("slow-out.log", "up");
    let mut stop = home.cmd("stop slow").command().spawn().unwrap();
    home.wait_status("slow", "stopping");
    home.run("restart slow");
    stop.wait().unwrap();
    home.wait_until("one runs", || {
        let item = home.app("slow");
        item.status() == "online" && alive(item.pid())
    });
    // A child of the shell looks like the shell until it calls exec.
    let keeper = home.keeper_pid();
    let shells = home.app_processes().into_iter().filter(|p| p.ppid == keeper && p.cmdline.contains("slow.sh")).count();
    assert_eq!(shells, 1, "{}", home.report());
}

#[test]
fn stop_of_a_stopped_app_succeeds() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    home.ok("stop app");
    home.ok("stop app");
    home.ok("restart app");
    home.wait_status("app", "online");
}

#[test]
fn treekill_off_leaves_children_running() {
    let home = home();
    start_fixture(&home, "family", "--no-treekill", "family 1 2");
    home.wait_until("three processes run", || home.app_processes().len() == 3);
    home.ok("stop family");
    assert_eq!(home.app_processes().len(), 2, "{}", home.report());
}

#[test]
fn main_process_can_stop_its_own_workers() {
    needs_program!("python3");
    let home = home();
    home.ok(format!("start {} --name prefork --kill-timeout 30000", fixture_app("prefork.py")));
    home.wait_log("prefork-out.log", "serving");
    assert_eq!(home.app_processes().len(), 4, "{}", home.report());
    let output = home.ok("stop prefork");
    assert!(home.app_processes().is_empty(), "{}", home.report());
    assert!(output.elapsed.as_secs() < 15, "what the main process left was given time\n{output}");
    let log = home.log("prefork-out.log");
    assert_eq!(log.matches("finished task").count(), 3, "{log}");
    assert!(log.ends_with("all finished\n"), "{log}");
}

#[test]
fn kill_mode_and_treekill_work_under_both_names() {
    needs_program!("python3");
    for (home, options, finished) in
        [(home_as_pm2(), "", 0), (home_as_pm2(), "--kill-mode mixed", 3), (home(), "--treekill", 0), (home(), "--kill-mode tree", 0)]
    {
        let script = fixture_app("prefork.py");
        home.ok(format!("start {script} --name prefork --kill-timeout 500 {options}"));
        home.wait_log("prefork-out.log", "serving");
        home.ok("stop prefork");
        let log = home.log("prefork-out.log");
        assert_eq!(log.matches("finished task").count(), finished, "{options}: {log}");
        assert!(home.app_processes().is_empty(), "{}", home.report());
    }
}

#[test]
fn kill_mode_is_saved() {
    needs_program!("python3");
    let home = home();
    home.ok(format!("start {} --name prefork --kill-timeout 30000", fixture_app("prefork.py")));
    home.wait_log("prefork-out.log", "serving");
    home.ok("save");
    home.ok("kill");
    home.ok("resurrect");
    home.wait_until("it serves again", || home.log("prefork-out.log").matches("serving").count() == 2);
    home.ok("stop prefork");
    assert_eq!(home.log("prefork-out.log").matches("finished task").count(), 6);
}

#[test]
fn many_apps_stop_in_parallel() {
    let home = home();
    let apps: Vec<String> = (0..40).map(|i| format!(r#"{{"name": "a{i}", "script": "sleep", "args": ["1000"]}}"#)).collect();
    let file = home.write("many.json", format!("[{}]", apps.join(",")));
    home.ok(format!("start {file}"));
    assert_eq!(home.jlist().iter().filter(|item| item.status() == "online").count(), 40);
    home.ok("stop all");
    assert!(home.jlist().iter().all(|item| item.status() == "stopped") && home.app_processes().is_empty());
}

#[test]
fn unknown_target_exits_with_code_4() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    for command in ["stop nothing", "restart nothing", "delete 77", "stop /nothing/", "describe nothing"] {
        home.run(command).code(4);
    }
    assert_eq!(home.app("app").status(), "online");
    // Called as pm2, every failure has exit code 1.
    let pm2 = crate::setup::home_as_pm2();
    pm2.ok("start sleep --name app -- 1000");
    pm2.run("stop nothing").code(1);
}
