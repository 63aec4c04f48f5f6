//! `cron_restart`: restarts at given times, and conditions that prevent them.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ostler_testkit::{Home, Load, LoadSpec, fixture, free_port, get, kill, needs_program};
use rustix::process::Signal;

use crate::clock_jumps::{home_with_clock, jump_to};
use crate::setup::{ecosystem, home, home_as_pm2, start_fixture};

const EACH_SECOND: &str = "* * * * * *";
const DAY_S: i64 = 24 * 3600;

/// An app that restarts each second and thus shows how many ticks have passed.
struct Clock<'a>(&'a Home);

impl<'a> Clock<'a> {
    fn new(home: &'a Home) -> Self {
        home.cmd(["start", &fixture(), "-f", "--name", "clock", "--cron-restart", EACH_SECOND, "--", "hold"]).run().ok();
        Self(home)
    }

    #[track_caller]
    fn wait_ticks(&self, count: u64) {
        let before = self.0.app("clock").restarts();
        self.0.wait_app("clock", "ticking", |app| app.restarts() >= before + count);
    }
}

#[test]
fn cron_restarts_every_second_with_pm2_messages() {
    let home = home();
    Clock::new(&home).wait_ticks(3);
    let app = home.app("clock");
    assert_eq!((app.text("cron_restart"), app.number("unstable_restarts")), (EACH_SECOND, 0));
    let log = home.daemon_log();
    assert!(log.contains("[PM2][WORKER] Registering a cron job on: 0"), "{log}");
    let shown = home.ok("describe clock").stdout;
    assert!(shown.contains("cron_restart") && shown.contains(EACH_SECOND) && shown.contains("next run"), "{shown}");
    assert!(home.ok("why clock --all").stdout.contains("requested by the policy `cron`"));
    home.ok("stop clock");
    let log = home.daemon_log();
    assert!(log.contains("[PM2] Deregistering a cron job on: 0"), "{log}");
    assert!(home.ok("describe clock").stdout.contains("none, it was stopped"));
}

/// T11: PM2's next tick starts a stopped app again.
#[test]
fn stopped_app_ignores_ticks_until_start() {
    let home = home();
    let clock = Clock::new(&home);
    home.cmd(["start", &fixture(), "-f", "--name", "app", "--cron-restart", EACH_SECOND, "--", "hold"]).run().ok();
    home.wait_app("app", "restarted", |app| app.restarts() >= 1);
    home.ok("stop app");
    let stopped = home.app("app");
    clock.wait_ticks(3);
    assert_eq!((home.app("app").status(), home.app("app").restarts()), ("stopped", stopped.restarts()));
    // A new daemon or a saved list does not start it, either.
    home.kill_daemon();
    clock.wait_ticks(2);
    assert_eq!(home.app("app").status(), "stopped");
    home.ok("save");
    home.ok("kill");
    home.ok("resurrect");
    clock.wait_ticks(2);
    assert_eq!(home.app("app").status(), "stopped");
    home.ok("start app");
    let restarts = home.app("app").restarts();
    home.wait_app("app", "restarted again", |app| app.restarts() > restarts);
}

