//! Shown data and its order. Pure.

use std::collections::BTreeMap;

use ostler_history::QueryResult;
use ostler_proto::control::TableRow;

use super::source::Sample;
use crate::commands::metrics_history::App;
use crate::full_screen::input::{Input, Key};

/// Rows by which a turn of the wheel scrolls.
const WHEEL: usize = 3;

/// Current metrics of an app.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct CurrentMetrics {
    /// CPU use of all instances, in percent of one core.
    pub(super) cpu: f64,
    /// Memory of all instances, in bytes.
    pub(super) memory: f64,
    pub(super) instances: u32,
    pub(super) online: u32,
    pub(super) restarts: u64,
}

/// One app.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct AppEntry {
    pub(super) app: App,
    /// None = the app is not in the list, or the table is missing.
    pub(super) now: Option<CurrentMetrics>,
    pub(super) cpu: QueryResult,
    pub(super) memory: QueryResult,
}

/// Order of the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Cpu,
    Memory,
    Name,
    Restarts,
}

impl Sort {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Name => "name",
            Self::Restarts => "restarts",
        }
    }
}

/// Action that follows a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Quit,
    Suspend,
    Repaint,
}

/// Data from which a picture is made.
#[derive(Debug)]
pub(super) struct TopState {
    pub(super) is_ascii: bool,
    pub(super) since_ms: u64,
    pub(super) size: (usize, usize),
    pub(super) sort: Sort,
    /// Whether the order is reversed.
    pub(super) is_reversed: bool,
    /// First row that is shown.
    pub(super) first: usize,
    pub(super) at_ms: u64,
    /// Reason why the table is missing.
    pub(super) problem: Option<String>,
    pub(super) has_past: bool,
    now: Vec<TableRow>,
    past: Vec<(App, QueryResult, QueryResult)>,
}

impl TopState {
    pub(super) fn new(is_ascii: bool, since_ms: u64, size: (usize, usize)) -> Self {
        Self {
            is_ascii,
            since_ms,
            size,
            sort: Sort::Cpu,
            is_reversed: false,
            first: 0,
            at_ms: 0,
            problem: None,
            has_past: false,
            now: Vec::new(),
            past: Vec::new(),
        }
    }

    pub(super) fn take(&mut self, sample: Sample) {
        (self.at_ms, self.has_past) = (sample.at_ms, sample.has_past);
        match sample.now {
            Ok(rows) => (self.now, self.problem) = (rows, None),
            // The previous table is outdated.
            Err(problem) => (self.now, self.problem) = (Vec::new(), Some(problem)),
        }
        if let Some(past) = sample.past {
            self.past = past;
        }
    }

    /// Returns the rows, in their order.
    pub(super) fn rows(&self) -> Vec<AppEntry> {
        let mut all = entries(&self.now, self.past.clone());
        let figure = |entry: &AppEntry| {
            let last = |answer: &QueryResult| answer.figures.last().map_or(-1.0, |figure| figure.avg);
            match self.sort {
                Sort::Cpu => entry.now.map_or_else(|| last(&entry.cpu), |now| now.cpu),
                Sort::Memory => entry.now.map_or_else(|| last(&entry.memory), |now| now.memory),
                #[expect(clippy::cast_precision_loss, reason = "to compare")]
                Sort::Restarts => entry.now.map_or(-1.0, |now| now.restarts as f64),
                Sort::Name => 0.0,
            }
        };
        // Apps with equal values are sorted by name.
        all.sort_by(|one, other| figure(other).total_cmp(&figure(one)).then_with(|| one.app.1.cmp(&other.app.1)));
        if self.is_reversed {
            all.reverse();
        }
        all
    }

    /// Returns the number of app rows that fit.
    pub(super) fn room(&self) -> usize {
        self.size.1.saturating_sub(3).max(1)
    }

    pub(super) fn on_input(&mut self, input: &Input) -> Option<Command> {
        match input {
            Input::Key(key) => self.on_key(*key),
            Input::Wheel { up, .. } => {
                self.scroll(*up, WHEEL);
                None
            }
            _ => None,
        }
    }

    fn on_key(&mut self, key: Key) -> Option<Command> {
        match key {
            Key::Char('q') | Key::Escape | Key::Ctrl('c') => return Some(Command::Quit),
            Key::Ctrl('z') => return Some(Command::Suspend),
            Key::Ctrl('l') => return Some(Command::Repaint),
            Key::Char('c') => self.sort_by(Sort::Cpu),
            Key::Char('m') => self.sort_by(Sort::Memory),
            Key::Char('n') => self.sort_by(Sort::Name),
            Key::Char('r') => self.sort_by(Sort::Restarts),
            Key::Up | Key::Char('k') => self.scroll(true, 1),
            Key::Down | Key::Char('j') => self.scroll(false, 1),
            Key::PageUp => self.scroll(true, self.room()),
            Key::PageDown | Key::Char(' ') => self.scroll(false, self.room()),
            Key::Home => self.first = 0,
            Key::End => self.scroll(false, usize::MAX),
            _ => {}
        }
        None
    }

    /// Sorts by this field; the same field again reverses the order.
    fn sort_by(&mut self, sort: Sort) {
        self.is_reversed = self.sort == sort && !self.is_reversed;
        (self.sort, self.first) = (sort, 0);
    }

    fn scroll(&mut self, is_up: bool, rows: usize) {
        let last = self.rows().len().saturating_sub(self.room());
        self.first = if is_up { self.first.saturating_sub(rows) } else { self.first.saturating_add(rows) }.min(last);
    }
}

/// Merges the current apps with those of the past, each once.
pub(super) fn entries(now: &[TableRow], past: Vec<(App, QueryResult, QueryResult)>) -> Vec<AppEntry> {
    let mut all: BTreeMap<App, AppEntry> = BTreeMap::new();
    for (app, cpu, memory) in past {
        all.insert(app.clone(), AppEntry { app, now: None, cpu, memory });
    }
    for row in now {
        let app = (row.namespace.clone(), row.name.clone());
        let entry = all.entry(app.clone()).or_insert_with(|| AppEntry {
            app,
            now: None,
            cpu: QueryResult::default(),
            memory: QueryResult::default(),
        });
        let sums = entry.now.get_or_insert_with(CurrentMetrics::default);
        sums.cpu += row.monit.cpu_pct;
        #[expect(clippy::cast_precision_loss, reason = "a size on display")]
        {
            sums.memory += row.monit.memory_bytes as f64;
        }
        sums.instances += 1;
        sums.online += u32::from(row.status == "online");
        sums.restarts += u64::from(row.restarts);
    }
    all.into_values().collect()
}
