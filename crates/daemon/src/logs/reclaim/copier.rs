//! Thread that copies log files, so that the event loop does not wait for a disk.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, PoisonError, mpsc};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};

use super::copy::{Copied, CopyOrder, Gate, WriterSearch, chase, copy_on, find_writers, open_source, remove};
use super::cut::{give_up, rename_to_similar};
use super::{ReclaimFailure, ReclaimRecord, empty};

/// Pause before the second attempt; each further pause is longer.
const PAUSE: Duration = Duration::from_millis(250);

enum CopierJob {
    Copy(CopyOrder),
    Empty(Box<Copied>),
    Retry { copied: Box<Copied>, is_emptied: bool },
    GiveUp(Box<(ReclaimRecord, Copied, ReclaimFailure)>),
}

impl CopierJob {
    fn id(&self) -> u32 {
        match self {
            Self::Copy(order) => order.id,
            Self::Empty(copied) | Self::Retry { copied, .. } => copied.order.id,
            Self::GiveUp(given_up) => given_up.0.id,
        }
    }

    fn perform(self, gate: &Gate) -> CopierOutcome {
        match self {
            Self::Copy(order) => copy(&order, gate).into(),
            Self::Empty(copied) => empty::empty(*copied, gate).into(),
            Self::Retry { mut copied, is_emptied } => {
                std::thread::sleep(PAUSE * copied.tries);
                if is_emptied { empty::empty(*copied, gate).into() } else { copied.catch_up().map(|()| *copied).into() }
            }
            Self::GiveUp(given_up) => {
                let (record, copied, failure) = *given_up;
                CopierOutcome::GivenUp(give_up(&record, &copied.source).err().unwrap_or(failure))
            }
        }
    }
}

/// Report of the thread: number of the order, and its result.
pub(crate) type CopierReport = (u32, CopierOutcome);

/// Result of an order.
#[derive(Debug)]
pub(crate) enum CopierOutcome {
    /// Little is left to copy.
    Ready(Box<Copied>),
    /// The order failed. Bytes that were removed from the file must still be put back.
    Failed(ReclaimFailure),
    /// Everything is unchanged, or the failure names the place of the lines.
    GivenUp(ReclaimFailure),
}

impl From<Result<Copied, ReclaimFailure>> for CopierOutcome {
    fn from(result: Result<Copied, ReclaimFailure>) -> Self {
        result.map_or_else(Self::Failed, |copied| Self::Ready(Box::new(copied)))
    }
}

/// Handle of the thread. The thread ends when this is dropped and the orders are done.
#[derive(Debug)]
pub(crate) struct Copier {
    jobs: mpsc::Sender<CopierJob>,
    gate: Gate,
}

impl Copier {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// Returns an error if the system has no more threads.
    pub(crate) fn start(report: impl Fn(CopierReport) + Send + 'static) -> io::Result<Self> {
        let (jobs, received) = mpsc::channel::<CopierJob>();
        let own_gate = Gate::default();
        let gate = Arc::clone(&own_gate);
        std::thread::Builder::new().name("log-copy".into()).stack_size(256 << 10).spawn(move || {
            for job in received {
                // Each order must get an answer.
                let id = job.id();
                let done = catch_unwind(AssertUnwindSafe(|| job.perform(&gate)));
                report((id, done.unwrap_or(CopierOutcome::Failed(ReclaimFailure::Bug))));
            }
        })?;
        Ok(Self { jobs, gate: own_gate })
    }

    /// Orders the copy of a file, after earlier orders.
    pub(crate) fn order(&self, order: CopyOrder) {
        // The thread lives as long as this sender.
        let _ = self.jobs.send(CopierJob::Copy(order));
    }

    /// Removes the copied bytes from the file. Call this only after the journal has it recorded.
    pub(crate) fn empty(&self, copied: Copied) {
        let _ = self.jobs.send(CopierJob::Empty(Box::new(copied)));
    }

