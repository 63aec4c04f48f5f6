//! A reload to a release that does not start: which manager keeps serving, and which reports the
//! failure.

use crate::cluster::{Clients, Cluster, ClusterRunner, Script};
use crate::lab::{Lab, TurnResult};
use crate::report::Row;
use anyhow::Result;
use std::fs;
use std::thread;
use std::time::Duration;

const WORKERS: usize = 2;

pub(crate) fn measure(lab: &Lab) -> Result<Vec<Row>> {
    let mut all = Vec::new();
    for (release, words) in [("throws", "throws at start"), ("silent", "never listens")] {
        let rows = [
            Row::new(format!("reload to a release that {words}: failed requests, `Connection: close`"), "", "0"),
            Row::new("… failed requests, keep-alive", "", "0"),
            Row::new("… exit code of the command", "", "≠ 0"),
            Row::new(format!("… old workers that still serve, of {WORKERS}"), "", "2"),
        ];
        all.extend(lab.cluster_rows(&[ClusterRunner::Node, ClusterRunner::Pm2, ClusterRunner::RoundRobin], 1, rows, |cluster_runner| {
            let file = lab.fresh()?.join("release");
            fs::write(&file, "good")?;
            let mut cluster =
                Cluster::start(lab, cluster_runner, Script::Release, WORKERS, &[("RELEASE_FILE", file.display().to_string())])?;
            cluster.warm();
            let old = cluster.workers()?;
            let clients = Clients::start(cluster.port);
            fs::write(&file, release)?;
            let reload = cluster.reload()?;
            // Failures after the reload count, too.
            thread::sleep(Duration::from_secs(1));
            let left = cluster.workers()?.into_iter().filter(|pid| old.contains(pid)).count();
            let [close, keep, _] = clients.stop();
            Ok(TurnResult::Values([close, keep, reload.code.map_or(f64::NAN, f64::from), left as f64]))
        }));
    }
    Ok(all)
}
