//! Positions at which the following of log files begins.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ostler_core::home::home_paths::HomePaths;
use ostler_proto::pm2::{LogPlace, LogPlaces, ReaderInput};

use crate::cx::Cx;
use crate::error::CliError;

/// Lag of the times of files behind the clock: a tick of the kernel.
const FILE_TIME: Duration = Duration::from_millis(10);

/// Lengths of log files when the following began: an app that is started later may write to one that has lines of the past.
#[derive(Clone)]
pub(crate) struct Past {
    pub(super) at: SystemTime,
    paths: HomePaths,
    lengths: HashMap<PathBuf, u64>,
    /// Places that were told instead.
    pub(super) places: LogPlaces,
    /// Input by which the daemon tells the place of each other file before an app writes to it.
    more: Option<Rc<RefCell<ReaderInput>>>,
}

impl Past {
    /// The lengths now, in the home of this call.
    ///
    /// # Errors
    /// The home cannot be used.
    pub(crate) fn now(cx: &mut Cx) -> Result<Self, CliError> {
        cx.paths().map(Self::of)
    }

    /// Places that were told, of a time that is past.
    pub(super) fn told(home: &Path, places: LogPlaces) -> Self {
        let at = UNIX_EPOCH + Duration::from_millis(places.at_ms);
        Self { at, paths: crate::home::paths(home), lengths: HashMap::new(), places, more: None }
    }

    fn of(paths: HomePaths) -> Self {
        let length = |path: PathBuf| Some((path.clone(), path.metadata().ok()?.len()));
        let entries = std::fs::read_dir(HomePaths::logs(&paths.home)).into_iter().flatten().flatten().map(|entry| entry.path());
        let lengths = entries.chain([paths.log.clone()]).filter_map(length).collect();
        Self { at: SystemTime::now(), paths, lengths, places: LogPlaces::default(), more: None }
    }

    /// It, with places that come later.
    pub(super) fn with_more(mut self, more: ReaderInput) -> Self {
        self.more = Some(Rc::new(RefCell::new(more)));
        std::mem::take(&mut self.places.files).into_iter().for_each(|place| self.add(place));
        self
    }

    /// Takes the places that came since the last call.
    pub(super) fn take_more(&mut self) {
        let more = self.more.as_ref().and_then(|more| more.borrow_mut().more().ok());
        more.into_iter().flatten().for_each(|place| self.add(place));
    }

    /// Adds a place. One without a file says that there was none.
    fn add(&mut self, place: LogPlace) {
        if place.ino == 0 {
            self.lengths.entry(place.path.into()).or_insert(0);
        } else {
            self.places.files.push(place);
        }
    }

    /// The position at which what is new in this file begins.
    pub(super) fn position(&self, path: &Path) -> u64 {
        if let Some(length) = self.lengths.get(path) {
            return *length;
        }
        let knows_all = self.more.is_none();
        if knows_all && path.parent() == Some(&HomePaths::logs(&self.paths.home)) || path == self.paths.log {
            // All that were there are known.
            return 0;
        }
        let Ok(meta) = std::fs::metadata(path) else { return 0 };
        // Elsewhere only the age tells: a file made since then is all new.
        if meta.created().is_ok_and(|made| made + FILE_TIME >= self.at) { 0 } else { meta.len() }
    }
}
