//! Apps that exceed a memory limit, each at a different instant: the time until a new process
//! replaces it.

use super::ms;
use crate::contender::{App, ManagerKind};
use crate::lab::{Lab, Subject, TurnResult};
use crate::measure;
use crate::report::{Row, percentile};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Time between the instants of two apps. A manager that checks every second thus gets each app at
/// another point of its interval.
const APART_MS: usize = 1370;
/// Twice the time of the slowest known manager.
const WITHIN: Duration = Duration::from_secs(90);

pub(crate) fn measure(lab: &Lab) -> Result<Vec<Row>> {
    let count = lab.rounds(9, 5);
    let what = format!("{count} apps pass their limit of memory: until a new process runs");
    let rows = [Row::new(format!("{what}, median"), "ms", "≤ 2,000"), Row::new(format!("{what}, worst"), "ms", "≤ 2,000")];
    Ok(lab.rows(1, rows, |subject| {
        let kind = match subject {
            Subject::Manager(ManagerKind::Supervisor) => return Ok(TurnResult::LeftOut("has none")),
            Subject::Floor => return Ok(TurnResult::LeftOut("has none")),
            Subject::Manager(kind) => kind,
        };
        let manager = lab.manager(kind)?;
        let folder = lab.fresh()?;
        let (apps, files): (Vec<App>, Vec<PathBuf>) = (0..count).map(|number| app(lab, &folder, number)).unzip();
        manager.start_all(&apps)?;
        measure::wait(WITHIN, || files.iter().all(|file| time_until_restart(file).is_some()));
        let waits: Vec<f64> = files.iter().filter_map(|file| time_until_restart(file)).map(ms).collect();
        ensure!(waits.len() == count, "{} of {count} were replaced", waits.len());
        Ok(TurnResult::Values([percentile(&waits, 50.0).context("no app")?, percentile(&waits, 100.0).context("no app")?]))
    }))
}

fn app(lab: &Lab, folder: &Path, number: usize) -> (App, PathBuf) {
    let file = folder.join(number.to_string());
    let after = (2000 + number * APART_MS).to_string();
    let words = [lab.tiny(), "swell".into(), file.display().to_string(), after];
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    (App { memory_limit: Some("100M"), ..App::new(format!("app-{number}"), &words) }, file)
}

/// Returns the time from the instant at which it exceeded the limit to the first instruction of the
/// next process.
fn time_until_restart(file: &Path) -> Option<Duration> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let time = |line: &str, key: &str| line.strip_prefix(key)?.trim().parse::<u64>().ok();
    let over = text.lines().find_map(|line| time(line, "O"))?;
    let next = text.lines().filter_map(|line| time(line, "S")).find(|start| *start > over)?;
    Some(Duration::from_nanos(next - over))
}
