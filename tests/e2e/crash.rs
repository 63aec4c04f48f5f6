//! Restart policy as a user sees it. The core and its simulation test the policy itself.

use std::path::Path;

use ostler_testkit::{fixture, kill};
use rustix::process::Signal;

use crate::setup::{home, start_fixture};

#[test]
fn crashed_app_is_restarted() {
    let home = home();
    home.ok("start sleep --name app -- 1000");
    let before = home.app("app").pid();
    kill(before, Signal::SEGV);
    let after = home.wait_app("app", "another process", |item| item.pid() != before && item.status() == "online");
    assert_eq!(after.restarts(), 1);
}

#[test]
fn crash_loop_stops_at_the_limit() {
    let home = home();
    start_fixture(&home, "app", "", "exit 3");
    let item = home.wait_status("app", "errored");
    assert_eq!((item.restarts(), item.number("exit_code"), item.pid()), (15, 3, 0));
}

#[test]
fn backoff_restarts_without_limit() {
    let home = home();
    start_fixture(&home, "app", "--exp-backoff-restart-delay 1", "exit 3");
    let item = home.wait_app("app", "restarted more often than the limit", |item| item.restarts() > 20);
    assert_ne!(item.status(), "errored");
    // An explicit number is respected.
    start_fixture(&home, "limited", "-f --exp-backoff-restart-delay 1 --max-restarts 4", "exit 3");
    assert_eq!(home.wait_status("limited", "errored").restarts(), 3);
}

#[test]
fn exit_code_0_restarts_after_a_delay() {
    let home = home();
    let script = home.write("done.js", "require('fs').appendFileSync('runs', Date.now() + '\\n'); process.exit(0);");
    for options in ["", "-i 1"] {
        home.ok(format!("start {script} --name app --max-restarts 1 {options}"));
        home.wait_app("app", "run three times", |item| item.restarts() >= 2);
        let runs: Vec<u64> = home.read("runs").lines().map(|line| line.parse().unwrap()).collect();
        // Starts are 2 s apart; the time between start and first line varies.
        assert!(runs.windows(2).all(|pair| pair[1] - pair[0] > 500), "{runs:?}");
        assert_ne!(home.app("app").status(), "errored");
        home.ok("delete app");
        std::fs::remove_file(home.work().join("runs")).unwrap();
    }
    home.ok(format!("start {script} --name once --stop-exit-codes 0"));
    assert_eq!(home.wait_status("once", "stopped").restarts(), 0);
}

#[test]
fn crash_loop_of_an_old_app_stops_at_the_limit() {
    // PM2 differs: its protection expires when the app is older than min_uptime × max_restarts.
    let home = home();
    let script = home.write("app.sh", "#!/bin/sh\n[ -e broken ] && exit 1\necho up\nexec sleep 1000\n");
    home.ok(format!("start {script} --name app --max-restarts 5 --min-uptime 100"));
    home.wait_log("app-out.log", "up");
    home.wait_app("app", "older than its window", |item| {
        let age = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
        age > u128::from(item.number("pm_uptime")) + 1000
    });
    home.write("broken", "");
    kill(home.app("app").pid(), Signal::KILL);
    home.wait_status("app", "errored");
}

#[test]
fn restart_delay_does_not_disable_the_limit() {
    // PM2 differs: there a delay near min_uptime disables the limit, and the status stays `waiting
    // restart` permanently.
    let home = home();
    start_fixture(&home, "app", "--restart-delay 250 --max-restarts 6", "exit 1");
    let item = home.wait_status("app", "errored");
    assert_eq!(item.pid(), 0);
}

#[test]
fn delay_does_not_restart_app_without_autorestart() {
    let home = home();
    start_fixture(&home, "app", "--restart-delay 250 --no-autorestart", "exit 1");
    home.wait_status("app", "stopped");
    start_fixture(&home, "coded", "-f --exp-backoff-restart-delay 100 --stop-exit-codes 7", "exit 7");
    home.wait_status("coded", "stopped");
}

#[test]
fn death_by_signal_does_not_match_stop_exit_codes() {
    // PM2 differs: there a death by signal counts as code 0, so that stop_exit_codes 0 matches
    // SIGKILL.
    let home = home();
    start_fixture(&home, "app", "--stop-exit-codes 0", "hold");
    let before = home.app("app").pid();
    kill(before, Signal::KILL);
    home.wait_app("app", "restarted", |item| item.status() == "online" && item.pid() != before);
}

#[test]
fn restart_delay_is_respected() {
    let home = home();
    let file = home.work().join("starts");
    start_fixture(&home, "app", "--restart-delay 3600000", &format!("append {}", file.display()));
    home.wait_file("starts", "\n");
    kill(home.app("app").pid(), Signal::KILL);
    home.wait_status("app", "waiting restart");
    assert_eq!(home.read("starts").lines().count(), 1);
    home.ok("restart app");
    home.wait_until("it runs again", || home.read("starts").lines().count() == 2);
}

#[test]
fn missing_program_is_reported_and_retried() {
    let home = home();
    let copy = home.work().join("app-binary");
    std::fs::copy(fixture(), &copy).unwrap();
    home.ok(format!("start {} --name app --restart-delay 50 --max-restarts 100000 -- hold", copy.display()));
    let hidden = Path::new(&format!("{}.hidden", copy.display())).to_owned();
    std::fs::rename(&copy, &hidden).unwrap();
    kill(home.app("app").pid(), Signal::KILL);
    home.wait_until("`why` tells", || home.run("why app").all().to_lowercase().contains("no such file"));
    std::fs::rename(&hidden, &copy).unwrap();
    home.ok("restart app");
    home.wait_status("app", "online");
}
