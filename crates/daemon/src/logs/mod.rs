//! Logs: where the output of an app goes.
//!
//! # Theory of operation
//!
//! *Direct* mode is [`Places::open`] and nothing more: the app's descriptors 1 and 2 are the log files. [`needs_pipe`] is true when that is not
//! enough because each line must be looked at. A direct file that somebody renames stays the file of its app until the app's next start, or
//! until [`reclaim`] gives it back to its path. What is written to a deleted one is carried over by [`carry`].
//! Otherwise the app writes into two pipes ([`log_pipe`]) and one [`Pipeline`], a thread per instance,
//! carries whole lines from there to the files:
//!
//! 1. *peek*: copy what is in the pipe without consuming it (`tee(2)`), up to the last newline; format it;
//! 2. *note* in the record: from which stream how many bytes, to which files, at which offsets, how long;
//! 3. *write* the files; note that it is done;
//! 4. *hold*: move exactly those bytes from the pipe to the holding pipe (`splice(2)`); note it; empty the holding pipe; note that nothing
//!    is on its way.
//!
//! Pipes, holding pipe and record are also held by the keeper. So the daemon can be killed at any instant, and its successor knows from the
//! record, the lengths of the files and the level of the holding pipe what was done and what was not: [`Pipeline::prepare`] does the rest, no
//! line is lost, doubled or torn. Prepare *all* pipelines before starting the first one: instances may share a file.
//!
//! If daemon, keeper and standby are killed together, the app itself keeps its pipes ([`log_pipe`]), and the record is a file in a folder
//! that lasts until the next boot. Only the holding pipe is lost. It matters between "all files have it" and "the holding pipe has it": the
//! successor then compares the beginning of the pipe with the end of the files.
//!
//! Exactly once holds for regular files that only this daemon writes to. Where the file was renamed, truncated or written to by somebody else
//! between the two daemons, or is a pipe or a terminal, a batch that was on its way may appear twice; never is it lost.
//!
//! A slow disk pushes back: the thread waits, the pipe fills, the app waits. A full disk is reported once and tried again until it is not full.

mod batch;
pub(crate) mod carry;
mod control;
mod format;
mod open;
pub(crate) mod outputs;
mod piped;
mod pipeline;
mod pipes;
pub(crate) mod reclaim;
mod record;
mod shown;
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

pub(crate) use control::{Config, Ending, PipelineError, Report, RuntimeStreams};
pub(crate) use format::{Format, Formats, Label, Stamp};
pub(crate) use open::{OpenError, Places, is_nowhere, needs_pipe};
pub(crate) use outputs::Outputs;
pub(crate) use piped::{Destination, Ends, LogPipes, Piped, end_name, ends_of_name};
pub(crate) use pipeline::{Handle, Pipeline};
pub(crate) use pipes::{holding_pipe, log_pipe};
pub(crate) use shown::ShownAs;
pub(crate) use sink::OpenFiles;
pub(crate) use tail::{last_lines, length};

/// Log files that are not simply written by their app: who has them, and what is done with them.
#[derive(Debug, Default)]
pub(crate) struct LogFiles {
    /// Files that our writers have open.
    pub open: OpenFiles,
    /// Deleted files, of which what their apps write is carried over ([`carry`]).
    pub carried: BTreeSet<reclaim::FileKey>,
    /// Files whose content is being moved elsewhere ([`reclaim`]).
    pub moving: BTreeSet<reclaim::FileKey>,
    /// Home at which relative paths of log files begin, and our own standard output and error, where they are the container's.
    pub streams: RuntimeStreams,
    /// How the container shows lines, in front of a container.
    pub front: Option<RuntimeSpec>,
}

impl LogFiles {
    /// Log files of a daemon in the background. It has no streams of its own: what it opens as `/dev/stdout` is its log.
    pub(crate) fn new(home: PathBuf) -> Self {
        Self { streams: RuntimeStreams { home, ..RuntimeStreams::default() }, ..Self::default() }
    }

    /// Log files in front of a container: our own standard output and error are its.
    ///
    /// # Errors
    /// No more descriptors.
    pub(crate) fn in_front(mut self, spec: &RuntimeSpec) -> std::io::Result<Self> {
        let copy = |fd: BorrowedFd<'_>| fd.try_clone_to_owned().map(|fd| Some(Arc::new(fd)));
        self.streams.stdout = copy(rustix::stdio::stdout())?;
        self.streams.stderr = copy(rustix::stdio::stderr())?;
        self.front = Some(spec.clone());
        Ok(self)
    }
}
