//! Effects of a change on an app.

use std::fs;
use std::time::UNIX_EPOCH;

use ostler_testkit::{Home, Load, LoadSpec, free_port, get, kill, needs_program};
use rustix::process::Signal;

use super::{WAITS, kernel_watches, only_the_last_counts, restarted_by, restarts, wait_for_watching, watched};
use crate::setup::{ecosystem, home, home_as_pm2};

#[test]
fn a_change_restarts_the_changed_app_only() {
    let home = home();
    watched(&home, "a", r#""watch": true"#);
    watched(&home, "b", r#""watch": true"#);
    home.write("a/src/deep/x.js", "1");
    restarts(&home, "a", 1);
    home.write("a/src/deep/x.js", "2");
    restarts(&home, "a", 2);
    // Timing decides which of the new paths is noticed first.
    let by = restarted_by(&home, "a");
    assert!(by[0].starts_with("src") && by[1] == "src/deep/x.js", "{by:?}");
    fs::remove_file(home.work().join("a/src/deep/x.js")).unwrap();
    restarts(&home, "a", 3);
    only_the_last_counts(&home, "b", "y.js");
    restarts(&home, "b", 1);
    assert_eq!(home.app("a").restarts(), 3);
    home.ok("why a").says("`watch` (src/deep/x.js)");
}

#[test]
fn a_burst_restarts_once() {
    let home = home();
    // Also on a busy machine, all files are written within this time.
    watched(&home, "app", r#""watch": true, "watch_delay": "6s""#);
    for number in 0..500 {
        home.write(&format!("app/src/{}/{number}.js", number % 20), "x");
    }
    restarts(&home, "app", 1);
    only_the_last_counts(&home, "app", "end.js");
    restarts(&home, "app", 2);
}

#[test]
fn stopped_app_ignores_changes_and_exited_app_restarts() {
    let home = home();
    watched(&home, "app", r#""watch": true"#);
    home.ok("stop app");
    home.write("app/x.js", "1");
    watched(&home, "other", r#""watch": true"#);
    only_the_last_counts(&home, "other", "x.js");
    assert_eq!(home.app("app").status(), "stopped");
    let rows: serde_json::Value = serde_json::from_str(&home.ok("list --json").stdout).unwrap();
    assert!(rows.as_array().unwrap().iter().any(|row| row["name"] == "app" && row["watching"] == false), "{rows}");
    // PM2 would no longer watch.
    home.ok("start app");
    wait_for_watching(&home, "app", 2);
    only_the_last_counts(&home, "app", "x.js");

    let script = home.write("bad/app.sh", "#!/bin/sh\nexit 3\n");
    let cwd = home.work().join("bad");
    let entry = format!(r#""name": "bad", "script": "{script}", "cwd": "{}", "watch": true, "max_restarts": 1"#, cwd.display());
    home.cmd(format!("start {}", ecosystem(&home, &entry))).run();
    home.wait_status("bad", "errored");
    home.write("bad/app.sh", WAITS);
    home.wait_status("bad", "online");
}

#[test]
fn clustered_app_reloads_and_bad_change_keeps_old_workers() {
    needs_program!("node");
    let home = home();
    let port = free_port();
    let server = "require('http').createServer((q, r) => r.end(String(process.pid))).listen(process.env.PORT);\n";
    let script = home.write("app/app.js", server);
    let cwd = home.work().join("app");
    let members = format!(
        r#""name": "app", "script": "{script}", "cwd": "{}", "watch": true, "instances": 2, "exec_mode": "cluster", "env": {{"PORT": {port}}}"#,
        cwd.display()
    );
    home.ok(format!("start {}", ecosystem(&home, &members)));
    wait_for_watching(&home, "app", 1);
    home.wait_until("it serves", || get(port, "/").is_ok());
    let pids = || home.jlist().iter().map(ostler_testkit::ListedApp::pid).collect::<Vec<_>>();
    let load = Load::start_all([LoadSpec::to(port)]);
    let before = pids();
    home.write("app/app.js", format!("{server}// changed\n"));
    home.wait_until("all are replaced", || {
        let list = home.jlist();
        list.iter().all(|item| item.status() == "online" && !before.contains(&item.pid())) && list.len() == 2
    });
    home.wait_until("the reload is over", || home.ok("rollout status app").all().contains("● serves"));
    let good = pids();
    home.write("app/app.js", "throw new Error('mistake');\n");
    home.wait_until("it is refused", || home.run("rollout status app").all().contains("✗ failed"));
    load.stop().assert_whole();
    assert_eq!(pids(), good);
    home.write("app/app.js", server);
    home.wait_until("and repaired", || pids().iter().all(|pid| !good.contains(pid)));
}

#[test]
fn resurrect_restores_watching() {
    let home = home();
    watched(&home, "app", r#""watch": true, "ignore_watch": ["tmp"]"#);
    watched(&home, "down", r#""watch": true"#);
    home.ok("stop down");
    home.ok("save");
    home.ok("kill");
    home.ok("resurrect");
    wait_for_watching(&home, "app", 2);
    home.write("app/tmp/x", "1");
    home.write("down/x.js", "1");
    only_the_last_counts(&home, "app", "x.js");
    assert_eq!(home.app("down").status(), "stopped");
}

#[test]
fn options_enable_and_disable_watch() {
    let home = home_as_pm2();
    home.write("src/x.js", "1");
    let script = home.write("app.sh", WAITS);
    let enabled = |home: &Home| home.ok("list").stdout.lines().any(|line| line.contains(" app ") && line.contains("enabled"));
    home.ok(format!("start {script} --watch src --ignore-watch src/tmp"));
    wait_for_watching(&home, "app", 1);
    assert!(enabled(&home));
    assert_eq!(home.app("app").env("watch"), &serde_json::json!(["src"]));
    home.ok("restart app --watch");
    assert_eq!(home.app("app").env("watch"), &serde_json::json!(false));
    assert!(!enabled(&home));
    home.ok("restart --watch app");
    assert_eq!(home.app("app").env("watch"), &serde_json::json!(["src"]));
    wait_for_watching(&home, "app", 2);
    home.ok("stop --watch app");
    assert_eq!((home.app("app").status(), home.app("app").env("watch")), ("stopped", &serde_json::json!(false)));
    home.ok("start app");
    assert!(!enabled(&home));
    home.ok("start app --watch");
    assert!(enabled(&home));
    wait_for_watching(&home, "app", 3);
    let before = home.app("app").restarts();
    home.write("x.js", "1");
    restarts(&home, "app", before + 1);
    home.ok("delete app");
    home.wait_until("nothing is watched any more", || {
        let threads = fs::read_dir(format!("/proc/{}/task", home.daemon_pid())).unwrap().flatten();
        !threads.filter_map(|thread| fs::read_to_string(thread.path().join("comm")).ok()).any(|name| name == "watch\n")
    });
}

#[test]
fn app_that_writes_at_start_is_detected() {
    let home = home();
    let script = home.write("app/app.sh", "#!/bin/sh\nsleep 0.1\necho $$ > db.json\nexec sleep 1000\n");
    let cwd = home.work().join("app");
    home.ok(format!(
        "start {}",
        ecosystem(&home, &format!(r#""name": "app", "script": "{script}", "cwd": "{}", "watch": true"#, cwd.display()))
    ));
    home.wait_until("it is reported", || {
        // Timing decides whether the first write is noticed.
        if restarted_by(&home, "app").is_empty() {
            home.write("app/x.js", "1");
        }
        home.daemon_log().contains("App app writes \"")
    });
    let line = home.daemon_log().lines().find(|line| line.contains("App app writes")).unwrap().to_owned();
    assert!(line.contains("app/db.json\" itself at each start") && line.contains("ignore_watch"), "{line}");
    let before = restarted_by(&home, "app").len();
    home.write("app/x.js", "2");
    home.wait_until("others still count", || restarted_by(&home, "app").len() > before);
    assert_eq!(restarted_by(&home, "app").last().unwrap(), "x.js");
}

#[test]
fn change_without_a_daemon_is_not_lost() {
    let home = home();
    home.write("app/src/x.js", "1");
    watched(&home, "app", r#""watch": true"#);
    let pid = home.app("app").pid();
    kill(home.daemon_pid(), Signal::KILL);
    home.write("app/src/x.js", "2");
    restarts(&home, "app", 1);
    assert_ne!(home.app("app").pid(), pid);
    assert_eq!(restarted_by(&home, "app").last().unwrap(), "src/x.js");
    // A daemon's death alone restarts nothing.
    let pid = home.app("app").pid();
    kill(home.daemon_pid(), Signal::KILL);
    wait_for_watching(&home, "app", 3);
    kill(home.keeper_pid(), Signal::KILL);
    home.wait_until("there is another keeper", || home.run("jlist").code == 0);
    only_the_last_counts(&home, "app", "src/y.js");
    assert_ne!(home.app("app").pid(), pid);
    restarts(&home, "app", 2);
}

#[test]
fn pending_restart_survives_the_daemon() {
    let home = home();
    watched(&home, "app", r#""watch": true, "watch_delay": 3000"#);
    watched(&home, "down", r#""watch": true"#);
    home.ok("stop down");
    let journaled = || fs::read(home.dir().join("ostler.state")).unwrap_or_default();
    home.write("app/x.js", "1");
    home.wait_until("it is noted", || String::from_utf8_lossy(&journaled()).contains(r#""changed":true"#));
    kill(home.daemon_pid(), Signal::KILL);
    wait_for_watching(&home, "app", 2);
    home.write("down/x.js", "1");
    restarts(&home, "app", 1);
    assert_eq!(restarted_by(&home, "app").len(), 1);
    home.ok("update");
    home.write("app/x.js", "2");
    restarts(&home, "app", 2);
    assert_eq!(home.app("down").status(), "stopped");
}

#[test]
fn files_built_by_pre_start_hook_cause_no_restart() {
    let home = home();
    let build = home.write("build.sh", "#!/bin/sh\necho 1 > built.js\nsleep 0.4\necho 2 > built.js\nsleep 0.4\n");
    watched(&home, "app", &format!(r#""watch": true, "pre_start": "{build}""#));
    home.wait_status("app", "online");
    home.write("app/x.js", "1");
    restarts(&home, "app", 1);
    // A change in the clock tick of the start is taken for the hook's own.
    let started_ms = home.app("app").number("pm_uptime");
    home.wait_until("the clock of file times has passed the start", || {
        let changed = fs::metadata(home.write("probe", "")).unwrap().modified().unwrap();
        changed.duration_since(UNIX_EPOCH).unwrap().as_millis() > u128::from(started_ms)
    });
    only_the_last_counts(&home, "app", "y.js");
    assert_eq!(restarted_by(&home, "app"), ["x.js", "y.js"]);
}

#[test]
fn instances_of_one_app_share_their_watches() {
    let home = home();
    home.write("app/src/x.js", "1");
    watched(&home, "app", r#""watch": true, "instances": 4, "exec_mode": "fork""#);
    let one = kernel_watches(&home);
    home.write("app/src/x.js", "2");
    home.wait_until("all are restarted", || home.jlist().iter().all(|item| item.restarts() == 1 && item.status() == "online"));
    home.ok("scale app +2");
    assert_eq!(kernel_watches(&home), one);
    assert_eq!(restarted_by(&home, "app"), ["src/x.js"]);
}
