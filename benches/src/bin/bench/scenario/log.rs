//! A flood of lines of 100 bytes, unchanged and with a date in front.

use crate::contender::ManagerKind;
use crate::lab::{Lab, Subject, TurnResult, stamps};
use crate::measure;
use crate::report::Row;
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// `YYYY-MM-DD HH:mm:ss: `.
const PREFIX: u64 = 21;

pub(crate) fn measure(lab: &Lab) -> Result<Vec<Row>> {
    let megabytes = if lab.quick { 20 } else { 200 };
    let mut rows = flood(lab, megabytes, false);
    rows.extend(flood(lab, megabytes, true));
    Ok(rows)
}

fn flood(lab: &Lab, megabytes: u64, date: bool) -> Vec<Row> {
    let what = if date { "with a date on each" } else { "as they are" };
    let goals = if date { ["≥ 400", "≤ 1.5", "0", "0"] } else { ["≥ 0.95 × floor", "0", "0", "0"] };
    let rows = [
        Row::new(format!("{megabytes} MB of lines {what}: speed"), "MB/s", goals[0]),
        Row::new(format!("lines {what}: CPU of the manager"), "s/GB", goals[1]),
        Row::new(format!("lines {what}: lost"), "lines", goals[2]),
        Row::new(format!("lines {what}: mangled or out of order"), "lines", goals[3]),
    ];
    lab.rows(lab.rounds(2, 1), rows, |subject| {
        let folder = lab.fresh()?;
        let times = folder.join("times");
        let bytes = megabytes * 1_000_000;
        let words = ["flood", &bytes.to_string(), &times.display().to_string()].map(str::to_owned);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let expected = bytes + if date { bytes / 100 * PREFIX } else { 0 };
        let (cpu, last, out);
        match subject {
            Subject::Manager(ManagerKind::Supervisor) if date => return Ok(TurnResult::LeftOut("has no dates")),
            Subject::Manager(kind) => {
                let manager = lab.manager(kind)?;
                manager.warm(1)?;
                let before = measure::cpu(&manager.manager_pids()?);
                let mut apps = lab.apps(1, &words);
                apps.iter_mut().for_each(|app| app.date = date);
                manager.start(&apps)?;
                out = manager.out_file("app-0")?;
                last = complete(&out, expected);
                cpu = measure::cpu(&manager.manager_pids()?).saturating_sub(before);
                // Moved out of the home, which is removed with the manager.
                std::fs::rename(&out, folder.join("out"))?;
            }
            Subject::Floor => {
                out = folder.join("out");
                let pipe = Pipe::new(lab, &words, &out, date)?;
                last = complete(&out, expected);
                cpu = pipe.date.as_ref().map_or(Duration::ZERO, |child| measure::cpu(&[child.id().cast_signed()]));
            }
        }
        let begin = *stamps(&times).first().context("the app did not start")?;
        let (lost, mangled) = check(&folder.join("out"), bytes / 100)?;
        let seconds = (last - begin) as f64 / 1e9;
        Ok(TurnResult::Values([bytes as f64 / 1e6 / seconds, cpu.as_secs_f64() / (bytes as f64 / 1e9), lost as f64, mangled as f64]))
    })
}

/// The app with its stdout in the file, or through the bare dating program.
struct Pipe {
    app: Child,
    date: Option<Child>,
}

impl Pipe {
    fn new(lab: &Lab, words: &[&str], out: &PathBuf, date: bool) -> Result<Pipe> {
        let file = File::options().append(true).create(true).open(out)?;
        let mut app = Command::new(lab.tiny());
        app.args(words);
        if !date {
            return Ok(Pipe { app: app.stdout(file).spawn()?, date: None });
        }
        let mut app = app.stdout(Stdio::piped()).spawn()?;
        let lines = app.stdout.take().context("no stdout")?;
        let date = Command::new(lab.floor_program()).arg("date").stdin(lines).stdout(file).spawn()?;
        Ok(Pipe { app, date: Some(date) })
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        for child in [Some(&mut self.app), self.date.as_mut()].into_iter().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Waits until the file is complete, or has not grown for three seconds; returns that time.
fn complete(file: &Path, expected: u64) -> i64 {
    let (mut size, mut last, mut grown) = (0, measure::now(), Instant::now());
    loop {
        let found = std::fs::metadata(file).map_or(0, |data| data.len());
        if found != size {
            (size, last, grown) = (found, measure::now(), Instant::now());
        }
        if size >= expected || grown.elapsed() > Duration::from_secs(3) {
            return last;
        }
        std::thread::sleep(Duration::from_micros(500));
    }
}

/// Returns the number of missing lines, and of lines in the wrong place or with other text.
fn check(file: &Path, lines: u64) -> Result<(u64, u64)> {
    check_lines(BufReader::with_capacity(1 << 20, File::open(file)?), lines)
}

/// Same for several files, one after the other.
pub(super) fn check_lines(text: impl BufRead, lines: u64) -> Result<(u64, u64)> {
    let mut seen = vec![false; usize::try_from(lines)?];
    let (mut mangled, mut next) = (0, 0);
    for line in text.split(b'\n') {
        let line = line?;
        let body = line.get(line.len().saturating_sub(99)..).unwrap_or_default();
        let (head, tail) = body.split_at(body.len().min(13));
        let number = std::str::from_utf8(head).ok().and_then(|head| head.strip_suffix(' ')?.parse::<usize>().ok());
        let whole = tail.len() == 86 && tail.iter().all(|byte| *byte == b'x') && [99, 99 + PREFIX as usize].contains(&line.len());
        match number.filter(|_| whole).and_then(|number| Some((number, seen.get_mut(number)?))) {
            Some((number, place)) if !*place => {
                *place = true;
                mangled += u64::from(number < next);
                next = number + 1;
            }
            _ => mangled += 1,
        }
    }
    Ok((seen.iter().filter(|there| !**there).count() as u64, mangled))
}
