//! Medians, ratios, and the table.

use crate::cluster::ClusterRunner;
use crate::contender::ManagerKind;
use crate::lab::{Column, Subject};
use crate::program::ProgramRunner;
use std::fmt::Write;

/// Measurements of one subject.
#[derive(Clone, Debug)]
pub(crate) enum Cell {
    Samples(Vec<f64>),
    Note(String),
}

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    title: String,
    unit: &'static str,
    goal: &'static str,
    cells: Vec<(Column, Cell)>,
    /// Whether larger values are better, as for speeds.
    more_is_better: bool,
}

impl Row {
    /// Returns a row of times, sizes or counts.
    pub(crate) fn new(title: impl Into<String>, unit: &'static str, goal: &'static str) -> Row {
        Row { title: title.into(), unit, goal, cells: Vec::new(), more_is_better: matches!(unit, "MB/s" | "requests/s" | "lines/s") }
    }

    pub(crate) fn add(&mut self, subject: Column, value: f64) {
        match self.cells.iter_mut().find(|(known, _)| *known == subject) {
            Some((_, Cell::Samples(samples))) => samples.push(value),
            Some((_, Cell::Note(_))) => {}
            None => self.cells.push((subject, Cell::Samples(vec![value]))),
        }
    }

    pub(crate) fn set(&mut self, subject: Column, cell: Cell) {
        self.cells.retain(|(known, _)| *known != subject);
        self.cells.push((subject, cell));
    }

    fn value(&self, subject: Column) -> Option<f64> {
        match self.cells.iter().find(|(known, _)| *known == subject) {
            Some((_, Cell::Samples(samples))) => median(samples),
            _ => None,
        }
    }

    fn shown(&self, subject: Column) -> String {
        match self.cells.iter().find(|(known, _)| *known == subject) {
            Some((_, Cell::Note(text))) => text.clone(),
            _ => self.value(subject).map_or_else(|| "–".into(), number),
        }
    }

    fn rounds(&self, subject: Column) -> Option<usize> {
        self.cells.iter().find(|(known, _)| *known == subject).and_then(|(_, cell)| match cell {
            Cell::Samples(samples) => Some(samples.len()),
            Cell::Note(_) => None,
        })
    }

    /// Returns by which factor `better` beats `worse`.
    fn ratio(&self, worse: Column, better: Column) -> String {
        match (self.value(worse), self.value(better)) {
            // A count of lines or of failures is right or wrong, so it has no ratio.
            _ if matches!(self.unit, "" | "lines") => "–".into(),
            (Some(worse), Some(better)) if worse > 0.0 && better > 0.0 && worse.is_finite() && better.is_finite() => {
                let times = if self.more_is_better { better / worse } else { worse / better };
                format!("{}×", number(times))
            }
            _ => "–".into(),
        }
    }
}

/// Returns the middle sample.
pub(crate) fn median(samples: &[f64]) -> Option<f64> {
    percentile(samples, 50.0)
}

/// Returns the smallest value that `percent` of the samples do not exceed.
pub(crate) fn percentile(samples: &[f64], percent: f64) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// Formats a number with three significant digits.
fn number(value: f64) -> String {
    match value {
        v if v.is_nan() => "–".into(),
        v if v.is_infinite() => "never".into(),
        0.0 => "0".into(),
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v if v >= 0.1 => format!("{v:.2}"),
        v => format!("{v:.4}"),
    }
}

/// Machine of the measurement.
pub(crate) struct Machine {
    cpus: usize,
    model: String,
    memory_gb: u64,
    kernel: String,
    date: String,
}

impl Machine {
    pub(crate) fn here() -> Machine {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, key: &str| {
            text.lines().find_map(|line| Some(line.strip_prefix(key)?.trim_start_matches([' ', '\t', ':']).to_owned()))
        };
        let seconds = rustix::time::clock_gettime(rustix::time::ClockId::Realtime).tv_sec;
        Machine {
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            model: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown CPU".into()),
            memory_gb: field(&read("/proc/meminfo"), "MemTotal").and_then(|text| text.split(' ').next()?.parse::<u64>().ok()).unwrap_or(0)
                / 1_000_000,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            date: date(seconds),
        }
    }
}

