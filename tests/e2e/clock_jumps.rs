//! The wall clock jumps a year forward and back while apps restart. Only the dates in logs may
//! change. Each jump is an event.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ostler_testkit::{Home, fixture, kill, needs_program};
use rustix::process::Signal;
use serde_json::json;

use crate::setup::{events, home};
use crate::web::Web;

const YEAR_S: i64 = 365 * 24 * 3600;

/// Creates a home whose manager has a wall clock of its own. Apps and this test see the true clock.
pub fn home_with_clock() -> Home {
    let mut home = home();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/clock/shift.c");
    let library = home.work().join("shift.so");
    let made = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).status();
    assert!(made.unwrap().success());
    home.set_env("LD_PRELOAD", library);
    home.set_env("OSTLER_TEST_CLOCK", home.work().join("shift"));
    jump_to(&home, 0);
    home
}

/// Shifts the clock of such a home by this many seconds from the true time. The file is mapped, so
/// it changes in place.
pub fn jump_to(home: &Home, seconds: i64) {
    use std::os::unix::fs::FileExt;
    let file = fs::File::options().write(true).create(true).truncate(false).open(home.work().join("shift")).unwrap();
    file.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
}

/// Returns how long the app has been running by `pm_uptime`, as a client with the same clock
/// computes it.
fn uptime_ms(home: &Home, name: &str, shift_s: i64) -> i64 {
    let list = home.ok("jlist").json();
    let entry = list.as_array().unwrap().iter().find(|entry| entry["name"] == name).unwrap();
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    now + shift_s * 1000 - entry["pm2_env"]["pm_uptime"].as_i64().unwrap()
}

/// Returns the distances of the reported jumps, in ms.
fn reported_jumps(home: &Home) -> Vec<i64> {
    let list = events(home, "");
    let jumps = list.iter().filter(|event| event["app"].is_null() && event["id"].is_null());
    jumps.filter_map(|event| event["what"]["clock_moved"]["by_ms"].as_i64()).collect()
}

/// Longer than any test here takes, much shorter than a jump.
const SOON_MS: i64 = 600_000;

#[test]
fn clock_shim_shifts_only_the_daemon() {
    needs_program!("cc");
    let home = home_with_clock();
    jump_to(&home, YEAR_S);
    home.ok(format!("start {} --name app -- hold", fixture()));
    let list: serde_json::Value = home.ok("jlist").json();
    let created = list[0]["pm2_env"]["created_at"].as_i64().unwrap();
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    assert!((created - now - YEAR_S * 1000).abs() < SOON_MS, "created {created}, now {now}");
    let script = home.write("date.sh", "#!/bin/sh\ndate +%s >stamp\nexec sleep 1000\n");
    home.ok(format!("start {script}"));
    home.wait_file("stamp", "\n");
    assert!((home.read("stamp").trim().parse::<i64>().unwrap() * 1000 - now).abs() < SOON_MS);
}

#[test]
fn uptime_ignores_clock_jumps() {
    needs_program!("cc");
    let home = home_with_clock();
    home.ok(format!("start {} --name app -- hold", fixture()));
    let pid = home.app("app").pid();
    let before = uptime_ms(&home, "app", 0);
    assert!((0..SOON_MS).contains(&before), "{before}");
    let mut numbers = Vec::new();
    for shift in [YEAR_S, -YEAR_S, 3 * YEAR_S, 0] {
        jump_to(&home, shift);
        let uptime = uptime_ms(&home, "app", shift);
        // Whole seconds are subtracted, so half a second may be missing.
        assert!((-500..SOON_MS).contains(&uptime), "{uptime} ms with a shift of {shift} s");
        for words in ["list", "describe app", "why app"] {
            let text = home.ok(words).stdout;
            let absurd = ["365D", "364D", "730D", "12M", "1Y", "1y", "364 d", "365 d", " days"];
            assert!(!absurd.iter().any(|word| text.contains(word)), "{words} with a shift of {shift} s:\n{text}");
        }
        home.ok("save");
        numbers.push(home.app("app").number("pm_uptime"));
        let again = home.app("app").number("pm_uptime");
        assert_eq!(numbers.last(), Some(&again), "a number that scripts compare has to stay the same");
    }
    assert_eq!((home.app("app").pid(), home.app("app").restarts()), (pid, 0));
    home.ok("kill");
    home.ok("resurrect");
    assert_eq!(home.app("app").status(), "online");
}

