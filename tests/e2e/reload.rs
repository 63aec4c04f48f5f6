//! `reload`: the new process starts beside the old one. If the new process is bad, the old one
//! stays.

use ostler_testkit::{Home, Load, LoadSpec, alive, fixture_app, free_port};
use serde_json::Value;

use crate::setup::{home, start_fixture};

/// Starts a cluster of two with the release of the file `release`; returns the port.
fn cluster(home: &Home, options: &str) -> u16 {
    // Both must have read their release before the next one is written.
    let started = |home: &Home| (0..2).all(|id| home.log(&format!("app-out-{id}.log")).contains("release good"));
    let port = free_port();
    home.write("release", "good");
    let release = home.work().join("release");
    home.cmd(format!("start {} --name app -i 2 {options}", fixture_app("cluster-release.js")))
        .env("PORT", port.to_string())
        .env("RELEASE_FILE", release)
        .run()
        .ok();
    home.wait_until("it serves", || ostler_testkit::get(port, "/").is_ok() && started(home));
    port
}

fn report(home: &Home) -> Value {
    home.run("rollout status app --json").json()
}

#[test]
fn reload_replaces_processes_and_keeps_instances() {
    let home = home();
    cluster(&home, "");
    let before = home.jlist();
    home.ok("reload app");
    let after = home.jlist();
    assert_eq!(after.len(), 2);
    for (old, new) in before.iter().zip(&after) {
        assert_eq!((old.id(), old.number("NODE_APP_INSTANCE")), (new.id(), new.number("NODE_APP_INSTANCE")));
        assert!(old.pid() != new.pid() && !alive(old.pid()) && alive(new.pid()), "{} {}", old.pid(), new.pid());
        assert_eq!((new.status(), new.restarts()), ("online", old.restarts() + 1));
        let file = home.dir().join(format!("pids/app-{}.pid", new.id()));
        assert_eq!(std::fs::read_to_string(file).unwrap(), new.pid().to_string());
    }
    assert_eq!(home.app_processes().len(), 2, "{}", home.report());
    assert_eq!(report(&home)[0]["state"], "done");
    // The history of the instance has the exit of the replaced process, with its cause.
    for old in &before {
        home.ok(format!("why {} --all", old.id())).says(&format!("(pid {})", old.pid())).says("`reload`");
    }
}

#[test]
fn reload_warns_if_app_restarts_with_a_gap() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    home.ok("reload app").says("restarts with a short gap");
    home.ok("stop app");
    // The app did not serve before, so the reload causes no gap.
    let output = home.ok("reload app");
    assert!(!output.all().contains("restarts with a short gap"), "{output}");
}

#[test]
fn failed_release_leaves_old_processes_serving() {
    for release in ["throws", "exits", "silent"] {
        let home = home();
        let port = cluster(&home, "--listen-timeout 4000");
        let before = home.pids();
        home.write("release", release);
        let load = Load::start(LoadSpec::to(port));
        let failed = home.cmd("reload app").run();
        let seen = load.stop();
        seen.assert_whole();
        assert_eq!(failed.code, 1, "{release}: {failed:?}");
        assert!(failed.stderr.contains("the old release still serves"), "{release}: {}", failed.stderr);
        if release == "throws" {
            assert!(failed.stderr.contains("bad release: it throws at start"), "{}", failed.stderr);
        }
        assert_eq!(home.pids(), before, "{release}");
        home.wait_until("nothing of the new release is left", || home.app_processes().len() == 2);
        let status = report(&home);
        assert_eq!((&status[0]["state"], &status[0]["fault"]["id"]), (&"failed".into(), &0.into()), "{status}");
        assert_eq!(home.cmd("rollout status app").run().code, 1);
        // The next release is accepted.
        home.write("release", "good");
        home.ok("reload app");
        assert!(home.pids().iter().all(|pid| !before.contains(pid)));
    }
}

#[test]
fn release_that_is_not_ready_in_time_fails() {
    let home = home();
    cluster(&home, "--wait-ready --listen-timeout 700");
    let before = home.pids();
    home.write("release", "unready");
    let failed = home.cmd("reload app").run();
    assert!(failed.code == 1 && failed.stderr.contains("was not ready within 700 ms"), "{failed:?}");
    assert_eq!(home.pids(), before);
}

#[test]
fn release_that_crashes_after_ready_stops_the_reload() {
    let home = home();
    cluster(&home, "--no-autorestart");
    let before = home.pids();
    home.write("release", "crashes");
    let failed = home.cmd("reload app").run();
    assert_eq!(failed.code, 1, "{failed:?}");
    assert!(home.pids().contains(&before[1]), "{}", home.report());
}

