//! Apps that take long to become ready: a start never stops them for that, and a reload waits. If
//! the user set a time limit, it applies.

use std::thread;

use ostler_testkit::{Home, Output, alive, fixture_app, free_port, installed_pm2, kill, needs_program};

use rustix::process::Signal;

use crate::pm2_sockets;
use crate::setup::{binary, home, home_as_pm2};

/// A server that listens and sends `ready` once the file `go` exists. If the file `gate` exists at
/// its start, the server waits for the file that `gate` names.
const SLOW: &str = r"
const fs = require('fs');
const gate = fs.existsSync('gate') ? fs.readFileSync('gate', 'utf8').trim() : 'go';
fs.writeFileSync('waits-for-' + gate, '');
const timer = setInterval(() => {
  if (!fs.existsSync(gate)) return;
  clearInterval(timer);
  require('http').createServer((q, s) => s.end(String(process.pid))).listen(process.env.PORT, () => process.send && process.send('ready'));
}, 10);
";

/// Short time limit of the daemon for apps that set none.
const PATIENCE_MS: &str = "300";

#[track_caller]
fn start(home: &Home, options: &str, port: u16) -> Output {
    let script = home.write("slow.js", SLOW);
    home.cmd(format!("start {script} --name x {options}"))
        .env("PM2_GRACEFUL_LISTEN_TIMEOUT", PATIENCE_MS)
        .env("PORT", port.to_string())
        .run()
}

/// Returns how often the daemon logged a late start.
fn late_starts(home: &Home) -> usize {
    home.daemon_log().matches("is still starting after").count()
}

/// Runs the command and waits for one more log line about a late start. On a busy machine earlier
/// lines may exist.
fn spawn_until_reported_late<'scope>(
    home: &'scope Home,
    words: &'static str,
    scope: &'scope thread::Scope<'scope, '_>,
) -> thread::ScopedJoinHandle<'scope, Output> {
    let before = late_starts(home);
    let command = scope.spawn(move || home.run(words));
    home.wait_until("the slow start is reported", || late_starts(home) > before);
    command
}

#[test]
fn slow_start_continues_after_command_returns() {
    let home = home();
    for (mode, port) in [("", free_port()), ("-i 2", free_port())] {
        let started = start(&home, &format!("--wait-ready {mode}"), port).ok();
        started.says("still starting after ").says("continues in the background");
        let before = home.jlist();
        assert!(before.iter().all(|app| app.status() == "launching" && app.pid() > 0), "{}", home.report());
        home.write("go", "");
        home.wait_until("all are ready", || home.jlist().iter().all(|app| app.status() == "online"));
        for (before, after) in before.iter().zip(home.jlist()) {
            assert_eq!((after.pid(), after.restarts()), (before.pid(), 0), "{}", home.report());
        }
        // The next start shows how long the former start took.
        std::fs::remove_file(home.work().join("go")).unwrap();
        home.ok("restart x").says("still starting after ").says("(it took ").says(" the last time)");
        home.ok("delete x");
    }
}

/// Checks that all instances are online in processes that never restarted by themselves.
#[track_caller]
fn all_online(home: &Home, restarts: u64, what: &str) {
    let apps = home.jlist();
    assert!(!apps.is_empty(), "{what}: {}", home.report());
    for app in apps {
        assert_eq!((app.status(), app.restarts(), alive(app.pid())), ("online", restarts, true), "{what}: {}", home.report());
    }
}

/// `app.js` never sends `ready`; in cluster mode it does not listen, either.
#[test]
fn pm2_name_counts_late_app_as_ready() {
    for options in ["--wait-ready", "--wait-ready --listen-timeout 400", "--listen-timeout 400"] {
        for mode in ["", "-i 2"] {
            let what = format!("{options} {mode}");
            let home = home_as_pm2();
            start(&home, &what, free_port()).ok();
            all_online(&home, 0, &what);
            home.ok("restart x");
            all_online(&home, 1, &what);
            home.ok("reload x");
            all_online(&home, 2, &what);
            assert_eq!(late_starts(&home), 0, "{what}");
        }
    }
}

