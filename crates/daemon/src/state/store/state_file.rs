//! Copies of the journal: on disk (`<home>/ostler.state`), and in a folder that lasts until the next boot ([`super::state_copy`]).
//!
//! Neither is needed while keeper or daemon live. They must survive the end of all processes, not a power cut (after which nothing
//! runs anyway), so they are never synced; appends are collected for a moment, so that starting 1,000 apps is not 1,000 writes. A disk that
//! is full, read-only or broken costs only the copy on it: that is reported once, the answer to each order says it, and it is tried again
//! with the next change.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::record::Snapshot;
use super::state_copy;
use ostler_sys::ProcRef;
use ostler_sys::fs::replace::{Durability, ReplaceError, Writers, replace};

/// Time in which changes are collected before they are written.
const COLLECT_MS: u64 = 20;

/// Writer of journal bytes to the copies.
#[derive(Debug)]
pub(crate) struct StateFile {
    disk: Copy,
    /// The copy beside the disk, and the home that it belongs to.
    beside: Option<(Copy, PathBuf)>,
    pending: Vec<u8>,
    due_ms: Option<u64>,
    /// True if what is appended next does not wait.
    is_urgent: bool,
    /// Reason why the last change is not on disk.
    trouble: Option<String>,
}

/// One copy.
#[derive(Debug)]
struct Copy {
    path: PathBuf,
    file: Option<File>,
    /// True if the file misses records: only a complete rewrite repairs it.
    torn: bool,
}

impl Copy {
    fn new(path: PathBuf) -> Self {
        Self { path, file: None, torn: true }
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let result = self.open().and_then(|file| file.write_all(bytes));
        // A partial append cuts the file for readers: everything after it would be invisible.
        self.torn = result.is_err();
        result
    }

    fn open(&mut self) -> io::Result<&mut File> {
        if self.file.is_none() {
            self.file = Some(OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?);
        }
        Ok(self.file.as_mut().expect("was just opened"))
    }

    fn rewrite(&mut self, bytes: &[u8]) -> Result<(), ReplaceError> {
        (self.file, self.torn) = (None, true);
        replace(&self.path, bytes, Durability::Process, Writers::One)?;
        self.torn = false;
        Ok(())
    }