#[test]
fn restart_delay_ignores_clock_jumps() {
    needs_program!("cc");
    const DELAY_MS: i64 = 400;
    let home = home_with_clock();
    let script = home.write("crash.sh", "#!/bin/sh\ndate +%s%N >>stamps\nexit 1\n");
    home.ok(format!("start {script} --restart-delay {DELAY_MS} --max-restarts 1000"));
    let mut wanted = 1;
    for shift in [YEAR_S, -YEAR_S, 0, 10 * YEAR_S] {
        // The jump happens while the app waits for its next start.
        home.wait_app("crash", "waiting", |item| item.status() == "waiting restart");
        jump_to(&home, shift);
        wanted = home.read("stamps").lines().count().max(wanted) + 2;
        home.wait_until("it was restarted twice", || home.read("stamps").lines().count() >= wanted);
    }
    let stamps: Vec<i64> = home.read("stamps").lines().map(|line| line.parse().unwrap()).collect();
    let gaps: Vec<i64> = stamps.windows(2).map(|pair| (pair[1] - pair[0]) / 1_000_000).collect();
    assert!(gaps.iter().all(|gap| *gap >= DELAY_MS), "{gaps:?}");
}

#[test]
fn backoff_delay_grows_across_clock_jumps() {
    needs_program!("cc");
    let home = home_with_clock();
    let script = home.write("crash.sh", "#!/bin/sh\ndate +%s%N >>stamps\nexit 1\n");
    home.ok(format!("start {script} --exp-backoff-restart-delay 50 --max-restarts 1000"));
    for (count, shift) in [(2, YEAR_S), (4, -YEAR_S), (6, 0)] {
        home.wait_until("it was restarted", || home.read("stamps").lines().count() >= count);
        jump_to(&home, shift);
    }
    home.wait_until("it was restarted more often", || home.read("stamps").lines().count() >= 8);
    let stamps: Vec<i64> = home.read("stamps").lines().map(|line| line.parse().unwrap()).collect();
    let gaps: Vec<i64> = stamps.windows(2).map(|pair| (pair[1] - pair[0]) / 1_000_000).collect();
    // After an apparent run of a year, the delay would have been reset to 50. (A late start is
    // fine: the machine may be busy.)
    let least = std::iter::successors(Some(50), |delay: &i64| Some(delay + delay / 2));
    assert!(gaps.iter().zip(least).all(|(gap, least)| *gap >= least - 1), "{gaps:?}");
}

#[test]
fn short_run_stays_unstable_across_clock_jumps() {
    needs_program!("cc");
    let home = home_with_clock();
    home.ok(format!("start {} --name app --min-uptime 3600000 --max-restarts 1000 -- hold", fixture()));
    for (round, shift) in [(1, YEAR_S), (2, 2 * YEAR_S), (3, 3 * YEAR_S)] {
        let pid = home.wait_status("app", "online").pid();
        jump_to(&home, shift);
        kill(pid, Signal::KILL);
        let item = home.wait_app("app", "started again", |item| item.status() == "online" && item.pid() != pid);
        assert_eq!(item.number("unstable_restarts"), round);
    }
}

#[test]
fn long_run_stays_stable_across_clock_jumps() {
    needs_program!("cc");
    let home = home_with_clock();
    let script = home.write("runs.sh", "#!/bin/sh\necho run >>runs\nsleep 0.4\nexit 1\n");
    home.ok(format!("start {script} --min-uptime 100 --max-restarts 1000"));
    for (count, shift) in [(1, -YEAR_S), (2, -2 * YEAR_S), (3, -3 * YEAR_S)] {
        home.wait_until("it runs again", || home.read("runs").lines().count() >= count);
        jump_to(&home, shift);
    }
    home.wait_until("it runs once more", || home.read("runs").lines().count() >= 4);
    assert_eq!(home.app("runs").number("unstable_restarts"), 0);
}

