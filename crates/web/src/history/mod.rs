//! History: recording of samples, and queries.
//!
//! The thread that follows the daemon records. Without a watching user, it takes one table every
//! ten seconds. While a user watches, it records the tables that it reads anyway. Requests and
//! `ostler stats` query by the same names ([`Key`]).

mod key;
mod marks;
mod measured;
mod sample;

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ostler_history::{Figure, Folder, History, Options, QueryResult, SampleInterval};

pub use key::{Key, SeriesSubject};
pub(crate) use marks::{ChartMark, ChartMarks};
pub(crate) use sample::{ROUTE, ScrapedValue};

use crate::snapshot::{ReportedMetrics, Snapshot};

/// Time between two samples while no user watches, in ms.
const STEP_MS: u64 = 10_000;
/// Time between two writes. Together with a late sample and the ten seconds of aggregation, this is
/// less than a minute.
const FLUSH: Duration = Duration::from_secs(40);
/// Time between two attempts to open a store that another process holds.
const AGAIN: Duration = Duration::from_secs(10);

/// Returns the folder of the history files.
pub fn folder(home: &Path) -> PathBuf {
    crate::settings::names::folder(home).join("history")
}

/// Opens the store of a home for reading, even while it is written.
///
/// # Errors
/// Returns an error if the folder is missing or cannot be read.
pub fn read(home: &Path) -> io::Result<History<Folder>> {
    History::read(Folder::existing(folder(home)))
}

/// Recorder of the history, which also answers queries.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    state: Arc<Mutex<RecorderState>>,
    marks: ChartMarks,
}

#[derive(Debug)]
struct RecorderState {
    folder: PathBuf,
    most_bytes: u64,
    store: Option<Store>,
    opened_at: Option<Instant>,
    flushed: Instant,
    /// Last second that was recorded, wall clock.
    last: u64,
    /// Scraped metrics for the next sample.
    scraped: Vec<ScrapedValue>,
    /// Last problem that was reported.
    last_problem: String,
}

#[derive(Debug)]
struct Store {
    history: History<Folder>,
    /// Ensures a single writer; during an update there may be two processes for a while.
    _lock: OwnedFd,
}

impl Recorder {
    pub(crate) fn of(home: &Path, most_bytes: u64) -> Self {
        let (store, opened_at, flushed, last, last_problem) = (None, None, Instant::now(), 0, String::new());
        let state = RecorderState { folder: folder(home), most_bytes, store, opened_at, flushed, last, scraped: Vec::new(), last_problem };
        Self { state: Arc::new(Mutex::new(state)), marks: ChartMarks::of(home) }
    }

    /// Returns the marks of past events.
    pub(crate) fn marks(&self) -> &ChartMarks {
        &self.marks
    }

    fn state(&self) -> MutexGuard<'_, RecorderState> {
        // Even if a thread panicked while it held the lock, the store is consistent: it is changed
        // only in whole steps.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the time until the next sample is due while no user watches.
    pub(crate) fn due_in(&self, at_ms: u64) -> Duration {
        // Slightly after the start of the step, because a timer that fires early would hit the
        // previous step.
        const LATE: u64 = 5;
        if self.is_due(at_ms) { Duration::ZERO } else { Duration::from_millis(STEP_MS - at_ms % STEP_MS + LATE) }
    }

    /// Returns true if a sample is due, even without a watcher. It is also due if the clock was set
    /// back.
    pub(crate) fn is_due(&self, at_ms: u64) -> bool {
        self.state().last * 1000 / STEP_MS != at_ms / STEP_MS
    }

    /// Records a snapshot. `reported` has the custom metrics of apps, if they were queried; without
    /// them, only the usage of resources is recorded.
    pub(crate) fn take(&self, snapshot: &Snapshot, reported: Option<&ReportedMetrics>, is_watched: bool) {
        let mut state = self.state();
        let second = snapshot.at_ms / 1000;
        if second == state.last {
            return;
        }
        state.last = second;
        let every = if is_watched { SampleInterval::Second } else { SampleInterval::TenSeconds };
        let scraped = std::mem::take(&mut state.scraped);
        let Some(history) = state.writable() else { return };
        history.moment(snapshot.at_ms, every);
        sample::of(snapshot, reported, &mut |key, scale, value| {
            history.record(key, scale, value);
        });
        sample::scraped(&scraped, &mut |key, scale, value| {
            history.record(key, scale, value);
        });
        if state.flushed.elapsed() >= FLUSH {
            state.flush();
        }
    }

