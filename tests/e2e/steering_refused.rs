//! A kernel (or sandbox) that does not allow ostler to steer connections: ports are shared in
//! simpler ways.

use std::collections::BTreeSet;

use ostler_testkit::{Home, Load, LoadSpec, fixture, fixture_app, fixture_path, free_port, get, needs_program};

use crate::promise_1_daemon_killed::kill_daemon;
use crate::setup::home;

/// Starts the apps of this file with a daemon that may not steer.
#[track_caller]
fn start(home: &Home, members: &str) {
    let file = home.write("api.json", format!(r#"{{"apps": [{{"name": "api", "instances": 2, {members}}}]}}"#));
    let wrapper = format!("exec python3 '{}' \"$0\" \"$@\"", fixture_path("unsteered.py"));
    home.cmd(format!("start {file}")).after(&wrapper).run().ok();
}

/// Waits until each process has answered. Each response starts with the pid.
#[track_caller]
fn all_answer(home: &Home, port: u16) {
    let pids = home.pid_set();
    assert_eq!(pids.len(), 2);
    let mut seen = BTreeSet::new();
    home.wait_until("each process answers", || {
        let body = get(port, "/").unwrap_or_default();
        seen.extend(body.split(' ').next().and_then(|pid| pid.parse::<i32>().ok()).filter(|pid| pids.contains(pid)));
        seen == pids
    });
}

fn refusals(home: &Home) -> usize {
    let is_refused = |line: &&str| line.contains("cannot steer") && line.contains("(Operation not permitted");
    home.daemon_log().lines().filter(is_refused).count()
}

#[test]
fn app_sockets_fall_back_to_one_shared_socket() {
    needs_program!("python3");
    let home = home();
    let port = free_port();
    start(&home, &format!(r#""script": "{}", "args": "activated blocking", "ready": {{"log": "is 3"}}, "listen": {port}"#, fixture()));
    all_answer(&home, port);
    assert_eq!(refusals(&home), 1);
    let load = Load::start(LoadSpec::to(port));
    let before = home.pid_set();
    home.ok("reload api");
    assert!(before.is_disjoint(&home.pid_set()));
    all_answer(&home, port);
    kill_daemon(&home);
    all_answer(&home, port);
    // This server has no shutdown code and shares one queue: its current response is cut off. No
    // connection is refused.
    let report = load.stop();
    assert!(report.errors.iter().all(|error| !error.contains("while connecting")), "{report:?}");
}

#[test]
fn kernel_spreads_connections_over_cluster_workers() {
    needs_program!("python3");
    needs_program!("node");
    let home = home();
    let port = free_port();
    start(
        &home,
        &format!(
            r#""script": "{}", "exec_mode": "cluster", "scheduling": "reuseport", "env": {{"PORT": {port}}}"#,
            fixture_app("cluster.js")
        ),
    );
    all_answer(&home, port);
    assert_eq!(refusals(&home), 1);
    home.ok("reload api");
    all_answer(&home, port);
}
