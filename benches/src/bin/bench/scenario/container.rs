//! The first process of a container: from its call to the first instruction of the app, and its
//! cost at rest.

use crate::lab::{Lab, Subject, TurnResult, stamps};
use crate::measure;
use crate::report::Row;
use anyhow::{Context, Result};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Kills the process, even after a failure.
struct Front(Child);

impl Drop for Front {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

pub(crate) fn measure(lab: &Lab) -> Result<Vec<Row>> {
    let rows = [
        Row::new("container: call → first instruction of the app (floor: the bare app)", "ms", "≤ 15"),
        Row::new("container: memory beside one app, PSS", "MB", "≤ 5"),
    ];
    Ok(lab.rows(lab.rounds(9, 2), rows, |subject| {
        let file = lab.fresh()?.join("stamp");
        let name = file.display().to_string();
        let (command, manager) = match subject {
            Subject::Manager(kind) => {
                let manager = lab.manager(kind)?;
                let Some(command) = manager.front(&lab.apps(1, &["stamp", &name]))? else {
                    return Ok(TurnResult::LeftOut("has none"));
                };
                (command, Some(manager))
            }
            Subject::Floor => {
                let mut bare = Command::new(lab.tiny());
                bare.args(["stamp", &name]).stdin(Stdio::null());
                (bare, None)
            }
        };
        let mut command = command;
        let begin = measure::now();
        let front = Front(command.spawn().context("cannot run it")?);
        measure::wait(Duration::from_secs(20), || !stamps(&file).is_empty());
        let stamp = *stamps(&file).first().context("the app did not start")?;
        super::wait_until_idle();
        let memory = match &manager {
            Some(manager) => measure::memory(&manager.manager_pids()?).pss,
            None => 0,
        };
        drop(manager);
        drop(front);
        Ok(TurnResult::Values([(stamp - begin) as f64 / 1e6, memory as f64 / 1e6]))
    }))
}
