//! Configuration, requests and reports that the handle of a pipeline and its thread share.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use super::format::Formats;
use super::open::{LogTargets, OpenError};
use super::sink::{OpenFiles, Sink, timespec};
use crate::platform::rights::Rights;
use crate::platform::threads;
use crate::platform::waker::Waker;

/// First and longest pause after a failure.
pub(super) const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Configuration of one instance's pipeline.
pub(crate) struct Config {
    /// Name of the thread; at most 15 characters are shown.
    pub name: String,
    /// File for standard output, if any.
    pub out: Option<PathBuf>,
    /// File for standard error, if any.
    pub error: Option<PathBuf>,
    /// File for both streams.
    pub combined: Option<PathBuf>,
    /// The runtime's own streams for output and error output, as paths.
    pub shown: [Option<PathBuf>; 2],
    /// Forms of a line.
    pub format: Formats,
    /// Read ends of standard output and error.
    pub pipes: [OwnedFd; 2],
    /// See [`super::holding_pipe`]. One per pipeline, the same one for a successor.
    pub holding: OwnedFd,
    /// Whether the holding pipe of the predecessor is lost and `holding` is a new one.
    pub is_holding_lost: bool,
    /// Memory file with [`super::record::SLOT_BYTES`] per slot.
    pub record: OwnedFd,
    /// Index of our slot.
    pub slot: u32,
    /// Open files of all pipelines.
    pub files: OpenFiles,
    /// Home and the runtime's own streams.
    pub runtime: RuntimeStreams,
    /// Receiver of reports; called from the pipeline's thread.
    pub report: Arc<dyn Fn(WriterReport) + Send + Sync>,
}

/// Home, and the runtime's own streams as they were at its start.
#[derive(Clone, Debug, Default)]
pub(crate) struct RuntimeStreams {
    /// Home.
    pub home: PathBuf,
    /// Rights of the app.
    pub rights: Rights,
    /// The original standard output, if it was kept.
    pub stdout: Option<Arc<OwnedFd>>,
    /// The original standard error, if it was kept.
    pub stderr: Option<Arc<OwnedFd>>,
}

impl RuntimeStreams {
    /// Returns the borrowed form, for opening files.
    pub(crate) fn places(&self) -> LogTargets<'_> {
        let (stdout, stderr) = (self.stdout.as_ref().map(|fd| fd.as_fd()), self.stderr.as_ref().map(|fd| fd.as_fd()));
        LogTargets { home: &self.home, rights: &self.rights, stdout, stderr }
    }
}

/// Report of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WriterReport {
    /// Writing failed (disk full, …). The writer retries and the app waits. Reported once until
    /// [`WriterReport::Resumed`].
    Stuck {
        /// Path of the file.
        path: PathBuf,
        /// Error number.
        errno: i32,
    },
    /// Writing works again.
    Resumed {
        /// Path of the file.
        path: PathBuf,
    },
    /// The stream has no reader any more (broken pipe), so its lines are discarded.
    NoReader {
        /// Path of the file.
        path: PathBuf,
    },
    /// A file of root was in the way, in a folder of the app's user: it was renamed.
    SetAside {
        /// Path of the file.
        path: PathBuf,
        /// Its new name.
        aside: PathBuf,
    },
    /// A file could not be reopened; the old one is still in use.
    NotReopened {
        /// Reason.
        reason: String,
    },
    /// Another step failed and is retried. Reported once until it works.
    Trouble {
        /// Reason.
        reason: String,
    },
    /// The thread panicked, which is a bug. The pipeline resumes from its record.
    Panicked {
        /// Message of the panic.
        message: String,
    },
    /// The thread has ended.
    Ended(PipelineEnd),
}

/// Reason why a pipeline has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PipelineEnd {
    /// Both streams ended and everything is in the files.
    Drained,
    /// The time ran out: all available bytes are in the files, but a process still has the other
    /// end open.
    TimeUp,
    /// The time for the disk ran out: the rest is in the pipes, and a new pipeline can continue
    /// with it.
    Unwritten,
}

/// Reason why a pipeline cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PipelineError {
    /// A log file cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A call of the system failed.
    #[error("cannot {step} of a log pipeline")]
    System {
        /// Failed step.
        step: &'static str,
        /// Error of the system.
        #[source]
        source: io::Error,
    },
}

/// Requests to the thread.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Requests {
    pub reopen: bool,
    /// Number of requests to carry everything over, and the number that is done.
    pub end_lines: (u32, u32),
    /// True when the thread has ended and carries out no more requests.
    pub is_finished: bool,
    /// Time at which the thread stops waiting for processes that still have the other end open.
    pub finish_by: Option<Instant>,
    /// Time at which the thread stops waiting for a disk.
    pub give_up_by: Option<Instant>,
}

/// Channel from handle to thread.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) requests: Mutex<Requests>,
    pub(super) done: Condvar,
    pub waker: Waker,
}

impl Control {
    pub(super) fn lock(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut Requests)) {
        change(&mut self.lock());
        self.waker.wake();
    }

    /// Takes the requests; `reopen` is reported only once.
    pub(super) fn take(&self) -> Requests {
        let mut requests = self.lock();
        let now = *requests;
        requests.reopen = false;
        now
    }

    /// Marks everything up to this request as carried over.
    pub(super) fn lines_ended(&self, asked: u32) {
        self.lock().end_lines.1 = asked;
        self.done.notify_all();
    }

    pub(super) fn mark_finished(&self) {
        self.lock().is_finished = true;
        self.done.notify_all();
    }

    /// Returns true if the time for the disk has run out.
    pub(super) fn is_time_up(&self) -> bool {
        self.lock().give_up_by.is_some_and(|by| threads::now() >= by)
    }

    /// Waits for a request, for this long, or until the time for the disk runs out.
    pub(super) fn pause(&self, longest: Duration) {
        if threads::waits() {
            return self.waker.clear();
        }
        let give_up_by = self.lock().give_up_by;
        let longest = give_up_by.map_or(longest, |by| longest.min(by.saturating_duration_since(threads::now())));
        let mut fds = [PollFd::new(&self.waker, PollFlags::IN)];
        if poll(&mut fds, Some(&timespec(longest))).is_ok_and(|ready| ready > 0) {
            self.waker.clear();
        }
    }

    /// Waits until the file is writable, or until the time for that runs out.
    pub(super) fn pause_until_writable(&self, sink: &Sink) {
        if threads::waits() {
            return self.waker.clear();
        }
        let give_up_by = self.lock().give_up_by;
        let longest = give_up_by.map(|by| timespec(by.saturating_duration_since(threads::now())));
        let mut fds = [PollFd::new(&self.waker, PollFlags::IN), PollFd::new(sink.file(), PollFlags::OUT)];
        if poll(&mut fds, longest.as_ref()).is_ok() && !fds[0].revents().is_empty() {
            self.waker.clear();
        }
    }
}
