//! One pipeline: its description, its thread, its handle.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::format::Formats;
use super::open::{OpenError, Places};
use super::sink::{OpenFiles, Sink};
use super::worker::Worker;
use crate::rights::Rights;
use crate::waker::Waker;

/// First and longest pause after a failure.
pub(super) const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Everything about one instance's logs.
pub(crate) struct Config {
    /// Name of the thread, at most 15 characters are shown.
    pub name: String,
    /// Where standard output goes; nowhere if none.
    pub out: Option<PathBuf>,
    /// Where standard error goes.
    pub error: Option<PathBuf>,
    /// Where both go, too.
    pub combined: Option<PathBuf>,
    /// Where a runtime shows output and error output, as a path that means its own stream.
    pub shown: [Option<PathBuf>; 2],
    /// What becomes of a line.
    pub format: Formats,
    /// Read ends of standard output and error.
    pub pipes: [OwnedFd; 2],
    /// See [`super::holding_pipe`]. One per pipeline, the same one for a successor.
    pub holding: OwnedFd,
    /// Memory file with [`super::record::SLOT_BYTES`] per slot.
    pub record: OwnedFd,
    /// Which slot is ours.
    pub slot: u32,
    /// The files of all pipelines.
    pub files: OpenFiles,
    /// Home and the runtime's own streams.
    pub runtime: RuntimeStreams,
    /// Is told what somebody should know; called from the pipeline's thread.
    pub report: Arc<dyn Fn(Report) + Send + Sync>,
}

/// The home, and what the runtime's own streams were when it was started.
#[derive(Clone, Debug, Default)]
pub(crate) struct RuntimeStreams {
    /// The home.
    pub home: PathBuf,
    /// Of the app.
    pub rights: Rights,
    /// The original standard output, if it was kept.
    pub stdout: Option<Arc<OwnedFd>>,
    /// The original standard error, if it was kept.
    pub stderr: Option<Arc<OwnedFd>>,
}

impl RuntimeStreams {
    /// Borrowed, for opening files.
    pub(crate) fn places(&self) -> Places<'_> {
        let (stdout, stderr) = (self.stdout.as_ref().map(|fd| fd.as_fd()), self.stderr.as_ref().map(|fd| fd.as_fd()));
        Places { home: &self.home, rights: &self.rights, stdout, stderr }
    }
}

/// What somebody should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// Writing failed (disk full, …); it is tried again, the app waits. Told once until [`Report::Resumed`].
    Stuck {
        /// Which file.
        path: PathBuf,
        /// Why.
        errno: i32,
    },
    /// Writing works again.
    Resumed {
        /// Which file.
        path: PathBuf,
    },
    /// Nobody will ever read what is written there (broken pipe): it is thrown away.
    Nobody {
        /// Which file.
        path: PathBuf,
    },
    /// A file of root's was in the way, in a folder of the app's user: it was renamed.
    SetAside {
        /// Which file.
        path: PathBuf,
        /// What it is called now.
        aside: PathBuf,
    },
    /// A file could not be opened anew; the old one is still in use.
    NotReopened {
        /// Why.
        reason: String,
    },
    /// Something else failed; it is tried again. Told once until it works.
    Trouble {
        /// Why.
        reason: String,
    },
    /// A bug. The pipeline goes on from its record.
    Panicked {
        /// What the panic said.
        message: String,
    },
    /// The thread has ended.
    Ended(Ending),
}

/// Why a pipeline ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Both streams came to their end and everything is in the files.
    Drained,
    /// The time was up: everything that was there is in the files, but somebody still holds the other end.
    TimeUp,
    /// The time was up, and a file cannot be written to: what is left is in the pipes, and a new pipeline can go on with it.
    Unwritten,
}

/// Why a pipeline cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PipelineError {
    /// A log file.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Anything else.
    #[error("cannot {step} of a log pipeline")]
    System {
        /// What was tried.
        step: &'static str,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

/// What the thread is asked to do.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Requests {
    pub reopen: bool,
    /// How often it was asked to carry everything over, and how often that was done.
    pub end_lines: (u32, u32),
    /// The thread has ended: nobody does anything any more.
    pub over: bool,
    pub finish_by: Option<Instant>,
}

