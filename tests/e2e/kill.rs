//! `kill`: the end of everything.

use ostler_testkit::{Home, kill};
use rustix::process::Signal;

use crate::setup::{home, start_fixture};

fn nothing_is_left(home: &Home) {
    home.wait_no_processes();
    for file in ["pm2.pid", "ostler.sock", "rpc.sock", "pub.sock"] {
        assert!(!home.dir().join(file).exists(), "{file} is left");
    }
}

#[test]
fn kill_leaves_no_process() {
    let home = home();
    start_fixture(&home, "one", "", "family 1 2");
    start_fixture(&home, "two", "-f", "hold");
    home.ok("kill");
    nothing_is_left(&home);
}

#[test]
fn kill_returns_only_after_all_processes_exited() {
    let home = home();
    for _ in 0..5 {
        start_fixture(&home, "app", "", "hold");
        home.ok("kill");
        assert!(home.processes().is_empty(), "{:?}", home.processes());
    }
}

#[test]
fn kill_without_a_daemon_does_nothing() {
    let home = home();
    home.run("kill");
    assert!(home.processes().is_empty());
}

#[test]
fn sigterm_to_keeper_stops_all_and_saves_the_list() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    kill(home.keeper_pid(), Signal::TERM);
    nothing_is_left(&home);
    let dump = std::fs::read_to_string(home.dir().join("dump.pm2")).unwrap();
    assert!(dump.contains("\"app\""), "{dump}");
}
