//! Watch of changed files by inotify, or by polling if inotify is not available.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ostler_sys::fs::inotify::{Inotify, ReadFlags, WatchFlags};

/// Rename of a file to the name of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogRename {
    /// Its former name, if that was in the same folder.
    pub from: Option<PathBuf>,
    /// The name of the log.
    pub to: PathBuf,
}

/// Events that were taken and are not yet handled by every follower.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct WatchEvents {
    /// Whether any event has arrived.
    pub any: bool,
    /// Whether a file may have been created or moved.
    pub made: bool,
}

/// Watch of files and their folders.
pub(super) struct Watch {
    inotify: Option<Inotify>,
    folders: HashMap<i32, PathBuf>,
    /// First halves of renames, by cookie.
    leaving: HashMap<u32, PathBuf>,
    /// Names for which every move must be noticed.
    names: HashSet<PathBuf>,
    moves: Vec<LogRename>,
    events: WatchEvents,
    /// Folders that do not exist yet.
    missing: HashSet<PathBuf>,
    /// Whether something cannot be watched at all.
    failed: bool,
    /// Whether something is not watched: everything must then be checked from time to time.
    pub blind: bool,
}

impl Watch {
    pub(super) fn new() -> Self {
        let inotify = Inotify::new().ok();
        Self {
            blind: inotify.is_none(),
            failed: inotify.is_none(),
            inotify,
            missing: HashSet::new(),
            folders: HashMap::new(),
            leaving: HashMap::new(),
            names: HashSet::new(),
            moves: Vec::new(),
            events: WatchEvents::default(),
        }
    }

    pub(super) fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }

    /// Watches the folder of this file. Reports when a file is created in it, or moved to it.
    pub(super) fn folder_of(&mut self, path: &Path) {
        let folder = path.parent().unwrap_or(Path::new("/"));
        self.names.insert(path.to_owned());
        self.missing.insert(folder.to_owned());
        self.watch_folders();
    }

    /// Tries to watch missing folders. The folder of the logs is created with the first log:
    /// without its watch, renames would be missed.
    fn watch_folders(&mut self) {
        for folder in std::mem::take(&mut self.missing) {
            let what = WatchFlags::CREATE | WatchFlags::MOVED_FROM | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
            match self.inotify.as_ref().and_then(|inotify| inotify.watch(&folder, what).ok()) {
                Some(number) => {
                    self.folders.insert(number, folder);
                    // Files may have been created in it before.
                    self.events = WatchEvents { any: true, made: true };
                }
                None => drop(self.missing.insert(folder)),
            }
        }
        self.blind = self.failed || !self.missing.is_empty();
    }

    /// Watches this open file. Reports when it changes, even after a rename.
    pub(super) fn file(&mut self, file: &std::fs::File) {
        let is_watched = self.inotify.as_ref().is_some_and(|inotify| inotify.watch_open(file, WatchFlags::MODIFY).is_ok());
        if !is_watched {
            (self.failed, self.blind) = (true, true);
        }
    }

    /// Returns all moves to the name of a log so far, the oldest first.
    pub(super) fn moves(&self) -> &[LogRename] {
        &self.moves
    }

    /// Returns the events that were taken since the last call. A follower that checked before these
    /// events must check again.
    pub(super) fn events(&mut self) -> WatchEvents {
        std::mem::take(&mut self.events)
    }

    /// Takes the events. It does not record which file changed: checking all files costs one `fstat`
    /// each.
    pub(super) fn drain(&mut self) {
        if !self.missing.is_empty() {
            self.watch_folders();
        }
        let Self { inotify, folders, leaving, names, moves, events, .. } = self;
        let Some(inotify) = inotify else { return };
        inotify.read(|event| {
            events.any = true;
            events.made |= event.is_overflow();
            let Some(folder) = folders.get(&event.watch) else { return };
            events.made = true;
            if event.name.is_empty() {
                return;
            }
            let path = folder.join(OsStr::from_bytes(event.name));
            if event.flags.contains(ReadFlags::MOVED_FROM) {
                // The other half arrives next, or the file was moved to another folder.
                leaving.clear();
                leaving.insert(event.cookie, path);
            } else if event.flags.contains(ReadFlags::MOVED_TO) && names.contains(&path) {
                moves.push(LogRename { from: leaving.remove(&event.cookie), to: path });
            }
        });
    }
}
