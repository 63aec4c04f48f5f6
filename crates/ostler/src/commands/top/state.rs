//! What is shown, and in which order. Pure.

use std::collections::BTreeMap;

use ostler_history::Answer;
use ostler_proto::control::TableRow;

use super::source::Sample;
use crate::commands::past::App;
use crate::full_screen::input::{Input, Key};

/// Rows that a turn of the wheel moves.
const WHEEL: usize = 3;

/// Figures of an app at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Now {
    /// Percent of one core, of all instances.
    pub(super) cpu: f64,
    /// Bytes, of all instances.
    pub(super) memory: f64,
    pub(super) instances: u32,
    pub(super) online: u32,
    pub(super) restarts: u64,
}

/// One app.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) app: App,
    /// None = it is not in the list, or nobody knows.
    pub(super) now: Option<Now>,
    pub(super) cpu: Answer,
    pub(super) memory: Answer,
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

/// What has to be done after a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Quit,
    Suspend,
    Repaint,
}

/// Everything that a picture is made of.
#[derive(Debug)]
pub(super) struct State {
    pub(super) is_ascii: bool,
    pub(super) since_ms: u64,
    pub(super) size: (usize, usize),
    pub(super) sort: Sort,
    /// The other way round.
    pub(super) is_reversed: bool,
    /// First row that is shown.
    pub(super) first: usize,
    pub(super) at_ms: u64,
    /// Why there is no table.
    pub(super) problem: Option<String>,
    pub(super) has_past: bool,
    now: Vec<TableRow>,
    past: Vec<(App, Answer, Answer)>,
}

impl State {
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
            // What was true is not any more.
            Err(problem) => (self.now, self.problem) = (Vec::new(), Some(problem)),
        }
        if let Some(past) = sample.past {
            self.past = past;
        }
    }

    /// The rows, in their order.
    pub(super) fn rows(&self) -> Vec<Entry> {
        let mut all = entries(&self.now, self.past.clone());
        let figure = |entry: &Entry| {
            let last = |answer: &Answer| answer.figures.last().map_or(-1.0, |figure| figure.avg);
            match self.sort {
                Sort::Cpu => entry.now.map_or_else(|| last(&entry.cpu), |now| now.cpu),
                Sort::Memory => entry.now.map_or_else(|| last(&entry.memory), |now| now.memory),
                #[expect(clippy::cast_precision_loss, reason = "to compare")]
                Sort::Restarts => entry.now.map_or(-1.0, |now| now.restarts as f64),
                Sort::Name => 0.0,
            }
        };
        // Of two that are alike the one that comes first by name.
        all.sort_by(|one, other| figure(other).total_cmp(&figure(one)).then_with(|| one.app.1.cmp(&other.app.1)));
        if self.is_reversed {
            all.reverse();
        }
        all
    }

    /// Rows of apps that have room.
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

    /// The same once more turns it round.
    fn sort_by(&mut self, sort: Sort) {
        self.is_reversed = self.sort == sort && !self.is_reversed;
        (self.sort, self.first) = (sort, 0);
    }

    fn scroll(&mut self, is_up: bool, rows: usize) {
        let last = self.rows().len().saturating_sub(self.room());
        self.first = if is_up { self.first.saturating_sub(rows) } else { self.first.saturating_add(rows) }.min(last);
    }
}

/// The apps of now and of the past, each once.
pub(super) fn entries(now: &[TableRow], past: Vec<(App, Answer, Answer)>) -> Vec<Entry> {
    let mut all: BTreeMap<App, Entry> = BTreeMap::new();
    for (app, cpu, memory) in past {
        all.insert(app.clone(), Entry { app, now: None, cpu, memory });
    }
    for row in now {
        let app = (row.namespace.clone(), row.name.clone());
        let entry = all.entry(app.clone()).or_insert_with(|| Entry { app, now: None, cpu: Answer::default(), memory: Answer::default() });
        let sums = entry.now.get_or_insert_with(Now::default);
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
