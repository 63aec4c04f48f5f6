//! Several apps at one port.

use std::collections::BTreeMap;

use ostler_testkit::{Home, Load, free_port, get, needs_program, needs_root};

use super::{lost_with_daemons, spread};
use crate::setup::home;

/// Answers with its color; on SIGTERM or SIGINT it finishes its requests.
const COLORED: &str = r#"
const http = require('http');
const server = http.createServer((request, response) => { response.setHeader('Connection', 'close'); response.end(process.env.COLOR); });
server.listen(Number(process.env.PORT), () => console.log('listens'));
process.on('SIGINT', () => server.close(() => process.exit()));
"#;

/// Starts an app of this color with two workers at this port.
fn start_colored(home: &Home, color: &str, port: u16, more: &str) {
    let script = home.write("colored.js", COLORED);
    let file = home.write(
        &format!("{color}.json"),
        format!(
            r#"{{"apps": [{{"name": "{color}", "script": "{script}", "instances": 2, "exec_mode": "cluster",
            "env": {{"PORT": {port}, "COLOR": "{color}"}}{more}}}]}}"#
        ),
    );
    home.ok(format!("start {file}"));
}

fn colors(port: u16) -> BTreeMap<String, usize> {
    spread((0..40).map(|_| get(port, "/").unwrap()))
}

/// Waits until exactly these colors serve.
#[track_caller]
fn wait_colors(home: &Home, port: u16, expected: &[&str]) {
    home.wait_until(&format!("{expected:?} serve"), || {
        get(port, "/").is_ok() && colors(port).keys().map(String::as_str).eq(expected.iter().copied())
    });
}

#[test]
fn two_apps_share_a_port_and_either_can_be_deleted() {
    needs_program!("node");
    let home = home();
    let port = free_port();
    start_colored(&home, "blue", port, "");
    start_colored(&home, "green", port, "");
    let listens = |color: &str| (0..4).map(|id| home.log(&format!("{color}-out-{id}.log")).matches("listens").count()).sum::<usize>();
    home.wait_until("all listen", || listens("blue") + listens("green") == 4);
    let seen = colors(port);
    assert!(seen["blue"] == 20 && seen["green"] == 20, "{seen:?}");
    // The next daemon also spreads connections over both apps.
    home.kill_daemon();
    let seen = colors(port);
    assert!(seen["blue"] > 10 && seen["green"] > 10, "{seen:?}");
    // The app that opened the listener is deleted: no request fails, not even with another daemon.
    let load = Load::mixed(port, 4);
    home.wait_requests(&load, 100);
    home.ok("delete blue");
    home.kill_daemon();
    home.wait_requests(&load, 100);
    load.stop().assert_at_most(lost_with_daemons("round_robin"));
    assert_eq!(colors(port).keys().collect::<Vec<_>>(), ["green"]);
    // The app is started again, and the other is deleted.
    start_colored(&home, "blue", port, "");
    wait_colors(&home, port, &["blue", "green"]);
    home.ok("delete green");
    assert_eq!(colors(port).keys().collect::<Vec<_>>(), ["blue"]);
    home.ok("delete blue");
    assert!(std::net::TcpListener::bind(("0.0.0.0", port)).is_ok(), "the port is closed with the last of them");
}

#[test]
fn apps_with_other_scheduling_share_a_port() {
    needs_program!("node");
    for scheduling in ["reuseport", "shared"] {
        let home = home();
        let port = free_port();
        start_colored(&home, "blue", port, "");
        start_colored(&home, "green", port, &format!(r#", "scheduling": "{scheduling}""#));
        wait_colors(&home, port, &["blue", "green"]);
        home.ok("delete blue");
        wait_colors(&home, port, &["green"]);
        assert_eq!(home.jlist().iter().map(|app| app.restarts()).sum::<u64>(), 0);
    }
}

#[test]
fn apps_of_different_users_do_not_share_a_port() {
    needs_root!();
    needs_program!("node");
    let home = home();
    let port = free_port();
    start_colored(&home, "blue", port, "");
    home.wait_until("it serves", || get(port, "/").is_ok());
    let more = r#", "uid": "nobody", "autorestart": false"#;
    let script = home.write("colored.js", COLORED);
    let file = home.write(
        "green.json",
        format!(r#"{{"apps": [{{"name": "green", "script": "{script}", "exec_mode": "cluster", "env": {{"PORT": {port}, "COLOR": "green"}}{more}}}]}}"#),
    );
    home.run(format!("start {file}"));
    home.wait_until("it finds the address in use", || {
        let log = home.log("green-error.log") + &home.log("green-error-2.log");
        log.contains("EADDRINUSE")
    });
    assert_eq!(colors(port).keys().collect::<Vec<_>>(), ["blue"]);
}