#[test]
fn crashed_canary_leaves_old_processes_serving() {
    let home = home();
    let port = cluster(&home, "");
    let before = home.pids();
    home.write("release", "crashes");
    let load = Load::start(LoadSpec::to(port));
    let failed = home.cmd("reload app --canary 20s").run();
    assert!(failed.code == 1 && failed.stderr.contains("the old release still serves"), "{failed:?}");
    assert_eq!(home.pids(), before);
    drop(load.stop());
    home.write("release", "good");
    home.ok("reload app --canary 100");
    assert!(home.pids().iter().all(|pid| !before.contains(pid)));
}

#[test]
fn user_commands_take_precedence_over_a_reload() {
    let home = home();
    cluster(&home, "--listen-timeout 60000");
    home.write("release", "silent");
    let mut reload =
        home.cmd("reload app").command().stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    home.wait_until("the candidate runs", || home.pids_with("cluster-release.js").len() == 3);
    let busy = home.cmd("reload app").run();
    assert!(busy.code == 1 && busy.stderr.contains("already being reloaded"), "{busy:?}");
    home.ok("stop app");
    assert_eq!(reload.wait().unwrap().code(), Some(1));
    assert!(home.app_processes().is_empty(), "{}", home.report());
    assert!(home.jlist().iter().all(|app| app.status() == "stopped"));
}

#[test]
fn reload_continues_after_killed_daemon() {
    let home = home();
    let port = cluster(&home, "");
    let before = home.pids();
    let load = Load::start(LoadSpec::to(port));
    let mut reload = home
        .cmd("reload app --canary 400")
        .command()
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    home.wait_until("the candidate runs", || home.pids_with("cluster-release.js").len() == 3);
    home.kill_daemon();
    drop(reload.wait());
    home.wait_until("all are replaced", || home.pids().iter().all(|pid| !before.contains(pid)) && home.app_processes().len() == 2);
    // For some microseconds between `accept` and the worker, only the daemon holds a connection.
    load.stop().assert_at_most(1);
    assert_eq!(report(&home)[0]["state"], "done");
}

