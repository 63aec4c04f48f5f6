//! The blocks and lines about schedules in the documents that this project started from, unchanged.

use std::time::{SystemTime, UNIX_EPOCH};

use ostler_testkit::{fixture_path, needs_program};

use crate::clock_jumps::{home_with_clock, jump_to};
use crate::setup::home_as_pm2;

/// Document 003: every 3 s from second 2.
#[test]
fn seconds_pattern_runs_every_three_seconds() {
    let home = home_as_pm2();
    home.write("xxx", "#!/bin/sh\necho $(date +%s) >>starts\nexec sleep 1000\n");
    home.cmd(["start", "xxx", "--cron-restart", "2/3 * * * * *"]).run().ok();
    home.wait_app("xxx", "restarted three times", |app| app.restarts() >= 3);
    let starts: Vec<i64> = home.read("starts").lines().map(|line| line.parse().unwrap()).collect();
    // The first entry is the start itself. A loaded machine may be late, never early.
    let late: Vec<i64> = starts[1..].iter().map(|at| (at % 60 - 2).rem_euclid(3)).collect();
    assert!(late.contains(&0) && starts[1..].windows(2).all(|pair| pair[1] - pair[0] >= 1), "{starts:?}");
}

/// Document 002: a restart at 3 at night. `autorestart: false` means here "not immediately, only at
/// 3".
#[test]
fn billing_service_runs_at_three_at_night() {
    needs_program!("cc");
    needs_program!("node");
    let home = home_with_clock();
    home.write("dist/main.js", "require('fs').appendFileSync('runs', 'run\\n');");
    let block = std::fs::read_to_string(fixture_path("config/seeds/cron.json")).unwrap();
    let file = home.write("ecosystem.config.js", format!("module.exports = {{ apps: [{block}] }}"));
    home.cmd(format!("start {file}")).env("TZ", "UTC").run().ok();
    let runs = || home.read("runs").lines().count();
    home.wait_until("it ran at its start", || runs() == 1);
    home.wait_status("billing-service", "stopped");
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    for day in 0..2 {
        jump_to(&home, (3 * 3600 - 1 - now).rem_euclid(24 * 3600) + day * 24 * 3600);
        home.ok("ping");
        home.wait_until("it ran at three", || runs() == 2 + usize::try_from(day).unwrap());
        home.wait_status("billing-service", "stopped");
    }
}

/// Document 002: usual expressions.
#[test]
fn usual_expressions_are_accepted() {
    let home = home_as_pm2();
    for (name, pattern) in [("daily", "0 3 * * *"), ("six-hours", "0 */6 * * *"), ("sunday", "0 0 * * 0")] {
        let script = home.write(&format!("{name}.sh"), "#!/bin/sh\nexec sleep 1000\n");
        home.cmd(["start", script.as_str(), "--cron-restart", pattern]).run().ok();
        assert_eq!(home.app(name).text("cron_restart"), pattern);
        // `… 03:00:00 CET (in 14 h 3 min)`
        let shown = home.ok(format!("describe {name}")).stdout;
        let zone = shown.split_once(":00:00 ").and_then(|(_, rest)| rest.split_once(" (in "));
        assert!(zone.is_some_and(|(zone, _)| !zone.is_empty() && !zone.contains(' ')), "{shown}");
    }
}
