//! A kernel (or sandbox) that does not allow ostler to steer connections: ports are shared in
//! simpler ways.

use ostler_testkit::{Home, Load, LoadSpec, fixture, fixture_app, fixture_path, free_port, needs_program};

use crate::setup::{home, wait_all_answer};

/// Starts the apps of this file with a daemon that may not steer.
#[track_caller]
fn start(home: &Home, members: &str) {
    let file = home.write("api.json", format!(r#"{{"apps": [{{"name": "api", "instances": 2, {members}}}]}}"#));
    let wrapper = format!("exec python3 '{}' \"$0\" \"$@\"", fixture_path("unsteered.py"));
    home.cmd(format!("start {file}")).after(&wrapper).run().ok();
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
    wait_all_answer(&home, "both processes", port, &home.pid_set());
    assert_eq!(refusals(&home), 1);
    let load = Load::start(LoadSpec::to(port));
    let before = home.pid_set();
    home.ok("reload api");
    assert!(before.is_disjoint(&home.pid_set()));
    wait_all_answer(&home, "both processes", port, &home.pid_set());
    home.kill_daemon();
    wait_all_answer(&home, "both processes", port, &home.pid_set());
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
    wait_all_answer(&home, "both processes", port, &home.pid_set());
    assert_eq!(refusals(&home), 1);
    home.ok("reload api");
    wait_all_answer(&home, "both processes", port, &home.pid_set());
}
