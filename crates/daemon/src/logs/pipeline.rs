//! Pipeline of one instance: its configuration, its thread, its handle.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::control::{Config, Control, PipelineEnd, PipelineError, Requests, WriterReport};
use super::worker::Worker;
use crate::platform::threads::{self, Thread};
use crate::platform::waker::Waker;

/// Pipeline that has completed its predecessor's work and does not run yet.
pub(crate) struct Pipeline {
    worker: Worker,
    control: Arc<Control>,
    name: String,
    report: Arc<dyn Fn(WriterReport) + Send + Sync>,
}

impl Pipeline {
    /// Opens the files and completes the work that a killed daemon began with these pipes. Waits
    /// for nothing except the disk.
    ///
    /// # Errors
    ///
    /// Returns an error if a file cannot be opened, or if a descriptor has the wrong type.
    pub(crate) fn prepare(config: Config) -> Result<Self, PipelineError> {
        let mut pipeline = Self::new(config)?;
        pipeline.worker.settle().map_err(|source| PipelineError::System { step: "read the record", source })?;
        Ok(pipeline)
    }

    /// Starts a pipeline for new pipes. The previous content of its record slot is discarded.
    ///
    /// # Errors
    /// See [`Self::prepare`] and [`Self::start`].
    pub(crate) fn spawn(config: Config) -> Result<Handle, PipelineError> {
        let mut pipeline = Self::new(config)?;
        pipeline.worker.start_afresh().map_err(|source| PipelineError::System { step: "write the record", source })?;
        pipeline.start()
    }

    fn new(config: Config) -> Result<Self, PipelineError> {
        let waker = Waker::new().map_err(|source| PipelineError::System { step: "create the wake-up descriptor", source })?;
        let control = Arc::new(Control { requests: Mutex::default(), done: Condvar::new(), waker });
        let (name, report) = (config.name.clone(), Arc::clone(&config.report));
        let worker = Worker::new(config, Arc::clone(&control))?;
        Ok(Self { worker, control, name, report })
    }

    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// Returns an error if the system has no more threads.
    pub(crate) fn start(self) -> Result<Handle, PipelineError> {
        let Self { mut worker, control, name, report } = self;
        let control_of_thread = Arc::clone(&control);
        let thread = threads::spawn(name, 128 << 10, move || {
            let ending = run(&mut worker, &report);
            control_of_thread.mark_finished();
            report(WriterReport::Ended(ending));
            ending
        })
        .map_err(|source| PipelineError::System { step: "start the thread", source })?;
        Ok(Handle { control, thread })
    }
}

/// Runs the worker until it ends. After a panic, the worker resumes from its record.
fn run(worker: &mut Worker, report: &Arc<dyn Fn(WriterReport) + Send + Sync>) -> PipelineEnd {
    let mut pause = Duration::from_millis(100);
    loop {
        match threads::catch(|| worker.run()) {
            Ok(ending) => return ending,
            Err(panic) => {
                let message =
                    panic.downcast_ref::<&str>().map(|text| (*text).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
                report(WriterReport::Panicked { message: message.unwrap_or_default() });
                worker.distrust();
                worker.pause(pause);
                pause = (pause * 2).min(Duration::from_secs(5));
            }
        }
        if worker.is_time_up() {
            return PipelineEnd::Unwritten;
        }
    }
}

/// Running pipeline. When it is dropped, the thread continues until both streams end.
#[derive(Debug)]
pub(crate) struct Handle {
    control: Arc<Control>,
    thread: Thread<PipelineEnd>,
}

impl Handle {
    /// Reopens the files by their paths at the next line.
    pub(crate) fn reopen(&self) {
        self.control.update(|requests| requests.reopen = true);
    }

    /// Writes everything in the pipes to the files when a process has exited and another one may
    /// write into the same pipes. An incomplete line gets a newline, so that the next process does
    /// not continue it. Waits at most this long. Returns false if it is not done by then because
    /// the disk is full or slow; the thread completes it later.
    pub(crate) fn end_lines(&self, longest: Duration) -> bool {
        self.control.update(|requests| requests.end_lines.0 = requests.end_lines.0.wrapping_add(1));
        let is_waiting = |requests: &mut Requests| !requests.is_finished && requests.end_lines.0 != requests.end_lines.1;
        if self.thread.is_waited_for(|| !is_waiting(&mut self.control.lock())) {
            return !is_waiting(&mut self.control.lock());
        }
        let waited = self.control.done.wait_timeout_while(self.control.lock(), longest, is_waiting);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Stops the pipeline after the app's exit. It carries over the rest and stops at the end of
    /// both streams. After this time it stops as soon as the available bytes are on disk. Does not
    /// wait; [`WriterReport::Ended`] follows.
    pub(crate) fn finish(&self, within: Duration) {
        self.control.update(|requests| requests.finish_by = Some(threads::now() + within));
    }

    /// Stops the pipeline like [`Self::finish`], and gives up bytes that cannot be written by then.
    pub(crate) fn give_up(&self, within: Duration) {
        let by = threads::now() + within;
        self.control.update(|requests| (requests.finish_by, requests.give_up_by) = (Some(by), Some(by)));
    }

    /// Returns true if the thread has nothing more to do: [`WriterReport::Ended`] was sent, or is
    /// just being sent.
    pub(crate) fn is_finished(&self) -> bool {
        self.control.lock().is_finished
    }

    /// Returns true if the thread has not ended.
    pub(crate) fn is_alive(&self) -> bool {
        !self.thread.is_finished()
    }

    /// Waits for the end of the thread; call [`Self::give_up`] first.
    pub(crate) fn join(self) -> PipelineEnd {
        self.thread.join().unwrap_or(PipelineEnd::Unwritten)
    }
}