    /// Removes the file; missing is fine.
    fn remove(&mut self) {
        (self.file, self.torn) = (None, true);
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The copy of this boot, if it counts more than what is on disk. A disk that took nothing since the machine was started has the state of
/// another boot; then the copy counts if something of it lives.
pub(crate) fn newest(copy: Option<Snapshot>, disk: Option<&Snapshot>, boot_id: &str) -> Option<Snapshot> {
    let is_of_another_boot = disk.and_then(|disk| disk.boot_id.as_deref()).is_some_and(|of| of != boot_id);
    let lives = |copy: &Snapshot| {
        let processes = copy.slots.values().filter_map(|slot| Some(ProcRef { pid: slot.instance.pid()?, start_ticks: slot.start_ticks }));
        processes.into_iter().any(|process| process.runs())
    };
    copy.filter(|copy| !is_of_another_boot || lives(copy))
}

impl StateFile {
    /// Makes it; nothing is touched until the first write.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { disk: Copy::new(path), beside: None, pending: Vec::new(), due_ms: None, is_urgent: false, trouble: None }
    }

    /// Keeps a second copy beside the disk, if there is a place for it.
    #[must_use]
    pub(crate) fn with_copy(self, home: &Path) -> Self {
        let beside = state_copy::make(home).map(|path| (Copy::new(path), home.to_owned()));
        Self { beside, ..self }
    }

    /// Reads what an earlier run in this home left, if it belongs to this boot. The copy beside the disk is never older than the one on it.
    pub(crate) fn read(home: &Path, path: &Path, boot_id: &str) -> io::Result<Option<Snapshot>> {
        let is_of_this_boot = |snapshot: &Snapshot| snapshot.boot_id.as_deref() == Some(boot_id);
        let disk = match std::fs::read(path) {
            Ok(bytes) => Ok(Some(Snapshot::read(&bytes).0)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        let copy = state_copy::read(home).map(|bytes| Snapshot::read(&bytes).0).filter(is_of_this_boot);
        match newest(copy, disk.as_ref().ok().and_then(Option::as_ref), boot_id) {
            Some(copy) => Ok(Some(copy)),
            None => Ok(disk?.filter(is_of_this_boot)),
        }
    }

    /// Takes more journal bytes; they are written by [`StateFile::flush`] when that is due.
    pub(crate) fn append(&mut self, bytes: &[u8], now_ms: u64) {
        self.pending.extend_from_slice(bytes);
        let due_ms = if std::mem::take(&mut self.is_urgent) { Some(0) } else { self.due_ms };
        self.due_ms = due_ms.or(Some(now_ms + COLLECT_MS));
    }

    /// Has what was collected written in this turn of the loop.
    pub(crate) fn hurry(&mut self) {
        self.due_ms = self.due_ms.map(|_| 0);
    }

    /// Has what the journal gets next written with it: before anything that follows from it is done.
    pub(crate) fn write_with_next(&mut self) {
        self.is_urgent = true;
    }

    /// Time when [`StateFile::flush`] has something to do.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        self.due_ms
    }

    /// True when appending is not enough: call [`StateFile::rewrite`] with all records instead of [`StateFile::flush`].
    pub(crate) fn needs_rewrite(&self) -> bool {
        self.disk.torn || self.beside.as_ref().is_some_and(|(copy, _)| copy.torn)
    }

    /// Requires a complete rewrite.
    pub(crate) fn distrust(&mut self) {
        self.disk.torn = true;
        self.beside.iter_mut().for_each(|(copy, _)| copy.torn = true);
    }

    /// Reason why the last change that was written is not on disk.
    pub(crate) fn trouble(&self) -> Option<String> {
        let beside = self.beside.as_ref().filter(|(copy, _)| !copy.torn);
        let rest = match beside {
            Some((copy, _)) => format!("it is kept in memory and in \"{}\", and a reboot forgets it", copy.path.display()),
            None => "it is kept in memory only, and forgotten if daemon, keeper and standby end together".to_owned(),
        };
        self.trouble.as_ref().map(|why| format!("this is done, but not on disk: {why}; {rest}"))
    }

    /// Writes what was collected.
    ///
    /// # Errors
    /// It is not on disk; a rewrite is needed.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.due_ms = None;
        let pending = std::mem::take(&mut self.pending);
        if let Some((copy, _)) = &mut self.beside {
            // A rewrite repairs it.
            let _ = copy.append(&pending);
        }
        let result = self.disk.append(&pending);
        self.trouble = result.as_ref().err().map(ToString::to_string);
        result
    }

    /// Replaces the files by these records.
    ///
    /// # Errors
    /// It is not on disk.
    pub(crate) fn rewrite(&mut self, bytes: &[u8]) -> Result<(), ReplaceError> {
        self.due_ms = None;
        self.pending.clear();
        self.rewrite_beside(bytes);
        let result = self.disk.rewrite(bytes);
        self.trouble = result.as_ref().err().map(|error| format!("{error}: {}", error.source));
        result
    }

    /// A copy that cannot be written would be older than the one on disk: it is removed.
    fn rewrite_beside(&mut self, bytes: &[u8]) {
        let Some((copy, home)) = &mut self.beside else { return };
        // The home may be another folder by now.
        if let Some(path) = state_copy::make(home).filter(|path| *path != copy.path) {
            copy.remove();
            copy.path = path;
        }
        if copy.rewrite(bytes).is_err() {
            copy.remove();
            // Not tried with each change: the disk has everything.
            copy.torn = false;
            self.beside = None;
        }
    }

    /// Removes the files at an orderly end: nothing is left to find.
    pub(crate) fn remove(&mut self) {
        // That one cannot be removed is harmless: its processes are gone, the next start finds none of them.
        self.disk.remove();
        self.beside.iter_mut().for_each(|(copy, _)| copy.remove());
    }
}
