//! `ready`, `wait_ready`, `watchdog`: how an instance proves that it is ready and alive.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::thread;

use ostler_testkit::{Home, fixture, free_port, free_ports, is_root, kill, needs_root};
use rustix::process::Signal;

use crate::setup::{ecosystem, home};

/// Waits for the file `go` before it becomes another program.
const GATE: &str = "#!/bin/sh\nwhile [ ! -e go ]; do sleep 0.01; done\nexec \"$@\"\n";

/// Writes a file with the app `x` that runs this script with this condition for readiness (JSON).
fn app(home: &Home, script: &str, args: &str, ready: &str, more: &str) -> String {
    ecosystem(home, &format!(r#""name": "x", "script": "{script}", "args": "{args}", "ready": {ready}{more}"#))
}

/// Checks that the app is not ready before the gate opens, and that the start waits for it.
#[track_caller]
fn waits_for_the_gate(home: &Home, file: &str) {
    thread::scope(|scope| {
        let start = scope.spawn(|| home.run(format!("start {file}")));
        home.daemon_pid();
        home.wait_status("x", "launching");
        assert!(!start.is_finished());
        home.write("go", "");
        assert_eq!(start.join().unwrap().code, 0);
    });
    assert_eq!(home.app("x").status(), "online");
    assert_eq!(home.app("x").restarts(), 0);
}

/// Checks that the start fails with a line that contains this text, and that the app is not online.
#[track_caller]
fn is_never_ready(home: &Home, file: &str, says: &str) {
    let output = home.run(format!("start {file}"));
    assert_ne!(output.code, 0, "{output:?}");
    output.says(says);
    assert_ne!(home.app("x").status(), "online");
}

const PATIENT: &str = r#", "listen_timeout": "100s""#;
const HASTY: &str = r#", "listen_timeout": 400, "autorestart": false"#;

#[test]
fn newline_on_descriptor_means_ready() {
    let home = home();
    let script = home.write("s6.sh", GATE.replace("exec \"$@\"", "printf 'almost' >&4; echo >&4; exec 4>&-; exec sleep 1000"));
    waits_for_the_gate(&home, &app(&home, &script, "", r#"{"descriptor": 4}"#, PATIENT));
}

#[test]
fn descriptor_closed_without_newline_is_a_failure() {
    let home = home();
    let script = home.write("s6.sh", "#!/bin/sh\nexec 3>&-\nexec sleep 1000\n");
    let file = app(&home, &script, "", r#"{"fd": 3}"#, HASTY);
    is_never_ready(&home, &file, "was not ready within 400 ms (the descriptor was closed without a newline)");
}

#[test]
fn accepting_port_means_ready() {
    let home = home();
    let (gate, port) = (home.write("gate.sh", GATE), free_port());
    waits_for_the_gate(&home, &app(&home, &gate, &format!("{} http {port}", fixture()), &format!(r#"{{"tcp": {port}}}"#), PATIENT));
    home.ok("delete x");
    let script = home.write("nobody.sh", "#!/bin/sh\nexec sleep 1000\n");
    let file = app(&home, &script, "", &format!(r#"{{"tcp": "127.0.0.1:{port}"}}"#), HASTY);
    is_never_ready(&home, &file, &format!("was not ready within 400 ms (connection to 127.0.0.1:{port}: Connection refused)"));
}

#[test]
fn expected_http_response_means_ready() {
    let home = home();
    let port = free_port();
    let http = format!(r#"{{"http": {{"port": {port}, "path": "/if/go", "interval": 20}}}}"#);
    waits_for_the_gate(&home, &app(&home, &fixture(), &format!("http {port}"), &http, PATIENT));
    home.ok("delete x");
    std::fs::remove_file(home.work().join("go")).unwrap();
    let file = app(&home, &fixture(), &format!("http {port}"), &http, HASTY);
    is_never_ready(&home, &file, &format!("was not ready within 400 ms (HTTP request to localhost:{port}: 503 `"));
    // The same table as for the health check. A status of 503 can be the expected one.
    home.ok("delete x");
    let own = format!(r#""http", "http": {{"port": {port}, "path": "/if/go", "expect_status": ["2xx", 503]}}"#);
    home.ok(format!("start {}", app(&home, &fixture(), &format!("http {port}"), &own, PATIENT)));
}

#[test]
fn every_instance_is_probed_at_its_own_port() {
    let home = home();
    let port = free_ports(2);
    let script = home.write("own.sh", format!("#!/bin/sh\nexec {} http $PORT\n", fixture()));
    let more = format!(r#", "instances": 2, "increment_var": "PORT", "env": {{"PORT": {port}}}{PATIENT}"#);
    home.ok(format!("start {}", app(&home, &script, "", r#"{"http": {"interval": 20}}"#, &more)));
    assert!(home.all_online());
}

#[test]
fn log_line_means_ready() {
    for more in [r#""#, r#", "time": true"#] {
        let home = home();
        let script = home.write("talks.sh", GATE.replace("exec \"$@\"", "echo listening on 80; exec sleep 1000"));
        let file = app(&home, &script, "", r#"{"log": "listening on \\d+$"}"#, &format!("{more}{PATIENT}"));
        waits_for_the_gate(&home, &file);
        // A line from an earlier start does not count.
        home.ok("delete x");
        std::fs::remove_file(home.work().join("go")).unwrap();
        waits_for_the_gate(&home, &file);
    }
}

#[test]
fn uptime_means_ready() {
    let home = home();
    let script = home.write("stays.sh", "#!/bin/sh\nexec sleep 1000\n");
    // A time longer than the default of `listen_timeout` would also be allowed.
    home.ok(format!("start {}", app(&home, &script, "", r#"{"uptime": 300}"#, "")));
    assert_eq!(home.app("x").status(), "online");
    home.ok("delete x");
    let dies = home.write("dies.sh", "#!/bin/sh\nexit 3\n");
    let file = app(&home, &dies, "", r#"{"uptime": "20s"}"#, r#", "autorestart": false"#);
    is_never_ready(&home, &file, "exited with code 3");
}

#[test]
fn ready_timeout_action_accepts_a_timeout() {
    let home = home();
    let script = home.write("silent.sh", "#!/bin/sh\nexec sleep 1000\n");
    let file = app(&home, &script, "", r#""notify""#, r#", "listen_timeout": 200, "ready_timeout_action": "accept""#);
    home.ok(format!("start {file}"));
    assert_eq!(home.app("x").status(), "online");
}

#[test]
fn sd_notify_works_with_every_form_of_ready() {
    for ready in [r#""notify""#, r#""message""#, r#"null, "wait_ready": true"#] {
        let home = home();
        waits_for_the_gate(&home, &app(&home, &fixture(), "notify wait:go 'STATUS=warm|READY=1'", ready, PATIENT));
        home.wait_until("its status is shown", || home.ok("describe x").stdout.contains("warm"));
    }
}

#[test]
fn notify_variables_are_set_only_if_configured() {
    let home = home();
    let report = crate::setup::report_with(&home, "");
    for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
        assert!(report["env"].get(name).is_none(), "{name}");
    }
}

#[test]
fn malformed_datagrams_are_ignored() {
    let home = home();
    let words = "huge READY READY=0 =READY=1 MAINPID=-1 flood:3000 WATCHDOG_USEC=1 EXTEND_TIMEOUT_USEC=99999999999999999999 barrier";
    let args = format!("notify {words} wait:go flood:500 READY=1");
    waits_for_the_gate(&home, &app(&home, &fixture(), &args, r#""notify""#, PATIENT));
    home.wait_log("x-out.log", "barrier passed");
}

#[test]
fn datagrams_of_other_users_are_ignored() {
    needs_root!();
    assert!(is_root());
    let home = home();
    let file = app(&home, &fixture(), "notify barrier wait:go READY=1", r#""notify""#, PATIENT);
    thread::scope(|scope| {
        let start = scope.spawn(|| home.run(format!("start {file}")));
        home.wait_log("x-out.log", "barrier passed");
        let pid = home.app("x").pid();
        let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
        let environ = String::from_utf8_lossy(&environ).into_owned();
        let name = environ.split('\0').find_map(|variable| variable.strip_prefix("NOTIFY_SOCKET=")).unwrap().to_owned();
        // The test sends the same message as the user `nobody`. Only this thread changes its user.
        let forge = |name: &str| {
            let name = name.to_owned();
            let forged = thread::spawn(move || {
                rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(65534)).unwrap();
                let socket = UnixDatagram::unbound().unwrap();
                socket.connect(name)?;
                (0..5).try_for_each(|_| socket.send(b"READY=1\nSTATUS=forged").map(|_| ()))
            });
            forged.join().unwrap()
        };
        assert_eq!(forge(&name).unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
        // The sender is checked even if the folders let it in.
        for path in [home.dir(), Path::new(&name).parent().unwrap(), Path::new(&name)] {
            std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        }
        forge(&name).unwrap();
        // When the daemon has answered twice, it has read the messages.
        for _ in 0..2 {
            assert_eq!(home.app("x").status(), "launching");
        }
        assert!(!home.ok("describe x").stdout.contains("forged"));
        home.write("go", "");
        assert_eq!(start.join().unwrap().code, 0);
    });
}

#[test]
fn readiness_sent_without_a_daemon_is_kept() {
    for (script, ready) in [("fixture", r#""notify""#), ("s6", r#"{"descriptor": 3}"#)] {
        let home = home();
        let s6 = home.write("s6.sh", GATE.replace("exec \"$@\"", "echo >&3; echo said; exec sleep 1000"));
        let (script, args) = if script == "s6" { (s6, "") } else { (fixture(), "notify wait:go READY=1 print:said") };
        let file = app(&home, &script, args, ready, PATIENT);
        thread::scope(|scope| {
            // The waiting client loses its daemon, so its output does not matter.
            scope.spawn(|| home.run(format!("start {file}")));
            home.daemon_pid();
            let before = home.wait_app("x", "launching", |item| item.status() == "launching" && item.pid() != 0).pid();
            let daemon = home.daemon_pid();
            // The keeper is stopped, so it cannot start another daemon yet.
            let keeper = home.keeper_pid();
            kill(keeper, Signal::STOP);
            kill(daemon, Signal::KILL);
            home.write("go", "");
            home.wait_log("x-out.log", "said");
            kill(keeper, Signal::CONT);
            let after = home.wait_status("x", "online");
            assert_eq!((after.pid(), after.restarts()), (before, 0));
        });
    }
}

#[test]
fn start_timeout_can_be_extended() {
    let home = home();
    let args = "notify EXTEND_TIMEOUT_USEC=100000000 wait:go READY=1";
    let file = app(&home, &fixture(), args, r#""notify""#, r#", "listen_timeout": 300, "autorestart": false"#);
    thread::scope(|scope| {
        let start = scope.spawn(|| home.run(format!("start {file}")));
        home.daemon_pid();
        home.wait_app("x", "older than its listen_timeout", |item| item.status() == "launching" && age_ms(item) > 500);
        home.write("go", "");
        assert_eq!(start.join().unwrap().code, 0);
    });
}

fn age_ms(item: &ostler_testkit::ListedApp) -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(now.as_millis()).unwrap().saturating_sub(item.env("pm_uptime").as_u64().unwrap())
}

#[test]
fn silent_app_is_restarted_by_watchdog() {
    let home = home();
    home.write("alive", "");
    let args = "notify READY=1 while:alive:WATCHDOG=1";
    let file = app(&home, &fixture(), args, r#""notify""#, r#", "watchdog": 400, "listen_timeout": "100s""#);
    home.ok(format!("start {file}"));
    let first = home.wait_app("x", "older than its watchdog", |item| item.status() == "online" && age_ms(item) > 900);
    assert_eq!(first.restarts(), 0);
    let environ = std::fs::read(format!("/proc/{}/environ", first.pid())).unwrap();
    let environ = String::from_utf8_lossy(&environ).into_owned();
    let has = |variable: String| environ.split('\0').any(|found| found == variable);
    assert!(has("WATCHDOG_USEC=400000".into()) && has(format!("WATCHDOG_PID={}", first.pid())), "{environ}");
    // The time without a daemon does not count as silence of the app.
    home.kill_daemon();
    home.wait_app("x", "itself", |item| item.pid() == first.pid());
    std::fs::remove_file(home.work().join("alive")).unwrap();
    home.wait_app("x", "another process", |item| item.restarts() > 0 && item.pid() != first.pid());
    home.ok("why x").says("watchdog");
    assert!(home.daemon_log().contains("no watchdog message for 400 ms"));
}

#[test]
fn app_can_trigger_its_watchdog() {
    let home = home();
    let file = app(&home, &fixture(), "notify READY=1 wait:go WATCHDOG=trigger", r#""notify""#, r#", "watchdog": "100s""#);
    home.ok(format!("start {file}"));
    let first = home.app("x").pid();
    home.write("go", "");
    home.wait_app("x", "another process", |item| item.pid() != first && item.restarts() > 0);
    home.ok("why x").says("watchdog");
}

#[test]
fn watchdog_does_not_restart_a_stopped_app() {
    let home = home();
    let file = app(&home, &fixture(), "notify READY=1", r#""notify""#, r#", "watchdog": 300"#);
    home.ok(format!("start {file}"));
    home.ok("stop x");
    home.wait_status("x", "stopped");
    let restarts = home.app("x").restarts();
    // Waits until the watchdog of another app, which is due later, has fired.
    let other = ecosystem(
        &home,
        &format!(r#""name": "y", "script": "{}", "args": "notify READY=1", "ready": "notify", "watchdog": 400"#, fixture()),
    );
    home.ok(format!("start {other}"));
    home.wait_app("y", "restarted", |item| item.restarts() > 0);
    assert_eq!((home.app("x").status(), home.app("x").restarts()), ("stopped", restarts));
}
