//! A file that its app writes itself, at 200 MB a second, rotated at 100 MB. The bare system calls
//! write to one file.

use crate::contender::ManagerKind;
use crate::lab::{Lab, Subject, TurnResult, stamps};
use crate::measure;
use crate::report::Row;
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const SPEED: u64 = 200;
/// `100M`.
const LIMIT: u64 = 100 << 20;

pub(crate) fn measure(lab: &Lab) -> Result<Vec<Row>> {
    let megabytes: u64 = if lab.quick { 1000 } else { 3000 };
    let rows = [
        Row::new(format!("{megabytes} MB at {SPEED} MB/s, rotated at 100 MB: rotations"), "", ""),
        Row::new("rotated log: lines lost", "lines", "0"),
        Row::new("rotated log: lines mangled or out of order", "lines", "0"),
        Row::new("rotated log: how late the app could write, longest", "ms", "< 20 more than floor"),
        Row::new("rotated log: how late the app could write, 99.9 %", "ms", ""),
        Row::new("rotated log: how late the app could write, median", "ms", ""),
        Row::new("rotated log: CPU of the manager", "s/GB", ""),
    ];
    Ok(lab.rows(lab.rounds(3, 1), rows, |subject| {
        let folder = lab.fresh()?;
        let times = folder.join("times");
        let bytes = megabytes * 1_000_000;
        let words = ["pour", &bytes.to_string(), &SPEED.to_string(), &times.display().to_string()].map(str::to_owned);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let within = Duration::from_secs(60);
        let is_done = || stamps(&times).len() >= 5;
        let (files, cpu): (Vec<PathBuf>, Duration);
        match subject {
            Subject::Manager(ManagerKind::Ostler) => {
                let manager = lab.manager(ManagerKind::Ostler)?;
                manager.warm(1)?;
                let before = measure::cpu(&manager.manager_pids()?);
                let mut apps = lab.apps(1, &words);
                apps.iter_mut().for_each(|app| app.rotate = Some("100M"));
                manager.start(&apps)?;
                measure::wait(within, is_done);
                cpu = measure::cpu(&manager.manager_pids()?).saturating_sub(before);
                let logs = manager.out_file("app-0")?.parent().context("a log in no folder")?.to_owned();
                // Waits for a running rotation, so that the end of the home does not interrupt it.
                // The next one must not begin during the check either: a file that is still too
                // large will be rotated.
                let out = manager.out_file("app-0")?;
                let is_small = || std::fs::metadata(&out).is_ok_and(|meta| meta.len() < LIMIT);
                measure::wait(Duration::from_secs(10), || is_small() && !names(&logs).iter().any(|name| name.starts_with('.')));
                files = names(&logs).iter().filter(|name| name.contains("-out")).map(|name| logs.join(name)).collect();
                let (lost, mangled) = check(&files, bytes / 100)?;
                return values(&times, [files.len() as f64 - 1.0, lost as f64, mangled as f64], cpu, bytes);
            }
            Subject::Manager(_) => return Ok(TurnResult::LeftOut("needs a module")),
            Subject::Floor => {
                let out = folder.join("out");
                let file = File::options().append(true).create(true).open(&out)?;
                let mut app = Command::new(lab.tiny()).args(&words).stdout(file).spawn()?;
                measure::wait(within, is_done);
                app.kill()?;
                app.wait()?;
                files = vec![out];
                cpu = Duration::ZERO;
            }
        }
        let (lost, mangled) = check(&files, bytes / 100)?;
        values(&times, [0.0, lost as f64, mangled as f64], cpu, bytes)
    }))
}

fn values(times: &Path, [rotations, lost, mangled]: [f64; 3], cpu: Duration, bytes: u64) -> Result<TurnResult<7>> {
    let stamps = stamps(times);
    let &[_, median, most, longest, _] = stamps.as_slice() else { bail!("the app did not come to its end") };
    let [median, most, longest] = [median, most, longest].map(|late| late as f64 / 1e6);
    Ok(TurnResult::Values([rotations, lost, mangled, longest, most, median, cpu.as_secs_f64() / (bytes as f64 / 1e9)]))
}

fn names(folder: &Path) -> Vec<String> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Checks the files in the order of their first lines, one after the other.
fn check(files: &[PathBuf], lines: u64) -> Result<(u64, u64)> {
    let mut ordered = Vec::new();
    for file in files {
        let mut first = Vec::new();
        BufReader::new(File::open(file)?).read_until(b' ', &mut first)?;
        ordered.push((first, file));
    }
    ordered.sort();
    let mut text: Box<dyn Read> = Box::new(std::io::empty());
    for (_, file) in ordered {
        text = Box::new(text.chain(File::open(file)?));
    }
    super::log::check_lines(BufReader::with_capacity(1 << 20, text), lines)
}