    /// Adds scraped metrics to the next sample.
    pub(crate) fn add(&self, scraped: Vec<ScrapedValue>) {
        self.state().scraped = scraped;
    }

    /// Writes new samples before the process exits.
    pub(crate) fn flush(&self) {
        self.state().flush();
    }

    /// Runs a query; none = the store is not open yet.
    pub(crate) fn query<T>(&self, run: impl FnOnce(&History<Folder>) -> T) -> Option<T> {
        self.state().store.as_ref().map(|store| run(&store.history))
    }
}

impl RecorderState {
    fn writable(&mut self) -> Option<&mut History<Folder>> {
        if self.store.is_none() && self.opened_at.is_none_or(|opened_at| opened_at.elapsed() >= AGAIN) {
            self.opened_at = Some(Instant::now());
            match self.open() {
                Ok(store) => self.store = store,
                Err(error) => self.log_problem(format!("history: cannot save values in \"{}\": {error}", self.folder.display())),
            }
            self.notices();
        }
        self.store.as_mut().map(|store| &mut store.history)
    }

    fn open(&self) -> io::Result<Option<Store>> {
        let folder = Folder::make(self.folder.clone())?;
        let Some(lock) = ostler_sys::fs::lock::try_lock(&self.folder.join("lock"))? else { return Ok(None) };
        let history = History::open(folder, Options { most_bytes: self.most_bytes })?;
        Ok(Some(Store { history, _lock: lock }))
    }

    fn flush(&mut self) {
        self.flushed = Instant::now();
        if let Some(store) = &mut self.store {
            store.history.flush();
        }
        self.notices();
    }

    fn notices(&mut self) {
        let notices = self.store.as_mut().map(|store| store.history.take_notices()).unwrap_or_default();
        for notice in notices {
            self.log_problem(notice.to_string());
        }
    }

    /// Logs a line, unless it repeats the last one.
    fn log_problem(&mut self, text: String) {
        use std::io::Write as _;
        if self.last_problem != text {
            let _ = writeln!(io::stderr(), "{text}");
            self.last_problem = text;
        }
    }
}

/// Passes each value of a moment to `sink`, with the key of its series ([`Key`]).
pub(crate) fn figures_of(snapshot: &Snapshot, reported: &ReportedMetrics, mut sink: impl FnMut(&str, f64)) {
    sample::of(snapshot, Some(reported), &mut |key, _, value| sink(key, value));
}

/// Metric that is computed from the counter `restarts`: the number of restarts in each step.
const RESTARTED: &str = "restarted";

/// Returns the values of a series. The only instance of an app has no series of its own; its values
/// are those of the app.
pub fn figures(history: &History<Folder>, key: &Key, from_ms: u64, to_ms: u64, points: u64) -> QueryResult {
    if key.metric == RESTARTED {
        let counter = Key { metric: "restarts".to_owned(), ..key.clone() };
        let mut answer = figures(history, &counter, from_ms, to_ms, points);
        answer.figures = increments(&answer.figures);
        return answer;
    }
    let answer = history.query(&key.text(), from_ms, to_ms, points);
    match key.of_app() {
        Some(app) if answer.figures.is_empty() => history.query(&app.text(), from_ms, to_ms, points),
        _ => answer,
    }
}

/// Returns by how much a counter grew in each step. If it fell, it was reset, or an instance with
/// its part of the sum was removed.
fn increments(counter: &[Figure]) -> Vec<Figure> {
    let grown = |at: usize, figure: &Figure| {
        let before = at.checked_sub(1).and_then(|at| counter.get(at)).map(|before| before.max);
        figure.max - before.filter(|before| *before <= figure.max).unwrap_or(figure.min)
    };
    let step = |(at, figure): (usize, &Figure)| {
        let value = grown(at, figure);
        Figure { at_ms: figure.at_ms, min: value, avg: value, max: value }
    };
    counter.iter().enumerate().map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counter_becomes_its_increments() {
        let figure = |(at_ms, min, max): (u64, f64, f64)| Figure { at_ms, min, avg: f64::midpoint(min, max), max };
        let counter = [(0, 900.0, 902.0), (10, 902.0, 902.0), (20, 903.0, 905.0), (90, 0.0, 1.0), (100, 1.0, 1.0)].map(figure);
        let grown: Vec<(u64, f64)> = increments(&counter).iter().map(|figure| (figure.at_ms, figure.avg)).collect();
        assert_eq!(grown, [(0, 2.0), (10, 0.0), (20, 3.0), (90, 1.0), (100, 0.0)]);
        assert!(increments(&[]).is_empty());
    }
}
