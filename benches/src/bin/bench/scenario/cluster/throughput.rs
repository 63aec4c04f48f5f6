//! Cost of one request. All clusters run all the time and take short turns, so that a busy moment
//! of the machine affects all.

use crate::cluster::{Cluster, ClusterRunner, Script};
use crate::lab::{Lab, TurnResult};
use crate::measure;
use crate::report::Row;
use anyhow::{Result, ensure};
use ostler_testkit::{Load, LoadSpec};
use std::thread;
use std::time::Duration;

const WORKERS: usize = 2;

/// Result of a turn.
#[derive(Clone, Copy)]
struct Cost {
    /// µs of manager and workers per request.
    cpu_us: f64,
    /// µs of the manager alone.
    manager_us: f64,
    /// µs of the clients.
    client_us: f64,
    per_second: f64,
}

pub(crate) fn measure(lab: &Lab) -> Result<Vec<Row>> {
    let time = Duration::from_millis(if lab.quick { 700 } else { 1200 });
    let mut all = Vec::new();
    let mut clusters: Vec<(ClusterRunner, Cluster)> = Vec::new();
    for (keep_alive, words, cpu_goal, speed_goal) in
        [(false, "`Connection: close`", "≤ 0.75, reuseport ≤ 0.55", "≥ 1.3, reuseport ≥ 1.7"), (true, "keep-alive", "≤ 1", "≥ 1")]
    {
        let rows = [
            Row::new(format!("{words}, {WORKERS} workers: CPU of manager and workers per request"), "µs", ""),
            Row::new("… × Node's cluster (median of the rounds' ratios)", "", cpu_goal),
            Row::new("… requests per second", "requests/s", ""),
            Row::new("… × PM2 (median of the rounds' ratios)", "", speed_goal),
            Row::new("… CPU of the manager per request", "µs", if keep_alive { "0" } else { "≤ 15" }),
            Row::new("… CPU of the clients per request", "µs", ""),
        ];
        let (mut node, mut pm2) = (f64::NAN, f64::NAN);
        all.extend(lab.cluster_rows(&ClusterRunner::ALL, lab.rounds(5, 2), rows, |cluster_runner| {
            if !clusters.iter().any(|(known, _)| *known == cluster_runner) {
                let cluster = Cluster::start(lab, cluster_runner, Script::Naive, WORKERS, &[])?;
                cluster.warm();
                clusters.push((cluster_runner, cluster));
            }
            let Some((_, cluster)) = clusters.iter().find(|(known, _)| *known == cluster_runner) else {
                return Ok(TurnResult::LeftOut("–"));
            };
            let cost = cost(cluster, keep_alive, time)?;
            // These two are the first of each round.
            match cluster_runner {
                ClusterRunner::Node => node = cost.cpu_us,
                ClusterRunner::Pm2 => pm2 = cost.per_second,
                _ => {}
            }
            let faster = if cluster_runner == ClusterRunner::Node { f64::NAN } else { cost.per_second / pm2 };
            Ok(TurnResult::Values([cost.cpu_us, cost.cpu_us / node, cost.per_second, faster, cost.manager_us, cost.client_us]))
        }));
    }
    Ok(all)
}

fn cost(cluster: &Cluster, keep_alive: bool, time: Duration) -> Result<Cost> {
    let (own, workers) = (cluster.manager_pids()?, cluster.workers()?);
    let before = (measure::cpu(&own), measure::cpu(&workers));
    let load = Load::start(LoadSpec { connections: 32, keep_alive, pause_us: 0, ..LoadSpec::to(cluster.port) });
    thread::sleep(time);
    let report = load.stop();
    let after = (measure::cpu(&own), measure::cpu(&workers));
    ensure!(report.failed == 0, "{} of {} requests failed: {:?}", report.failed, report.requests, report.errors);
    let requests = report.requests as f64;
    let us = |time: Duration| time.as_secs_f64() * 1e6 / requests;
    let manager_us = us(after.0.saturating_sub(before.0));
    Ok(Cost {
        cpu_us: manager_us + us(after.1.saturating_sub(before.1)),
        manager_us,
        client_us: report.cpu_ms * 1e3 / requests,
        per_second: requests / report.seconds,
    })
}
