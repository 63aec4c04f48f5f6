//! Copies of the journal: on disk (`<home>/ostler.state`), and in a folder that lasts until the
//! next boot ([`super::state_copy`]).
//!
//! Neither is needed while keeper or daemon run. The copies must survive the end of all processes,
//! but not a power cut, after which nothing runs anyway. They are therefore never synced. Appends
//! are collected for a moment, so that starting 1,000 apps does not cause 1,000 writes. A disk that
//! is full, read-only or broken affects only the copy on it. That is reported once and in the
//! answer to each command, and the write is retried with the next change.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::record::Snapshot;
use super::state_copy;
use ostler_sys::ProcRef;
use ostler_sys::fs::replace::{Durability, ReplaceError, Writers, replace};

/// Time during which changes are collected before they are written.
const COLLECT_MS: u64 = 20;

/// Writer of journal bytes to both copies.
#[derive(Debug)]
pub(crate) struct StateFile {
    disk: StateCopy,
    /// Second copy, and the home that it belongs to.
    second_copy: Option<(StateCopy, PathBuf)>,
    pending: Vec<u8>,
    due_ms: Option<u64>,
    /// True if the next append is written without delay.
    is_urgent: bool,
    /// Reason why the last change is not on disk.
    trouble: Option<String>,
}

/// One copy.
#[derive(Debug)]
struct StateCopy {
    path: PathBuf,
    file: Option<File>,
    /// Whether the file misses records: only a complete rewrite repairs it.
    torn: bool,
}

impl StateCopy {
    fn new(path: PathBuf) -> Self {
        Self { path, file: None, torn: true }
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let result = self.open().and_then(|file| file.write_all(bytes));
        // After a partial append, readers cannot see anything behind it.
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

    /// Removes the file; a missing file is fine.
    fn remove(&mut self) {
        (self.file, self.torn) = (None, true);
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Returns the copy of this boot if it is more current than the one on disk. A disk that accepted
/// no writes since the boot has the state of another boot. The copy then counts if one of its
/// processes still runs.
pub(crate) fn newest(copy: Option<Snapshot>, disk: Option<&Snapshot>, boot_id: &str) -> Option<Snapshot> {
    let is_of_another_boot = disk.and_then(|disk| disk.boot_id.as_deref()).is_some_and(|of| of != boot_id);
    let lives = |copy: &Snapshot| {
        let processes = copy.slots.values().filter_map(|slot| Some(ProcRef { pid: slot.instance.pid()?, start_ticks: slot.start_ticks }));
        processes.into_iter().any(|process| process.runs())
    };
    copy.filter(|copy| !is_of_another_boot || lives(copy))
}

impl StateFile {
    /// Creates the writer; no file is touched until the first write.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { disk: StateCopy::new(path), second_copy: None, pending: Vec::new(), due_ms: None, is_urgent: false, trouble: None }
    }

    /// Keeps a second copy if there is a place for it.
    #[must_use]
    pub(crate) fn with_copy(self, home: &Path) -> Self {
        let other_copy = state_copy::make(home).map(|path| (StateCopy::new(path), home.to_owned()));
        Self { second_copy: other_copy, ..self }
    }

    /// Reads the state that an earlier daemon left in this home, if it belongs to this boot. The
    /// second copy is never older than the one on disk.
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

    /// Adds journal bytes; [`StateFile::flush`] writes them when that is due.
    pub(crate) fn append(&mut self, bytes: &[u8], now_ms: u64) {
        self.pending.extend_from_slice(bytes);
        let due_ms = if std::mem::take(&mut self.is_urgent) { Some(0) } else { self.due_ms };
        self.due_ms = due_ms.or(Some(now_ms + COLLECT_MS));
    }

    /// Makes collected bytes due in this turn of the loop.
    pub(crate) fn hurry(&mut self) {
        self.due_ms = self.due_ms.map(|_| 0);
    }

    /// Makes the next append due at once, before anything that follows from it.
    pub(crate) fn write_with_next(&mut self) {
        self.is_urgent = true;
    }

    /// Returns the time at which [`StateFile::flush`] is due.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        self.due_ms
    }

    /// Returns true if appending is not enough: call [`StateFile::rewrite`] with all records
    /// instead of [`StateFile::flush`].
    pub(crate) fn needs_rewrite(&self) -> bool {
        self.disk.torn || self.second_copy.as_ref().is_some_and(|(copy, _)| copy.torn)
    }

    /// Requires a complete rewrite.
    pub(crate) fn distrust(&mut self) {
        self.disk.torn = true;
        self.second_copy.iter_mut().for_each(|(copy, _)| copy.torn = true);
    }

    /// Returns the reason why the last written change is not on disk.
    pub(crate) fn trouble(&self) -> Option<String> {
        let other_copy = self.second_copy.as_ref().filter(|(copy, _)| !copy.torn);
        let rest = match other_copy {
            Some((copy, _)) => format!("it is kept in memory and in \"{}\", and is lost at a reboot", copy.path.display()),
            None => "it is kept in memory only, and is lost if daemon, keeper and standby exit together".to_owned(),
        };
        self.trouble.as_ref().map(|why| format!("the change is active, but not on disk: {why}; {rest}"))
    }

    /// Writes collected bytes.
    ///
    /// # Errors
    ///
    /// Returns an error if they are not on disk; a rewrite is needed.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.due_ms = None;
        let pending = std::mem::take(&mut self.pending);
        if let Some((copy, _)) = &mut self.second_copy {
            // A rewrite repairs the copy.
            let _ = copy.append(&pending);
        }
        let result = self.disk.append(&pending);
        self.trouble = result.as_ref().err().map(ToString::to_string);
        result
    }

    /// Replaces the files by these records.
    ///
    /// # Errors
    ///
    /// Returns an error if the records are not on disk.
    pub(crate) fn rewrite(&mut self, bytes: &[u8]) -> Result<(), ReplaceError> {
        self.due_ms = None;
        self.pending.clear();
        self.rewrite_second_copy(bytes);
        let result = self.disk.rewrite(bytes);
        self.trouble = result.as_ref().err().map(|error| format!("{error}: {}", error.source));
        result
    }

    /// Rewrites the second copy. If that fails, the copy would be older than the one on disk, so it
    /// is removed.
    fn rewrite_second_copy(&mut self, bytes: &[u8]) {
        let Some((copy, home)) = &mut self.second_copy else { return };
        // The home may be another folder by now.
        if let Some(path) = state_copy::make(home).filter(|path| *path != copy.path) {
            copy.remove();
            copy.path = path;
        }
        if copy.rewrite(bytes).is_err() {
            copy.remove();
            // The second copy is not retried with each change, because the disk has everything.
            copy.torn = false;
            self.second_copy = None;
        }
    }

    /// Removes the files at an orderly exit, so that the next start finds none.
    pub(crate) fn remove(&mut self) {
        // A file that cannot be removed is harmless: its processes are gone, and the next start
        // finds none of them.
        self.disk.remove();
        self.second_copy.iter_mut().for_each(|(copy, _)| copy.remove());
    }
}