/// Returns `YYYY-MM-DD` of a time in seconds since 1970 (UTC), by the usual arithmetic of the civil
/// calendar.
fn date(seconds: i64) -> String {
    let days = seconds.div_euclid(86_400) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// A benchmark and its rows.
pub(crate) type Measured = (&'static str, Vec<Row>);

/// Compared subjects and their order.
pub(crate) struct Table {
    heading: Option<&'static str>,
    columns: &'static [(Column, &'static str)],
    /// Pairs of columns with a ratio: how many times better the second is.
    ratios: &'static [(usize, usize)],
}

const fn manager(kind: ManagerKind) -> Column {
    Column::Apps(Subject::Manager(kind))
}

/// The managers, with small apps.
pub(crate) const APPS: Table = Table {
    heading: None,
    columns: &[
        (manager(ManagerKind::Pm2), "PM2 7"),
        (manager(ManagerKind::Supervisor), "supervisor"),
        (Column::Apps(Subject::Floor), "floor"),
        (manager(ManagerKind::Ostler), "ostler"),
    ],
    ratios: &[(0, 3), (1, 3), (3, 2)],
};

/// The runners of clusters.
pub(crate) const CLUSTERS: Table = Table {
    heading: Some("Several copies behind one port"),
    columns: &[
        (Column::Cluster(ClusterRunner::Pm2), ClusterRunner::Pm2.name()),
        (Column::Cluster(ClusterRunner::Node), ClusterRunner::Node.name()),
        (Column::Cluster(ClusterRunner::Bare), ClusterRunner::Bare.name()),
        (Column::Cluster(ClusterRunner::RoundRobin), ClusterRunner::RoundRobin.name()),
        (Column::Cluster(ClusterRunner::Reuseport), ClusterRunner::Reuseport.name()),
        (Column::Cluster(ClusterRunner::Shared), ClusterRunner::Shared.name()),
    ],
    ratios: &[],
};

const fn program(runner: ProgramRunner) -> (Column, &'static str) {
    (Column::Program(runner), runner.name())
}

/// Costs of cluster mode for a program that knows nothing of clusters.
pub(crate) const PROGRAM_COSTS: Table = Table {
    heading: Some("Any program in cluster mode: costs"),
    columns: &[program(ProgramRunner::Alone), program(ProgramRunner::Fork), (Column::Program(ProgramRunner::Cluster), "ostler cluster")],
    ratios: &[(2, 0), (2, 1)],
};

/// Runners of a server that knows nothing of clusters.
pub(crate) const PROGRAMS: Table = Table {
    heading: Some("Any program in cluster mode: requests and reloads"),
    columns: &[
        program(ProgramRunner::Alone),
        program(ProgramRunner::Activation),
        program(ProgramRunner::Pm2),
        program(ProgramRunner::Supervisor),
        program(ProgramRunner::Nginx),
        program(ProgramRunner::Gunicorn),
        program(ProgramRunner::Cluster),
    ],
    ratios: &[(2, 6), (3, 6), (4, 6), (5, 6)],
};

impl Table {
    fn name(&self, subject: Column) -> &'static str {
        self.columns.iter().find(|(known, _)| *known == subject).map_or("", |(_, name)| name)
    }

    /// Returns how often the rows of one benchmark were measured, with the exceptions:
    /// `start 7 (PM2 4)`.
    fn rounds(&self, name: &str, rows: &[Row]) -> String {
        let of = |subject| rows.iter().filter_map(|row| row.rounds(subject)).min();
        let counts: Vec<(usize, &str)> =
            self.columns.iter().filter_map(|(subject, name)| Some((of(*subject)?, name.trim_end_matches(" 7")))).collect();
        let most = counts.iter().map(|(count, _)| *count).max().unwrap_or(0);
        let fewer: Vec<String> =
            counts.iter().filter(|(count, _)| *count < most).map(|(count, subject)| format!("{subject} {count}")).collect();
        if fewer.is_empty() { format!("{name} {most}") } else { format!("{name} {most} ({})", fewer.join(", ")) }
    }

    /// Returns the table; the rows come with the name of their benchmark. It is empty without
    /// measurements.
    fn markdown(&self, benchmarks: &[Measured], picture: &str) -> String {
        let counts: Vec<String> =
            benchmarks.iter().filter(|(_, rows)| !rows.is_empty()).map(|(name, rows)| self.rounds(name, rows)).collect();
        if counts.is_empty() {
            return String::new();
        }
        let mut text = self.heading.map_or_else(String::new, |heading| format!("\n### {heading}\n\n"));
        let _ = writeln!(text, "Rounds{picture}: {}.\n", counts.join(", "));
        let pair = |(worse, better): &(usize, usize)| Some((self.columns.get(*worse)?.0, self.columns.get(*better)?.0));
        let pairs: Vec<(Column, Column)> = self.ratios.iter().filter_map(pair).collect();
        let mut line = |first: &str, cells: Vec<String>, last: &str| {
            let _ = writeln!(text, "| {first} | {} | {last} |", cells.join(" | "));
        };
        let names = self.columns.iter().map(|(_, name)| (*name).to_owned());
        let short = |subject| self.name(subject).trim_end_matches(" 7");
        let heads = pairs.iter().map(|(worse, better)| format!("{} : {}", short(*worse), short(*better)));
        line("measure | unit", names.chain(heads).collect(), "goal");
        line("--- | ---", vec!["--:".to_owned(); self.columns.len() + pairs.len()], "---");
        for row in benchmarks.iter().flat_map(|(_, rows)| rows) {
            let values = self.columns.iter().map(|(subject, _)| row.shown(*subject));
            let ratios = pairs.iter().map(|(worse, better)| row.ratio(*worse, *better));
            line(&format!("{} | {}", row.title, row.unit), values.chain(ratios).collect(), row.goal);
        }
        text
    }
}

