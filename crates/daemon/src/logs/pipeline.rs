//! Pipeline of one instance: its configuration, its thread, its handle.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::format::Formats;
use super::open::{OpenError, Places};
use super::sink::{OpenFiles, Sink};
use super::worker::Worker;
use crate::platform::rights::Rights;
use crate::platform::threads::{self, Thread};
use crate::platform::waker::Waker;

/// First and longest pause after a failure.
pub(super) const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Configuration of one instance's pipeline.
pub(crate) struct Config {
    /// Name of the thread, at most 15 characters are shown.
    pub name: String,
    /// Where standard output goes; nowhere if none.
    pub out: Option<PathBuf>,
    /// Where standard error goes.
    pub error: Option<PathBuf>,
    /// File for both.
    pub combined: Option<PathBuf>,
    /// Outputs of the runtime where output and error output are shown, as paths that mean its own streams.
    pub shown: [Option<PathBuf>; 2],
    /// Forms of a line.
    pub format: Formats,
    /// Read ends of standard output and error.
    pub pipes: [OwnedFd; 2],
    /// See [`super::holding_pipe`]. One per pipeline, the same one for a successor.
    pub holding: OwnedFd,
    /// True if the holding pipe of the predecessor is lost, and `holding` is a new one.
    pub is_holding_lost: bool,
    /// Memory file with [`super::record::SLOT_BYTES`] per slot.
    pub record: OwnedFd,
    /// Index of our slot.
    pub slot: u32,
    /// The files of all pipelines.
    pub files: OpenFiles,
    /// Home and the runtime's own streams.
    pub runtime: RuntimeStreams,
    /// Receiver of reports; called from the pipeline's thread.
    pub report: Arc<dyn Fn(Report) + Send + Sync>,
}

/// Home, and the runtime's own streams as they were when it was started.
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
    /// Borrowed form, for opening files.
    pub(crate) fn places(&self) -> Places<'_> {
        let (stdout, stderr) = (self.stdout.as_ref().map(|fd| fd.as_fd()), self.stderr.as_ref().map(|fd| fd.as_fd()));
        Places { home: &self.home, rights: &self.rights, stdout, stderr }
    }
}

/// Report of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// Writing failed (disk full, …); it is tried again, the app waits. Reported once until [`Report::Resumed`].
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
    /// Nobody will ever read what is written there (broken pipe): it is discarded.
    Nobody {
        /// Path of the file.
        path: PathBuf,
    },
    /// A file of root's was in the way, in a folder of the app's user: it was renamed.
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
    /// Something else failed; it is tried again. Reported once until it works.
    Trouble {
        /// Reason.
        reason: String,
    },
    /// A bug. The pipeline goes on from its record.
    Panicked {
        /// Message of the panic.
        message: String,
    },
    /// The thread has ended.
    Ended(Ending),
}

/// Way in which a pipeline ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Both streams came to their end and everything is in the files.
    Drained,
    /// The time was up: everything that was there is in the files, but somebody still holds the other end.
    TimeUp,
    /// The time for the disk was up: what is left is in the pipes, and a new pipeline can go on with it.
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
    /// How often it was requested to carry everything over, and how often that was done.
    pub end_lines: (u32, u32),
    /// True when the thread has ended and no request is carried out any more.
    pub over: bool,
    /// When nobody is waited for any more who still has the other end.
    pub finish_by: Option<Instant>,
    /// When a disk is not waited for any more.
    pub give_up_by: Option<Instant>,
}

/// Channel from handle to thread.
#[derive(Debug)]
pub(super) struct Control {
    requests: Mutex<Requests>,
    done: Condvar,
    pub waker: Waker,
}

impl Control {
    fn lock(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, change: impl FnOnce(&mut Requests)) {
        change(&mut self.lock());
        self.waker.wake();
    }

    /// Takes the requests; `reopen` only once.
    pub(super) fn take(&self) -> Requests {
        let mut requests = self.lock();
        let now = *requests;
        requests.reopen = false;
        now
    }

    /// Reports as done that everything was carried over, up to this request.
    pub(super) fn lines_ended(&self, asked: u32) {
        self.lock().end_lines.1 = asked;
        self.done.notify_all();
    }

    fn over(&self) {
        self.lock().over = true;
        self.done.notify_all();
    }

    /// True if the time for the disk is up.
    pub(super) fn is_time_up(&self) -> bool {
        self.lock().give_up_by.is_some_and(|by| threads::now() >= by)
    }

    /// Waits for a request, for this long, or until the time for the disk is up.
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

