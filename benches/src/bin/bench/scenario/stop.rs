//! Stopping apps that end at the first signal.

use super::ms;
use crate::contender::Contender;
use crate::lab::{Lab, Subject, Turn};
use crate::measure;
use crate::report::Row;
use anyhow::{Result, ensure};
use std::time::{Duration, Instant};

pub(crate) fn measure(lab: &Lab) -> Result<Vec<Row>> {
    let rows = [Row::new("stop 100 apps that obey", "ms", "≤ 2.5 × floor")];
    Ok(lab.rows(lab.rounds(5, 2), rows, |subject| {
        let time = match subject {
            Subject::Manager(kind) => {
                let manager = lab.manager(kind)?;
                manager.start_all(&lab.apps(100, &["pause"]))?;
                stop(&manager, 100)?
            }
            Subject::Floor => floor(lab, 100)?,
        };
        Ok(Turn::Values([time]))
    }))
}

/// Until the command is done and the last app is gone, in ms.
pub(super) fn stop(manager: &Contender, count: usize) -> Result<f64> {
    let apps = manager.apps()?;
    ensure!(apps.len() == count, "{} of {count} apps run", apps.len());
    let begin = Instant::now();
    manager.stop_all()?;
    ensure!(measure::wait(Duration::from_secs(30), || !apps.iter().any(|pid| measure::alive(*pid))), "apps are left");
    Ok(ms(begin.elapsed()))
}

pub(super) fn floor(lab: &Lab, count: usize) -> Result<f64> {
    let mut floor = lab.floor()?;
    floor.order(&format!("start {count} {} pause", lab.tiny()))?;
    let begin = Instant::now();
    floor.order("stop")?;
    Ok(ms(begin.elapsed()))
}
