//! Copy of the journal on disk (`<home>/ostler.state`).
//!
//! It is not needed while keeper or daemon live. It must survive the end of both processes, not a power cut (after which nothing
//! runs anyway), so it is never synced; appends are collected for a moment, so that starting 1,000 apps is not 1,000 writes. A full
//! disk costs only this second line of defence: it is reported once and tried again with the next change.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::record::Snapshot;
use ostler_sys::replace::{Durability, ReplaceError, Writers, replace};

/// Time in which changes are collected before they are written.
const COLLECT_MS: u64 = 20;

/// Writer of journal bytes to the file.
#[derive(Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
    file: Option<File>,
    pending: Vec<u8>,
    due_ms: Option<u64>,
    /// True if what is appended next does not wait.
    is_urgent: bool,
    /// True if the file misses records: only a complete rewrite repairs it.
    torn: bool,
}

impl StateFile {
    /// Makes it; nothing is touched until the first write.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, file: None, pending: Vec::new(), due_ms: None, is_urgent: false, torn: true }
    }

    /// Reads what an earlier run left, if it belongs to this boot.
    pub(crate) fn read(path: &Path, boot_id: &str) -> io::Result<Option<Snapshot>> {
        match std::fs::read(path) {
            Ok(bytes) => Ok(Some(Snapshot::read(&bytes).0).filter(|snapshot| snapshot.boot_id.as_deref() == Some(boot_id))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
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
        self.torn
    }

    /// Requires a complete rewrite.
    pub(crate) fn distrust(&mut self) {
        self.torn = true;
    }

    /// Writes what was collected.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.due_ms = None;
        let pending = std::mem::take(&mut self.pending);
        let result = self.open().and_then(|file| file.write_all(&pending));
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

    /// Replaces the file by these records.
    pub(crate) fn rewrite(&mut self, bytes: &[u8]) -> Result<(), ReplaceError> {
        self.due_ms = None;
        self.pending.clear();
        self.file = None;
        self.torn = true;
        replace(&self.path, bytes, Durability::Process, Writers::One)?;
        self.torn = false;
        Ok(())
    }

    /// Removes the file at an orderly end: nothing is left to find.
    pub(crate) fn remove(&mut self) {
        // That it cannot be removed is harmless: its processes are gone, the next start finds none of them.
        let _ = std::fs::remove_file(&self.path);
    }
}