/// Returns all tables, each with its benchmarks.
pub(crate) fn markdown(tables: &[(Table, Vec<Measured>)], machine: &Machine, quick: bool) -> String {
    let Machine { cpus, model, memory_gb, kernel, date } = machine;
    let picture = if quick { " (`--quick`: a rough picture)" } else { "" };
    let head = format!("{date}, {cpus} × {model}, {memory_gb} GB, Linux {kernel}; medians, the subjects taking turns.\n\n");
    tables.iter().fold(head, |text, (table, benchmarks)| text + &table.markdown(benchmarks, picture))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PM2: Column = manager(ManagerKind::Pm2);
    const SUPERVISOR: Column = manager(ManagerKind::Supervisor);
    const OSTLER: Column = manager(ManagerKind::Ostler);

    #[test]
    fn median_and_percentile_of_samples() {
        let samples: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!((median(&samples), percentile(&samples, 99.0)), (Some(50.0), Some(99.0)));
        assert_eq!((median(&[7.0]), median(&[])), (Some(7.0), None));
    }

    #[test]
    fn date_formats_unix_seconds() {
        for (seconds, text) in
            [(0, "1970-01-01"), (951_782_400, "2000-02-29"), (1_735_689_599, "2024-12-31"), (1_795_219_200, "2026-11-21")]
        {
            assert_eq!(date(seconds), text);
        }
    }

    #[test]
    fn infinite_measurement_shows_never_and_no_ratio() {
        let mut row = Row::new("x", "ms", "");
        row.add(PM2, f64::INFINITY);
        row.add(OSTLER, 1.0);
        assert_eq!((row.shown(PM2).as_str(), row.ratio(PM2, OSTLER).as_str()), ("never", "–"));
    }

    #[test]
    fn caption_names_subjects_with_fewer_rounds() {
        let mut row = Row::new("x", "ms", "");
        for subject in [PM2, OSTLER, OSTLER] {
            row.add(subject, 1.0);
        }
        row.set(SUPERVISOR, Cell::Note("has none".into()));
        assert_eq!(APPS.rounds("start", &[row]), "start 2 (PM2 1)");
        assert_eq!(APPS.rounds("start", &[Row::new("x", "ms", "")]), "start 0");
    }

    #[test]
    fn table_has_column_per_subject_and_ratio() {
        let mut row = Row::new("x", "ms", "≤ 1");
        row.add(PM2, 3.0);
        row.add(OSTLER, 1.0);
        let text = APPS.markdown(&[("some", vec![row.clone()])], "");
        assert!(text.contains("| measure | unit | PM2 7 | supervisor | floor | ostler | PM2 : ostler |"), "{text}");
        assert!(text.contains("| x | ms | 3.00 | – | – | 1.00 | 3.00× | – | – | ≤ 1 |\n"), "{text}");
        assert_eq!(APPS.markdown(&[("none", Vec::new())], ""), "");
    }

    #[test]
    fn ratio_treats_higher_throughput_as_better() {
        let (a, b) = (PM2, OSTLER);
        for (unit, expected) in [("MB/s", "4.00×"), ("ms", "0.25×"), ("lines", "–")] {
            let mut row = Row::new("x", unit, "");
            row.add(a, 100.0);
            row.add(b, 400.0);
            assert_eq!(row.ratio(a, b), expected);
        }
    }
}