/// T11: "do not start it right away".
#[test]
fn autostart_false_delays_first_run_until_tick() {
    let home = home();
    let clock = Clock::new(&home);
    let far = ecosystem(
        &home,
        &format!(r#""name": "far", "script": "{}", "args": "hold", "autostart": false, "cron_restart": "@yearly""#, fixture()),
    );
    home.ok(format!("start {far}"));
    let near = ecosystem(
        &home,
        &format!(r#""name": "near", "script": "{}", "args": "hold", "autostart": false, "cron_restart": "{EACH_SECOND}""#, fixture()),
    );
    home.ok(format!("start {near}"));
    home.wait_status("near", "online");
    clock.wait_ticks(1);
    assert_eq!(home.app("far").status(), "stopped");
    // A tick's restart counts from the second run on.
    home.wait_app("near", "restarted", |app| app.restarts() >= 1);
}

/// T11: `autorestart: false`: one run at the start, then one at each tick.
#[test]
fn autorestart_false_runs_at_start_and_ticks_only() {
    let home = home();
    let clock = Clock::new(&home);
    let script = home.write("once.sh", "#!/bin/sh\necho run >>once.runs\n");
    home.cmd(["start", &script, "--no-autorestart", "--cron-restart", EACH_SECOND]).run().ok();
    home.wait_until("it ran at ticks", || home.lines("once.runs").len() >= 4);
    home.ok("stop once");
    let runs = home.lines("once.runs").len();
    clock.wait_ticks(3);
    assert_eq!(home.lines("once.runs").len(), runs);
}

#[test]
fn zero_disables_schedule_and_new_pattern_replaces_it() {
    let home = home();
    let clock = Clock::new(&home);
    home.cmd(["start", &fixture(), "-f", "--name", "app", "-c", EACH_SECOND, "--", "hold"]).run().ok();
    home.wait_app("app", "restarted", |app| app.restarts() >= 1);
    home.ok("restart app --cron-restart 0");
    let restarts = home.app("app").restarts();
    clock.wait_ticks(3);
    assert_eq!(home.app("app").restarts(), restarts);
    home.cmd(["restart", "app", "--cron", "*/1 * * * * *"]).run().ok();
    home.wait_app("app", "restarted", |app| app.restarts() >= restarts + 3);
    home.cmd(["restart", "app", "--cron-restart", "@yearly", "--timezone", "UTC"]).run().ok();
    let restarts = home.app("app").restarts();
    clock.wait_ticks(3);
    assert_eq!(home.app("app").restarts(), restarts);
    assert!(home.ok("describe app").stdout.contains("-01-01 "));
}

#[test]
fn invalid_schedule_starts_nothing() {
    let home = home();
    for (words, message) in [
        (vec!["--cron-restart", "bad"], "expected 5 fields"),
        (vec!["--cron", "60 * * * *"], "minute \"60\": expected 0 to 59"),
        (vec!["-c", "0 0 31 2 *"], "it would never run"),
        (vec!["-c", "@daily", "--timezone", "Europe/Berlni"], "did you mean \"Europe/Berlin\"?"),
    ] {
        let output =
            home.cmd(["start", &fixture()].into_iter().chain(words.iter().copied()).chain(["--", "hold"]).collect::<Vec<_>>()).run();
        assert_eq!(output.code, 1, "{words:?}");
        assert!(output.stderr.contains(message), "{words:?}: {}", output.stderr);
    }
    let good = format!(r#"{{"name": "good", "script": "{}", "args": "hold"}}"#, fixture());
    let bad = format!(r#"{{"name": "bad", "script": "{}", "args": "hold", "cron": "* * * * MOM"}}"#, fixture());
    let file = home.write("two.json", format!(r#"{{"apps": [{good}, {bad}]}}"#));
    let output = home.run(format!("start {file}"));
    assert_eq!(output.code, 1);
    assert!(
        output.stderr.contains("two.json") && output.stderr.contains("apps[1].cron") && output.stderr.contains("\"MOM\""),
        "{}",
        output.stderr
    );
    assert_eq!(home.run("jlist").code, 3, "there is not even a daemon");
}

/// Everything survives the daemon's death: the pattern and the pids. No tick happens twice.
#[test]
fn schedule_survives_killed_daemon() {
    let home = home();
    let clock = Clock::new(&home);
    for _ in 0..5 {
        home.kill_daemon();
        clock.wait_ticks(1);
    }
    home.kill_all_three();
    home.ok("reloadLogs");
    home.wait_status("clock", "online");
    clock.wait_ticks(2);
    let seconds: Vec<String> = fs::read_to_string(home.dir().join("pm2.log"))
        .unwrap()
        .lines()
        .filter(|line| line.contains("cron restart ("))
        .map(|line| line.chars().take(19).collect())
        .collect();
    assert!(seconds.windows(2).all(|pair| pair[0] != pair[1]), "two restarts in one second: {seconds:?}");
}

#[test]
fn cluster_app_is_reloaded_one_worker_at_a_time() {
    needs_program!("node");
    let home = home();
    let port = free_port();
    home.write("server.js", format!("require('http').createServer((q, r) => r.end(String(process.pid))).listen({port});"));
    let file = ecosystem(
        &home,
        r#""name": "web", "script": "server.js", "instances": 2, "exec_mode": "cluster", "cron_restart": "*/5 * * * * *""#,
    );
    home.ok(format!("start {file}"));
    home.wait_until("it serves", || get(port, "/").is_ok());
    let pids = || home.jlist().iter().map(ostler_testkit::ListedApp::pid).collect::<Vec<_>>();
    let before = pids();
    let load = Load::start_all([LoadSpec::to(port), LoadSpec { keep_alive: true, ..LoadSpec::to(port) }]);
    home.wait_until("every process is another one", || {
        let now = pids();
        now.len() == 2 && now.iter().all(|pid| *pid > 0 && !before.contains(pid))
    });
    load.stop().assert_whole();
    home.ok("stop web");
    assert!(home.daemon_log().contains("App [web] reload started"));
}

#[test]
fn run_on_one_restarts_a_single_instance() {
    let home = home();
    let clock = Clock::new(&home);
    let file = ecosystem(
        &home,
        &format!(
            r#""name": "app", "script": "{}", "args": "hold", "instances": 3, "cron_restart": "{EACH_SECOND}", "run_on": "one""#,
            fixture()
        ),
    );
    home.ok(format!("start {file}"));
    clock.wait_ticks(3);
    let restarts: Vec<u64> = home.jlist().iter().filter(|app| app.name() == "app").map(ostler_testkit::ListedApp::restarts).collect();
    assert!(restarts.len() == 3 && restarts[0] > 0 && restarts[1..] == [0, 0], "{restarts:?}");
}

#[test]
fn overlap_skip_leaves_running_app_alone() {
    let home = home();
    let clock = Clock::new(&home);
    let file = ecosystem(
        &home,
        &format!(r#""name": "app", "script": "{}", "args": "hold", "cron_restart": "{EACH_SECOND}", "overlap": "skip""#, fixture()),
    );
    home.ok(format!("start {file}"));
    let pid = home.app("app").pid();
    clock.wait_ticks(3);
    assert_eq!(home.app("app").pid(), pid);
    // The app does not run, and only the tick starts it.
    let file = ecosystem(
        &home,
        &format!(
            r#""name": "app", "script": "{}", "args": "hold", "cron_restart": "{EACH_SECOND}", "overlap": "skip", "autorestart": false"#,
            fixture()
        ),
    );
    home.ok(format!("restart {file}"));
    let pid = home.app("app").pid();
    kill(pid, Signal::KILL);
    home.wait_app("app", "started by a tick", |app| app.status() == "online" && app.pid() != pid);
}

/// Returns the seconds until the clock shows this time of the day (UTC).
fn seconds_until(second_of_day: i64) -> i64 {
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    (second_of_day - now).rem_euclid(DAY_S)
}

/// After a clock jump, the pattern continues from the new time; skipped runs are left out.
#[test]
fn ticks_follow_a_changed_clock() {
    needs_program!("cc");
    let home = home_with_clock();
    let file = ecosystem(
        &home,
        &format!(r#""name": "app", "script": "{}", "args": "hold", "cron_restart": "*/2 * * * * *", "timezone": "UTC""#, fixture()),
    );
    home.ok(format!("start {file}"));
    for shift in [365 * DAY_S, -365 * DAY_S, 40, 0] {
        jump_to(&home, shift);
        // The kernel would report a real jump. A clock that is shifted only for the daemon is
        // noticed at its next event.
        home.ok("ping");
        let restarts = home.app("app").restarts();
        home.wait_app("app", "restarted twice", |app| app.restarts() >= restarts + 2);
    }
    let log = home.daemon_log();
    assert!(log.contains("was missed") && log.contains("is skipped"), "{log}");
    let events = home.ok("events app --json").stdout;
    assert!(events.contains("run_missed"), "{events}");
}

/// The nightly run happens when the clock shows its time, not a number of hours later.
#[test]
fn nightly_run_follows_the_wall_clock() {
    needs_program!("cc");
    let home = home_with_clock();
    let file = ecosystem(
        &home,
        &format!(r#""name": "app", "script": "{}", "args": "hold", "cron_restart": "0 3 * * *", "timezone": "UTC""#, fixture()),
    );
    home.ok(format!("start {file}"));
    jump_to(&home, seconds_until(3 * 3600 - 2));
    home.ok("ping");
    home.wait_app("app", "restarted", |app| app.restarts() == 1);
    // The clock goes back a little and shows three again: the run happens once.
    jump_to(&home, seconds_until(3 * 3600 - 1));
    home.ok("ping");
    Clock::new(&home).wait_ticks(4);
    assert_eq!(home.app("app").restarts(), 1);
}

/// The machine was off or suspended at that time.
#[test]
fn missed_run_is_caught_up_only_if_configured() {
    needs_program!("cc");
    let home = home_with_clock();
    let app = |name: &str, more: &str| {
        format!(r#"{{"name": "{name}", "script": "{}", "args": "hold", "cron_restart": "0 3 * * *", "timezone": "UTC"{more}}}"#, fixture())
    };
    let file = home.write("two.json", format!(r#"{{"apps": [{}, {}]}}"#, app("lazy", ""), app("eager", r#", "catch_up": true"#)));
    jump_to(&home, seconds_until(3600));
    home.ok(format!("start {file}"));
    // Four days without a daemon. (The keeper would start another daemon, so the test kills both.)
    home.kill_all_three();
    jump_to(&home, seconds_until(3600) + 4 * DAY_S);
    home.ok("reloadLogs");
    home.wait_app("eager", "made up for, once", |app| app.restarts() == 1);
    assert_eq!(home.app("lazy").restarts(), 0);
}

/// Between ticks the daemon does not wake up.
#[test]
fn daemon_stays_idle_between_ticks() {
    let home = home();
    home.cmd(["start", &fixture(), "--name", "app", "--cron-restart", "@yearly", "--", "hold"]).run().ok();
    let daemon = home.daemon_pid();
    let switches = || {
        let status = fs::read_to_string(format!("/proc/{daemon}/status")).unwrap();
        let count = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok()).unwrap();
        count("voluntary_ctxt_switches:") + count("nonvoluntary_ctxt_switches:")
    };
    let mut last = switches();
    home.wait_until("the daemon is at rest for two seconds", || {
        std::thread::sleep(Duration::from_secs(2));
        let now = switches();
        std::mem::replace(&mut last, now) == now
    });
    start_fixture(&home, "other", "-f", "hold");
}

/// Prints PM2's lines at the places where scripts expect them; copied from real PM2.
#[test]
fn schedule_prints_pm2_lines() {
    let home = home_as_pm2();
    let told = |words: &str| -> Vec<String> {
        let said = home.ok(words).stdout;
        said.lines().filter(|line| line.contains("cron")).map(str::to_owned).collect()
    };
    let line = |pattern: &str| vec![format!("[PM2] cron restart at {pattern}")];
    assert_eq!(
        home.ok(["start", "sleep", "--name", "x", "--cron-restart", "0 4 * * *", "--", "1000"].as_slice()).stdout.lines().next(),
        Some("[PM2] cron restart at 0 4 * * *")
    );
    assert_eq!(told("restart x"), [""; 0]);
    let said = home.ok(["restart", "x", "--cron-restart", "0 5 * * *"].as_slice()).stdout;
    assert!(said.contains("[PM2] cron restart at 0 5 * * *\n[PM2] Applying action restartProcessId"), "{said}");
    assert_eq!(told("restart x --cron-restart 0"), ["[PM2] disabling cron restart"]);
    let file = ecosystem(
        &home,
        r#""name": "one", "script": "sleep", "args": "1000", "cron_restart": "0 3 * * *"}, {"name": "two", "script": "sleep", "args": "9""#,
    );
    for command in ["start", "restart", "reload"] {
        assert_eq!(told(&format!("{command} {file}")), line("0 3 * * *"), "{command}");
    }
    // A stopped app has no schedule: PM2's "CRON RESTART is still UP" would be false.
    assert_eq!(told("stop one"), [""; 0]);
    let said = home.run(["start", "sleep", "--name", "y", "--cron-restart", "bad"].as_slice()).fails();
    assert!(!said.all().contains("cron restart at"), "{said}");
    home.ok(["start", "sleep", "--name", "j", "--job", "0 3 * * *"].as_slice()).never_says("cron restart at");
}
