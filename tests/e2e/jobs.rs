//! Jobs: run at their scheduled times and only then; retries, limits, history.

use std::fs;

use ostler_testkit::{Home, fixture, needs_program};
use serde_json::Value;

use crate::clock_jumps::{home_with_clock, jump_to};
use crate::setup::{ecosystem, home};

const EACH_SECOND: &str = "* * * * * *";

/// Starts a job with this script (each run adds a line to `<name>.runs`) and these JSON members.
#[track_caller]
fn start_job(home: &Home, name: &str, script: &str, members: &str) {
    let script = home.write(&format!("{name}.sh"), format!("#!/bin/sh\necho $$ >>{name}.runs\n{script}\n"));
    let file = home.write(&format!("{name}.json"), format!(r#"{{"jobs": [{{"name": "{name}", "script": "{script}", {members}}}]}}"#));
    home.ok(format!("start {file}"));
}

fn runs(home: &Home, name: &str) -> usize {
    home.lines(format!("{name}.runs")).len()
}

/// Returns a job's entry of `jobs --json`.
fn job(home: &Home, name: &str) -> Value {
    home.ok(format!("jobs {name} --json")).json()[0].clone()
}

#[track_caller]
fn wait_runs(home: &Home, name: &str, count: usize) {
    home.wait_until(&format!("{name} ran {count} times"), || runs(home, name) >= count);
}

#[test]
fn job_runs_only_at_its_times() {
    let home = home();
    start_job(&home, "far", "", r#""cron": "@yearly""#);
    start_job(&home, "near", "echo done", &format!(r#""cron": "{EACH_SECOND}""#));
    wait_runs(&home, "near", 3);
    assert_eq!(runs(&home, "far"), 0);
    assert_eq!((home.app("far").status(), job(&home, "far")["state"].as_str()), ("stopped", Some("waiting")));
    home.wait_until("its runs are known", || job(&home, "near")["runs"].as_array().unwrap().len() >= 3);
    let near = job(&home, "near");
    assert_eq!(
        (near["schedule"].as_str(), near["overlap"].as_str(), near["run_on"].as_str()),
        (Some(EACH_SECOND), Some("skip"), Some("one"))
    );
    assert!(near["next_run"].is_u64());
    let run = &near["runs"][0];
    assert_eq!((run["ok"].as_bool(), run["exit_code"].as_i64(), run["outcome"].as_str()), (Some(true), Some(0), Some("ok")));
    let table = home.ok("jobs").stdout;
    assert!(table.contains("far") && table.contains("@yearly") && table.contains("never") && table.contains("ok, "), "{table}");
    let shown = home.ok("jobs near").stdout;
    assert!(shown.contains("next run") && shown.contains("ok") && shown.contains("took"), "{shown}");
}

#[test]
fn job_can_be_run_manually() {
    let home = home();
    start_job(&home, "backup", "echo saved", r#""cron": "@yearly""#);
    home.ok("jobs run backup");
    wait_runs(&home, "backup", 1);
    home.wait_until("it is over", || job(&home, "backup")["state"] == "waiting");
    assert_eq!(job(&home, "backup")["runs"][0]["last_lines"][0], "saved");
    assert!(job(&home, "backup")["next_run"].is_u64());
    // Invalid commands.
    home.ok(format!("start {} --name service -- hold", fixture()));
    for (words, code, message) in [
        ("jobs run service", 1, "service is not a job"),
        ("jobs service", 1, "service is not a job"),
        ("jobs run nobody", 4, "nobody"),
        ("jobs nobody", 4, "nobody"),
        ("jobs run", 2, "missing argument"),
    ] {
        let output = home.run(words);
        assert_eq!(output.code, code, "{words}: {}", output.stderr);
        assert!(output.stderr.contains(message), "{words}: {}", output.stderr);
    }
}

/// A deployment at noon must not run the nightly backup. Start, restart and reload only schedule
/// the job, and leave a running job alone.
#[test]
fn a_deployment_runs_no_job() {
    let home = home();
    start_job(&home, "backup", "exec sleep 1000", r#""cron": "@yearly""#);
    for words in
        ["start backup.json", "restart backup.json", "reload backup.json", "restart backup", "reload backup", "start backup", "restart all"]
    {
        home.ok(words);
        assert_eq!((runs(&home, "backup"), home.app("backup").status()), (0, "stopped"), "{words}");
    }
    home.ok("jobs run backup");
    let pid = home.wait_status("backup", "online").pid();
    for words in ["start backup.json", "restart backup", "reload backup.json"] {
        home.ok(words);
        assert_eq!((home.app("backup").pid(), runs(&home, "backup")), (pid, 1), "{words}");
    }
    // A changed description applies from the next run on.
    let text = home.read("backup.json").replace("@yearly", "@monthly");
    home.write("backup.json", text);
    home.ok("start backup.json");
    assert_eq!(job(&home, "backup")["schedule"], "@monthly");
    assert_eq!(home.app("backup").pid(), pid);
    home.ok("stop backup");
    assert_eq!(job(&home, "backup")["state"], "stopped");
    home.ok("start backup");
    assert_eq!(job(&home, "backup")["state"], "waiting");
}

#[test]
fn stopped_job_does_not_run() {
    let home = home();
    start_job(&home, "clock", "", &format!(r#""cron": "{EACH_SECOND}""#));
    start_job(&home, "job", "", &format!(r#""cron": "{EACH_SECOND}""#));
    wait_runs(&home, "job", 1);
    home.ok("stop job");
    let (before, clock) = (runs(&home, "job"), runs(&home, "clock"));
    wait_runs(&home, "clock", clock + 3);
    assert_eq!(runs(&home, "job"), before);
    for restore in [false, true] {
        if restore {
            home.ok("save");
            home.ok("kill");
            home.ok("resurrect");
        } else {
            home.kill_daemon();
        }
        let clock = runs(&home, "clock");
        wait_runs(&home, "clock", clock + 2);
        assert_eq!((runs(&home, "job"), job(&home, "job")["state"].as_str()), (before, Some("stopped")));
    }
    home.ok("start job");
    wait_runs(&home, "job", before + 1);
}

#[test]
fn failed_job_is_retried_up_to_the_limit() {
    let home = home();
    start_job(&home, "flaky", "test -e good || exit 3", r#""cron": "@yearly", "retries": 2, "retry_delay": 100"#);
    home.ok("jobs run flaky");
    home.wait_status("flaky", "errored");
    let job_now = job(&home, "flaky");
    assert_eq!((runs(&home, "flaky"), job_now["state"].as_str()), (3, Some("failed")));
    let codes: Vec<_> = job_now["runs"].as_array().unwrap().iter().map(|run| run["exit_code"].as_i64()).collect();
    assert_eq!(codes, [Some(3); 3]);
    assert!(home.ok("jobs flaky").stdout.contains("exit code 3"));
    assert!(home.daemon_log().contains("App [flaky:0] job failed, 3 attempts"));
    // The job keeps its schedule, and a manual run has all attempts again.
    assert!(job_now["next_run"].is_u64());
    home.write("good", "");
    home.ok("jobs run flaky");
    home.wait_status("flaky", "stopped");
    assert_eq!(job(&home, "flaky")["runs"].as_array().unwrap().last().unwrap()["ok"], true);
    // The second to last attempt succeeds.
    fs::remove_file(home.work().join("good")).unwrap();
    home.ok("jobs run flaky");
    home.wait_until("it failed once more", || runs(&home, "flaky") >= 5);
    home.write("good", "");
    home.wait_status("flaky", "stopped");
}

#[test]
fn run_over_timeout_fails() {
    let home = home();
    start_job(&home, "slow", "sleep 1000 & wait", r#""cron": "@yearly", "timeout": "300ms", "retries": 1, "retry_delay": 10"#);
    home.ok("jobs run slow");
    home.wait_status("slow", "errored");
    let outcomes: Vec<Value> = job(&home, "slow")["runs"].as_array().unwrap().iter().map(|run| run["outcome"].clone()).collect();
    assert_eq!(outcomes, ["timeout", "timeout"]);
    home.wait_until("nothing of it is left", || home.app_processes().is_empty());
    assert!(home.ok("why slow --all").stdout.contains("requested by the policy `timeout`"));
}

/// The time limit also applies after the daemon was replaced.
#[test]
fn timeout_applies_after_daemon_restart() {
    let home = home();
    start_job(&home, "slow", "exec sleep 1000", r#""cron": "@yearly", "timeout": "3s""#);
    home.ok("jobs run slow");
    let pid = home.wait_status("slow", "online").pid();
    home.kill_daemon();
    home.wait_status("slow", "errored");
    let slow = job(&home, "slow");
    assert_eq!((slow["runs"][0]["outcome"].as_str(), slow["runs"][0]["pid"].as_i64()), (Some("timeout"), Some(i64::from(pid))));
}

#[test]
fn overlap_skip_queue_and_kill_are_respected() {
    let home = home();
    let until_told = "until test -e go; do sleep 0.05; done";
    for overlap in ["skip", "queue", "kill"] {
        start_job(&home, overlap, until_told, &format!(r#""cron": "{EACH_SECOND}", "overlap": "{overlap}""#));
    }
    start_job(&home, "clock", "", &format!(r#""cron": "{EACH_SECOND}""#));
    for overlap in ["skip", "queue", "kill"] {
        wait_runs(&home, overlap, 1);
    }
    wait_runs(&home, "clock", runs(&home, "clock") + 3);
    wait_runs(&home, "kill", 3);
    assert_eq!((runs(&home, "skip"), runs(&home, "queue")), (1, 1));
    let busy = home.run("jobs run skip");
    assert!(busy.code == 1 && busy.stderr.contains("skip is already running"), "{}", busy.stderr);
    home.ok("jobs run queue");
    // From here on no tick occurs; several queued runs become one run.
    for (name, schedule) in [("skip", "@yearly"), ("queue", "@yearly"), ("kill", "@yearly")] {
        home.cmd(["restart", name, "--job", schedule]).run().ok();
    }
    home.ok("jobs run queue");
    home.write("go", "");
    wait_runs(&home, "queue", 2);
    for name in ["skip", "queue", "kill"] {
        home.wait_status(name, "stopped");
    }
    assert_eq!((runs(&home, "skip"), runs(&home, "queue")), (1, 2));
}

/// The next daemon adopts a running job and counts its exit once.
#[test]
fn running_job_survives_daemon_death() {
    let home = home();
    start_job(&home, "long", "until test -e go; do sleep 0.05; done; exit 7", r#""cron": "@yearly""#);
    home.ok("jobs run long");
    let pid = home.wait_status("long", "online").pid();
    home.kill_daemon();
    assert_eq!((home.app("long").pid(), runs(&home, "long")), (pid, 1));
    home.kill_all_three();
    home.ok("reloadLogs");
    assert_eq!((home.app("long").pid(), runs(&home, "long")), (pid, 1));
    home.kill_daemon();
    home.write("go", "");
    home.wait_until("its end is known", || job(&home, "long")["runs"].as_array().unwrap().len() == 1);
    home.ok("restart long");
    assert_eq!((runs(&home, "long"), job(&home, "long")["runs"].as_array().unwrap().len()), (1, 1));
}

/// The daemon is killed right after the start of each run: no run repeats, none is lost.
#[test]
fn every_run_happens_once_across_daemon_deaths() {
    let home = home();
    start_job(&home, "job", "", &format!(r#""cron": "{EACH_SECOND}", "history": 100"#));
    for _ in 0..8 {
        wait_runs(&home, "job", runs(&home, "job") + 1);
        home.kill_daemon();
    }
    home.ok("stop job");
    home.wait_until("every run is known", || job(&home, "job")["runs"].as_array().unwrap().len() == runs(&home, "job"));
    let log = home.daemon_log();
    let seconds: Vec<&str> = log.lines().filter(|line| line.contains("] job (")).filter_map(|line| line.get(..19)).collect();
    assert!(seconds.windows(2).all(|pair| pair[0] != pair[1]), "two runs in one second: {seconds:?}");
}

#[test]
fn run_on_selects_one_or_all_instances() {
    let home = home();
    for (name, run_on) in [("single", "one"), ("every", "all")] {
        let script = home.write(&format!("{name}.sh"), format!("#!/bin/sh\necho $NODE_APP_INSTANCE >>{name}.runs\n"));
        let members = format!(r#""name": "{name}", "script": "{script}", "instances": 3, "job": "@yearly", "run_on": "{run_on}""#);
        home.ok(format!("start {}", ecosystem(&home, &members)));
        home.ok(format!("jobs run {name}"));
    }
    let seen = |name: &str| {
        let mut lines: Vec<String> = home.read(format!("{name}.runs")).lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    home.wait_until("each ran", || seen("every") == ["0", "1", "2"]);
    home.wait_until("one ran", || seen("single") == ["0"]);
    home.wait_until("nothing runs", || home.jlist().iter().all(|app| app.status() == "stopped"));
    assert_eq!(seen("single"), ["0"]);
}

#[test]
fn app_jobs_inherit_cwd_and_variables() {
    let home = home();
    home.write("sub/keep", "");
    let app = format!(
        r#"{{"name": "shop", "script": "{}", "args": "hold", "cwd": "sub", "env": {{"DB": "main"}},
            "jobs": [{{"name": "clean", "cron": "@yearly", "command": "echo $DB $PWD >out"}}]}}"#,
        fixture()
    );
    let file = home.write("shop.json", format!(r#"{{"apps": [{app}]}}"#));
    home.ok(format!("start {file}"));
    assert_eq!(home.jlist().len(), 2);
    home.ok("jobs run clean");
    home.wait_file("sub/out", &format!("main {}/sub", home.work().canonicalize().unwrap().display()));
    home.ok("start shop.json --only clean");
}

/// A service that becomes a job is no longer restarted.
#[test]
fn service_can_become_a_job_and_back() {
    let home = home();
    home.ok(format!("start {} --name app -- hold", fixture()));
    home.cmd(["restart", "app", "--job", "@yearly"]).run().ok();
    home.wait_status("app", "stopped");
    assert_eq!(job(&home, "app")["state"], "waiting");
    let file = home.write("app.json", format!(r#"{{"apps": [{{"name": "app", "script": "{}", "args": "hold"}}]}}"#, fixture()));
    home.ok(format!("restart {file}"));
    home.wait_status("app", "online");
    home.ok("jobs").says("no jobs");
}

/// The machine was off at that time; the list was saved before.
#[test]
fn run_missed_during_reboot_is_caught_up_only_if_configured() {
    needs_program!("cc");
    const DAY_S: i64 = 24 * 3600;
    let home = home_with_clock();
    for (name, members) in [("lazy", ""), ("eager", r#", "catch_up": true"#)] {
        start_job(&home, name, "", &format!(r#""cron": "0 3 * * *", "timezone": "UTC"{members}"#));
    }
    home.ok("save");
    home.ok("kill");
    jump_to(&home, 4 * DAY_S);
    home.ok("resurrect");
    wait_runs(&home, "eager", 1);
    home.wait_until("its run is known", || job(&home, "eager")["runs"].as_array().unwrap().len() == 1);
    assert_eq!((runs(&home, "lazy"), runs(&home, "eager")), (0, 1));
    assert!(["lazy", "eager"].iter().all(|name| job(&home, name)["next_run"].is_u64()));
}
