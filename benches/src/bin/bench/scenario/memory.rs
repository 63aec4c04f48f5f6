//! Memory of all processes of the manager, at rest.

use crate::lab::{Lab, Subject, TurnResult};
use crate::measure;
use crate::report::Row;
use anyhow::Result;

pub(crate) fn measure(lab: &Lab) -> Result<Vec<Row>> {
    let rows = [
        Row::new("memory at rest, 0 apps, PSS of all own processes", "MB", "≤ 3.5"),
        Row::new("each further app, with two log files of its own: private", "KiB", "≤ 7"),
    ];
    Ok(lab.rows(lab.rounds(3, 1), rows, |subject| {
        let (empty, full) = match subject {
            Subject::Manager(kind) => {
                let manager = lab.manager(kind)?;
                manager.warm(100)?;
                super::wait_until_idle();
                let empty = measure::memory(&manager.manager_pids()?);
                manager.start_all(&lab.apps(100, &["pause"]))?;
                super::wait_until_idle();
                (empty, measure::memory(&manager.manager_pids()?))
            }
            Subject::Floor => {
                let mut floor = lab.floor()?;
                floor.order("start 0 nothing")?;
                let empty = measure::memory(&[floor.pid()]);
                floor.order(&format!("start 100 {} pause", lab.tiny()))?;
                (empty, measure::memory(&[floor.pid()]))
            }
        };
        Ok(TurnResult::Values([empty.pss as f64 / 1e6, full.private.saturating_sub(empty.private) as f64 / 1024.0 / 100.0]))
    }))
}
