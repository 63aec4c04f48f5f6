//! Cost of the filter: calls that ostler answers, and calls that it does not see.

use super::{COMPARED, Programs};
use crate::lab::{Lab, TurnResult, stamps};
use crate::measure;
use crate::program::ProgramRunner;
use crate::report::Row;
use anyhow::{Result, anyhow, ensure};
use ostler_testkit::free_port;
use std::time::Duration;

/// Sockets that a process opens of each kind. The daemon slows down a process that opens more than
/// 250 at once.
const BINDS: &str = "100";

pub(crate) fn measure(lab: &Lab) -> Result<Vec<Row>> {
    let calls = if lab.quick { "100000" } else { "1000000" };
    let more = |unit, goal| Row::new("… more than alone (median of the rounds' differences)", unit, goal);
    let rows = [
        Row::new("`bind` and `listen`, first of a process", "ms", ""),
        more("ms", "≤ 0.2"),
        Row::new("… the same port again", "ms", ""),
        more("ms", "≤ 0.2"),
        Row::new("… port 0, which stays the program's own", "ms", ""),
        more("ms", "≤ 0.2"),
        Row::new(format!("`getppid`, mean of {calls}"), "µs", ""),
        more("µs", "≤ 0.03"),
        Row::new(format!("`read` of a byte of `/dev/zero`, mean of {calls}"), "µs", ""),
        more("µs", "≤ 0.03"),
    ];
    let mut alone = [f64::NAN; 5];
    Ok(lab.program_rows(&COMPARED, lab.rounds(15, 3), rows, |runner| {
        let times = run(lab, runner, calls)?;
        if runner == ProgramRunner::Alone {
            alone = times;
        }
        Ok(TurnResult::Values(std::array::from_fn(|row| {
            let more = if row % 2 == 1 { alone[row / 2] } else { 0.0 };
            times[row / 2] - more
        })))
    }))
}

/// Returns the times that the program measures: three in ms, two in µs.
fn run(lab: &Lab, runner: ProgramRunner, calls: &str) -> Result<[f64; 5]> {
    let file = lab.fresh()?.join("times");
    let (port, name) = (free_port().to_string(), file.display().to_string());
    let mut programs = Programs::new(lab, runner)?;
    programs.start(&["bind", &port, BINDS, calls, &name])?;
    let done = measure::wait(Duration::from_secs(60), || stamps(&file).len() == 5);
    ensure!(done, "the program wrote {:?}", stamps(&file));
    let times: Vec<f64> = stamps(&file).into_iter().zip([1e6, 1e6, 1e6, 1e3, 1e3]).map(|(ns, unit)| ns as f64 / unit).collect();
    times.try_into().map_err(|_| anyhow!("not as many times as rows"))
}