/// The way from handle to thread.
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

    /// What is asked for; `reopen` only once.
    pub(super) fn take(&self) -> Requests {
        let mut requests = self.lock();
        let now = *requests;
        requests.reopen = false;
        now
    }

    /// Everything was carried over that was there when it was asked for so often.
    pub(super) fn lines_ended(&self, asked: u32) {
        self.lock().end_lines.1 = asked;
        self.done.notify_all();
    }

    fn over(&self) {
        self.lock().over = true;
        self.done.notify_all();
    }

    /// Has the time to finish come?
    pub(super) fn is_time_up(&self) -> bool {
        self.lock().finish_by.is_some_and(|by| Instant::now() >= by)
    }

    /// Waits until something is asked for, or for so long, or until the time to finish has come.
    pub(super) fn pause(&self, longest: Duration) {
        let finish_by = self.lock().finish_by;
        let longest = finish_by.map_or(longest, |by| longest.min(by.saturating_duration_since(Instant::now())));
        let mut fds = [PollFd::new(&self.waker, PollFlags::IN)];
        if poll(&mut fds, Some(&timespec(longest))).is_ok_and(|ready| ready > 0) {
            self.waker.clear();
        }
    }

    /// Waits until something can be written to this, or the time to finish has come.
    pub(super) fn pause_until_writable(&self, sink: &Sink) {
        let finish_by = self.lock().finish_by;
        let longest = finish_by.map(|by| timespec(by.saturating_duration_since(Instant::now())));
        let mut fds = [PollFd::new(&self.waker, PollFlags::IN), PollFd::new(sink.file(), PollFlags::OUT)];
        if poll(&mut fds, longest.as_ref()).is_ok() && !fds[0].revents().is_empty() {
            self.waker.clear();
        }
    }
}

/// Rounded up: never too early.
pub(super) fn timespec(duration: Duration) -> Timespec {
    let millis = duration.as_nanos().div_ceil(1_000_000);
    let millis = i64::try_from(millis).unwrap_or(i64::MAX / 1000);
    Timespec { tv_sec: millis / 1000, tv_nsec: (millis % 1000) * 1_000_000 }
}

/// A pipeline that has put right what its predecessor left, and does not run yet.
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

    /// A running pipeline for new pipes. Whatever its slot of the record holds is forgotten.
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
        let thread = std::thread::Builder::new()
            .name(name)
            .stack_size(128 << 10)
            .spawn(move || {
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
        match catch_unwind(AssertUnwindSafe(|| worker.run())) {
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

/// A running pipeline. Dropping it lets the thread go on until both streams end.
#[derive(Debug)]
pub(crate) struct Handle {
    control: Arc<Control>,
    thread: JoinHandle<Ending>,
}

impl Handle {
    /// Opens the files anew by their paths, at the next line.
    pub(crate) fn reopen(&self) {
        self.control.ask(|requests| requests.reopen = true);
    }

    /// A process has ended and another one may write into the same pipes: everything that is there goes to the files, and a line without its
    /// end gets one, so that the next process does not go on with it. Waits until it is done, at most so long; false if it is not done
    /// then (the disk is full or slow): it will be.
    pub(crate) fn end_lines(&self, longest: Duration) -> bool {
        self.control.ask(|requests| requests.end_lines.0 = requests.end_lines.0.wrapping_add(1));
        let is_waiting = |requests: &mut Requests| !requests.over && requests.end_lines.0 != requests.end_lines.1;
        let waited = self.control.done.wait_timeout_while(self.control.lock(), longest, is_waiting);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// The app has ended: carry the rest over. Ends at the end of both streams, or after this time with what is there by then. Does not wait;
    /// [`Report::Ended`] tells.
    pub(crate) fn finish(&self, within: Duration) {
        self.control.ask(|requests| requests.finish_by = Some(Instant::now() + within));
    }

    /// The thread has nothing more to do: [`Report::Ended`] was sent, or is just being sent.
    pub(crate) fn is_over(&self) -> bool {
        self.control.lock().over
    }

    /// The thread has not ended.
    pub(crate) fn is_alive(&self) -> bool {
        !self.thread.is_finished()
    }

    /// Waits for the end of the thread; call [`Self::finish`] before.
    pub(crate) fn join(self) -> Ending {
        self.thread.join().unwrap_or(Ending::Unwritten)
    }
}
