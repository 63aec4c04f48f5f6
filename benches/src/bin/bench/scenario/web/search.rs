//! Search in a large log by the dashboard's API, beside `grep` (the floor): the same file, in the
//! page cache and without it, in turns.

use super::dashboard::Dashboard;
use crate::contender::ManagerKind;
use crate::lab::{Lab, Subject, TurnResult};
use crate::report::Row;
use crate::scenario::ms;
use anyhow::{Context, Result, ensure};
use rustix::fs::{Advice, fadvise};
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A text in every hundred-thousandth line, and a text that never occurs.
const SOMETIMES: &str = "upstream timed out";
const NEVER: &str = "no such words";

pub(super) fn measure(lab: &Lab) -> Result<Vec<Row>> {
    let megabytes: u32 = if lab.quick { 300 } else { 1000 };
    let rows = [
        Row::new(format!("search in a log of {megabytes} MB, a text that is nowhere, warm (floor: `grep -F`)"), "MB/s", "≥ 500"),
        Row::new("… nothing of it in memory", "MB/s", ""),
        Row::new("… an expression, capitals or not, warm (floor: `grep -iE`)", "MB/s", "≥ 500"),
        Row::new("… the first of those with a rare text, warm", "ms", "≤ 200"),
        Row::new("… the first of them, nothing of it in memory", "ms", "≤ 200"),
        Row::new(format!("… packed with gzip, {megabytes} MB of lines (floor: `zgrep -F`)"), "MB/s", ""),
    ];
    let folder = lab.fresh()?;
    let log = folder.join("large.log");
    write(&log, megabytes)?;
    let packed = folder.join("large.log.gz");
    let gzip = Command::new("gzip").args(["-1", "-c"]).arg(&log).stdout(File::create(&packed)?).status().context("no gzip")?;
    ensure!(gzip.success(), "gzip failed");
    let size = log.metadata()?.len() as f64 / 1e6;
    let turns = lab.rows(lab.rounds(3, 1), rows, |subject| match subject {
        Subject::Manager(ManagerKind::Ostler) => {
            let manager = lab.manager(ManagerKind::Ostler)?;
            manager.start_all(&lab.apps(1, &["pause"]))?;
            let dashboard = Dashboard::on(&manager)?;
            let out = manager.out_file("app-0")?;
            std::fs::hard_link(&log, rotated(&out, "")).or_else(|_| std::fs::copy(&log, rotated(&out, "")).map(drop))?;
            let place = rotated(&out, "");
            let whole = |query: &str| -> Result<f64> { Ok(size / search(&dashboard, query)?.1.as_secs_f64()) };
            let first = |query: &str| -> Result<f64> { Ok(ms(search(&dashboard, query)?.0.context("nothing is found")?)) };
            warm(&place)?;
            let text = whole(&format!("q={}", words(NEVER)))?;
            let regex = whole("q=no+such+[0-9]%2B+words&regex=1&ignore_case=1")?;
            let first_warm = first(&format!("q={}&limit=1", words(SOMETIMES)))?;
            cold(&place)?;
            let first_cold = first(&format!("q={}&limit=1", words(SOMETIMES)))?;
            cold(&place)?;
            let text_cold = whole(&format!("q={}", words(NEVER)))?;
            std::fs::remove_file(&place)?;
            std::fs::copy(&packed, rotated(&out, ".gz"))?;
            let unpacked = whole(&format!("q={}", words(NEVER)))?;
            Ok(TurnResult::Values([text, text_cold, regex, first_warm, first_cold, unpacked]))
        }
        Subject::Manager(_) => Ok(TurnResult::LeftOut("–")),
        Subject::Floor => {
            let whole = |program: &str, options: &[&str], pattern: &str, file: &Path| -> Result<f64> {
                Ok(size / grep(program, options, pattern, file)?.1.as_secs_f64())
            };
            warm(&log)?;
            let text = whole("grep", &["-F"], NEVER, &log)?;
            let regex = whole("grep", &["-iE"], "no such [0-9]+ words", &log)?;
            // grep's first match is the oldest.
            let first = |file: &Path| -> Result<f64> { Ok(ms(grep("grep", &["-m1", "-F"], SOMETIMES, file)?.1)) };
            let first_warm = first(&log)?;
            cold(&log)?;
            let first_cold = first(&log)?;
            cold(&log)?;
            let text_cold = whole("grep", &["-F"], NEVER, &log)?;
            let unpacked = whole("zgrep", &["-F"], NEVER, &packed)?;
            Ok(TurnResult::Values([text, text_cold, regex, first_warm, first_cold, unpacked]))
        }
    });
    std::fs::remove_dir_all(&folder)?;
    Ok(turns)
}

/// Returns the name of a rotated file of a log.
fn rotated(log: &Path, end: &str) -> PathBuf {
    let stem = log.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    log.with_file_name(format!("{stem}__2026-11-21_00-00-00.log{end}"))
}

fn words(text: &str) -> String {
    text.replace(' ', "+")
}

/// Writes distinct lines of about 100 bytes.
fn write(path: &Path, megabytes: u32) -> Result<()> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path).context("cannot write the log")?);
    let (mut written, mut number, mut dice) = (0_u64, 0_u64, 1_u64);
    while written < u64::from(megabytes) * 1_000_000 {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let what = if number % 100_000 == 99_999 { SOMETIMES } else { "request is answered" };
        let line = format!("GET /api/orders/{number} 200 {} ms user={:016x} {what} by worker {}\n", dice >> 58, dice, number % 7);
        file.write_all(line.as_bytes())?;
        written += line.len() as u64;
        number += 1;
    }
    file.flush()?;
    file.get_ref().sync_all()?;
    Ok(())
}

/// Reads a file to put it into the page cache.
fn warm(path: &Path) -> Result<()> {
    std::io::copy(&mut File::open(path)?, &mut std::io::sink())?;
    Ok(())
}

/// Drops a file from the page cache.
fn cold(path: &Path) -> Result<()> {
    fadvise(File::open(path)?, 0, None, Advice::DontNeed).context("the kernel keeps the file")
}

/// Returns the time until the first match, and until the end.
fn search(dashboard: &Dashboard, query: &str) -> Result<(Option<Duration>, Duration)> {
    let begin = Instant::now();
    let mut first = None;
    let mut lines = BufReader::new(dashboard.ask(&format!("/api/logs/search?app=app-0&{query}"))?).lines();
    let head = lines.next().context("no answer")??;
    ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
    for line in lines {
        let line = line?;
        if first.is_none() && line.contains("\"hit\":") {
            first = Some(begin.elapsed());
        }
        if line.contains("\"end\":") {
            return Ok((first, begin.elapsed()));
        }
    }
    anyhow::bail!("the search did not end")
}

/// Same for `grep`: the time until its output begins, and until it ends.
fn grep(program: &str, options: &[&str], pattern: &str, file: &Path) -> Result<(Option<Duration>, Duration)> {
    let begin = Instant::now();
    let mut command = Command::new(program);
    // Makes grep compare bytes, as the dashboard does.
    command.args(options).arg(pattern).arg(file).env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("there is no {program}"))?;
    let mut line = String::new();
    let output = child.stdout.take().context("no output")?;
    let first = (BufReader::new(output).read_line(&mut line)? > 0).then(|| begin.elapsed());
    child.wait()?;
    Ok((first, begin.elapsed()))
}
