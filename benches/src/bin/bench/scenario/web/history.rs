//! Metrics over time: bytes per sample of a simulated day, and the time to read a year, on a real
//! disk.

use crate::contender::ManagerKind;
use crate::lab::{Lab, Subject, TurnResult};
use crate::report::Row;
use crate::scenario::ms;
use anyhow::{Context, Result};
use ostler_history::{Folder, History, Options, SampleInterval, Scale};
use std::time::Instant;

const STEP_MS: u64 = 10_000;
const DAY_MS: u64 = 86_400_000;
/// A day in 2026, at a full hour.
const BEGIN: u64 = 1_792_800_000_000;
/// Series that the dashboard stores per app.
const SERIES: [(&str, Scale); 3] = [("cpu", Scale::new(0.1, 5)), ("memory", Scale::new(4096.0, 9)), ("restarts", Scale::new(1.0, 10))];

pub(super) fn measure(lab: &Lab) -> Result<Vec<Row>> {
    let apps = if lab.quick { 30 } else { 100 };
    let rows = [
        Row::new(format!("history, a played day of {apps} apps: bytes per sample"), "B", "≤ 0.6"),
        Row::new("… a year of one app, read from files", "ms", "≤ 20"),
    ];
    Ok(lab.rows(1, rows, |subject| {
        if subject != Subject::Manager(ManagerKind::Ostler) {
            return Ok(TurnResult::LeftOut("–"));
        }
        Ok(TurnResult::Values([day(lab, apps)?, year(lab)?]))
    }))
}

/// Reproducible numbers from 0 to 1.
struct NoiseSource(u64);

impl NoiseSource {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f64 / f64::from(1 << 24)
    }

    /// Returns an approximately normal value with mean 0 and deviation 1.
    fn noise(&mut self) -> f64 {
        (0..12).map(|_| self.next()).sum::<f64>() - 6.0
    }
}

/// Returns a value. A third of the apps is busy, more so by day; the others are idle.
fn value(dice: &mut NoiseSource, app: usize, series: usize, at: u64) -> f64 {
    let is_busy = app.is_multiple_of(3);
    let hour = (at % DAY_MS) as f64 / 3_600_000.0;
    let load = 1.0 + 0.8 * ((hour - 15.0) * std::f64::consts::PI / 12.0).cos();
    match (series, is_busy) {
        (0, true) => (16.0 * load + 2.0 * dice.noise()).max(0.0),
        (0, false) => f64::from(u8::from(dice.next() < 0.1)) * 0.1,
        (1, true) => 90e6 + 250e3 * ((at / STEP_MS) % 90) as f64 + 120e3 * dice.noise(),
        (1, false) => 41e6 + if dice.next() < 0.05 { 8192.0 } else { 0.0 },
        _ => f64::from(u8::from(is_busy && hour > 11.0)),
    }
}

fn day(lab: &Lab, apps: usize) -> Result<f64> {
    let folder = lab.fresh()?.join("history");
    let mut history = History::open(Folder::make(folder.clone())?, Options::default()).context("no history")?;
    let names: Vec<[String; 3]> = (0..apps).map(|app| SERIES.map(|(name, _)| format!("app-{app} {name}"))).collect();
    let (mut dice, mut samples) = (NoiseSource(1), 0_u64);
    for at in (BEGIN..BEGIN + DAY_MS).step_by(STEP_MS as usize) {
        history.moment(at, SampleInterval::TenSeconds);
        for (app, keys) in names.iter().enumerate() {
            for (series, (key, (_, scale))) in keys.iter().zip(SERIES).enumerate() {
                samples += u64::from(history.record(key, scale, value(&mut dice, app, series, at)));
            }
        }
        if (at - BEGIN).is_multiple_of(4 * STEP_MS) {
            history.flush();
        }
    }
    history.flush();
    drop(history);
    let bytes: u64 = std::fs::read_dir(&folder)?.flatten().filter_map(|entry| Some(entry.metadata().ok()?.len())).sum();
    Ok(bytes as f64 / samples as f64)
}

fn year(lab: &Lab) -> Result<f64> {
    let folder = lab.fresh()?.join("history");
    let mut history = History::open(Folder::make(folder.clone())?, Options::default()).context("no history")?;
    let mut dice = NoiseSource(1);
    for at in (BEGIN..BEGIN + 365 * DAY_MS).step_by(STEP_MS as usize) {
        history.moment(at, SampleInterval::TenSeconds);
        history.record("app cpu", SERIES[0].1, value(&mut dice, 0, 0, at));
        if (at - BEGIN).is_multiple_of(4 * STEP_MS) {
            history.flush();
        }
    }
    history.flush();
    let mut times: Vec<f64> = (0..5)
        .map(|_| {
            let begin = Instant::now();
            let answer = history.query("app cpu", BEGIN, BEGIN + 365 * DAY_MS, 300);
            assert!(answer.figures.len() > 200, "a year is there");
            ms(begin.elapsed())
        })
        .collect();
    times.sort_by(f64::total_cmp);
    Ok(times[2])
}
