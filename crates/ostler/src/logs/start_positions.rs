//! Positions from which log files are followed.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ostler_core::home::home_paths::HomePaths;
use ostler_proto::pm2::{LogPlace, LogPlaces, ReaderInput};

use crate::cx::Cx;
use crate::error::CliError;

/// Lag of file times behind the clock: a tick of the kernel.
const FILE_TIME: Duration = Duration::from_millis(10);

/// Lengths of log files at the start of following. An app that starts later may write to a file
/// that already has old lines.
#[derive(Clone)]
pub(crate) struct StartPositions {
    pub(super) at: SystemTime,
    paths: HomePaths,
    lengths: HashMap<PathBuf, u64>,
    /// Positions that were given instead of the lengths.
    pub(super) places: LogPlaces,
    /// Input from which the daemon's further positions arrive. The daemon sends the position of a
    /// file before an app writes to it.
    more: Option<Rc<RefCell<ReaderInput>>>,
}

impl StartPositions {
    /// Reads the current lengths, in the home of this call.
    ///
    /// # Errors
    /// Returns an error if the home cannot be used.
    pub(crate) fn now(cx: &mut Cx) -> Result<Self, CliError> {
        cx.paths().map(Self::of)
    }

    /// Uses positions that were given, from a time in the past.
    pub(super) fn from_positions(home: &Path, places: LogPlaces) -> Self {
        let at = UNIX_EPOCH + Duration::from_millis(places.at_ms);
        Self { at, paths: crate::home::paths(home), lengths: HashMap::new(), places, more: None }
    }

    fn of(paths: HomePaths) -> Self {
        let length = |path: PathBuf| Some((path.clone(), path.metadata().ok()?.len()));
        let entries = std::fs::read_dir(HomePaths::logs(&paths.home)).into_iter().flatten().flatten().map(|entry| entry.path());
        let lengths = entries.chain([paths.log.clone()]).filter_map(length).collect();
        Self { at: SystemTime::now(), paths, lengths, places: LogPlaces::default(), more: None }
    }

    /// Adds an input for positions that arrive later.
    pub(super) fn with_more(mut self, more: ReaderInput) -> Self {
        self.more = Some(Rc::new(RefCell::new(more)));
        std::mem::take(&mut self.places.files).into_iter().for_each(|place| self.add(place));
        self
    }

    /// Reads the positions that have arrived since the last call.
    pub(super) fn take_more(&mut self) {
        let more = self.more.as_ref().and_then(|more| more.borrow_mut().more().ok());
        more.into_iter().flatten().for_each(|place| self.add(place));
    }

    /// Adds a position. A position without a file means that the file did not exist.
    fn add(&mut self, place: LogPlace) {
        if place.ino == 0 {
            self.lengths.entry(place.path.into()).or_insert(0);
        } else {
            self.places.files.push(place);
        }
    }

    /// Returns the position from which the content of this file is new.
    pub(super) fn position(&self, path: &Path) -> u64 {
        if let Some(length) = self.lengths.get(path) {
            return *length;
        }
        let knows_all = self.more.is_none();
        if knows_all && path.parent() == Some(&HomePaths::logs(&self.paths.home)) || path == self.paths.log {
            // All files that existed at the start are known.
            return 0;
        }
        let Ok(meta) = std::fs::metadata(path) else { return 0 };
        // For other files only the age helps: a file that was created later is all new.
        if meta.created().is_ok_and(|made| made + FILE_TIME >= self.at) { 0 } else { meta.len() }
    }
}
