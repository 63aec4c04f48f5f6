//! `update`: a new binary, the same apps.

use std::io::{Read, Write};

use ostler_testkit::{Home, Load, Subject, fixture_app, free_port, get};
use serde_json::json;

use crate::setup::{binary, home, start_fixture};

/// Copies the binary, as a package upgrade would.
fn copy_of_binary(home: &Home) -> std::path::PathBuf {
    let copy = home.root().join("bin/ostler-next");
    std::fs::copy(binary(), &copy).unwrap();
    copy
}

#[test]
fn update_restarts_no_app_and_refuses_no_connection() {
    let home = home();
    let port = free_port();
    start_fixture(&home, "web", "", &format!("http {port}"));
    start_fixture(&home, "lines", "-f", "count 20000 10");
    home.wait_until("the server answers", || get(port, "/").is_ok());
    let (before, keeper, daemon) = (home.jlist(), home.keeper_pid(), home.daemon_pid());
    let load = Load::mixed(port, 4);
    let next = copy_of_binary(&home);
    let mut newer = Home::new(Subject::Ostler(next.clone()));
    newer.set_dir(home.dir());
    // The marker must be the first home's, so that the test finds its processes.
    newer.cmd("update").env(ostler_testkit::MARKER, home.root()).run().ok();
    home.wait_until("another daemon runs", || home.daemons().first().is_some_and(|pid| *pid != daemon));
    assert_eq!(home.keeper_pid(), keeper, "the keeper has to keep its pid");
    for pid in [home.daemon_pid(), keeper] {
        assert_eq!(std::fs::read_link(format!("/proc/{pid}/exe")).unwrap(), next);
    }
    home.wait_log("lines-out.log", "end\n");
    let report = load.stop();
    report.assert_whole();
    let after = home.jlist();
    for (before, after) in before.iter().zip(&after) {
        assert_eq!((after.pid(), after.restarts(), after.id()), (before.pid(), 0, before.id()));
    }
    let numbers: Vec<u32> = home.log("lines-out.log").lines().filter_map(|line| line.parse().ok()).collect();
    assert_eq!(numbers, (1..=20000).collect::<Vec<_>>());
    home.ok("restart web");
    home.ok("delete all");
    assert!(home.app_processes().is_empty());
}

#[test]
fn repeated_updates_keep_the_app() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let pid = home.app("app").pid();
    for _ in 0..4 {
        home.ok("update");
        let item = home.app("app");
        assert_eq!((item.pid(), item.restarts(), item.status()), (pid, 0, "online"));
    }
}

#[test]
fn a_crash_after_an_update_is_still_noticed() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    home.ok("update");
    let pid = home.app("app").pid();
    ostler_testkit::kill(pid, rustix::process::Signal::ABORT);
    let item = home.wait_app("app", "restarted", |item| item.pid() != pid && item.status() == "online");
    assert_eq!(item.restarts(), 1);
    home.ok("why app").says("SIGABRT");
}

/// A client of a later version may send an update request, whatever else has changed between the
/// versions.
#[test]
fn client_of_another_protocol_can_only_update() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let (pid, daemon) = (home.app("app").pid(), home.daemon_pid());
    let talk = |request: serde_json::Value| {
        let mut stream = std::os::unix::net::UnixStream::connect(home.dir().join("ostler.sock")).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        for (id, request) in [(0, json!({"hello": {"protocol": 9999, "version": "99.0.0"}})), (1, request)] {
            let body = json!({"id": id, "request": request}).to_string();
            stream.write_all(&u32::try_from(body.len()).unwrap().to_le_bytes()).unwrap();
            stream.write_all(body.as_bytes()).unwrap();
        }
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    };
    for request in [json!("list"), json!("kill"), json!({"of_the_future": {"x": 1}})] {
        let answer = talk(request.clone());
        assert!(answer.contains("hello") && !answer.contains("\"id\":1"), "{request}: {answer}");
    }
    assert!(talk(json!("ping")).contains("pong"));
    assert_eq!((home.daemon_pid(), home.app("app").pid()), (daemon, pid));
    let next = copy_of_binary(&home);
    talk(json!({"update": {"exe": next}}));
    home.wait_until("the new daemon runs", || home.daemons().first().is_some_and(|pid| *pid != daemon));
    home.wait_until("it is of the new binary", || {
        std::fs::read_link(format!("/proc/{}/exe", home.daemon_pid())).is_ok_and(|exe| exe == next)
    });
    assert_eq!((home.app("app").pid(), home.app("app").restarts()), (pid, 0));
}

/// The first daemon determined Node's version at the app's start. The next daemon did not start the
/// app, but still knows it.
#[test]
fn update_keeps_the_node_version() {
    let home = home();
    home.ok(format!("start {} --name known", fixture_app("hold.js")));
    let has_version = |item: &ostler_testkit::ListedApp| !item.text("node_version").is_empty();
    let version = home.wait_app("known", "the version of Node", has_version).text("node_version").to_owned();
    // The daemon exits before it has determined this app's version.
    home.ok(format!("start {} -f --name unseen", fixture_app("hold.js")));
    home.ok("update");
    for name in ["known", "unseen"] {
        assert_eq!(home.wait_app(name, "the version of Node after an update", has_version).text("node_version"), version, "{name}");
    }
    home.kill_both();
    home.ok("start sleep --name other -- 1000");
    assert_eq!(home.wait_app("unseen", "the version of Node after both were killed", has_version).text("node_version"), version);
}
