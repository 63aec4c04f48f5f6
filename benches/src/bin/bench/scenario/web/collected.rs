//! What it costs a Node server to be measured: the same server in two homes, in one of which the dashboard collects; short turns, one after the other.

use super::dashboard::Dashboard;
use crate::cluster::{Cluster, Script, Way};
use crate::contender::Kind;
use crate::lab::{Lab, Subject, Turn};
use crate::report::{Row, median};
use anyhow::{Context, Result, ensure};
use ostler_testkit::{Load, LoadSpec};
use std::thread;
use std::time::Duration;

const PAIRS: usize = 10;

pub(super) fn measure(lab: &Lab) -> Result<Vec<Row>> {
    let time = Duration::from_millis(if lab.quick { 800 } else { 2000 });
    let rows = [
        Row::new(format!("Node throughput, figures collected ÷ not: median of {PAIRS} pairs"), "", "≥ 0.99"),
        Row::new("… requests per second while collected", "requests/s", ""),
    ];
    Ok(lab.rows(1, rows, |subject| {
        if subject != Subject::Manager(Kind::Ostler) {
            return Ok(Turn::LeftOut("–"));
        }
        let start = || Cluster::start(lab, Way::Reuseport, Script::Naive, 1, &[]);
        let (measured, other) = (start()?, start()?);
        let dashboard = Dashboard::on(measured.manager().context("a manager runs it")?)?;
        let begun = crate::measure::wait(Duration::from_secs(60), || {
            dashboard.get("/metrics").is_ok_and(|text| text.contains("ostler_node_measured_seconds{"))
        });
        ensure!(begun, "nothing is collected");
        for cluster in [&measured, &other] {
            cluster.warm();
            cluster.warm();
        }
        let per_second = |cluster: &Cluster| -> Result<f64> {
            let load = Load::start(LoadSpec { connections: 32, keep_alive: true, pause_us: 0, ..LoadSpec::to(cluster.port) });
            thread::sleep(time);
            let report = load.stop();
            ensure!(report.failed == 0, "{} of {} requests failed", report.failed, report.requests);
            Ok(report.requests as f64 / report.seconds)
        };
        let (mut ratios, mut speeds) = (Vec::new(), Vec::new());
        for pair in 0..PAIRS {
            // Who is first takes turns, too.
            let (with, without) = if pair % 2 == 0 {
                let with = per_second(&measured)?;
                (with, per_second(&other)?)
            } else {
                let without = per_second(&other)?;
                (per_second(&measured)?, without)
            };
            ratios.push(with / without);
            speeds.push(with);
        }
        Ok(Turn::Values([median(&ratios).unwrap_or(f64::NAN), median(&speeds).unwrap_or(f64::NAN)]))
    }))
}
