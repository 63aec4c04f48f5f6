//! The multi-service example as a user would run it: six Node services, two of them in cluster
//! mode.

use std::process::Command;

use ostler_testkit::{Home, Load, fixture_path, free_ports, get, needs_program, sh};

use crate::setup::home;

/// Copies the example (with its log folder) and uses six free ports.
fn shop(home: &Home) -> (String, u16) {
    let copied = Command::new("cp").args(["-r", &fixture_path("../../examples/shop")]).arg(home.work()).status().unwrap();
    assert!(copied.success());
    let base = free_ports(6);
    (home.work().join("shop/ecosystem.config.js").to_string_lossy().into_owned(), base)
}

#[test]
fn six_services_start_answer_restart_and_outlive_the_daemon() {
    needs_program!("node");
    let home = home();
    let (file, base) = shop(&home);
    home.cmd(format!("start {file} --env production")).env("SHOP_PORT", base.to_string()).run().ok();
    let list = home.jlist();
    assert_eq!(list.len(), 10, "4 + 2 + 1 + 1 + 1 + 1 instances");
    assert!(list.iter().all(|item| item.status() == "online" && item.text("NODE_ENV") == "production"), "{}", home.report());
    for port in base..base + 6 {
        assert!(get(port, "/health").is_ok(), "port {port}: {:?}\n{}", get(port, "/health"), home.report());
    }
    // The daemon is killed while the gateway's four workers, which share their port through the
    // daemon, are under load.
    let pids: Vec<i32> = list.iter().map(ostler_testkit::ListedApp::pid).collect();
    let load = Load::mixed(base, 4);
    for _ in 0..4 {
        let good = load.good();
        home.kill_daemon();
        home.wait_until("requests are answered", || load.good() > good + 20);
    }
    // For some microseconds between `accept` and the worker, only the daemon holds a connection.
    load.stop().assert_at_most(1);
    assert_eq!(home.jlist().iter().map(ostler_testkit::ListedApp::pid).collect::<Vec<_>>(), pids);
    // One service dies and restarts; the others keep running.
    let billing = home.app("billing-service");
    ostler_testkit::kill(billing.pid(), rustix::process::Signal::KILL);
    home.wait_app("billing-service", "restarted", |item| item.pid() != billing.pid() && item.status() == "online");
    home.wait_until("it answers again", || get(base + 4, "/health").is_ok());
    let logs = home.work().join("shop");
    let dated = sh(&logs, "grep -rlE --include=*.log '^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8}: ' . || true");
    assert!(!dated.is_empty(), "no dated log line below {}", logs.display());
    // The file is a program: it is evaluated again, with the caller's variables.
    home.cmd(format!("restart {file} --only user-service --env production")).env("SHOP_PORT", base.to_string()).run().ok();
    home.wait_until("both answer", || get(base + 1, "/health").is_ok());
    home.ok(format!("delete {file}"));
    assert!(home.jlist().is_empty() && home.app_processes().is_empty(), "{}", home.report());
}
