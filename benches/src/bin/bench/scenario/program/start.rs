//! Start of programs that open a port, one after the other, and the memory of the manager for them.

use super::{COMPARED, Programs};
use crate::lab::{Lab, TurnResult, stamps};
use crate::measure;
use crate::program::ProgramRunner;
use crate::report::{Row, median};
use crate::scenario::wait_until_idle;
use anyhow::{Context, Result, ensure};
use ostler_testkit::free_ports;
use std::time::Duration;

const COUNT: u16 = 50;

pub(crate) fn measure(lab: &Lab) -> Result<Vec<Row>> {
    let more = |unit, goal| Row::new("… more than in fork mode (median of the rounds' differences)", unit, goal);
    let rows = [
        Row::new(format!("start of an app, call → its port is open (median of {COUNT})"), "ms", ""),
        more("ms", "≤ 1"),
        Row::new("… call → end of the command", "ms", ""),
        more("ms", "≤ 1"),
        Row::new(format!("memory of the manager with {COUNT} such apps, PSS"), "MB", ""),
        Row::new("… each app: private", "KiB", ""),
        more("KiB", "≤ 2"),
    ];
    let mut fork = [f64::NAN; 4];
    Ok(lab.program_rows(&COMPARED, lab.rounds(5, 1), rows, |runner| {
        let [open, command, pss, private] = run(lab, runner)?;
        if runner == ProgramRunner::Fork {
            fork = [open, command, pss, private];
        }
        // The program alone has no manager.
        let more = |value: f64, fork: f64| if runner == ProgramRunner::Alone { f64::NAN } else { value - fork };
        Ok(TurnResult::Values([open, more(open, fork[0]), command, more(command, fork[1]), pss, private, more(private, fork[3])]))
    }))
}

/// Returns the medians of the times until the port is open and until the command is done, in ms;
/// the memory of the manager in MB, and its growth per app in KiB.
fn run(lab: &Lab, runner: ProgramRunner) -> Result<[f64; 4]> {
    let mut programs = Programs::new(lab, runner)?;
    let rest: fn() = if runner == ProgramRunner::Alone { || {} } else { wait_until_idle };
    rest();
    let empty = programs.memory()?;
    let (folder, first_port) = (lab.fresh()?, free_ports(COUNT));
    let (mut open, mut command) = (Vec::new(), Vec::new());
    for number in 0..COUNT {
        let file = folder.join(number.to_string());
        let [begin, end] = programs.start(&["listen", &(first_port + number).to_string(), &file.display().to_string()])?;
        ensure!(measure::wait(Duration::from_secs(20), || stamps(&file).len() == 2), "the program does not listen");
        let listens = stamps(&file).into_iter().max().context("no time")?;
        open.push((listens - begin) as f64 / 1e6);
        command.push((end - begin) as f64 / 1e6);
    }
    rest();
    let full = programs.memory()?;
    let each = full.private.saturating_sub(empty.private) as f64 / 1024.0 / f64::from(COUNT);
    let medians = [&open, &command].map(|times| median(times).unwrap_or(f64::NAN));
    let memory = if runner == ProgramRunner::Alone { [f64::NAN; 2] } else { [full.pss as f64 / 1e6, each] };
    Ok([medians[0], medians[1], memory[0], memory[1]])
}
