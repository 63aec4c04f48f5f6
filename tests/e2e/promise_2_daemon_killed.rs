//! Promises 1 and 2 together: the daemon is killed at any instant of a reload under load.

use std::process::Stdio;
use std::time::Duration;

use ostler_testkit::{Home, Load, LoadSpec, fixture_app, free_port};
use serde_json::Value;

use crate::setup::{SeededRandom, home};

/// Reloads in which the daemon is killed once or twice.
const ROUNDS: u64 = 12;

#[test]
fn next_daemon_continues_the_reload() {
    let seed = std::env::var("OSTLER_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0x2b5a_11d7);
    let mut dice = SeededRandom(seed);
    let home = home();
    let port = free_port();
    home.cmd(format!("start {} --name app -i 2 --kill-timeout 10000", fixture_app("cluster-naive.js")))
        .env("PORT", port.to_string())
        .run()
        .ok();
    home.wait_until("all serve", || (0..2).all(|id| home.log(&format!("app-out-{id}.log")).contains("listening")));
    let load = Load::start_all([LoadSpec::to(port), LoadSpec { keep_alive: true, ..LoadSpec::to(port) }]);
    for round in 0..ROUNDS {
        let before = home.pids();
        let mut reload = home.cmd("reload app").command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        for _ in 0..=dice.below(2) {
            // A random instant of the reload: no event marks it.
            std::thread::sleep(Duration::from_micros(dice.below(400_000)));
            home.kill_daemon();
        }
        drop(reload.wait());
        // The daemon may have been killed before it received the reload command.
        if newest(&home)["state"] != "done" || home.pids() == before {
            home.wait_until(&format!("round {round} of seed {seed} is over"), || {
                newest(&home)["ended_ms"].is_u64() || newest(&home).is_null()
            });
        }
        if home.pids() == before {
            home.ok("reload app");
        }
        home.wait_until("nothing else is left", || home.app_processes().len() == 2);
        assert!(home.pids().iter().all(|pid| !before.contains(pid)), "round {round} of seed {seed}: {}", home.report());
    }
    let report = load.stop();
    // A dying daemon loses at most the connection that it was handing over.
    assert!(report.failed <= ROUNDS * 2, "seed {seed}: {report:#?}");
    assert!(report.good() > 100, "{report:#?}");
}

/// Returns the newest reload of the app; null if the app was never reloaded.
fn newest(home: &Home) -> Value {
    let told = home.run("rollout status app --json");
    serde_json::from_str::<Value>(&told.stdout).ok().and_then(|list| list.get(0).cloned()).unwrap_or_default()
}
