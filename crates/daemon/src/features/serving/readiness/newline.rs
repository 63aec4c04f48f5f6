//! Readiness by a newline on a descriptor, as in s6.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ostler_sys::fd::pipe;
use rustix::io::Errno;

use super::FdKind;
use crate::platform::reactor::Reactor;

/// Our end of the pipe.
#[derive(Debug)]
pub(super) struct Newline {
    fd: OwnedFd,
    pub key: u64,
}

/// Result of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NewlineRead {
    /// No newline yet.
    Nothing,
    /// The newline.
    Newline,
    /// All ends of the app are closed.
    End,
}

impl Newline {
    /// Makes a pipe, and returns our end and the app's.
    pub(super) fn make(id: u32, key: u64, reactor: &Reactor) -> Result<(Self, OwnedFd), Errno> {
        let (read, write) = pipe::pipe()?;
        let watched = Self::watch(read, id, key, reactor).ok_or(Errno::MFILE)?;
        Ok((watched, write))
    }

    /// Watches a pipe that the keeper held.
    pub(super) fn watch(fd: OwnedFd, id: u32, key: u64, reactor: &Reactor) -> Option<Self> {
        rustix::io::ioctl_fionbio(&fd, true).ok()?;
        reactor.add(&fd, FdKind::Newline.source(id)).ok()?;
        Some(Self { fd, key })
    }

    pub(super) fn held_name(key: u64) -> String {
        format!("newline:{key}")
    }

    /// Reads the pipe. Bytes before the newline are ignored.
    pub(super) fn read(&self) -> NewlineRead {
        let mut buffer = [0; 1024];
        loop {
            match rustix::io::read(&self.fd, &mut buffer) {
                Ok(0) => return NewlineRead::End,
                Ok(count) if buffer.get(..count).is_some_and(|seen| seen.contains(&b'\n')) => return NewlineRead::Newline,
                // The rest comes with the next turn of the event loop. An app that writes without
                // end delays only itself.
                Ok(_) => return NewlineRead::Nothing,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return NewlineRead::Nothing,
                Err(_) => return NewlineRead::End,
            }
        }
    }

    /// Stops watching. Otherwise the keeper's copy would keep it in the epoll set.
    pub(super) fn close(self, reactor: &Reactor) {
        reactor.remove(&self.fd);
    }
}

impl AsFd for Newline {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
