//! Files that lines are written to, shared by all instances of this daemon.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

use super::open::{LogTargets, OpenError, OpenedLog, identity, runtime_stream};
use super::record::LineStart;
use crate::platform::threads;

/// Every file that is being written to, by device and inode. Instances that share a file take turns
/// by its lock. Lines therefore stay whole, and at most one batch per file is in transit.
#[derive(Clone, Debug, Default)]
pub(crate) struct OpenFiles {
    states: Arc<Mutex<States>>,
}

/// Most attempts to open a file that is rotated at the same time.
const TRIES: usize = 3;

type States = HashMap<(u64, u64), Weak<Mutex<FileState>>>;

/// State of one file.
#[derive(Debug, Default)]
pub(super) struct FileState {
    /// Bytes written so far to a target without a length (a pipe, a terminal).
    pub written: u64,
    /// True if the file ends within a line.
    pub ends_open: bool,
    /// True if the missing reader was reported.
    pub reported_no_reader: bool,
    /// True if the file was rotated: new lines go to a new file at its path.
    pub moved: bool,
}

/// Most bytes that a pipe is sure to accept when it is writable.
const PIPE_PIECE: usize = 4096;

/// Behavior of a write to a full target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FullBehavior {
    /// The write blocks.
    Blocks,
    /// The write fails.
    Fails,
    /// The write would block, so `poll` precedes it.
    Polled,
}

/// Open log file.
#[derive(Debug)]
pub(super) struct Sink {
    pub path: PathBuf,
    pub key: (u64, u64),
    pub regular: bool,
    /// New name of the file that was in the way: see [`super::open::OpenedLog::aside`].
    pub aside: Option<PathBuf>,
    file: File,
    full: FullBehavior,
    /// The file, open for reading its content.
    reader: Option<File>,
    state: Arc<Mutex<FileState>>,
}

impl OpenFiles {
    pub(super) fn open(&self, path: &Path, places: &LogTargets<'_>) -> Result<Sink, OpenError> {
        for _ in 0..TRIES {
            let sink = self.open_once(path, places)?;
            // The file was rotated while it was opened, so this is not the file at the path.
            let is_elsewhere = !sink.regular || runtime_stream(path).is_some();
            if is_elsewhere || std::fs::metadata(path).is_ok_and(|meta| (meta.dev(), meta.ino()) == sink.key) {
                return Ok(sink);
            }
        }
        self.open_once(path, places)
    }

    fn open_once(&self, path: &Path, places: &LogTargets<'_>) -> Result<Sink, OpenError> {
        let OpenedLog { file, aside } = places.open(path)?;
        let (file, full) = if runtime_stream(path).is_some() { unwaiting(file) } else { (file, FullBehavior::Blocks) };
        let fail = |source| OpenError { path: path.to_owned(), step: "inspect", hint: String::new(), source };
        let (key, regular) = identity(&file).map_err(fail)?;
        // Opened by the descriptor, because the path may name another file by now.
        let reader = if regular { File::open(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file))).ok() } else { None };
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        states.retain(|_, state| state.strong_count() > 0);
        let state = states.get(&key).and_then(Weak::upgrade).unwrap_or_else(|| {
            let ends_open = reader.as_ref().is_some_and(ends_open);
            let state = Arc::new(Mutex::new(FileState { ends_open, ..FileState::default() }));
            states.insert(key, Arc::downgrade(&state));
            state
        });
        Ok(Sink { path: path.to_owned(), key, regular, aside, file, full, reader, state })
    }
}

/// Makes writes to a file not block. The reader of a container's output may be slow or stop, and
/// the writer must be able to do other work. Apps share the descriptor and expect it to block, so a
/// pipe or terminal is opened again. If that is not allowed (it belongs to another user) or
/// impossible (a socket), the writer asks before it writes.
fn unwaiting(file: File) -> (File, FullBehavior) {
    if file.metadata().is_ok_and(|meta| meta.is_file()) {
        return (file, FullBehavior::Blocks);
    }
    let again = OpenOptions::new()
        .write(true)
        .custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed())
        .open(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file)));
    again.map_or((file, FullBehavior::Polled), |again| (again, FullBehavior::Fails))
}

