//! A hundred apps from one file, with a running daemon.

use super::ms;
use crate::lab::{Lab, Subject, TurnResult, stamps};
use crate::measure;
use crate::report::Row;
use anyhow::{Result, ensure};
use std::time::Duration;

pub(crate) fn measure(lab: &Lab) -> Result<Vec<Row>> {
    let rows = [
        Row::new("100 apps from one file, until all run (floor: the processes alone)", "ms", ""),
        Row::new("100 apps from one file: the same (floor: with two log files each)", "ms", ""),
        Row::new("100 apps from one file: the same (floor: with two log files and a control group each)", "ms", "≤ 1.4 × floor"),
        Row::new("100 apps from one file: CPU of client, manager and apps", "ms", "≤ 1.5 × floor"),
    ];
    Ok(lab.rows(lab.rounds(7, 2), rows, |subject| {
        Ok(TurnResult::Values(match subject {
            Subject::Manager(_) => {
                let [wall, cpu] = run(lab, subject, "start")?;
                [wall, wall, wall, cpu]
            }
            Subject::Floor => {
                let [wall, cpu] = run(lab, subject, "start")?;
                let with = |order: &str| run(lab, subject, &format!("{order} {}", lab.fresh()?.display())).map(|[wall, _]| wall);
                // Without cgroups v2, the manager creates none either.
                [wall, with("logs")?, with("groups").unwrap_or(f64::NAN), cpu]
            }
        }))
    }))
}

const COUNT: usize = 100;

/// Returns the wall time until the last app runs and the command is done, and the CPU time of all
/// processes, both in ms. The apps are included, because the way of forking decides which process
/// gets the time between fork and exec. The floor starts them by this order.
fn run(lab: &Lab, subject: Subject, order: &str) -> Result<[f64; 2]> {
    let count = COUNT;
    let file = lab.fresh()?.join("stamps");
    let name = file.display().to_string();
    let all_there = || measure::wait(Duration::from_secs(120), || stamps(&file).len() >= count);
    let last = |begin: i64, end: i64| (stamps(&file).into_iter().max().unwrap_or(0).max(end) - begin) as f64 / 1e6;
    match subject {
        Subject::Manager(kind) => {
            let manager = lab.manager(kind)?;
            manager.warm(count)?;
            let command = manager.prepare(&lab.apps(count, &["stamp", &name]))?;
            let before = measure::cpu(&manager.manager_pids()?);
            let begin = measure::now();
            let call = manager.call(command)?;
            let end = measure::now();
            ensure!(all_there(), "only {} of {count} apps run", stamps(&file).len());
            let after = measure::cpu(&manager.manager_pids()?) + measure::cpu(&manager.apps()?);
            Ok([last(begin, end), ms(call.cpu + after.saturating_sub(before))])
        }
        Subject::Floor => {
            let mut floor = lab.floor()?;
            let before = measure::cpu(&[floor.pid()]);
            let begin = measure::now();
            floor.order(&format!("{order} {count} {} stamp {name}", lab.tiny()))?;
            let end = measure::now();
            ensure!(all_there(), "only {} of {count} apps run", stamps(&file).len());
            let after = measure::cpu(&[floor.pid()]) + measure::cpu(&floor.apps()?);
            Ok([last(begin, end), ms(after.saturating_sub(before))])
        }
    }
}
