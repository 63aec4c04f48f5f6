//! Programs that know nothing of clusters: the cost of cluster mode, and other ways to run and reload
//! them.

mod bind;
mod reload;
mod requests;
mod start;

use super::Scenario;
use crate::contender::{App, Contender};
use crate::lab::Lab;
use crate::measure::{self, Memory};
use crate::program::ProgramRunner;
use anyhow::{Context, Result};
use std::process::{Child, Command, Stdio};

/// Cluster mode of ostler beside its fork mode, and beside the program alone.
pub(crate) const COSTS: &[Scenario] = &[
    ("any-bind", "any program in cluster mode: opening a port, and other calls", bind::measure),
    ("any-start", "any program in cluster mode: start and memory", start::measure),
];

/// Cluster mode of ostler beside other ways to run a server.
pub(crate) const SERVERS: &[Scenario] = &[
    ("any-requests", "any program in cluster mode: requests per second", requests::measure),
    ("any-reload", "any program in cluster mode: ten reloads under load", reload::measure),
];

/// Compared subjects of the costs. The others are compared with the first within each round.
const COMPARED: [ProgramRunner; 3] = [ProgramRunner::Alone, ProgramRunner::Fork, ProgramRunner::Cluster];

/// Small programs that run alone or below a manager. Dropping it stops them.
struct Programs {
    tiny: String,
    manager: Option<Contender>,
    /// Processes of each in cluster mode.
    copies: Option<usize>,
    alone: Vec<Child>,
    started: usize,
}

impl Programs {
    fn new(lab: &Lab, runner: ProgramRunner) -> Result<Programs> {
        let manager = runner.manager().map(|kind| lab.manager(kind)).transpose()?;
        if let Some(manager) = &manager {
            manager.warm(1)?;
        }
        let copies = (runner == ProgramRunner::Cluster).then_some(1);
        Ok(Programs { tiny: lab.tiny(), manager, copies, alone: Vec::new(), started: 0 })
    }

    /// Starts one more, and returns the times before and after the command.
    fn start(&mut self, words: &[&str]) -> Result<[i64; 2]> {
        let Some(manager) = &self.manager else {
            let begin = measure::now();
            let child = Command::new(&self.tiny).args(words).stdin(Stdio::null()).spawn();
            self.alone.push(child.context("cannot run the program")?);
            return Ok([begin, measure::now()]);
        };
        let words: Vec<&str> = [self.tiny.as_str()].into_iter().chain(words.iter().copied()).collect();
        let app = App { copies: self.copies, ..App::new(format!("app-{}", self.started), &words) };
        self.started += 1;
        let command = manager.prepare(&[app])?;
        let begin = measure::now();
        manager.call(command)?;
        Ok([begin, measure::now()])
    }

    /// Returns the memory of the manager's processes.
    fn memory(&self) -> Result<Memory> {
        self.manager.as_ref().map_or_else(|| Ok(Memory::default()), |manager| Ok(measure::memory(&manager.manager_pids()?)))
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        for child in &mut self.alone {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
