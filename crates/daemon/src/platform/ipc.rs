//! Daemon's end of an instance's Node IPC channel.
//!
//! The keeper holds a copy, so a channel outlives the daemon. Lines are first peeked in the socket.
//! They are consumed only after they were handled and are in the journal: a daemon that dies in
//! between leaves them to the next one.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use ostler_core::serving::budget::{BufferedBytes, Channel, MESSAGE_BYTES};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recv, sendmsg};
use serde_json::Value;

use crate::platform::reactor::{Reactor, Source};

/// Most bytes of one read in Node. If the end of a read cut a message with a descriptor, the
/// descriptor would go to another message and a client would reach the wrong server. Such a message
/// is therefore sent only if it fits in one read together with all unread bytes.
const UNREAD_BYTES: usize = 64 << 10;
/// Size of the send buffer, which the kernel doubles.
const SEND_BUFFER_BYTES: usize = 104 << 10;
/// Most unsent bytes for an app that does not read; beyond it new messages are refused.
const MAX_BACKLOG_BYTES: usize = 1 << 20;

/// Name of the feature that reads channels. The event loop calls it when a channel is ready.
pub(crate) const READER: &str = "channels";

/// One channel.
#[derive(Debug)]
pub(crate) struct Ipc {
    fd: OwnedFd,
    slot: u32,
    key: u64,
    /// Beginning of a line whose end has not arrived yet.
    partial: Vec<u8>,
    /// Whether the rest of a line that is too long is being skipped.
    skipping: bool,
    /// Budget of the app's messages.
    pub budget: Channel,
    /// Budget of the stored data of the app; `None` until the first check.
    pub kept: Option<BufferedBytes>,
    /// Time before which the channel is not read.
    muted_until_ms: Option<u64>,
    /// Bytes that were handled but not yet consumed from the socket.
    peeked: usize,
    out: VecDeque<Queued>,
    waits_for_room: bool,
    /// Upper bound of the sent bytes that the app has not read.
    unread_bytes: usize,
    ended: bool,
}

/// Result of a read.
#[derive(Debug, Default)]
pub(crate) struct ReceivedLines {
    /// Range of the buffer with whole lines, without the last newline; `None` if it has no whole
    /// line.
    pub lines: Option<std::ops::Range<usize>>,
    /// Stored beginning of the first line.
    pub beginning: Vec<u8>,
    /// Whether the app closed its end, or the channel is no longer read.
    pub ended: bool,
    /// Whether a line was too long and is skipped.
    pub overlong: bool,
    /// Number of bytes read.
    pub bytes: usize,
    /// Whether more input may be available.
    pub more: bool,
}

/// Result of sending a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendResult {
    /// The descriptor was sent.
    Sent,
    /// The app does not read, so the caller must wait. [`crate::platform::reactor`] reports when
    /// there is room.
    NoRoom,
    /// The app's end is closed.
    Ended,
}

/// Returns the name under which the keeper holds the channel of a process.
pub(crate) fn held_name(key: u64) -> String {
    format!("ipc:{key}")
}

/// Returns the keeper's key of the process whose channel has this name.
pub(crate) fn key_of(name: &str) -> Option<u64> {
    name.strip_prefix("ipc:")?.parse().ok()
}

impl Ipc {
    /// Watches a channel. Returns `None` if that fails.
    pub(crate) fn open(fd: OwnedFd, slot: u32, key: u64, reactor: &Reactor) -> Option<Self> {
        rustix::io::ioctl_fionbio(&fd, true).ok()?;
        // The kernel reports room when at most a quarter of the buffer is used. With this size,
        // that is below `UNREAD_BYTES`.
        let _ = rustix::net::sockopt::set_socket_send_buffer_size(&fd, SEND_BUFFER_BYTES);
        reactor.add(&fd, Source::Feature(READER, u64::from(slot))).ok()?;
        Some(Self {
            fd,
            slot,
            key,
            partial: Vec::new(),
            skipping: false,
            budget: Channel::default(),
            kept: None,
            muted_until_ms: None,
            peeked: 0,
            out: VecDeque::new(),
            waits_for_room: false,
            unread_bytes: usize::MAX,
            ended: false,
        })
    }

    /// Returns the name under which the keeper holds a copy.
    pub(crate) fn held_name(&self) -> String {
        held_name(self.key)
    }