    /// Prepares another attempt, a moment after an attempt in which a writer did not stop.
    pub(crate) fn retry(&self, copied: Copied, is_emptied: bool) {
        let _ = self.jobs.send(CopierJob::Retry { copied: Box::new(copied), is_emptied });
    }

    /// Puts removed bytes back into the file.
    pub(crate) fn give_up(&self, record: ReclaimRecord, copied: Copied, failure: ReclaimFailure) {
        let _ = self.jobs.send(CopierJob::GiveUp(Box::new((record, copied, failure))));
    }

    /// Shuts the gate: afterwards no new copy is made, and nothing is removed from any file.
    pub(crate) fn shut(&self) {
        *self.gate.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }
}

/// Copies the file except for a small rest.
pub(super) fn copy(order: &CopyOrder, gate: &Gate) -> Result<Copied, ReclaimFailure> {
    let source = open_source(&order.rights, Path::new(&order.source), order.file).map_err(ReclaimFailure::system("open", &order.source))?;
    let copy = {
        let is_shut = gate.lock().unwrap_or_else(PoisonError::into_inner);
        if *is_shut {
            return Err(ReclaimFailure::NotWritten);
        }
        order.rights.act(|| create(Path::new(&order.copy))).map_err(ReclaimFailure::system("create", &order.copy))?
    };
    match fill(&source, &copy, order) {
        Ok((length, found)) => {
            let WriterSearch { processes: looked_at, writers, new_file: beside, is_new_file_written: is_beside_written } = found;
            Ok(Copied {
                source,
                copy,
                length,
                processes: looked_at,
                writers,
                new_file: beside,
                is_new_file_written: is_beside_written,
                order: order.clone(),
                tries: 0,
            })
        }
        Err(failure) => {
            remove(&order.rights, &order.copy);
            Err(failure)
        }
    }
}

fn create(path: &Path) -> io::Result<File> {
    let make = || {
        let flags = OFlags::NOFOLLOW.bits().cast_signed();
        OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).custom_flags(flags).open(path)
    };
    match make() {
        // A daemon whose journal is lost left this copy. Its name is ours, but it may hold the only
        // copy of some lines.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            match std::fs::symlink_metadata(path)?.len() {
                0 => std::fs::remove_file(path)?,
                _ => make_permanent(path)?,
            }
            make()
        }
        other => other,
    }
}

/// Gives a copy a permanent name: `.x__date.log.ostler` → `x__date-1.log`.
fn make_permanent(copy: &Path) -> io::Result<()> {
    let name = copy.file_name().and_then(|name| name.to_str()?.strip_prefix('.')?.strip_suffix(".ostler"));
    let path = name.map(|name| copy.with_file_name(name)).ok_or(io::ErrorKind::InvalidInput)?;
    let (copy, path) = (copy.to_string_lossy(), path.to_string_lossy());
    rename_to_similar(&copy, &path).map(drop)
}

fn fill(source: &File, copy: &File, order: &CopyOrder) -> Result<(u64, WriterSearch), ReclaimFailure> {
    let fail = |step| ReclaimFailure::system(step, &order.copy);
    let meta = source.metadata().map_err(ReclaimFailure::system("inspect", &order.source))?;
    let own = copy.metadata().map_err(fail("inspect"))?;
    if (meta.uid(), meta.gid()) != (own.uid(), own.gid()) {
        std::os::unix::fs::fchown(copy, Some(meta.uid()), Some(meta.gid())).map_err(fail("set the owner of"))?;
    }
    rustix::fs::fchmod(copy, Mode::from_raw_mode(meta.mode() & 0o777)).map_err(ReclaimFailure::system("set the mode of", &order.copy))?;
    let mut length = 0;
    copy_on(source, copy, &mut length).map_err(fail("write"))?;
    // The bulk of the copy must be on disk before the file loses it.
    copy.sync_data().map_err(fail("write"))?;
    // Copies bytes that were written in the meantime. The file itself is not synced: that would
    // write the data twice, and its writers would wait for it.
    let found = find_writers(order);
    chase(source, copy, &mut length).map_err(fail("write"))?;
    Ok((length, found))
}
