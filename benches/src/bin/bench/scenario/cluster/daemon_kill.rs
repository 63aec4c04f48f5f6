//! SIGKILL of the manager of the workers, under load.

use crate::cluster::{Clients, Cluster, ClusterRunner, Script, kill};
use crate::lab::{Lab, TurnResult};
use crate::report::Row;
use anyhow::Result;
use rustix::process::Signal;
use std::thread;
use std::time::Duration;

const WORKERS: usize = 2;

pub(crate) fn measure(lab: &Lab) -> Result<Vec<Row>> {
    let rows = [
        Row::new("SIGKILL of the manager of a cluster: failed requests within 2 s, `Connection: close`", "", "0 (1 in round robin)"),
        Row::new("… failed requests, keep-alive", "", "0"),
        Row::new("… longest time without an answer", "ms", "< 150"),
        Row::new(format!("… workers with the same pid, of {WORKERS}"), "", "2"),
    ];
    Ok(lab.cluster_rows(&ClusterRunner::CLUSTERS, lab.rounds(3, 1), rows, |cluster_runner| {
        let cluster = Cluster::start(lab, cluster_runner, Script::Naive, WORKERS, &[])?;
        cluster.warm();
        let old = cluster.workers()?;
        let clients = Clients::start(cluster.port);
        thread::sleep(Duration::from_millis(300));
        kill(cluster.daemon()?, Signal::KILL)?;
        thread::sleep(Duration::from_secs(2));
        let [close, keep, gap] = clients.stop();
        let same = cluster.workers()?.into_iter().filter(|pid| old.contains(pid)).count();
        Ok(TurnResult::Values([close, keep, gap, same as f64]))
    }))
}