    /// Returns the keeper's key of the process.
    pub(crate) fn key(&self) -> u64 {
        self.key
    }

    /// Ends the channel after the app closed its end: nothing can be read or sent any more.
    pub(crate) fn end(&mut self, reactor: &Reactor) {
        reactor.remove(&self.fd);
        self.ended = true;
        self.out.clear();
        self.partial = Vec::new();
    }

    /// Stops watching. The caller must drop the keeper's copy.
    pub(crate) fn close(self, reactor: &Reactor) {
        reactor.remove(&self.fd);
    }

    /// Reads available input. Returned lines stay in the socket until [`Ipc::consume`].
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> ReceivedLines {
        let mut received = ReceivedLines::default();
        if self.ended {
            return received;
        }
        self.consume();
        let seen = match recv(&self.fd, &mut *buffer, RecvFlags::DONTWAIT | RecvFlags::PEEK) {
            Ok((_, 0)) => {
                received.ended = true;
                return received;
            }
            Ok((_, len)) => &buffer[..len],
            // The event loop reads the rest in its next turn.
            Err(Errno::INTR | Errno::AGAIN) => return received,
            Err(_) => {
                received.ended = true;
                return received;
            }
        };
        received.more = true;
        received.bytes = seen.len();
        if let Some(end) = memchr::memrchr(b'\n', seen) {
            let first = memchr::memchr(b'\n', seen).unwrap_or(end);
            let beginning = std::mem::take(&mut self.partial);
            let is_skipped = std::mem::take(&mut self.skipping);
            received.overlong = !is_skipped && beginning.len() + first > MESSAGE_BYTES;
            if is_skipped || received.overlong {
                // This is the end of a line that was too long.
                received.lines = (first < end).then_some(first + 1..end);
            } else {
                received.lines = Some(0..end);
                received.beginning = beginning;
            }
            self.peeked = end + 1;
            return received;
        }
        if !self.skipping && self.partial.len() + seen.len() > MESSAGE_BYTES {
            // The rest of this line is skipped.
            self.skipping = true;
            self.partial = Vec::new();
            received.overlong = true;
        }
        if !self.skipping {
            // A line longer than the buffer is collected here.
            self.partial.extend_from_slice(seen);
        }
        self.peeked = seen.len();
        self.consume();
        received
    }

    /// Returns true if returned input is still in the socket.
    pub(crate) fn is_peeked(&self) -> bool {
        self.peeked > 0
    }

    /// Mutes the channel: the daemon does not read it before this time, so the app's writes must
    /// wait.
    pub(crate) fn mute(&mut self, reactor: &Reactor, until_ms: u64) {
        if !self.ended {
            // Removed from the reactor, because epoll would otherwise still report the end of the
            // stream repeatedly.
            reactor.remove(&self.fd);
            self.muted_until_ms = Some(until_ms);
        }
    }

    /// Ends the mute if its time has passed. Returns false if the channel cannot be watched.
    pub(crate) fn unmute(&mut self, reactor: &Reactor, now_ms: u64) -> bool {
        if self.ended || self.muted_until_ms.is_none_or(|until_ms| until_ms > now_ms) {
            return true;
        }
        self.muted_until_ms = None;
        let source = Source::Feature(READER, u64::from(self.slot));
        if self.waits_for_room { reactor.add_for_write(&self.fd, source) } else { reactor.add(&self.fd, source) }.is_ok()
    }

    /// Consumes handled input from the socket.
    pub(crate) fn consume(&mut self) {
        // The content is discarded. Zeroing the buffer first would be a tenth of the work.
        let mut buffer = [MaybeUninit::<u8>::uninit(); 16 << 10];
        while self.peeked > 0 {
            let len = self.peeked.min(buffer.len());
            match recv(&self.fd, &mut buffer[..len], RecvFlags::DONTWAIT) {
                Ok((_, got)) if got > 0 => self.peeked -= got.min(self.peeked),
                Err(Errno::INTR) => {}
                // The input is gone with the channel.
                Ok(_) | Err(_) => self.peeked = 0,
            }
        }
    }

