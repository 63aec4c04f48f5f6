//! An app that runs for 20 ms and crashes, again and again: the time without a process.

use crate::lab::{Lab, Subject, TurnResult};
use crate::measure;
use crate::report::{Row, percentile};
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Number of restarts that is enough for a manager that waits a second before each start.
const ENOUGH: usize = 10;

pub(crate) fn measure(lab: &Lab) -> Result<Vec<Row>> {
    let crashes = lab.rounds(300, 60);
    let limit = Duration::from_secs(if lab.quick { 12 } else { 25 });
    let rows = [
        Row::new("crash → new process runs, median", "ms", "≤ 1.25 × floor"),
        Row::new("crash → new process runs, 99th percentile", "ms", "≤ 1.25 × floor"),
    ];
    Ok(lab.rows(lab.rounds(3, 1), rows, |subject| {
        let file = lab.fresh()?.join("times");
        let name = file.display().to_string();
        let enough = || measure::wait(limit, || gaps(&file).len() >= crashes);
        match subject {
            Subject::Manager(kind) => {
                let manager = lab.manager(kind)?;
                manager.warm(1)?;
                manager.start(&lab.apps(1, &["crash", &name, "20"]))?;
                enough();
            }
            Subject::Floor => {
                let mut floor = lab.floor()?;
                floor.order(&format!("start 1 {} crash {name} 20", lab.tiny()))?;
                enough();
            }
        }
        let gaps = gaps(&file);
        anyhow::ensure!(gaps.len() >= ENOUGH, "gave up after {} restarts", gaps.len());
        Ok(TurnResult::Values([percentile(&gaps, 50.0).context("no crash")?, percentile(&gaps, 99.0).context("no crash")?]))
    }))
}

/// Returns the milliseconds from each exit to the next start.
fn gaps(file: &Path) -> Vec<f64> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let times: Vec<(&str, i64)> =
        text.lines().filter_map(|line| line.split_once(' ')).filter_map(|(k, t)| Some((k, t.parse().ok()?))).collect();
    times.windows(2).filter(|pair| pair[0].0 == "E" && pair[1].0 == "S").map(|pair| (pair[1].1 - pair[0].1) as f64 / 1e6).collect()
}
