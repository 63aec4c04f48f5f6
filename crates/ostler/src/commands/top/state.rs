//! Shown data and its order. Pure.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use ostler_core::{marked, message};
use ostler_history::QueryResult;
use ostler_proto::control::TableRow;

use super::source::{AppHistory, Sample};
use crate::commands::metrics_history::App;
use crate::full_screen::input::{Input, Key};
use crate::render::SortOrder;
use crate::render::face::{AppGroup, overview_counts};

/// Rows by which a turn of the wheel scrolls.
const WHEEL: usize = 3;

/// Keys that sort.
const SORT_KEYS: &[(char, Sort)] =
    &[('c', Sort::Cpu), ('m', Sort::Memory), ('n', Sort::Name), ('r', Sort::Restarts), ('u', Sort::Uptime), ('s', Sort::State)];

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
#[derive(Clone, Debug)]
pub(super) struct AppEntry {
    pub(super) app: App,
    /// None = the app is not in the list, or the table is missing.
    pub(super) now: Option<CurrentMetrics>,
    /// Its instances, or one of them.
    pub(super) group: Option<AppGroup>,
    pub(super) cpu: QueryResult,
    pub(super) memory: QueryResult,
}

impl AppEntry {
    fn of_past((app, cpu, memory): AppHistory) -> Self {
        Self { app, now: None, group: None, cpu, memory }
    }

    /// Returns the present value, or the last one of the past. Apps that do not run have none.
    fn value(&self, now: fn(&CurrentMetrics) -> f64, past: &QueryResult) -> f64 {
        match (&self.group, &self.now) {
            (Some(group), Some(metrics)) if group.runs() => now(metrics),
            (Some(_), _) => -1.0,
            (None, _) => past.figures.last().map_or(-1.0, |figure| figure.avg),
        }
    }
}

/// Order of the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Cpu,
    Memory,
    Name,
    Restarts,
    Uptime,
    State,
}

