//! Cost of metrics for a Node server: the same server in two homes; in one of them, the dashboard
//! collects metrics.

use super::dashboard::Dashboard;
use crate::cluster::{Cluster, ClusterRunner, Script};
use crate::contender::ManagerKind;
use crate::lab::{Lab, Subject, TurnResult};
use crate::measure;
use crate::report::{Row, median};
use crate::scenario::ms;
use anyhow::{Context, Result, ensure};
use ostler_testkit::{Load, LoadSpec};
use std::thread;
use std::time::Duration;

/// Pairs of fresh servers. Two processes of the same program differ by 2 or 3 % for their lifetime,
/// because of V8's optimizations. One server that collects by turns does not help: V8 recompiles
/// after each change, which a real server does not do every few seconds.
const PAIRS: usize = 10;
/// Turns of each server of a pair, one after the other.
const TURNS: usize = 10;

pub(crate) fn measure(lab: &Lab) -> Result<Vec<Row>> {
    let pairs = if lab.quick { 2 } else { PAIRS };
    let rows = [
        Row::new(
            format!("Node throughput, figures collected ÷ not: mean of {pairs} pairs of servers, each of {TURNS} turns"),
            "",
            "≥ 0.99",
        ),
        Row::new("… CPU of the server for a request", "", ""),
        Row::new("… requests per second while collected", "requests/s", ""),
    ];
    Ok(lab.rows(1, rows, |subject| {
        if subject != Subject::Manager(ManagerKind::Ostler) {
            return Ok(TurnResult::LeftOut("–"));
        }
        let measured = (0..pairs).map(|pair| pair_of_servers(lab, pair % 2 == 0)).collect::<Result<Vec<_>>>()?;
        Ok(TurnResult::Values([0, 1, 2].map(|figure| measured.iter().map(|pair| pair[figure]).sum::<f64>() / measured.len() as f64)))
    }))
}

/// Measures two fresh servers; the dashboard collects from the first or the second. Returns the
/// medians of the ratios of throughput and of CPU per request, and of requests per second.
fn pair_of_servers(lab: &Lab, is_first: bool) -> Result<[f64; 3]> {
    let start = || Cluster::start(lab, ClusterRunner::Reuseport, Script::Naive, 1, &[]);
    let (one, two) = (start()?, start()?);
    let (measured, other) = if is_first { (one, two) } else { (two, one) };
    let dashboard = Dashboard::on(measured.manager().context("a manager runs it")?)?;
    let has_begun = measure::wait(Duration::from_secs(60), || {
        dashboard.get("/metrics").is_ok_and(|text| text.contains("ostler_node_measured_seconds{"))
    });
    ensure!(has_begun, "nothing is collected");
    for cluster in [&measured, &other] {
        for _ in 0..3 {
            cluster.warm();
        }
    }
    // Warm-up for effects that only such a load causes: the garbage collector's adaptation and V8's
    // compilation.
    turn(lab, &measured)?;
    turn(lab, &other)?;
    let mut samples = [Vec::new(), Vec::new(), Vec::new()];
    for number in 0..TURNS {
        // The two servers start in turns.
        let (with, without) = if number % 2 == 0 {
            let with = turn(lab, &measured)?;
            (with, turn(lab, &other)?)
        } else {
            let without = turn(lab, &other)?;
            (turn(lab, &measured)?, without)
        };
        for (list, value) in samples.iter_mut().zip([with[0] / without[0], with[1] / without[1], with[0]]) {
            list.push(value);
        }
    }
    Ok(samples.map(|list| median(&list).unwrap_or(f64::NAN)))
}

/// Returns requests per second, and the server's CPU time per request in microseconds.
fn turn(lab: &Lab, cluster: &Cluster) -> Result<[f64; 2]> {
    let workers = cluster.workers()?;
    let before = measure::cpu(&workers);
    let load = Load::start(LoadSpec { connections: 32, keep_alive: true, pause_us: 0, ..LoadSpec::to(cluster.port) });
    thread::sleep(Duration::from_millis(if lab.quick { 800 } else { 2000 }));
    let report = load.stop();
    let cpu = measure::cpu(&workers).saturating_sub(before);
    ensure!(report.failed == 0, "{} of {} requests failed", report.failed, report.requests);
    let requests = report.requests as f64;
    Ok([requests / report.seconds, ms(cpu) * 1000.0 / requests])
}
