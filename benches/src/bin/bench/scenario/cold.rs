//! Cold start: no process runs, `start` is called, and the app executes its first instruction.

use crate::lab::{Lab, Subject, TurnResult, stamps};
use crate::measure;
use crate::report::Row;
use anyhow::{Context, Result};
use std::time::Duration;

pub(crate) fn measure(lab: &Lab) -> Result<Vec<Row>> {
    let rows = [Row::new("cold start: no daemon → first instruction of the app", "ms", "≤ 15")];
    Ok(lab.rows(lab.rounds(15, 3), rows, |subject| {
        let file = lab.fresh()?.join("stamp");
        let name = file.display().to_string();
        let begin;
        // Kept until the stamp exists.
        let (mut manager, mut floor) = (None, None);
        match subject {
            Subject::Manager(kind) => {
                let made = lab.manager(kind)?;
                let command = made.prepare(&lab.apps(1, &["stamp", &name]))?;
                begin = measure::now();
                made.call(command)?;
                manager = Some(made);
            }
            Subject::Floor => {
                begin = measure::now();
                let mut made = lab.floor()?;
                made.order(&format!("start 1 {} stamp {name}", lab.tiny()))?;
                floor = Some(made);
            }
        }
        measure::wait(Duration::from_secs(20), || !stamps(&file).is_empty());
        let stamp = *stamps(&file).first().context("the app did not start")?;
        drop((manager.take(), floor.take()));
        Ok(TurnResult::Values([(stamp - begin) as f64 / 1e6]))
    }))
}
