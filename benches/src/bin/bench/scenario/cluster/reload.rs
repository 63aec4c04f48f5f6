//! Three reloads while clients send requests without a pause.

use crate::cluster::{Clients, Cluster, ClusterRunner, Script};
use crate::lab::{Lab, TurnResult};
use crate::report::Row;
use anyhow::Result;
use std::thread;
use std::time::Duration;

/// Pause between two reloads, before the first and after the last.
const PAUSE: Duration = Duration::from_millis(500);

pub(crate) fn measure(lab: &Lab) -> Result<Vec<Row>> {
    let mut all = Vec::new();
    let reloads = lab.rounds(3, 1);
    for (script, workers) in [(Script::Naive, 2), (Script::Naive, 4), (Script::Graceful, 2), (Script::Graceful, 4)] {
        let name = format!("{reloads} reloads, {} app, {workers} workers", script.name());
        let rows = [
            Row::new(format!("{name}: failed requests, `Connection: close`"), "", "0"),
            Row::new("… failed requests, keep-alive", "", "0"),
            Row::new("… longest time without an answer", "ms", "< 50"),
            Row::new("… one reload, mean", "ms", ""),
        ];
        all.extend(lab.cluster_rows(&ClusterRunner::CLUSTERS, 1, rows, |cluster_runner| {
            let mut cluster = Cluster::start(lab, cluster_runner, script, workers, &[])?;
            cluster.warm();
            let clients = Clients::start(cluster.port);
            let mut time = Duration::ZERO;
            for _ in 0..reloads {
                thread::sleep(PAUSE);
                let reload = cluster.reload()?;
                anyhow::ensure!(reload.code.is_none_or(|code| code == 0), "the reload ended with {:?}", reload.code);
                time += reload.wall;
            }
            thread::sleep(PAUSE);
            let [close, keep, gap] = clients.stop();
            Ok(TurnResult::Values([close, keep, gap, crate::scenario::ms(time) / reloads as f64]))
        }));
    }
    Ok(all)
}
