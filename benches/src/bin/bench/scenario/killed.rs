//! Apps that have run for more than a second are killed from outside, one after the other: the time
//! without a process.

use crate::lab::{Lab, Subject, TurnResult};
use crate::measure;
use crate::report::{Row, percentile};
use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const APPS: usize = 30;
/// Time between two kills. With this many apps, each has run for more than a second before its next
/// kill.
const APART: Duration = Duration::from_millis(40);
const SECOND: Duration = Duration::from_millis(1100);

pub(crate) fn measure(lab: &Lab) -> Result<Vec<Row>> {
    let rows = [
        Row::new("SIGKILL from outside after more than a second → new process runs, median", "ms", "≤ 1.25 × floor"),
        Row::new("… 99th percentile", "ms", "≤ 1.25 × floor"),
        Row::new("… median (floor: with two log files and a control group each)", "ms", "≤ 1.25 × floor"),
        Row::new("… 99th percentile (the same floor)", "ms", "≤ 1.25 × floor"),
        Row::new("… median (floor: and another process decides)", "ms", ""),
        Row::new("… 99th percentile (the same floor)", "ms", ""),
    ];
    Ok(lab.rows(lab.rounds(5, 1), rows, |subject| {
        Ok(TurnResult::Values(match subject {
            Subject::Manager(kind) => {
                let (file, name) = starts_in(&lab.fresh()?);
                let manager = lab.manager(kind)?;
                manager.start_all(&lab.apps(APPS, &["pid", &name]))?;
                let [median, worst] = of(&kill_in_turn(lab, &file)?)?;
                [median, worst, median, worst, median, worst]
            }
            Subject::Floor => {
                let [median, worst] = floor(lab, "again")?;
                // Without cgroups v2, the manager creates none either.
                let [born, worst_born] = floor(lab, "born").unwrap_or([f64::NAN; 2]);
                let [relayed, worst_relayed] = floor(lab, "relay").unwrap_or([f64::NAN; 2]);
                [median, worst, born, worst_born, relayed, worst_relayed]
            }
        }))
    }))
}

/// Returns the file in which each process records its start.
fn starts_in(folder: &Path) -> (PathBuf, String) {
    let file = folder.join("starts");
    let name = file.display().to_string();
    (file, name)
}

/// Returns the median and the 99th percentile.
fn of(gaps: &[f64]) -> Result<[f64; 2]> {
    Ok([percentile(gaps, 50.0).context("no gap")?, percentile(gaps, 99.0).context("no gap")?])
}

fn floor(lab: &Lab, cluster_runner: &str) -> Result<[f64; 2]> {
    let folder = lab.fresh()?;
    let (file, name) = starts_in(&folder);
    let logs = folder.display().to_string();
    let mut words = vec![cluster_runner];
    words.extend((cluster_runner != "again").then_some(logs.as_str()));
    let (count, tiny) = (APPS.to_string(), lab.tiny());
    words.extend([count.as_str(), &tiny, "pid", &name]);
    let mut parent = Command::new(lab.floor_program());
    let mut parent = parent.args(words).env("HOME", &folder).stdin(Stdio::null()).spawn().context("cannot run the floor")?;
    let gaps = kill_in_turn(lab, &file);
    parent.kill()?;
    parent.wait()?;
    measure::kill_marked(&folder);
    if cluster_runner != "again" {
        measure::remove_groups(parent.id());
    }
    of(&gaps?)
}

/// Returns the milliseconds from each kill to the first instruction of the next process.
fn kill_in_turn(lab: &Lab, file: &Path) -> Result<Vec<f64>> {
    ensure!(measure::wait(Duration::from_secs(30), || starts(file).len() >= APPS), "not all apps run");
    thread::sleep(SECOND);
    let end = Instant::now() + Duration::from_secs(25);
    let mut pids: VecDeque<i32> = starts(file).iter().map(|(pid, _)| *pid).collect();
    let mut gaps = Vec::new();
    while gaps.len() < lab.rounds(150, 60) && Instant::now() < end {
        let pid = pids.pop_front().and_then(Pid::from_raw).context("no app is left")?;
        let known = starts(file).len();
        let begin = measure::now();
        kill_process(pid, Signal::KILL)?;
        thread::sleep(APART);
        measure::wait(Duration::from_secs(10), || starts(file).len() > known);
        let (pid, at) = *starts(file).get(known).context("no new process")?;
        gaps.push((at - begin) as f64 / 1e6);
        pids.push_back(pid);
    }
    Ok(gaps)
}

/// Returns the pid and time of each start.
fn starts(file: &Path) -> Vec<(i32, i64)> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(|line| line.split_once(' ')).filter_map(|(pid, at)| Some((pid.parse().ok()?, at.parse().ok()?))).collect()
}
