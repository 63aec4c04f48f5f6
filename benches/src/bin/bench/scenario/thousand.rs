//! A thousand apps.

use super::{ms, stop, wait_until_idle};
use crate::lab::{Lab, Subject, TurnResult};
use crate::measure;
use crate::report::Row;
use anyhow::{Result, ensure};
use std::time::{Duration, Instant};

pub(crate) fn measure(lab: &Lab) -> Result<Vec<Row>> {
    let count = if lab.quick { 300 } else { 1000 };
    let rows = [
        Row::new(format!("{count} apps: start"), "ms", "≤ 1,000"),
        Row::new(format!("{count} apps: `list`, median of 5"), "ms", "≤ 10"),
        Row::new(format!("{count} apps: memory at rest, PSS"), "MB", "≤ 12"),
        Row::new(format!("{count} apps: stop"), "ms", "≤ 150"),
    ];
    Ok(lab.rows(lab.rounds(3, 1), rows, |subject| match subject {
        Subject::Manager(kind) => {
            let manager = lab.manager(kind)?;
            manager.warm(count)?;
            let begin = Instant::now();
            manager.start(&lab.apps(count, &["pause"]))?;
            let all = measure::wait(Duration::from_secs(60), || manager.apps().is_ok_and(|apps| apps.len() == count));
            let start = begin.elapsed();
            ensure!(all, "not all apps run");
            wait_until_idle();
            let memory = measure::memory(&manager.manager_pids()?);
            let mut lists = (0..5).map(|_| manager.list().map(|call| call.wall)).collect::<Result<Vec<_>>>()?;
            lists.sort_unstable();
            Ok(TurnResult::Values([ms(start), ms(lists[2]), memory.pss as f64 / 1e6, stop::stop(&manager, count)?]))
        }
        Subject::Floor => {
            let mut floor = lab.floor()?;
            let begin = Instant::now();
            floor.order(&format!("start {count} {} pause", lab.tiny()))?;
            let start = begin.elapsed();
            let memory = measure::memory(&[floor.pid()]);
            let begin = Instant::now();
            floor.order("stop")?;
            Ok(TurnResult::Values([ms(start), f64::NAN, memory.pss as f64 / 1e6, ms(begin.elapsed())]))
        }
    }))
}
