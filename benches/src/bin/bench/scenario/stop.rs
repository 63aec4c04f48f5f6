//! Stopping apps that exit at the first signal.

use super::ms;
use crate::contender::Contender;
use crate::lab::{Lab, Subject, TurnResult};
use crate::measure;
use crate::report::Row;
use anyhow::{Result, ensure};
use std::time::{Duration, Instant};

pub(crate) fn measure(lab: &Lab) -> Result<Vec<Row>> {
    let rows = [
        Row::new("stop 100 apps that obey", "ms", "≤ 2.5 × floor"),
        Row::new("stop 100 apps: the same (floor: with two log files and a control group each)", "ms", "≤ 2.5 × floor"),
    ];
    Ok(lab.rows(lab.rounds(5, 2), rows, |subject| {
        let times = match subject {
            Subject::Manager(kind) => {
                let manager = lab.manager(kind)?;
                manager.start_all(&lab.apps(100, &["pause"]))?;
                [stop(&manager, 100)?; 2]
            }
            Subject::Floor => {
                let with = format!("groups {}", lab.fresh()?.display());
                // Without cgroups v2, the manager creates none either.
                [floor(lab, "start", 100)?, floor(lab, &with, 100).unwrap_or(f64::NAN)]
            }
        };
        Ok(TurnResult::Values(times))
    }))
}

/// Returns the time until the command is done and the last app has exited, in ms.
pub(super) fn stop(manager: &Contender, count: usize) -> Result<f64> {
    let apps = manager.apps()?;
    ensure!(apps.len() == count, "{} of {count} apps run", apps.len());
    let begin = Instant::now();
    manager.stop_all()?;
    ensure!(measure::wait(Duration::from_secs(30), || !apps.iter().any(|pid| measure::alive(*pid))), "apps are left");
    Ok(ms(begin.elapsed()))
}

/// Same for the floor, which starts them by this order.
pub(super) fn floor(lab: &Lab, order: &str, count: usize) -> Result<f64> {
    let mut floor = lab.floor()?;
    floor.order(&format!("{order} {count} {} pause", lab.tiny()))?;
    let begin = Instant::now();
    floor.order("stop")?;
    Ok(ms(begin.elapsed()))
}
