//! The files that lines go to, shared by all instances of this daemon.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::open::{OpenError, Places, identity};
use super::record::Lead;

/// Every file that is being written to, by device and inode. Instances that share a file take turns by its lock, so that lines stay whole
/// and at most one batch per file is on its way at any time.
#[derive(Clone, Debug, Default)]
pub(crate) struct OpenFiles {
    states: Arc<Mutex<States>>,
}

type States = HashMap<(u64, u64), Weak<Mutex<FileState>>>;

/// What is known of one file.
#[derive(Debug, Default)]
pub(super) struct FileState {
    /// Bytes written so far to something that has no length (a pipe, a terminal).
    pub written: u64,
    /// It ends within a line.
    pub ends_open: bool,
}

/// One open log file.
#[derive(Debug)]
pub(super) struct Sink {
    pub path: PathBuf,
    pub key: (u64, u64),
    pub regular: bool,
    file: File,
    /// For looking at what is there already.
    reader: Option<File>,
    state: Arc<Mutex<FileState>>,
}

impl OpenFiles {
    pub(super) fn open(&self, path: &Path, places: &Places<'_>) -> Result<Sink, OpenError> {
        let file = places.open(path)?;
        let fail = |source| OpenError { path: path.to_owned(), step: "look at", source };
        let (key, regular) = identity(&file).map_err(fail)?;
        // By the descriptor, not by the path: that may be another file by now.
        let reader = if regular { File::open(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file))).ok() } else { None };
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        states.retain(|_, state| state.strong_count() > 0);
        let state = states.get(&key).and_then(Weak::upgrade).unwrap_or_else(|| {
            let ends_open = reader.as_ref().is_some_and(ends_open);
            let state = Arc::new(Mutex::new(FileState { written: 0, ends_open }));
            states.insert(key, Arc::downgrade(&state));
            state
        });
        Ok(Sink { path: path.to_owned(), key, regular, file, reader, state })
    }
}

fn ends_open(reader: &File) -> bool {
    let Some(last) = reader.metadata().ok().and_then(|meta| meta.len().checked_sub(1)) else { return false };
    let mut byte = [b'\n'];
    reader.read_exact_at(&mut byte, last).is_ok() && byte != [b'\n']
}

impl Sink {
    pub(super) fn lock(&self) -> MutexGuard<'_, FileState> {
        // What a panic left behind is put right by the record, not by the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the next byte goes.
    pub(super) fn length(&self, state: &FileState) -> io::Result<u64> {
        if self.regular { Ok(self.file.metadata()?.len()) } else { Ok(state.written) }
    }

    /// How a line must begin here. `open_end`: where this stream's own open line ends, if it has one.
    pub(super) fn lead(&self, state: &FileState, length: u64, open_end: Option<u64>) -> Lead {
        match open_end {
            Some(end) if end == length && length > 0 => Lead::Continue,
            _ if state.ends_open && length > 0 => Lead::Break,
            _ => Lead::Fresh,
        }
    }

    /// One write, however much of it succeeds.
    pub(super) fn write_some(&self, state: &mut FileState, bytes: &[u8]) -> io::Result<usize> {
        let count = (&self.file).write(bytes)?;
        if count == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        state.written += count as u64;
        if let Some(last) = bytes[..count].last() {
            state.ends_open = *last != b'\n';
        }
        Ok(count)
    }

    /// Does the file have these bytes at this offset?
    pub(super) fn has(&self, offset: u64, bytes: &[u8]) -> bool {
        let Some(reader) = &self.reader else { return false };
        let mut seen = vec![0; bytes.len()];
        reader.read_exact_at(&mut seen, offset).is_ok() && seen == bytes
    }

    /// Takes back what a killed daemon wrote in part.
    pub(super) fn shorten(&self, state: &mut FileState, length: u64) -> io::Result<()> {
        self.file.set_len(length)?;
        state.ends_open = self.reader.as_ref().is_some_and(ends_open);
        Ok(())
    }
}
