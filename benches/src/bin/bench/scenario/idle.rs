//! A hundred apps that do nothing: the activity of their manager.

use super::ms;
use crate::lab::{Lab, Subject, TurnResult};
use crate::measure;
use crate::report::Row;
use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

pub(crate) fn measure(lab: &Lab) -> Result<Vec<Row>> {
    let time = Duration::from_secs(if lab.quick { 5 } else { 20 });
    let rows = [
        Row::new("at rest, 100 apps: CPU per second", "ms/s", "0"),
        Row::new("at rest, 100 apps: wake-ups per second", "1/s", "0"),
        Row::new(format!("at rest, 100 apps: system calls in {} s", time.as_secs()), "", "0"),
    ];
    Ok(lab.rows(1, rows, |subject| {
        let (_manager, _floor, pids);
        match subject {
            Subject::Manager(kind) => {
                let manager = lab.manager(kind)?;
                manager.start_all(&lab.apps(100, &["pause"]))?;
                pids = manager.manager_pids()?;
                _manager = Some(manager);
            }
            Subject::Floor => {
                let mut floor = lab.floor()?;
                floor.order(&format!("start 100 {} pause", lab.tiny()))?;
                pids = vec![floor.pid()];
                _floor = Some(floor);
            }
        }
        thread::sleep(Duration::from_secs(3));
        let before = (measure::cpu(&pids), measure::sleeps(&pids));
        thread::sleep(time);
        let cpu = ms(measure::cpu(&pids).saturating_sub(before.0)) / time.as_secs_f64();
        let sleeps = (measure::sleeps(&pids) - before.1) as f64 / time.as_secs_f64();
        let calls = system_calls(lab, &pids, time).unwrap_or_else(|error| {
            eprintln!("system calls are not counted: {error:#}");
            f64::NAN
        });
        Ok(TurnResult::Values([cpu, sleeps, calls]))
    }))
}

/// Counts with strace.
fn system_calls(lab: &Lab, pids: &[i32], time: Duration) -> Result<f64> {
    let file = lab.fresh()?.join("calls");
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o"]).arg(&file).stdin(Stdio::null()).stderr(Stdio::null());
    for pid in pids {
        command.args(["-p", &pid.to_string()]);
    }
    let mut strace = command.spawn().context("cannot run strace")?;
    // Attaching interrupts the wait of each process; the resulting calls do not count.
    thread::sleep(Duration::from_secs(3));
    let at_begin = calls(&file);
    thread::sleep(time);
    let at_end = calls(&file);
    if let Some(pid) = Pid::from_raw(i32::try_from(strace.id())?) {
        kill_process(pid, Signal::INT)?;
    }
    strace.wait()?;
    // At the start, the count already includes the call in which each process waits.
    Ok(at_end.saturating_sub(at_begin) as f64)
}

fn calls(file: &std::path::Path) -> usize {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().filter(|line| line.contains('(') && !line.contains(" resumed>")).count()
}
