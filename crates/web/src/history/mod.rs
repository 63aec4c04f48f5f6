//! History: what the store is fed with, and how it is asked.
//!
//! The thread that follows the daemon records, within its own wake-ups: one table each ten seconds while nobody looks, those that it reads anyway while somebody
//! does. Requests and `ostler stats` ask by the same names ([`Key`]).

mod key;
mod marks;
mod sample;

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ostler_history::{Answer, Every, Folder, History, Options};

pub use key::{Key, Of};
pub(crate) use marks::{Mark, Marks};
pub(crate) use sample::Past;

use crate::snapshot::{Reported, Snapshot};

/// Time between two samples while nobody looks, ms.
const STEP_MS: u64 = 10_000;
/// Time between two writes: with the sample that is late and the ten seconds that are summed up, less than a minute.
const FLUSH: Duration = Duration::from_secs(40);
/// Time between two attempts to open a store that another process has.
const AGAIN: Duration = Duration::from_secs(10);

/// The folder of the files.
pub fn folder(home: &Path) -> PathBuf {
    crate::settings::names::folder(home).join("history")
}

/// The store of a home, to read, also while it is written.
///
/// # Errors
/// The folder is not there, or cannot be read.
pub fn read(home: &Path) -> io::Result<History<Folder>> {
    History::read(Folder::existing(folder(home)))
}

/// Records, and answers.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    state: Arc<Mutex<State>>,
    marks: Marks,
}

#[derive(Debug)]
struct State {
    folder: PathBuf,
    most_bytes: u64,
    store: Option<Store>,
    tried: Option<Instant>,
    flushed: Instant,
    /// The last second that was recorded, on the wall clock.
    last: u64,
    /// Figures of apps' own pages, for the next sample.
    scraped: Vec<Past>,
    /// A problem that was told.
    told: String,
}

#[derive(Debug)]
struct Store {
    history: History<Folder>,
    /// One process writes; during an update there may be two for a while.
    _lock: OwnedFd,
}

impl Recorder {
    pub(crate) fn of(home: &Path, most_bytes: u64) -> Self {
        let (store, tried, flushed, last, told) = (None, None, Instant::now(), 0, String::new());
        let state = State { folder: folder(home), most_bytes, store, tried, flushed, last, scraped: Vec::new(), told };
        Self { state: Arc::new(Mutex::new(state)), marks: Marks::of(home) }
    }

    /// What happened meanwhile.
    pub(crate) fn marks(&self) -> &Marks {
        &self.marks
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whoever panicked left a store that is read and written in whole steps.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time until the next sample is due while nobody looks.
    pub(crate) fn due_in(&self, at_ms: u64) -> Duration {
        // A little after the step has begun: a timer that is early would find it in the one before.
        const LATE: u64 = 5;
        if self.is_due(at_ms) { Duration::ZERO } else { Duration::from_millis(STEP_MS - at_ms % STEP_MS + LATE) }
    }

    /// True if a sample is due, whoever looks. A clock that was set back has one due, too.
    pub(crate) fn is_due(&self, at_ms: u64) -> bool {
        self.state().last * 1000 / STEP_MS != at_ms / STEP_MS
    }

    /// Takes a snapshot, and what apps report themselves where that was asked for.
    pub(crate) fn take(&self, snapshot: &Snapshot, reported: &Reported, is_looked_at: bool) {
        let mut state = self.state();
        let second = snapshot.at_ms / 1000;
        if second == state.last {
            return;
        }
        state.last = second;
        let every = if is_looked_at { Every::Second } else { Every::TenSeconds };
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

    /// Adds figures of apps' own pages to the next sample.
    pub(crate) fn add(&self, scraped: Vec<Past>) {
        self.state().scraped = scraped;
    }

    /// Writes what is new, at the end.
    pub(crate) fn flush(&self) {
        self.state().flush();
    }

    /// Asks the store; none = there is none yet.
    pub(crate) fn ask<T>(&self, ask: impl FnOnce(&History<Folder>) -> T) -> Option<T> {
        self.state().store.as_ref().map(|store| ask(&store.history))
    }
}

impl State {
    fn writable(&mut self) -> Option<&mut History<Folder>> {
        if self.store.is_none() && self.tried.is_none_or(|tried| tried.elapsed() >= AGAIN) {
            self.tried = Some(Instant::now());
            match self.open() {
                Ok(store) => self.store = store,
                Err(error) => self.say(format!("history: cannot be kept in \"{}\": {error}", self.folder.display())),
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
            self.say(notice.to_string());
        }
    }

    /// Says something in our own log, once in a row.
    fn say(&mut self, text: String) {
        use std::io::Write as _;
        if self.told != text {
            let _ = writeln!(io::stderr(), "{text}");
            self.told = text;
        }
    }
}

/// Hands each figure of a moment, by the text of its name ([`Key`]), to `sink`.
pub(crate) fn figures_of(snapshot: &Snapshot, reported: &Reported, mut sink: impl FnMut(&str, f64)) {
    sample::of(snapshot, reported, &mut |key, _, value| sink(key, value));
}

/// The figures of one name; of an instance that has none of its own, because its app has no other, those of the app.
pub fn figures(history: &History<Folder>, key: &Key, from_ms: u64, to_ms: u64, points: u64) -> Answer {
    let answer = history.query(&key.text(), from_ms, to_ms, points);
    match key.of_app() {
        Some(app) if answer.figures.is_empty() => history.query(&app.text(), from_ms, to_ms, points),
        _ => answer,
    }
}
