//! Cluster mode: unmodified Node apps share their ports, and each connection is served when workers
//! or the daemon die.

mod connections;
mod ports;
mod scheduling;
mod shared_port;
mod sticky;

use std::collections::BTreeMap;
use std::net::TcpStream;

use ostler_testkit::{Home, Load, fixture_app, read_line};

use crate::setup::ecosystem;

/// Starts `cluster.js` with these variables and waits until each worker has reported this many
/// times that it listens.
#[track_caller]
fn start_cluster(home: &Home, workers: usize, env: &[(&str, &str)]) {
    let mut start = home.cmd(format!("start {} --name c -i {workers}", fixture_app("cluster.js")));
    for (name, value) in env {
        start = start.env(name, value);
    }
    start.run().ok();
    let servers = env.iter().filter(|(name, _)| ["PORT", "TCP", "UNIX", "UDP"].contains(name)).count();
    home.wait_until("all workers listen", || lines_with(home, " on ") >= workers * servers);
}

/// Starts `cluster.js` from a file with these additional members.
#[track_caller]
fn start_with(home: &Home, workers: usize, members: &str, env: &str, servers: usize) {
    let file = ecosystem(
        home,
        &format!(
            r#""name": "c", "script": "{}", "instances": {workers}, "exec_mode": "cluster", "env": {{{env}}}, {members}"#,
            fixture_app("cluster.js")
        ),
    );
    home.ok(format!("start {file}"));
    home.wait_until("all workers listen", || lines_with(home, " on ") >= workers * servers);
}

/// Counts the workers' lines with this text.
fn lines_with(home: &Home, text: &str) -> usize {
    (0..20).map(|id| home.log(&format!("c-out-{id}.log")).lines().filter(|line| line.contains(text)).count()).sum()
}

/// Connects and reads the pid of the worker that answers; the connection stays open.
#[track_caller]
fn connect(port: u16) -> (TcpStream, String) {
    let mut stream = ostler_testkit::connect(port);
    let pid = read_line(&mut stream);
    (stream, pid)
}

#[track_caller]
fn spread(pids: impl IntoIterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    pids.into_iter().for_each(|pid| *counts.entry(pid).or_default() += 1);
    counts
}

/// Runs an action under load. This many requests may fail.
#[track_caller]
fn with_load(home: &Home, port: u16, failed: u64, mut what: impl FnMut()) {
    let load = Load::mixed(port, 4);
    home.wait_requests(&load, 100);
    what();
    home.wait_requests(&load, 100);
    load.stop().assert_at_most(failed);
}

/// Returns how many requests may fail when daemons are killed. In round robin, for some
/// microseconds between `accept` and the worker, only the daemon holds a connection
/// (docs/cluster.md). Of ten kills hardly one hits that time.
fn lost_with_daemons(scheduling: &str) -> u64 {
    u64::from(scheduling == "round_robin")
}