    /// Waits until this is writable, or until the time for that is up.
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

/// Converts a duration, rounded up: never too early.
pub(super) fn timespec(duration: Duration) -> Timespec {
    let millis = duration.as_nanos().div_ceil(1_000_000);
    let millis = i64::try_from(millis).unwrap_or(i64::MAX / 1000);
    Timespec { tv_sec: millis / 1000, tv_nsec: (millis % 1000) * 1_000_000 }
}

/// Pipeline that has completed what its predecessor left, and does not run yet.
pub(crate) struct Pipeline {
    worker: Worker,
    control: Arc<Control>,
    name: String,
    report: Arc<dyn Fn(Report) + Send + Sync>,
}

impl Pipeline {
    /// Opens the files and finishes what a killed daemon has begun with these pipes. Does not wait for anything, except for the disk.
    ///
    /// # Errors
    /// A file cannot be opened, or the descriptors are not what they should be.
    pub(crate) fn prepare(config: Config) -> Result<Self, PipelineError> {
        let mut pipeline = Self::new(config)?;
        pipeline.worker.settle().map_err(|source| PipelineError::System { step: "read the record", source })?;
        Ok(pipeline)
    }

    /// Starts a pipeline for new pipes. What its slot of the record holds is forgotten.
    ///
    /// # Errors
    /// See [`Self::prepare`] and [`Self::start`].
    pub(crate) fn spawn(config: Config) -> Result<Handle, PipelineError> {
        let mut pipeline = Self::new(config)?;
        pipeline.worker.start_afresh().map_err(|source| PipelineError::System { step: "write the record", source })?;
        pipeline.start()
    }

    fn new(config: Config) -> Result<Self, PipelineError> {
        let waker = Waker::new().map_err(|source| PipelineError::System { step: "make the wake-up", source })?;
        let control = Arc::new(Control { requests: Mutex::default(), done: Condvar::new(), waker });
        let (name, report) = (config.name.clone(), Arc::clone(&config.report));
        let worker = Worker::new(config, Arc::clone(&control))?;
        Ok(Self { worker, control, name, report })
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// No more threads.
    pub(crate) fn start(self) -> Result<Handle, PipelineError> {
        let Self { mut worker, control, name, report } = self;
        let control_of_thread = Arc::clone(&control);
        let thread = threads::spawn(name, 128 << 10, move || {
            let ending = run(&mut worker, &report);
            control_of_thread.over();
            report(Report::Ended(ending));
            ending
        })
        .map_err(|source| PipelineError::System { step: "start the thread", source })?;
        Ok(Handle { control, thread })
    }
}

/// Runs until the end, through panics: whatever state one leaves, the record knows better.
fn run(worker: &mut Worker, report: &Arc<dyn Fn(Report) + Send + Sync>) -> Ending {
    let mut pause = Duration::from_millis(100);
    loop {
        match threads::catch(|| worker.run()) {
            Ok(ending) => return ending,
            Err(panic) => {
                let message =
                    panic.downcast_ref::<&str>().map(|text| (*text).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
                report(Report::Panicked { message: message.unwrap_or_default() });
                worker.distrust();
                worker.pause(pause);
                pause = (pause * 2).min(Duration::from_secs(5));
            }
        }
        if worker.is_time_up() {
            return Ending::Unwritten;
        }
    }
}

/// Running pipeline. When it is dropped, the thread continues until both streams end.
#[derive(Debug)]
pub(crate) struct Handle {
    control: Arc<Control>,
    thread: Thread<Ending>,
}

impl Handle {
    /// Reopens the files by their paths, at the next line.
    pub(crate) fn reopen(&self) {
        self.control.ask(|requests| requests.reopen = true);
    }

    /// A process has ended and another one may write into the same pipes: everything that is there goes to the files, and a line without its
    /// end gets one, so that the next process does not go on with it. Waits until it is done, at most so long; false if it is not done
    /// then (the disk is full or slow): it will be.
    pub(crate) fn end_lines(&self, longest: Duration) -> bool {
        self.control.ask(|requests| requests.end_lines.0 = requests.end_lines.0.wrapping_add(1));
        let is_waiting = |requests: &mut Requests| !requests.over && requests.end_lines.0 != requests.end_lines.1;
        if self.thread.is_waited_for(|| !is_waiting(&mut self.control.lock())) {
            return !is_waiting(&mut self.control.lock());
        }
        let waited = self.control.done.wait_timeout_while(self.control.lock(), longest, is_waiting);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Ends the pipeline after the app's end: the rest is carried over. Ends at the end of both streams, or after this time with what is there by then, as soon as the disk
    /// takes it. Does not wait;
    /// [`Report::Ended`] follows.
    pub(crate) fn finish(&self, within: Duration) {
        self.control.ask(|requests| requests.finish_by = Some(threads::now() + within));
    }

    /// Ends the pipeline like [`Self::finish`], and without what cannot be written by then.
    pub(crate) fn give_up(&self, within: Duration) {
        let by = threads::now() + within;
        self.control.ask(|requests| (requests.finish_by, requests.give_up_by) = (Some(by), Some(by)));
    }

    /// True if the thread has nothing more to do: [`Report::Ended`] was sent, or is just being sent.
    pub(crate) fn is_over(&self) -> bool {
        self.control.lock().over
    }

    /// True if the thread has not ended.
    pub(crate) fn is_alive(&self) -> bool {
        !self.thread.is_finished()
    }

    /// Waits for the end of the thread; call [`Self::give_up`] before.
    pub(crate) fn join(self) -> Ending {
        self.thread.join().unwrap_or(Ending::Unwritten)
    }
}