#[test]
fn stop_timeout_ignores_clock_jumps() {
    needs_program!("cc");
    let home = home_with_clock();
    let script = home.write("deaf.sh", "#!/bin/sh\ntrap '' INT TERM\necho deaf\nwhile :; do sleep 0.1; done\n");
    home.ok(format!("start {script} --kill-timeout 700"));
    for shift in [YEAR_S, -YEAR_S] {
        let seen = home.log("deaf-out.log").matches("deaf").count();
        home.ok("restart deaf");
        home.wait_until("it is deaf again", || home.log("deaf-out.log").matches("deaf").count() > seen);
        let mut stop = home.cmd("stop deaf").command().stdout(std::process::Stdio::null()).spawn().unwrap();
        home.wait_app("deaf", "stopping", |item| item.status() == "stopping");
        jump_to(&home, shift);
        home.wait_status("deaf", "stopped");
        assert!(stop.wait().unwrap().success());
    }
}

#[test]
fn dates_follow_the_wall_clock() {
    needs_program!("cc");
    let home = home_with_clock();
    let script = home.write(
        "parrot.sh",
        "#!/bin/sh\nmkfifo said 2>/dev/null\nexec 4<>said\necho listening\nwhile read -r line <&4; do echo \"$line\"; done\n",
    );
    home.ok(format!("start {script} --log-date-format YYYY"));
    home.wait_log("parrot-out.log", "listening");
    let year = |text: &str| {
        let log = home.log("parrot-out.log");
        let line = log.lines().find(|line| line.contains(text)).unwrap();
        line.get(..4).unwrap().parse::<i64>().unwrap()
    };
    let now = year("listening");
    for (shift, years) in [(2, 2), (-3, -3), (0, 0)] {
        // Half a year more would give the wrong number of years at some times of the year. The six
        // hours only account for leap days.
        jump_to(&home, shift * (YEAR_S + 6 * 3600));
        let line = format!("after a jump of {shift}");
        fs::write(home.work().join("said"), format!("{line}\n")).unwrap();
        home.wait_log("parrot-out.log", &line);
        let difference = year(&line) - now;
        assert!((difference - years).abs() <= 1, "{difference} years instead of {years}");
        assert!(years == 0 || difference.signum() == i64::signum(years), "{difference} years instead of {years}");
    }
}

#[test]
fn jump_is_one_event_in_terminal_stream_and_dashboard() {
    needs_program!("cc");
    const FORWARD_S: i64 = 3 * 3600 + 2 * 60;
    let home = home_with_clock();
    home.ok(format!("start {} --name app -- hold", fixture()));
    let web = Web::on(&home, "");
    let mut stream = web.stream("/api/live", "");
    stream.wait("table", |_| true);
    jump_to(&home, 1);
    assert_eq!(reported_jumps(&home), [0_i64; 0], "a second is no jump");
    let began = Instant::now();
    jump_to(&home, FORWARD_S);
    let jumps = reported_jumps(&home);
    let [by_ms] = jumps[..] else { panic!("{jumps:?}") };
    assert!((by_ms - FORWARD_S * 1000).abs() <= 10, "{by_ms}");
    home.ok("events").says("clock moved by +3 h 2 min, by the system");
    assert!(!home.ok("events app").all().contains("clock moved"), "it was asked for one app");
    let (_, event) = stream.wait("event", |event| event["kind"] == "clock_moved");
    assert_eq!((&event["app"], &event["text"], &event["severity"]), (&json!(null), &json!("clock moved by +3 h 2 min"), &json!("warning")));
    assert_eq!(web.get("/api/events?limit=1000").json()["events"].as_array().unwrap().iter().filter(|seen| **seen == event).count(), 1);
    // The next daemon knows the jump, and the minute is not over.
    home.kill_daemon();
    jump_to(&home, 0);
    let jumps = reported_jumps(&home);
    assert!(jumps == [by_ms] || began.elapsed() >= Duration::from_secs(60), "{jumps:?}");
}

#[test]
fn jump_while_no_daemon_runs_is_an_event() {
    needs_program!("cc");
    let home = home_with_clock();
    home.ok(format!("start {} --name app -- hold", fixture()));
    // The keeper cannot start a daemon before the clock has jumped.
    let (keeper, daemon) = (home.keeper_pid(), home.daemon_pid());
    kill(keeper, Signal::STOP);
    kill(daemon, Signal::KILL);
    jump_to(&home, -7200);
    kill(keeper, Signal::CONT);
    home.wait_other_daemon(daemon);
    let jumps = reported_jumps(&home);
    assert!(matches!(jumps[..], [by_ms] if (by_ms + 7_200_000).abs() <= 10), "{jumps:?}");
    home.ok("events").says("clock moved by -2 h 0 min, by the system");
}
