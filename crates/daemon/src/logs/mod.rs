//! Log output of apps.
//!
//! # Theory of operation
//!
//! *Direct* mode is [`LogTargets::open`] and nothing more: the app's descriptors 1 and 2 are the
//! log files. [`needs_pipe`] is true if that is not enough because the daemon must process each
//! line. A renamed direct file stays the file of its app until the app's next start, or until
//! [`reclaim`] gives it back to its path. Lines that go to a deleted file are carried over by
//! [`carry`]. In the other mode, the app writes into two pipes ([`log_pipe`]). A [`Pipeline`],
//! which is one thread per instance, carries whole lines from the pipes to the files:
//!
//! 1. *peek*: copy the content of the pipe without consuming it (`tee(2)`), up to the last newline;
//!    format it;
//! 2. *note* in the record: the stream, the number of bytes, the files, the offsets and lengths in
//!    them;
//! 3. *write* the files; note that it is done;
//! 4. *hold*: move exactly those bytes from the pipe to the holding pipe (`splice(2)`); note it;
//!    empty the holding pipe; note that nothing is in transit.
//!
//! The keeper also holds the pipes, the holding pipe and the record. The daemon can therefore be
//! killed at any instant. Its successor reads the last completed step from the record, the lengths
//! of the files and the level of the holding pipe, and [`Pipeline::prepare`] does the rest. No line
//! is lost, doubled or torn. Prepare *all* pipelines before starting the first one: instances may
//! share a file.
//!
//! If daemon, keeper and standby are killed together, the app itself keeps its pipes
//! ([`log_pipe`]). The record is a file in a folder that lasts until the next boot. Only the
//! holding pipe is lost. It matters between "all files have it" and "the holding pipe has it": the
//! successor then compares the beginning of the pipe with the end of the files.
//!
//! Exactly once holds for regular files that only this daemon writes to. In two cases a batch in
//! transit may appear twice, but is never lost. Either another program renamed, truncated or wrote
//! the file between the two daemons, or the file is a pipe or a terminal.
//!
//! A slow disk pushes back: the thread waits, the pipe fills, the app waits. A full disk is
//! reported once, and the write is retried until there is room.

mod batch;
pub(crate) mod carry;
mod container_output;
mod control;
mod format;
#[cfg(debug_assertions)]
pub(crate) mod fuzz;
pub(crate) mod line_times;
mod open;
pub(crate) mod outputs;
mod pipeline;
mod pipes;
pub(crate) mod reclaim;
mod record;
mod running_writer;
mod sink;
mod tail;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod worker;

use std::collections::BTreeSet;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::Arc;

use ostler_core::lifecycle::runtime::RuntimeSpec;

pub(crate) use container_output::ShownAs;
pub(crate) use control::{Config, PipelineEnd, PipelineError, RuntimeStreams, WriterReport};
pub(crate) use format::{DateWriter, Format, Formats, Label};
pub(crate) use open::{LogTargets, OpenError, is_nowhere, needs_pipe};
pub(crate) use outputs::Outputs;
pub(crate) use pipeline::{Handle, Pipeline};
pub(crate) use pipes::{holding_pipe, log_pipe};
pub(crate) use running_writer::{Destination, LogPipes, RunningWriter, WriterPipes, end_name, ends_of_name};
pub(crate) use sink::OpenFiles;
pub(crate) use tail::{last_lines, length};

/// State of log files that the daemon writes, carries over or moves.
#[derive(Debug, Default)]
pub(crate) struct LogFiles {
    /// Files that the log writers have open.
    pub open: OpenFiles,
    /// Deleted files whose new lines are carried over ([`carry`]).
    pub carried: BTreeSet<reclaim::FileKey>,
    /// Files whose content is being moved elsewhere ([`reclaim`]).
    pub moving: BTreeSet<reclaim::FileKey>,
    /// Folder at which relative paths of log files begin, and the daemon's own standard output and
    /// error if they belong to the container.
    pub streams: RuntimeStreams,
    /// Form of lines in the container's output, if ostler runs as the container's main program.
    pub front: Option<RuntimeSpec>,
}

impl LogFiles {
    /// Returns the log files of a background daemon. It has no streams of its own: `/dev/stdout` is
    /// its log.
    pub(crate) fn new(home: PathBuf) -> Self {
        Self { streams: RuntimeStreams { home, ..RuntimeStreams::default() }, ..Self::default() }
    }

    /// Returns the log files inside a container: our own standard output and error are the
    /// container's.
    ///
    /// # Errors
    ///
    /// Returns an error if the system has no more descriptors.
    pub(crate) fn in_front(mut self, spec: &RuntimeSpec) -> std::io::Result<Self> {
        let copy = |fd: BorrowedFd<'_>| fd.try_clone_to_owned().map(|fd| Some(Arc::new(fd)));
        self.streams.stdout = copy(rustix::stdio::stdout())?;
        self.streams.stderr = copy(rustix::stdio::stderr())?;
        self.front = Some(spec.clone());
        Ok(self)
    }
}
