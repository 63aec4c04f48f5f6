//! Many connections over one reload: the remaining memory and descriptors of the manager.

use crate::cluster::{Cluster, ClusterRunner, Script, report_failures};
use crate::lab::{Lab, TurnResult};
use crate::measure;
use crate::report::Row;
use anyhow::{Result, ensure};
use ostler_testkit::{Load, LoadSpec};
use rustix::process::{Resource, getrlimit, setrlimit};
use std::thread;
use std::time::Duration;

const WORKERS: usize = 2;

/// Time after which the idle connections send another request: by then the reload is over.
const IDLE_US: u64 = 12_000_000;

pub(crate) fn measure(lab: &Lab) -> Result<Vec<Row>> {
    let short = lab.rounds(50_000, 5000);
    let idle = lab.rounds(10_000, 1000).min(descriptors_for_clients());
    let rows = [
        Row::new(format!("{short} short and {idle} idle connections, a reload: failed short ones"), "", "0"),
        Row::new("… failed among the idle ones", "", "0"),
        Row::new("… memory of the manager before", "MB", ""),
        Row::new("… most meanwhile", "MB", ""),
        Row::new("… after", "MB", ""),
        Row::new("… descriptors of the manager that are left", "", "0"),
    ];
    Ok(lab.cluster_rows(&[ClusterRunner::Node, ClusterRunner::Pm2, ClusterRunner::RoundRobin], 1, rows, |cluster_runner| {
        let mut cluster = Cluster::start(lab, cluster_runner, Script::Naive, WORKERS, &[("KEEP_ALIVE_MS", "600000".into())])?;
        cluster.warm();
        let state = |cluster: &Cluster| cluster.manager_pids().map(|own| (pss(&own), measure::descriptors(&own)));
        let before = state(&cluster)?;
        let kept = Load::start(LoadSpec { connections: idle, keep_alive: true, pause_us: IDLE_US, ..LoadSpec::to(cluster.port) });
        ensure!(measure::wait(Duration::from_secs(60), || kept.good() + kept.failed() >= idle as u64), "only {} connected", kept.good());
        let load = Load::start(LoadSpec { connections: 16, pause_us: 0, ..LoadSpec::to(cluster.port) });
        let mut most = before.0;
        let mut until = |cluster: &Cluster, requests: usize| -> Result<()> {
            while load.good() + load.failed() < requests as u64 {
                most = most.max(pss(&cluster.manager_pids()?));
                thread::sleep(Duration::from_millis(200));
            }
            Ok(())
        };
        until(&cluster, short / 5)?;
        cluster.reload()?;
        until(&cluster, short)?;
        let short_ones = load.stop();
        report_failures(&short_ones);
        // Each of the idle connections has sent another request.
        let twice = measure::wait(Duration::from_secs(60), || kept.good() + kept.failed() >= 2 * idle as u64);
        let kept = kept.stop();
        report_failures(&kept);
        ensure!(twice, "the idle connections asked only {} times", kept.requests);
        thread::sleep(Duration::from_secs(1));
        let after = state(&cluster)?;
        let left = after.1.saturating_sub(before.1);
        Ok(TurnResult::Values([short_ones.failed as f64, kept.failed as f64, before.0, most, after.0, left as f64]))
    }))
}

/// Returns the memory in MB.
fn pss(pids: &[i32]) -> f64 {
    measure::memory(pids).pss as f64 / 1e6
}

/// Returns the number of connections that this process may have, after it raised its limit as far
/// as possible.
fn descriptors_for_clients() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _refused = setrlimit(Resource::Nofile, limit);
    limit.maximum.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX)).saturating_sub(500)
}