impl Sort {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Cpu => marked!("cpu"),
            Self::Memory => marked!("memory"),
            Self::Name => marked!("name"),
            Self::Restarts => marked!("restarts"),
            Self::Uptime => marked!("uptime"),
            Self::State => marked!("state"),
        }
    }

    /// Compares two rows: the highest figure first, the most serious state, the youngest process.
    fn compare(self, one: &AppEntry, other: &AppEntry) -> Ordering {
        let by = |value: fn(&AppEntry) -> f64| value(other).total_cmp(&value(one));
        let state = |entry: &AppEntry| entry.group.as_ref().map(|group| group.state.mark);
        let uptime = |entry: &AppEntry| entry.group.as_ref().and_then(|group| group.row.uptime_ms).unwrap_or(u64::MAX);
        match self {
            Self::Cpu => by(|entry| entry.value(|now| now.cpu, &entry.cpu)),
            Self::Memory => by(|entry| entry.value(|now| now.memory, &entry.memory)),
            #[expect(clippy::cast_precision_loss, reason = "to compare")]
            Self::Restarts => by(|entry| entry.now.map_or(-1.0, |now| now.restarts as f64)),
            Self::Uptime => uptime(one).cmp(&uptime(other)),
            Self::State => state(other).cmp(&state(one)),
            Self::Name => Ordering::Equal,
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

/// All apps together.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Totals {
    /// Number of apps by state, in words.
    pub(super) counts: String,
    pub(super) cpu: f64,
    pub(super) memory: f64,
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
    /// Whether each instance has a row.
    pub(super) is_each: bool,
    /// Whether the keys are shown.
    pub(super) is_help: bool,
    /// First row that is shown.
    pub(super) first: usize,
    pub(super) at_ms: u64,
    /// Reason why the table is missing.
    pub(super) problem: Option<String>,
    pub(super) has_past: bool,
    pub(super) totals: Totals,
    /// All rows in their order. They change with a sample or a key, not with each picture.
    pub(super) rows: Vec<AppEntry>,
    now: Vec<TableRow>,
    past: Vec<AppHistory>,
}

impl TopState {
    pub(super) fn new(is_ascii: bool, is_each: bool, since_ms: u64, size: (usize, usize)) -> Self {
        Self {
            is_ascii,
            since_ms,
            size,
            sort: Sort::Cpu,
            is_reversed: false,
            is_each,
            is_help: false,
            first: 0,
            at_ms: 0,
            problem: None,
            has_past: false,
            totals: Totals::default(),
            rows: Vec::new(),
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
        self.totals = totals(&self.now);
        self.arrange();
    }

    /// Makes the rows again.
    fn arrange(&mut self) {
        let mut rows = entries(&self.now, self.past.clone(), self.is_each);
        // Apps of the past are last. Apps with equal values are sorted by name, instances by id.
        let is_gone = |entry: &AppEntry| entry.group.is_none();
        let id = |entry: &AppEntry| entry.group.as_ref().map(|group| group.row.id);
        let by_name = |one: &AppEntry, other: &AppEntry| one.app.1.cmp(&other.app.1).then_with(|| id(one).cmp(&id(other)));
        rows.sort_by(|one, other| {
            is_gone(one).cmp(&is_gone(other)).then_with(|| self.sort.compare(one, other)).then_with(|| by_name(one, other))
        });
        if self.is_reversed {
            rows.reverse();
        }
        self.rows = rows;
        self.scroll(true, 0);
    }

    /// Returns the rows that are on the screen.
    pub(super) fn visible(&self) -> &[AppEntry] {
        let end = self.first.saturating_add(self.room()).min(self.rows.len());
        self.rows.get(self.first..end).unwrap_or_default()
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
        if std::mem::take(&mut self.is_help) && !matches!(key, Key::Ctrl(_)) {
            return None;
        }
        match key {
            Key::Char('q') | Key::Escape | Key::Ctrl('c') => return Some(Command::Quit),
            Key::Ctrl('z') => return Some(Command::Suspend),
            Key::Ctrl('l') => return Some(Command::Repaint),
            Key::Char('?' | 'h') => self.is_help = true,
            Key::Char('a') => {
                self.is_each = !self.is_each;
                self.arrange();
            }
            Key::Char(letter) if let Some((_, sort)) = SORT_KEYS.iter().find(|(key, _)| *key == letter) => self.sort_by(*sort),
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
        self.arrange();
    }

    fn scroll(&mut self, is_up: bool, rows: usize) {
        let last = self.rows.len().saturating_sub(self.room());
        self.first = if is_up { self.first.saturating_sub(rows) } else { self.first.saturating_add(rows) }.min(last);
    }
}

/// Returns the sums of all apps.
pub(super) fn totals(rows: &[TableRow]) -> Totals {
    let groups = AppGroup::all(rows.to_vec(), false, SortOrder::BY_NAME);
    let counts = if groups.is_empty() { message!("no apps") } else { overview_counts(&groups) };
    let sums = metrics(rows.iter().filter(|row| row.pid > 0 || row.uptime_ms.is_some()));
    Totals { counts, cpu: sums.cpu, memory: sums.memory }
}

/// Returns the sums of these instances.
fn metrics<'a>(rows: impl IntoIterator<Item = &'a TableRow>) -> CurrentMetrics {
    let mut sums = CurrentMetrics::default();
    for row in rows {
        sums.cpu += row.monit.cpu_pct;
        #[expect(clippy::cast_precision_loss, reason = "a size on display")]
        {
            sums.memory += row.monit.memory_bytes as f64;
        }
        sums.instances += 1;
        sums.online += u32::from(row.status == "online");
        sums.restarts += u64::from(row.restarts);
    }
    sums
}

/// Merges the current apps with those of the past, each once. `is_each`: each instance has an entry,
/// with the past of its app if it is the only one.
pub(super) fn entries(now: &[TableRow], past: Vec<AppHistory>, is_each: bool) -> Vec<AppEntry> {
    let app = |row: &TableRow| (row.namespace.clone(), row.name.clone());
    let mut of_app: BTreeMap<App, Vec<&TableRow>> = BTreeMap::new();
    now.iter().for_each(|row| of_app.entry(app(row)).or_default().push(row));
    let mut past: BTreeMap<App, AppEntry> = past.into_iter().map(|past| (past.0.clone(), AppEntry::of_past(past))).collect();
    let mut all: Vec<AppEntry> = AppGroup::all(now.to_vec(), is_each, SortOrder::BY_NAME)
        .into_iter()
        .map(|group| {
            let app = app(&group.row);
            let rows = of_app.get(&app).map(Vec::as_slice).unwrap_or_default();
            let entry = past.remove(&app).filter(|_| rows.len() == group.count);
            let entry = entry.unwrap_or_else(|| AppEntry::of_past((app, QueryResult::default(), QueryResult::default())));
            let id = group.row.id;
            let now = metrics(rows.iter().copied().filter(|row| !is_each || row.id == id));
            AppEntry { now: Some(now), group: Some(group), ..entry }
        })
        .collect();
    all.extend(past.into_values());
    all.sort_by(|one, other| one.app.cmp(&other.app));
    all
}