#[test]
fn changed_file_is_applied_completely_or_not_at_all() {
    let home = home();
    let port = free_port();
    let app = |release: &str, more: &str| {
        let script = fixture_app("cluster-release.js");
        let text = format!(
            r#"{{"apps": [{{"name": "app", "script": "{script}", "instances": 2, "listen_timeout": 20000, "env": {{"PORT": "{port}", "RELEASE": "{release}"}}{more}}}]}}"#
        );
        home.write("app.json", text)
    };
    home.ok(format!("start {}", app("good", "")));
    let before = home.pids();
    let failed = home.cmd(format!("reload {}", app("throws", r#", "max_restarts": 5"#))).run();
    assert_eq!(failed.code, 1, "{failed:?}");
    assert_eq!(home.pids(), before);
    assert_eq!(*home.jlist()[0].env("RELEASE"), "good");
    home.ok(format!("reload {}", app("good", r#", "max_restarts": 5"#)));
    assert_eq!(home.jlist()[0].number("max_restarts"), 5);
    // The undo restores the former configuration.
    home.ok("rollout undo app");
    assert_ne!(home.jlist()[0].env("max_restarts"), &Value::from(5));
    let history = home.ok("rollout history app --json");
    let history = history.json();
    let states: Vec<&str> = history.as_array().unwrap().iter().map(|entry| entry["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["done", "failed", "done", "done"], "{history}");
}

#[test]
fn undo_restores_the_release_behind_a_moved_link() {
    let home = home();
    let port = free_port();
    for version in ["1", "2"] {
        let code = format!("require('http').createServer((q, r) => r.end('v{version}')).listen(process.env.PORT)");
        home.write(&format!("releases/{version}/app.js"), code);
    }
    let link = home.work().join("current");
    std::os::unix::fs::symlink(home.work().join("releases/1"), &link).unwrap();
    home.cmd(format!("start {}/app.js --name app -i 2 --cwd {}", link.display(), link.display())).env("PORT", port.to_string()).run().ok();
    let body = || ostler_testkit::get(port, "/").unwrap_or_default();
    home.wait_until("release 1 serves", || body().contains("v1"));
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(home.work().join("releases/2"), &link).unwrap();
    home.ok("reload app");
    assert!(body().contains("v2"));
    home.ok("rollout undo app");
    assert!(body().contains("v1"));
    home.ok("reload app");
    assert!(body().contains("v1"), "a reload by name starts what serves");
}

#[test]
fn reload_without_shared_sockets_restarts_the_app() {
    let home = home();
    home.ok(format!("start {} --name app -- hold", ostler_testkit::fixture()));
    let before = home.app("app");
    home.ok("reload app");
    let after = home.app("app");
    assert!(before.pid() != after.pid() && !alive(before.pid()));
    assert_eq!(after.restarts(), 1);
}

#[test]
fn draining_stop_finishes_requests() {
    let home = home();
    let port = free_port();
    home.cmd(format!("start {} --name app -i 2 --kill-timeout 20000", fixture_app("cluster-naive.js")))
        .env("PORT", port.to_string())
        .env("DELAY_MS", "2000")
        .run()
        .ok();
    home.wait_until("it serves", || ostler_testkit::get(port, "/").is_ok());
    for command in ["stop app --wait-ready", "delete app --drain"] {
        home.ok("restart app");
        home.wait_until("it serves", || ostler_testkit::get(port, "/").is_ok());
        let request = std::thread::spawn(move || ostler_testkit::get(port, "/"));
        home.wait_until("the request is under way", || established(port) > 0);
        home.ok(command);
        let answer = request.join().unwrap();
        assert!(answer.is_ok(), "{command}: {answer:?}");
    }
    assert!(home.app_processes().is_empty());
}

/// Counts the open connections to a local port.
fn established(port: u16) -> usize {
    let local = format!(":{port:04X} ");
    let table = |file| std::fs::read_to_string(file).unwrap_or_default();
    let lines = [table("/proc/net/tcp"), table("/proc/net/tcp6")].concat();
    lines
        .lines()
        .filter(|line| line.split_whitespace().nth(1).is_some_and(|at| format!("{at} ").ends_with(&local)))
        .filter(|line| line.split_whitespace().nth(3) == Some("01"))
        .count()
}

#[test]
fn scale_down_loses_no_request() {
    let home = home();
    let port = free_port();
    home.cmd(format!("start {} --name app -i 4", fixture_app("cluster-naive.js")))
        .env("PORT", port.to_string())
        .env("DELAY_MS", "20")
        .run()
        .ok();
    home.wait_until("it serves", || ostler_testkit::get(port, "/").is_ok());
    let load = Load::start(LoadSpec::to(port));
    for to in ["2", "+2", "-3", "3"] {
        home.ok(format!("scale app {to}"));
    }
    load.stop().assert_whole();
    assert_eq!(home.jlist().len(), 3);
}

#[test]
fn client_that_stays_is_cut_at_drain_timeout() {
    use std::io::Write;
    let home = home();
    let port = free_port();
    home.cmd(format!("start {} --name app -i 2 --kill-timeout 300 --drain-timeout 500", fixture_app("cluster-naive.js")))
        .env("PORT", port.to_string())
        .env("DELAY_MS", "600000")
        .run()
        .ok();
    home.wait_until("it listens", || (0..2).all(|id| home.log(&format!("app-out-{id}.log")).contains("listening")));
    let before = home.pids();
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let mut client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
            client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            client
        })
        .collect();
    home.wait_until("the requests are there", || established(port) >= 4);
    home.ok("reload app");
    assert!(before.iter().all(|pid| !alive(*pid)), "{}", home.report());
    drop(clients);
}

#[test]
fn stopped_process_is_replaced() {
    let home = home();
    let port = cluster(&home, "--kill-timeout 300");
    let before = home.pids();
    ostler_testkit::kill(before[0], rustix::process::Signal::STOP);
    home.ok("reload app");
    assert!(before.iter().all(|pid| !alive(*pid)));
    assert!(ostler_testkit::get(port, "/").is_ok());
}

#[test]
fn worker_that_never_listens_is_ready_after_listen_timeout() {
    let home = home();
    let script = home.write("queue.js", "setInterval(() => {}, 1 << 30);");
    home.ok(format!("start {script} --name app -i 2 --listen-timeout 300 --min-uptime 100"));
    let started = std::time::Instant::now();
    home.wait_until("it had its time to listen", || started.elapsed().as_millis() > 400);
    let before = home.pids();
    home.ok("reload app");
    assert!(home.pids().iter().all(|pid| !before.contains(pid)));
}

#[test]
fn earlier_crashes_do_not_count_against_new_release() {
    let home = home();
    cluster(&home, "");
    // Both have crashed before the reload.
    for pid in home.pids() {
        ostler_testkit::kill(pid, rustix::process::Signal::KILL);
    }
    home.wait_until("both are back", || home.jlist().iter().all(|app| app.status() == "online" && app.restarts() == 1));
    home.ok("reload app");
    assert!(home.jlist().iter().all(|app| app.restarts() == 2), "{}", home.report());
    assert!(home.ok("why app").stdout.contains("SIGKILL"), "the history continues");
}

#[test]
fn crash_of_new_release_during_drain_stops_the_reload() {
    use std::io::Write;
    let home = home();
    let port = free_port();
    home.cmd(format!("start {} --name app -i 3 --kill-timeout 20000", fixture_app("cluster-naive.js")))
        .env("PORT", port.to_string())
        .env("DELAY_MS", "2500")
        .run()
        .ok();
    home.wait_until("all listen", || (0..3).all(|id| home.log(&format!("app-out-{id}.log")).contains("listening")));
    let mut reload =
        home.cmd("reload app").command().stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let states = || report(&home)[0]["places"].as_array().cloned().unwrap_or_default();
    let state = |place: usize| states().get(place).map(|place| place["state"].as_str().unwrap_or_default().to_owned()).unwrap_or_default();
    home.wait_until("the first is replaced", || state(0) == "new");
    let requests: Vec<_> = (0..6)
        .map(|_| {
            let mut client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
            client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            client
        })
        .collect();
    home.wait_until("the others finish their requests", || state(1) == "draining" && state(2) == "draining");
    ostler_testkit::kill(home.pids()[0], rustix::process::Signal::KILL);
    home.wait_until("it is back", || home.jlist()[0].restarts() == 2 && home.jlist()[0].status() == "online");
    assert_eq!(reload.wait().unwrap().code(), Some(1));
    home.wait_until("nothing else is left", || home.app_processes().len() == 3);
    drop(requests);
}

/// The files of the earlier release are gone, so an undo must not report success.
#[test]
fn undo_refuses_a_release_whose_files_were_overwritten() {
    let home = home();
    let release = |version: &str| {
        home.write("package.json", format!(r#"{{"version": "{version}"}}"#));
        home.write("app.js", format!("require('http').createServer((q, r) => r.end('v{version}')).listen(0);"))
    };
    home.ok(format!("start {} --name app -i 2", release("1.0.0")));
    release("2.0.0");
    home.ok("reload app");
    let before = home.pids();
    for words in ["rollout undo app", "rollout undo app --to 1"] {
        home.run(words).code(1).says("overwritten in").says("nothing was changed");
        assert_eq!(home.pids(), before, "{words}");
    }
}

#[test]
fn undo_restores_the_environment() {
    let home = home();
    let script = home.write("app.js", "require('http').createServer((q, r) => r.end()).listen(0);");
    home.cmd(format!("start {script} --name app -i 2")).env("COLOUR", "red").run().ok();
    home.cmd("reload app --update-env").env("COLOUR", "blue").run().ok();
    assert!(home.jlist().iter().all(|app| app.text("COLOUR") == "blue"));
    home.ok("rollout undo app");
    assert!(home.jlist().iter().all(|app| app.text("COLOUR") == "red"));
}

#[test]
fn file_sets_batch_size_and_canary_time() {
    let home = home();
    let port = free_port();
    let start = |release: &str, more: &str| {
        let script = fixture_app("cluster-release.js");
        home.write(
            "app.json",
            format!(
                r#"{{"apps": [{{"name": "app", "script": "{script}", "instances": 4, "env": {{"PORT": "{port}", "RELEASE": "{release}"}}{more}}}]}}"#
            ),
        )
    };
    home.ok(format!("start {}", start("good", "")));
    home.wait_until("all listen", || (0..4).all(|id| home.log(&format!("app-out-{id}.log")).contains("release good")));
    let told = home.ok(format!("reload {}", start("good", r#", "reload_batch": 3"#))).stderr;
    let steps: Vec<&str> = told.lines().filter(|line| line.contains("starts the new release") || line.contains("is ready")).collect();
    let begun = steps.iter().map(|line| line.contains("starts the new release")).collect::<Vec<_>>();
    assert_eq!(begun, [true, false, true, true, true, false, false, false], "{told}");
    let before = home.pids();
    let failed = home.cmd(format!("reload {}", start("crashes", r#", "canary": "60s""#))).run();
    assert!(failed.code == 1 && failed.stderr.contains("the old release still serves"), "{failed:?}");
    assert_eq!(home.pids(), before);
}

#[test]
fn instances_of_exclusive_app_restart_one_by_one() {
    let home = home();
    home.ok(format!("start {} --name app -i 3 -x -- hold", ostler_testkit::fixture()));
    let before = home.pids();
    home.ok("reload app");
    assert!(home.pids().iter().all(|pid| !before.contains(pid)) && home.app_processes().len() == 3, "{}", home.report());
    assert!(home.jlist().iter().all(|app| app.restarts() == 1));
}

#[test]
fn reload_also_starts_a_stopped_instance() {
    let home = home();
    cluster(&home, "");
    home.ok("stop 0");
    let before = home.pids();
    home.ok("reload app");
    assert!(home.jlist().iter().all(|app| app.status() == "online"), "{}", home.report());
    assert!(!home.pids().contains(&before[1]));
    let history = home.ok("rollout history app").stdout;
    assert_eq!((history.matches("serves").count(), history.matches("served").count()), (1, 1), "{history}");
    home.ok("stop app");
    home.ok("rollout status app").says("○ served").never_says("serves");
    home.ok("rollout history app").says("○ served").never_says("serves");
}
