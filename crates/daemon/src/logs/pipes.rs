//! Pipes whose content can be read before it is consumed.

use std::os::fd::{AsFd, OwnedFd};

use ostler_sys::fd::pipe::{PipeAccess, reopen};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice, tee};

use crate::platform::threads;

/// Requested pipe size: the most that the kernel grants to unprivileged processes. An app at full
/// speed then seldom waits for the log writer.
pub(crate) const WANTED_BYTES: usize = 1 << 20;

/// Creates a pipe, (read end, app's end), close-on-exec, as large as the kernel allows.
///
/// The app's end is also readable. The app thus keeps its own pipe and the bytes in it. If every
/// reader is killed, the app gets no SIGPIPE, and waits as soon as the pipe is full. Without
/// `/proc` the app's end is only writable.
///
/// # Errors
///
/// Returns an error if no descriptors are left.
pub(crate) fn log_pipe() -> std::io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    widen(&read, WANTED_BYTES);
    let both = reopen(&write, PipeAccess::Both).unwrap_or(write);
    Ok((read, both))
}

/// Creates an empty holding pipe: one descriptor for both ends. It contains the bytes in transit
/// from an app to a file. The keeper holds a copy of it beside the read ends of the app's pipes.
///
/// # Errors
///
/// Returns an error if no descriptors are left, or `/proc` is missing.
pub(crate) fn holding_pipe() -> std::io::Result<OwnedFd> {
    let (read, _write) = pipe_with(PipeFlags::CLOEXEC)?;
    reopen(&read, PipeAccess::Both)
}

/// Asks for a larger pipe; a smaller size is fine (`pipe-user-pages-soft`). Returns its size.
pub(super) fn widen(pipe: impl AsFd, wanted: usize) -> usize {
    match fcntl_getpipe_size(&pipe) {
        Ok(size) if size >= wanted => size,
        Ok(size) => fcntl_setpipe_size(&pipe, wanted).unwrap_or(size),
        Err(_) => 4096,
    }
}

/// Result of a peek into a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PeekResult {
    /// This many bytes were copied.
    Bytes(usize),
    /// The pipe is empty now.
    Empty,
    /// The pipe is empty, and no process has its write end open.
    End,
}

/// Copies of a pipe's content, made without consuming it: `tee(2)` into a scratch pipe of our own,
/// then an ordinary read.
#[derive(Debug)]
pub(super) struct Scratch {
    read: OwnedFd,
    write: OwnedFd,
    size: usize,
}

impl Scratch {
    pub(super) fn new() -> rustix::io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        let size = fcntl_getpipe_size(&read)?;
        Ok(Self { read, write, size })
    }

    /// Makes room for a peek of this many bytes, in the scratch pipe and in the holding pipe. The
    /// scratch pipe is never the larger one: its content (by number of pages, not of bytes) must
    /// fit into the holding pipe.
    pub(super) fn widen(&mut self, holding: &OwnedFd, wanted: usize) -> usize {
        if self.size < wanted {
            let room = widen(holding, wanted);
            self.size = widen(&self.write, wanted.min(room));
        }
        self.size
    }

    /// Copies the first bytes of `pipe`, at most `limit`. Afterwards `buffer` holds exactly these
    /// bytes.
    pub(super) fn peek(&self, pipe: &OwnedFd, limit: usize, buffer: &mut Vec<u8>) -> rustix::io::Result<PeekResult> {
        buffer.clear();
        let count = loop {
            match tee(pipe, &self.write, limit, SpliceFlags::NONBLOCK) {
                Ok(0) => return Ok(PeekResult::End),
                Ok(count) => break count,
                Err(Errno::AGAIN) => return Ok(PeekResult::Empty),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        };
        buffer.reserve(count);
        while buffer.len() < count {
            match rustix::io::read(&self.read, rustix::buffer::spare_capacity(buffer)) {
                Ok(0) => break,
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(PeekResult::Bytes(count))
    }
}

/// Moves `count` bytes from `pipe` to `holding`, or fewer if the pipe has fewer. Returns the number
/// of moved bytes.
pub(super) fn hold(pipe: &OwnedFd, holding: &OwnedFd, count: usize) -> rustix::io::Result<usize> {
    let mut moved = 0;
    while moved < count {
        threads::point();
        match splice(pipe, None, holding, None, count - moved, SpliceFlags::NONBLOCK) {
            Ok(0) | Err(Errno::AGAIN) => break,
            Ok(some) => moved += some,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(moved)
}

/// Returns the number of bytes in a pipe.
pub(super) fn level(pipe: &OwnedFd) -> rustix::io::Result<usize> {
    rustix::io::ioctl_fionread(pipe).map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
}

/// Empties a holding pipe.
pub(super) fn discard(holding: &OwnedFd, buffer: &mut [u8]) -> rustix::io::Result<()> {
    let mut left = level(holding)?;
    while left > 0 {
        threads::point();
        let room = buffer.len().min(left);
        match rustix::io::read(holding, &mut buffer[..room]) {
            Ok(count) => left = left.saturating_sub(count.max(1)),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Returns true if every writer has closed its end.
pub(super) fn is_abandoned(pipe: &OwnedFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::new(pipe, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().contains(PollFlags::HUP)
}