impl OpenFiles {
    /// Renames a file while no thread writes to it; later writes go to a new file. Returns `None`
    /// if a writer is active, or if the file ends within a line (which does not matter if `torn`).
    ///
    /// # Errors
    ///
    /// Returns the error of `rename`; nothing has changed.
    pub(crate) fn move_away<T>(&self, key: (u64, u64), torn: bool, rename: impl FnOnce() -> io::Result<T>) -> io::Result<Option<T>> {
        // While this lock is held, no thread opens a file.
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(state) = states.get(&key).and_then(Weak::upgrade) else { return rename().map(Some) };
        let Some(mut file) = try_lock(&state) else { return Ok(None) };
        if file.ends_open && !torn {
            return Ok(None);
        }
        let done = rename()?;
        file.moved = true;
        states.remove(&key);
        Ok(Some(done))
    }

    /// Does work while none of our threads writes to a file. Returns `None` if a thread is writing.
    pub(crate) fn while_quiet<T>(&self, key: (u64, u64), work: impl FnOnce() -> T) -> Option<T> {
        let states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(state) = states.get(&key).and_then(Weak::upgrade) else { return Some(work()) };
        let _file = try_lock(&state)?;
        Some(work())
    }
}

fn try_lock(state: &Mutex<FileState>) -> Option<MutexGuard<'_, FileState>> {
    match state.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

fn ends_open(reader: &File) -> bool {
    let Some(last) = reader.metadata().ok().and_then(|meta| meta.len().checked_sub(1)) else { return false };
    let mut byte = [b'\n'];
    reader.read_exact_at(&mut byte, last).is_ok() && byte != [b'\n']
}

impl Sink {
    pub(super) fn lock(&self) -> MutexGuard<'_, FileState> {
        while threads::is_played() {
            match try_lock(&self.state) {
                Some(state) => return state,
                // The thread that has the lock continues when the simulation schedules it.
                None => _ = threads::waits(),
            }
        }
        // After a panic, the record restores the state, not the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the position of the next byte.
    pub(super) fn length(&self, state: &FileState) -> io::Result<u64> {
        if self.regular { Ok(self.file.metadata()?.len()) } else { Ok(state.written) }
    }

    /// Returns the beginning that a line needs here. `open_end` is the end of this stream's own
    /// open line, if any.
    pub(super) fn lead(&self, state: &FileState, length: u64, open_end: Option<u64>) -> LineStart {
        match open_end {
            Some(end) if end == length && length > 0 => LineStart::Continue,
            _ if state.ends_open && length > 0 => LineStart::Break,
            _ => LineStart::Fresh,
        }
    }

    /// Writes once, and returns the number of written bytes.
    pub(super) fn write_some(&self, state: &mut FileState, bytes: &[u8]) -> io::Result<usize> {
        let bytes = match self.full {
            FullBehavior::Blocks | FullBehavior::Fails => bytes,
            FullBehavior::Polled if self.has_room(Duration::ZERO) => &bytes[..bytes.len().min(PIPE_PIECE)],
            FullBehavior::Polled => return Err(io::ErrorKind::WouldBlock.into()),
        };
        threads::point();
        let room = threads::room(bytes.len())?;
        let count = (&self.file).write(&bytes[..room])?;
        if count == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        state.written += count as u64;
        if let Some(last) = bytes[..count].last() {
            state.ends_open = *last != b'\n';
        }
        Ok(count)
    }

    fn has_room(&self, within: Duration) -> bool {
        poll(&mut [PollFd::new(&self.file, PollFlags::OUT)], Some(&timespec(within))).is_ok_and(|ready| ready > 0)
    }

    /// Returns the file that is written to.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Returns true if the file has these bytes at this offset.
    pub(super) fn has(&self, offset: u64, bytes: &[u8]) -> bool {
        let Some(reader) = &self.reader else { return false };
        let mut seen = vec![0; bytes.len()];
        reader.read_exact_at(&mut seen, offset).is_ok() && seen == bytes
    }

    /// Removes a part that a killed daemon wrote.
    pub(super) fn shorten(&self, state: &mut FileState, length: u64) -> io::Result<()> {
        threads::point();
        self.file.set_len(length)?;
        state.ends_open = self.reader.as_ref().is_some_and(ends_open);
        Ok(())
    }
}

/// Converts a duration, rounded up: never too early.
pub(super) fn timespec(duration: Duration) -> Timespec {
    let millis = duration.as_nanos().div_ceil(1_000_000);
    let millis = i64::try_from(millis).unwrap_or(i64::MAX / 1000);
    Timespec { tv_sec: millis / 1000, tv_nsec: (millis % 1000) * 1_000_000 }
}
