//! The Node IPC channel of an instance, daemon's end.
//!
//! The keeper holds a copy, so that a channel outlives the daemon. Lines are looked at in the socket first and taken out only when
//! they were handled and are in the journal: a daemon that dies in between leaves them to the next one.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recv, sendmsg};
use serde_json::Value;

use crate::reactor::{Reactor, Source};

/// A message longer than this is not an app's ordinary traffic; the channel is closed.
const MAX_LINE_BYTES: usize = 16 << 20;
/// Unsent messages for an app that does not read; beyond it new ones are refused.
const MAX_BACKLOG_BYTES: usize = 1 << 20;

/// One channel.
#[derive(Debug)]
pub(crate) struct Ipc {
    fd: OwnedFd,
    slot: u32,
    key: u64,
    /// The beginning of a line whose end has not come yet.
    partial: Vec<u8>,
    /// Bytes that were handled but not yet taken out of the socket.
    peeked: usize,
    out: VecDeque<Queued>,
    /// A descriptor was sent and the app has not said yet that it took it.
    handle_under_way: bool,
    waits_for_room: bool,
    ended: bool,
}

/// What reading gave.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// Whole lines, without their newline.
    pub lines: Vec<Vec<u8>>,
    /// The app closed its end, or sent what no app sends.
    pub ended: bool,
}

impl Ipc {
    /// Watches a channel. None when it cannot be watched.
    pub(crate) fn open(fd: OwnedFd, slot: u32, key: u64, reactor: &Reactor) -> Option<Self> {
        rustix::io::ioctl_fionbio(&fd, true).ok()?;
        reactor.add(&fd, Source::Ipc(slot)).ok()?;
        Some(Self {
            fd,
            slot,
            key,
            partial: Vec::new(),
            peeked: 0,
            out: VecDeque::new(),
            handle_under_way: false,
            waits_for_room: false,
            ended: false,
        })
    }

    /// Name under which the keeper holds a copy.
    pub(crate) fn held_name(&self) -> String {
        format!("ipc:{}", self.key)
    }

    /// The keeper's key of the process it belongs to.
    pub(crate) fn key(&self) -> u64 {
        self.key
    }

    /// The app's end is closed: nothing more comes, nothing can be sent.
    pub(crate) fn end(&mut self, reactor: &Reactor) {
        reactor.remove(&self.fd);
        self.ended = true;
        self.out.clear();
    }

    /// Ends watching. The keeper's copy has to be dropped by the caller.
    pub(crate) fn close(self, reactor: &Reactor) {
        reactor.remove(&self.fd);
    }

    /// Looks at what is there. What was given out stays in the socket until [`Ipc::consume`].
    pub(crate) fn read(&mut self) -> Heard {
        let mut heard = Heard::default();
        let mut buffer = [0_u8; 16 << 10];
        self.consume();
        let seen = match recv(&self.fd, &mut buffer, RecvFlags::DONTWAIT | RecvFlags::PEEK) {
            Ok((_, 0)) => {
                heard.ended = true;
                &[][..]
            }
            Ok((_, len)) => &buffer[..len],
            // More comes with the next turn of the loop.
            Err(Errno::INTR | Errno::AGAIN) => &[],
            Err(_) => {
                heard.ended = true;
                &[]
            }
        };
        if let Some(end) = memchr::memrchr(b'\n', seen) {
            let mut first = std::mem::take(&mut self.partial);
            for line in seen[..end].split(|byte| *byte == b'\n') {
                first.extend_from_slice(line);
                heard.lines.push(std::mem::take(&mut first));
            }
            self.peeked = end + 1;
        } else {
            // A line longer than the buffer has to be collected here.
            self.partial.extend_from_slice(seen);
            self.peeked = seen.len();
            self.consume();
        }
        heard.ended |= self.partial.len() > MAX_LINE_BYTES;
        heard
    }

    /// Takes what was handled out of the socket.
    pub(crate) fn consume(&mut self) {
        let mut buffer = [0_u8; 16 << 10];
        while self.peeked > 0 {
            let len = self.peeked.min(buffer.len());
            match recv(&self.fd, &mut buffer[..len], RecvFlags::DONTWAIT) {
                Ok((_, got)) if got > 0 => self.peeked -= got.min(self.peeked),
                Err(Errno::INTR) => {}
                // Gone with the channel.
                Ok(_) | Err(_) => self.peeked = 0,
            }
        }
    }

    /// Sends one message, with a descriptor if there is one. False when the app's end is closed or it does not read.
    pub(crate) fn send_message(&mut self, reactor: &Reactor, message: &Value, fd: Option<OwnedFd>) -> bool {
        let line = ostler_proto::node::encode(message);
        if self.ended || self.out.iter().map(|queued| queued.line.len()).sum::<usize>() + line.len() > MAX_BACKLOG_BYTES {
            return false;
        }
        self.out.push_back(Queued { line, sent: 0, had_fd: fd.is_some(), fd });
        self.drain(reactor)
    }

    /// The app took the descriptor that was sent last: what waits behind it may go.
    pub(crate) fn handle_taken(&mut self, reactor: &Reactor) {
        self.handle_under_way = false;
        self.drain(reactor);
    }

    /// Sends what is queued, as far as the socket takes it. False when the app's end is closed.
    pub(crate) fn drain(&mut self, reactor: &Reactor) -> bool {
        let mut waits = false;
        while !self.handle_under_way
            && let Some(queued) = self.out.front_mut()
        {
            match queued.send(self.fd.as_fd()) {
                Ok(()) if queued.sent < queued.line.len() => {}
                Ok(()) => {
                    // Node keeps the last descriptor it received for the next message that wants one: never let two of them be on
                    // the way, or a client talks to the wrong server.
                    self.handle_under_way = queued.had_fd;
                    self.out.pop_front();
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    waits = true;
                    break;
                }
                Err(_) => return false,
            }
        }
        if waits != self.waits_for_room {
            self.waits_for_room = waits;
            return reactor.want_write(self.fd.as_fd(), Source::Ipc(self.slot), waits).is_ok();
        }
        true
    }
}

impl AsFd for Ipc {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A message that is not sent yet, or not whole.
#[derive(Debug)]
struct Queued {
    line: Vec<u8>,
    sent: usize,
    fd: Option<OwnedFd>,
    had_fd: bool,
}

impl Queued {
    fn send(&mut self, socket: BorrowedFd<'_>) -> Result<(), Errno> {
        let rest = [IoSlice::new(&self.line[self.sent..])];
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = self.fd.as_ref().map(|fd| [fd.as_fd()]);
        if let Some(fds) = &fds {
            control.push(SendAncillaryMessage::ScmRights(fds));
        }
        self.sent += sendmsg(socket, &rest, &mut control, flags)?;
        // It has gone with the first byte.
        self.fd = None;
        Ok(())
    }
}
