//! SIGKILL of one worker after the other under load. The requests in progress on that worker are
//! lost; others are not.

use crate::cluster::{Clients, Cluster, ClusterRunner, Script, kill};
use crate::lab::{Lab, TurnResult};
use crate::measure;
use crate::report::Row;
use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use std::thread;
use std::time::Duration;

const WORKERS: usize = 2;

pub(crate) fn measure(lab: &Lab) -> Result<Vec<Row>> {
    let crashes = lab.rounds(5, 2);
    let rows = [
        Row::new(format!("{crashes} workers killed, 8 clients: failed requests, `Connection: close`"), "", ""),
        Row::new("… failed requests, keep-alive", "", ""),
        Row::new("… longest time without an answer", "ms", ""),
    ];
    Ok(lab.cluster_rows(&ClusterRunner::CLUSTERS, 1, rows, |cluster_runner| {
        let cluster = Cluster::start(lab, cluster_runner, Script::Naive, WORKERS, &[])?;
        cluster.warm();
        let clients = Clients::start(cluster.port);
        for _ in 0..crashes {
            thread::sleep(Duration::from_millis(200));
            let worker = *cluster.workers()?.first().context("no worker")?;
            kill(worker, Signal::KILL)?;
            let back = || cluster.workers().is_ok_and(|pids| pids.len() == WORKERS && !pids.contains(&worker));
            ensure!(measure::wait(Duration::from_secs(20), back), "no other worker comes");
        }
        let good = clients.good();
        ensure!(measure::wait(Duration::from_secs(20), || clients.good() > good + 100), "nothing is answered any more");
        Ok(TurnResult::Values(clients.stop()))
    }))
}
