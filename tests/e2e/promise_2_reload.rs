//! Promise 2: a reload under load fails no request, on keep-alive and on new connections, whether
//! the app has its own shutdown code or not.

use ostler_testkit::{Load, LoadSpec, fixture_app, free_port, nodes};

use crate::setup::home;

/// Parameters of a series of reloads.
struct Series<'a> {
    app: &'a str,
    options: &'a str,
    node: &'a str,
    workers: usize,
    delay_ms: u32,
    reloads: usize,
}

impl Series<'_> {
    fn run(&self) {
        let Self { app, options, node, workers, delay_ms, reloads } = *self;
        let home = home();
        let port = free_port();
        home.cmd(format!("start {} --name app -i {workers} --interpreter {node} {options}", fixture_app(app)))
            .env("PORT", port.to_string())
            .env("DELAY_MS", delay_ms.to_string())
            .run()
            .ok();
        home.wait_until("all serve", || (0..workers).all(|id| home.log(&format!("app-out-{id}.log")).contains("listening")));
        for keep_alive in [false, true] {
            let before = home.pids();
            let load = Load::start(LoadSpec { keep_alive, connections: 16, ..LoadSpec::to(port) });
            for _ in 0..reloads {
                home.ok("reload app");
            }
            let report = load.stop();
            assert!(report.failed == 0, "{app} on {node}, {workers} workers, keep-alive {keep_alive}: {report:#?}");
            report.assert_whole();
            assert!(home.pids().iter().all(|pid| !before.contains(pid)));
            assert!(report.by_body.len() >= workers * (reloads + 1) / 2, "the load met too few processes: {:?}", report.by_body);
        }
        assert_eq!(home.app_processes().len(), workers, "{}", home.report());
    }
}

const NAIVE: Series<'_> =
    Series { app: "cluster-naive.js", options: "--kill-timeout 10000", node: "node", workers: 2, delay_ms: 0, reloads: 3 };
const GRACEFUL: Series<'_> = Series { app: "cluster-graceful.js", options: "--wait-ready --kill-timeout 10000", ..NAIVE };

#[test]
fn naive_app_reloads_without_failed_requests() {
    NAIVE.run();
}

#[test]
fn app_with_graceful_shutdown_reloads_without_failures() {
    GRACEFUL.run();
}

#[test]
fn four_workers_reload_without_failed_requests() {
    Series { workers: 4, reloads: 2, ..NAIVE }.run();
    Series { workers: 4, reloads: 1, ..GRACEFUL }.run();
}

#[test]
fn slow_responses_survive_a_reload() {
    Series { delay_ms: 30, ..NAIVE }.run();
    Series { delay_ms: 30, reloads: 1, ..GRACEFUL }.run();
}

#[test]
fn every_node_version_reloads_without_failed_requests() {
    for node in nodes() {
        let path = node.path.to_string_lossy();
        Series { node: &path, reloads: 1, ..NAIVE }.run();
        Series { node: &path, reloads: 1, delay_ms: 30, ..GRACEFUL }.run();
    }
}