    /// Hands over a descriptor with its line at once, or not at all. The caller keeps its copies.
    pub(crate) fn send_fd(&mut self, reactor: &Reactor, line: &[u8], fd: BorrowedFd<'_>) -> SendResult {
        if self.ended {
            return SendResult::Ended;
        }
        if !self.out.is_empty() || !self.has_room_for(line.len()) {
            return self.no_room(reactor);
        }
        match self.send(line, Some(fd)) {
            Ok(sent) if sent == line.len() => SendResult::Sent,
            Ok(sent) => {
                // The kernel sent the descriptor with the first byte.
                self.out.push_back(Queued { line: line.to_vec(), sent, fd: None });
                self.no_room(reactor);
                SendResult::Sent
            }
            Err(Errno::AGAIN | Errno::INTR) => self.no_room(reactor),
            // The socket reports no event for these errors, so the caller retries.
            Err(Errno::TOOMANYREFS | Errno::NOBUFS | Errno::NOMEM) => SendResult::NoRoom,
            Err(_) => SendResult::Ended,
        }
    }

    fn has_room_for(&mut self, bytes: usize) -> bool {
        if self.unread_bytes.saturating_add(bytes) > UNREAD_BYTES {
            // The app has probably read most of it in the meantime.
            self.unread_bytes = ostler_sys::net::socket::unread(&self.fd).unwrap_or(usize::MAX);
        }
        self.unread_bytes.saturating_add(bytes) <= UNREAD_BYTES
    }

    fn send(&mut self, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> Result<usize, Errno> {
        let sent = send(self.fd.as_fd(), bytes, fd)?;
        self.unread_bytes = self.unread_bytes.saturating_add(sent);
        Ok(sent)
    }

    fn no_room(&mut self, reactor: &Reactor) -> SendResult {
        self.wait_for_room(reactor, true);
        SendResult::NoRoom
    }

    fn wait_for_room(&mut self, reactor: &Reactor, waits: bool) -> bool {
        if waits == self.waits_for_room {
            return true;
        }
        self.waits_for_room = waits;
        if self.muted_until_ms.is_some() {
            return true;
        }
        reactor.want_write(self.fd.as_fd(), Source::Feature(READER, u64::from(self.slot)), waits).is_ok()
    }

    /// Sends one message, with an optional descriptor. Returns false if the app closed its end or
    /// does not read.
    pub(crate) fn send_message(&mut self, reactor: &Reactor, message: &Value, fd: Option<Rc<OwnedFd>>) -> bool {
        let line = ostler_proto::node::encode(message);
        if self.ended || self.out.iter().map(|queued| queued.line.len()).sum::<usize>() + line.len() > MAX_BACKLOG_BYTES {
            return false;
        }
        self.out.push_back(Queued { line, sent: 0, fd });
        self.drain(reactor)
    }

    /// Sends queued messages, as far as the socket accepts them. Returns false if the app closed
    /// its end.
    pub(crate) fn drain(&mut self, reactor: &Reactor) -> bool {
        let mut waits = false;
        while let Some(mut queued) = self.out.pop_front() {
            if queued.fd.is_some() && !self.has_room_for(queued.line.len()) {
                self.out.push_front(queued);
                waits = true;
                break;
            }
            let sent = self.send(&queued.line[queued.sent..], queued.fd.as_ref().map(|fd| fd.as_fd()));
            if let Ok(sent) = sent {
                queued.sent += sent;
                // The kernel sent the descriptor with the first byte.
                queued.fd = None;
            }
            if queued.sent < queued.line.len() {
                self.out.push_front(queued);
            }
            match sent {
                Ok(_) => {}
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    waits = true;
                    break;
                }
                // The socket reports no event for these errors; the next event retries.
                Err(Errno::TOOMANYREFS | Errno::NOBUFS | Errno::NOMEM) => break,
                Err(_) => return false,
            }
        }
        self.wait_for_room(reactor, waits)
    }
}

impl AsFd for Ipc {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Message that is not sent yet, or only in part.
#[derive(Debug)]
struct Queued {
    line: Vec<u8>,
    sent: usize,
    fd: Option<Rc<OwnedFd>>,
}

/// Makes one call; the descriptor goes with the first byte.
fn send(socket: BorrowedFd<'_>, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> Result<usize, Errno> {
    ostler_sys::simulated::step();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = fd.map(|fd| [fd]);
    if let Some(fds) = &fds {
        control.push(SendAncillaryMessage::ScmRights(fds));
    }
    sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
}
