//! Even distribution of idle keep-alive connections.

use crate::cluster::{Cluster, ClusterRunner, Script};
use crate::lab::{Lab, TurnResult};
use crate::measure;
use crate::report::Row;
use anyhow::{Result, ensure};
use ostler_testkit::{Load, LoadSpec};
use std::time::Duration;

const WORKERS: usize = 4;

pub(crate) fn measure(lab: &Lab) -> Result<Vec<Row>> {
    let words = |n: usize| format!("{n} connections over {WORKERS} workers: most minus fewest");
    let rows = [4, 16, 64].map(|count| Row::new(words(count), "", "≤ 1"));
    let mut clusters: Vec<(ClusterRunner, Cluster)> = Vec::new();
    Ok(lab.cluster_rows(&ClusterRunner::CLUSTERS, lab.rounds(7, 2), rows, |cluster_runner| {
        if !clusters.iter().any(|(known, _)| *known == cluster_runner) {
            let cluster = Cluster::start(lab, cluster_runner, Script::Naive, WORKERS, &[])?;
            cluster.warm();
            clusters.push((cluster_runner, cluster));
        }
        let Some((_, cluster)) = clusters.iter().find(|(known, _)| *known == cluster_runner) else { return Ok(TurnResult::LeftOut("–")) };
        Ok(TurnResult::Values([spread(cluster, 4)?, spread(cluster, 16)?, spread(cluster, 64)?]))
    }))
}

/// Opens all connections at the same time; each sends one request and stays open.
fn spread(cluster: &Cluster, connections: usize) -> Result<f64> {
    let load = Load::start(LoadSpec { connections, keep_alive: true, pause_us: 60_000_000, ..LoadSpec::to(cluster.port) });
    let all = measure::wait(Duration::from_secs(20), || load.good() + load.failed() >= connections as u64);
    let report = load.stop();
    ensure!(all && report.failed == 0, "{} of {connections} answered: {:?}", report.good(), report.errors);
    let counts = || cluster.workers().map(|pids| pids.into_iter().map(|pid| report.by_body.get(&pid.to_string()).copied().unwrap_or(0)));
    Ok((counts()?.max().unwrap_or(0) - counts()?.min().unwrap_or(0)) as f64)
}
