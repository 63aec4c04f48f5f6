//! Each way to schedule connections (`scheduling`) survives the death of workers, daemon and keeper.

use std::net::TcpStream;
use std::time::Duration;

use ostler_testkit::{free_port, get, kill, needs_program, read_line};
use rustix::process::Signal;

use super::{connect, lines_with, lost_with_daemons, spread, start_with, with_load};
use crate::setup::home;

#[test]
fn every_scheduling_survives_killed_daemon_and_worker() {
    needs_program!("node");
    for scheduling in ["round_robin", "reuseport", "shared"] {
        let home = home();
        let port = free_port();
        start_with(&home, 3, &format!(r#""scheduling": "{scheduling}""#), &format!(r#""PORT": {port}"#), 1);
        let before = home.pid_texts();
        with_load(&home, port, lost_with_daemons(scheduling), || (0..5).for_each(|_| home.kill_daemon()));
        assert_eq!(home.pid_texts(), before, "{scheduling}");
        let mut seen = std::collections::BTreeSet::new();
        home.wait_until("each worker answers", || {
            seen.insert(get(port, "/").unwrap());
            seen.len() == 3
        });
        // The other workers serve connections that wait in the dead worker's queue, and new ones.
        // The dead worker's own requests would be lost, but it has none.
        kill(home.jlist()[1].pid(), Signal::KILL);
        for _ in 0..50 {
            get(port, "/").unwrap_or_else(|error| panic!("{scheduling}: {error}"));
        }
    }
}

#[test]
fn every_scheduling_survives_update_and_killed_keeper() {
    needs_program!("node");
    for scheduling in ["round_robin", "reuseport", "shared"] {
        let home = home();
        let port = free_port();
        start_with(&home, 2, &format!(r#""scheduling": "{scheduling}""#), &format!(r#""PORT": {port}"#), 1);
        let before = home.pid_texts();
        with_load(&home, port, 0, || {
            home.ok("update");
        });
        with_load(&home, port, lost_with_daemons(scheduling), || {
            let keeper = home.keeper_pid();
            kill(keeper, Signal::KILL);
            home.wait_until("another keeper runs", || home.keeper_pid() != keeper);
            home.kill_daemon();
        });
        assert_eq!(home.pid_texts(), before, "{scheduling}");
    }
}

#[test]
fn queue_of_stopped_worker_loses_no_connection() {
    needs_program!("node");
    let home = home();
    let port = free_port();
    start_with(&home, 3, r#""scheduling": "reuseport""#, &format!(r#""TCP": {port}"#), 1);
    let victim = home.jlist()[1].pid();
    kill(victim, Signal::STOP);
    // About a third of the connections wait in its queue.
    let mut streams: Vec<TcpStream> = (0..60).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    kill(victim, Signal::KILL);
    for stream in &mut streams {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        assert!(!read_line(stream).is_empty());
    }
    home.wait_until("it is back", || lines_with(&home, " on ") >= 4);
    home.ok("scale c 2");
    // The daemon is stopped, because it would pass on connections of the third queue.
    let daemon = home.daemon_pid();
    kill(daemon, Signal::STOP);
    let counts = spread((0..60).map(|_| connect(port).1));
    kill(daemon, Signal::CONT);
    assert_eq!(counts.len(), 2, "{counts:?}");
    home.ok("scale c 4");
    home.wait_until("they listen", || lines_with(&home, " on ") >= 6);
    let counts = spread((0..100).map(|_| connect(port).1));
    assert_eq!(counts.len(), 4, "{counts:?}");
}