#[test]
fn file_started_as_pm2_keeps_pm2_meaning() {
    let home = home_as_pm2();
    let script = home.write("slow.js", SLOW);
    let start = |members: &str| {
        let file = home.write(
            "eco.json",
            format!(r#"{{"apps": [{{"name": "x", "script": "{script}", "autorestart": false, "listen_timeout": 300, {members}}}]}}"#),
        );
        home.cmd(format!("start {file}")).env("PORT", free_port().to_string()).run()
    };
    start(r#""wait_ready": true"#).ok();
    assert_eq!(home.app("x").status(), "online");
    home.ok("delete x");
    for members in [r#""wait_ready": true, "ready_timeout_action": "fail""#, r#""ready": "message""#] {
        start(members).says("was not ready within 300 ms");
        home.wait_status("x", "stopped");
        home.ok("delete x");
    }
}

/// The name that started the app decides the meaning of its options. It stays the same after a
/// restart by the daemon, by a new daemon, by `resurrect`, and by `ostler` with the app's name.
/// `ostler` with the file replaces it.
#[test]
fn readiness_meaning_follows_the_starting_name() {
    let home = home_as_pm2();
    start(&home, "--wait-ready --listen-timeout 400", free_port()).ok();
    let pid = home.app("x").pid();
    home.kill_both();
    home.wait_until("a daemon answers", || home.run("ping").all().contains("pong"));
    assert_eq!(home.app("x").pid(), pid);
    kill(pid, Signal::KILL);
    home.wait_app("x", "online in another process", |app| app.status() == "online" && app.pid() != pid);
    home.ok("save");
    home.ok("kill");
    home.ok("resurrect");
    home.wait_status("x", "online");
    let restarts = home.app("x").restarts();
    ostler(&home, "reload x");
    all_online(&home, restarts + 1, "reload by ostler");
    ostler(&home, "restart x --listen-timeout 300 --no-autorestart");
    home.wait_status("x", "stopped");
}

/// Runs a command in this home under ostler's own name, and ignores the result.
fn ostler(home: &Home, words: &str) {
    let mut command = std::process::Command::new(binary());
    command.args(words.split(' ')).current_dir(home.work()).env("OSTLER_HOME", home.dir()).env_remove("PM2_HOME");
    command.env(ostler_testkit::MARKER, home.root());
    command.output().unwrap();
}

#[test]
fn npm_client_gets_pm2_meaning() {
    needs_program!("node");
    let Some(pm2) = installed_pm2() else { ostler_testkit::skip!("npm's pm2 is not installed") };
    for mode in ["", " -i 2"] {
        let home = home();
        home.ok("start sleep --name first -- 1000");
        home.ok("delete first");
        home.write("slow.js", SLOW);
        pm2_sockets::run(&pm2, &home, &format!("start slow.js --name x --wait-ready --listen-timeout 400{mode}"));
        all_online(&home, 0, mode);
        pm2_sockets::run(&pm2, &home, "restart x");
        all_online(&home, 1, mode);
        pm2_sockets::run(&pm2, &home, "reload x");
        all_online(&home, 2, mode);
        // Attributes of a restart have the same meaning.
        pm2_sockets::run(&pm2, &home, "restart x --listen-timeout 300");
        all_online(&home, 3, mode);
    }
}

/// PM2 replaces the good process even if the new process has crashed; ostler does not.
#[test]
fn pm2_name_keeps_good_process_if_release_crashes() {
    for release in ["throws", "exits"] {
        let home = home_as_pm2();
        home.write("release", "good");
        let script = fixture_app("cluster-release.js");
        home.cmd(format!("start {script} --name x -i 2 --wait-ready --listen-timeout 20000"))
            .env("PORT", free_port().to_string())
            .env("RELEASE_FILE", home.work().join("release"))
            .run()
            .ok();
        let before: Vec<i32> = home.jlist().iter().map(ostler_testkit::ListedApp::pid).collect();
        home.write("release", release);
        let failed = home.run("reload x");
        assert!(failed.code == 1 && failed.stderr.contains("the old release still serves"), "{release}: {failed:?}");
        assert_eq!(home.jlist().iter().map(ostler_testkit::ListedApp::pid).collect::<Vec<_>>(), before, "{release}");
    }
}

/// The default is PM2's 3 s. A process that becomes ready a little later is never touched.
#[test]
fn default_listen_timeout_does_not_kill_the_app() {
    let home = home();
    let script = home.write("late.js", "setTimeout(() => process.send('ready'), 3500); setInterval(() => {}, 1 << 30);");
    home.ok(format!("start {script} --name x --wait-ready")).says("◐ x  still starting after 3");
    let before = home.app("x");
    let after = home.wait_status("x", "online");
    assert_eq!((after.pid(), after.restarts()), (before.pid(), 0));
}

#[test]
fn explicit_listen_timeout_stops_the_app() {
    let home = home();
    let failed = start(&home, "--wait-ready --listen-timeout 200 --no-autorestart", free_port());
    assert_eq!(failed.code, 1, "{failed:?}");
    failed.says("was not ready within 200 ms").says("`listen_timeout`");
    home.wait_status("x", "stopped");
}

#[test]
fn a_reload_waits_while_the_old_process_serves() {
    for options in ["-i 2", "-i 2 --wait-ready"] {
        let home = home();
        let port = free_port();
        home.write("go", "");
        start(&home, options, port).ok();
        home.wait_until("both serve", || home.jlist().iter().all(|app| app.status() == "online") && ostler_testkit::get(port, "/").is_ok());
        let before: Vec<i32> = home.jlist().iter().map(ostler_testkit::ListedApp::pid).collect();
        home.write("gate", "later");
        let reloaded = thread::scope(|scope| {
            let reload = spawn_until_reported_late(&home, "reload x", scope);
            assert!(!reload.is_finished());
            assert!(before.iter().all(|pid| alive(*pid)));
            assert!(before.contains(&ostler_testkit::get(port, "/").unwrap().parse().unwrap()));
            home.write("later", "");
            reload.join().unwrap()
        });
        reloaded.ok().says("is still starting after").says("the old process keeps serving; waiting up to 60 s");
        assert!(home.jlist().iter().all(|app| app.status() == "online" && !before.contains(&app.pid())), "{}", home.report());
    }
}

/// A reload restarts a fork app. It also waits for the new process instead of stopping it.
#[test]
fn in_place_reload_waits_for_the_new_process() {
    let home = home();
    home.write("go", "");
    start(&home, "--wait-ready", free_port()).ok();
    home.wait_status("x", "online");
    home.write("gate", "later");
    thread::scope(|scope| {
        let reload = spawn_until_reported_late(&home, "reload x", scope);
        let pid = home.wait_status("x", "launching").pid();
        home.write("later", "");
        reload.join().unwrap().ok().says("waiting up to 60 s");
        assert_eq!((home.app("x").pid(), home.app("x").restarts()), (pid, 1));
    });
}

/// ostler cannot know whether a young worker without a server will listen. The worker gets the full
/// time, and so does its successor.
#[test]
fn worker_that_never_listens_can_be_reloaded_early() {
    let home = home();
    let script = home.write("queue.js", "setInterval(() => {}, 1 << 30);");
    home.ok(format!("start {script} --name app -i 2 --listen-timeout 1000 --min-uptime 100"));
    let before: Vec<i32> = home.jlist().iter().map(ostler_testkit::ListedApp::pid).collect();
    home.ok("reload app");
    assert!(home.jlist().iter().all(|app| !before.contains(&app.pid())), "{}", home.report());
}

/// The young process that is replaced listens a moment later. From then on its successor must
/// listen, too.
#[test]
fn successor_of_late_listener_must_listen() {
    let home = home();
    let port = free_port();
    let script = home.write("slow.js", SLOW);
    home.cmd(format!("start {script} --name x -i 1 --min-uptime 100 --listen-timeout 60s")).env("PORT", port.to_string()).run().ok();
    let waits_for = |gate: &str| home.wait_until("it waits", || home.work().join(format!("waits-for-{gate}")).exists());
    waits_for("go");
    home.write("gate", "later");
    thread::scope(|scope| {
        let reload = scope.spawn(|| home.run("reload x"));
        waits_for("later");
        let old = home.app("x").pid();
        home.write("go", "");
        home.wait_until("the old one serves", || ostler_testkit::get(port, "/").is_ok());
        assert_eq!(home.app("x").pid(), old);
        assert!(!reload.is_finished());
        home.write("later", "");
        reload.join().unwrap().ok();
        assert_ne!(home.app("x").pid(), old);
    });
}
