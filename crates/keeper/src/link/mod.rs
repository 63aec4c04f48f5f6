//! The private socket between daemon and keeper.
//!
//! Packet: version byte, form byte, payload (see `codec`). With form 0, the payload follows. With
//! form 1, the payload is in a memfd, the first descriptor of the packet; large payloads use this
//! form.
//!
//! Both ends are nonblocking. If the socket is full, the packet waits in our memory and
//! [`Link::flush`] sends it later. No packet is lost as long as the other side lives.

pub(crate) mod codec;
pub(crate) mod message;

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ostler_sys::fd::{fdpass, memfd};
use ostler_sys::memory::secret_bytes::{SecretBytes, wipe};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::link::codec::{Malformed, decode, encode};
use crate::link::message::{FromKeeper, Inventory, ToKeeper};

/// Version of packets and payloads. An older side rejects a newer version, and is replaced.
const VERSION: u8 = 1;
const INLINE: u8 = 0;
const IN_MEMORY: u8 = 1;
/// Maximum payload in a packet. Larger payloads travel in a memfd, because a packet must fit the
/// socket's buffer as a whole.
const INLINE_MAX: usize = 48 * 1024;
/// Maximum payload. Valid messages are smaller: the kernel accepts at most 6 MiB of arguments and
/// environment.
const PAYLOAD_MAX: usize = 32 << 20;

/// The daemon's end of the link.
#[derive(Debug)]
pub struct Link {
    channel: Channel,
    /// Parts of an incomplete inventory.
    parts: Option<(Inventory, Vec<OwnedFd>)>,
}

/// Number under which a new daemon finds its end.
pub(crate) const LINK_FD: i32 = 3;

impl Link {
    /// Returns the link that this daemon was started with. Call it once per process.
    ///
    /// # Errors
    /// Returns `EBADF` if no keeper started this process.
    pub fn from_start() -> io::Result<Self> {
        Ok(Self::new(fdpass::inherited(LINK_FD)?))
    }

    /// Creates a link on a connected packet socket.
    pub fn new(socket: OwnedFd) -> Self {
        Self { channel: Channel::new(socket), parts: None }
    }

    /// Sends a message with its descriptors, which are duplicated if they must wait. Never blocks.
    ///
    /// # Errors
    /// Returns `EPIPE` or `ECONNRESET` if the keeper is gone, and `EMFILE` if descriptors had to
    /// wait and there is no room. The message is not sent then.
    pub fn send(&mut self, message: &ToKeeper, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.channel.send(&encode(message), fds)
    }

    /// Returns the next message with its descriptors, or `None` if no message has arrived.
    ///
    /// # Errors
    /// Returns `UnexpectedEof` if the keeper is gone (see [`crate::Launcher::revive`]), and
    /// `InvalidData` if it speaks another version.
    pub fn recv(&mut self) -> io::Result<Option<(FromKeeper, Vec<OwnedFd>)>> {
        while let Some(packet) = self.channel.recv()? {
            let message = decode(&packet.payload).map_err(invalid)?;
            if let Some(complete) = self.assemble(message, packet.fds) {
                return Ok(Some(complete));
            }
        }
        Ok(None)
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// Returns the errors of [`Link::recv`].
    pub fn recv_blocking(&mut self) -> io::Result<(FromKeeper, Vec<OwnedFd>)> {
        loop {
            if let Some(message) = self.recv()? {
                return Ok(message);
            }
            self.channel.wait(PollFlags::IN)?;
        }
    }

    /// Sends the queued messages until the socket is full. Returns true if the queue is empty;
    /// otherwise call it again when the socket is writable.
    ///
    /// # Errors
    /// Returns the errors of [`Link::send`].
    pub fn flush(&mut self) -> io::Result<bool> {
        self.channel.flush()
    }

    /// Sends all queued messages.
    ///
    /// # Errors
    /// Returns the errors of [`Link::send`].
    pub fn flush_blocking(&mut self) -> io::Result<()> {
        while !self.channel.flush()? {
            self.channel.wait(PollFlags::OUT)?;
        }
        Ok(())
    }

    /// Returns the number of (duplicated) descriptors of queued messages.
    pub fn waiting_fds(&self) -> usize {
        self.channel.queue.iter().map(|waiting| waiting.fds.len()).sum()
    }

    fn assemble(&mut self, message: FromKeeper, fds: Vec<OwnedFd>) -> Option<(FromKeeper, Vec<OwnedFd>)> {
        match message {
            FromKeeper::InventoryPart(part) => {
                self.parts = Some(self.joined(part, fds));
                None
            }
            FromKeeper::Inventory(last) => {
                let (inventory, fds) = self.joined(last, fds);
                Some((FromKeeper::Inventory(inventory), fds))
            }
            other => Some((other, fds)),
        }
    }

    fn joined(&mut self, part: Inventory, fds: Vec<OwnedFd>) -> (Inventory, Vec<OwnedFd>) {
        let Some((mut inventory, mut all)) = self.parts.take() else { return (part, fds) };
        inventory.children.extend(part.children);
        inventory.held.extend(part.held);
        all.extend(fds);
        (inventory, all)
    }
}

/// Second sender on the link of a daemon: for its death report when everything else may be broken,
/// and for its threads.
#[derive(Debug)]
pub struct LinkSender {
    socket: OwnedFd,
}

impl LinkSender {
    /// Creates the sender for the link that this daemon was started with, before or after
    /// [`Link::from_start`].
    ///
    /// # Errors
    /// Returns an error if no descriptor is free.
    pub fn of(link: &Link) -> io::Result<Self> {
        Ok(Self { socket: rustix::io::fcntl_dupfd_cloexec(link, LINK_FD)? })
    }

    /// Sends the message with its descriptors now, ahead of the queue. Waits for room in the socket,
    /// but only for a limited time. If that fails, the keeper does not read, or is gone.
    pub fn send(&self, message: &ToKeeper, fds: &[BorrowedFd<'_>]) {
        for _ in 0..100 {
            match put(&self.socket, INLINE, &encode(message), fds) {
                Err(errno) if is_full(errno) => {
                    let a_moment = rustix::event::Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
                    let _ = poll(&mut [PollFd::new(&self.socket, PollFlags::OUT)], Some(&a_moment));
                }
                // The keeper does not read it, so it does not need it.
                _ => return,
            }
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

pub(crate) fn invalid(error: Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// One packet as received.
#[derive(Debug)]
pub(crate) struct Packet {
    pub(crate) payload: SecretBytes,
    pub(crate) fds: Vec<OwnedFd>,
    /// Whether some descriptors did not arrive because our table of descriptors is full.
    pub(crate) lost_fds: bool,
}

/// One end of the socket: packets and their queue, independent of their meaning.
#[derive(Debug)]
pub(crate) struct Channel {
    socket: OwnedFd,
    queue: VecDeque<QueuedPacket>,
    buffer: Vec<u8>,
}

/// A packet that waits until the socket has room.
#[derive(Debug)]
struct QueuedPacket {
    form: u8,
    payload: SecretBytes,
    fds: Vec<OwnedFd>,
}

impl Channel {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self { socket, queue: VecDeque::new(), buffer: Vec::new() }
    }

    /// Returns the number of queued packets.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn send(&mut self, payload: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        if payload.len() > INLINE_MAX {
            return self.send_in_memory(payload, fds);
        }
        match self.try_send(INLINE, payload, fds) {
            // The socket buffers of this system are smaller than usual.
            Err(Errno::MSGSIZE) => self.send_in_memory(payload, fds),
            sent => Ok(sent?),
        }
    }

    /// Sends immediately or not at all; false means that the socket is full. Do not use it on a
    /// channel with queued packets.
    pub(crate) fn offer(&self, payload: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<bool> {
        match put(&self.socket, INLINE, payload, fds) {
            Err(errno) if is_full(errno) => Ok(false),
            sent => Ok(sent.map(|()| true)?),
        }
    }

    pub(crate) fn into_socket(self) -> OwnedFd {
        self.socket
    }

    fn send_in_memory(&mut self, payload: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let memory = memfd::with("ostler-message", payload)?;
        let all: Vec<_> = std::iter::once(memory.as_fd()).chain(fds.iter().copied()).collect();
        Ok(self.try_send(IN_MEMORY, &[], &all)?)
    }

    /// Sends, or appends to the queue.
    fn try_send(&mut self, form: u8, payload: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        if self.queue.is_empty() {
            match put(&self.socket, form, payload, fds) {
                Err(errno) if is_full(errno) => {}
                sent => return sent,
            }
        }
        let fds = fds.iter().map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, 3)).collect::<Result<_, _>>()?;
        self.queue.push_back(QueuedPacket { form, payload: payload.into(), fds });
        Ok(())
    }

    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        while let Some(first) = self.queue.front() {
            let fds: Vec<_> = first.fds.iter().map(AsFd::as_fd).collect();
            match put(&self.socket, first.form, &first.payload, &fds) {
                Err(errno) if is_full(errno) => return Ok(false),
                sent => sent?,
            }
            self.queue.pop_front();
        }
        Ok(true)
    }

    /// Returns the next packet.
    ///
    /// # Errors
    /// Returns `UnexpectedEof` at the end, and `InvalidData` if the bytes are not a packet of this
    /// version.
    pub(crate) fn recv(&mut self) -> io::Result<Option<Packet>> {
        self.buffer.resize(INLINE_MAX + 2, 0);
        let mut fds = Vec::new();
        let received = match fdpass::recv(&self.socket, &mut self.buffer, &mut fds) {
            Err(Errno::WOULDBLOCK) => return Ok(None),
            // The other side exited with unread packets of ours. The kernel reports that once,
            // before the packets that the other side had sent.
            Err(Errno::CONNRESET) => fdpass::recv(&self.socket, &mut self.buffer, &mut fds)?,
            received => received?,
        };
        if received.len == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let lost_fds = received.lost_fds;
        let packet = self.buffer.get_mut(..received.len).unwrap_or_default();
        let payload = match packet {
            [VERSION, INLINE, payload @ ..] if !received.cut => Ok(SecretBytes::from(&*payload)),
            [VERSION, IN_MEMORY] if !fds.is_empty() => {
                memfd::read(fds.remove(0), PAYLOAD_MAX).map(SecretBytes::from).map_err(io::Error::from)
            }
            _ => Err(invalid(Malformed("no packet of this version"))),
        };
        // The next packet may be shorter and arrive much later, so it would not overwrite these
        // bytes.
        wipe(packet);
        let payload = payload?;
        Ok(Some(Packet { payload, fds, lost_fds }))
    }

    fn wait(&self, flags: PollFlags) -> io::Result<()> {
        match poll(&mut [PollFd::new(&self.socket, flags)], None) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Returns true if the socket is only temporarily full. Too many descriptors in flight (a limit per
/// unprivileged user) also counts: it clears when the other side reads.
fn is_full(errno: Errno) -> bool {
    matches!(errno, Errno::WOULDBLOCK | Errno::TOOMANYREFS | Errno::NOBUFS)
}

fn put(socket: &OwnedFd, form: u8, payload: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    fdpass::send(socket, &[IoSlice::new(&[VERSION, form]), IoSlice::new(payload)], fds).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_sys::net::socket::packet_pair;

    fn pair() -> (Channel, Channel) {
        let (a, b) = packet_pair().unwrap();
        (Channel::new(a), Channel::new(b))
    }

    #[test]
    fn large_payloads_arrive_whole_with_their_descriptors() {
        let (mut a, mut b) = pair();
        let null = std::fs::File::open("/dev/null").unwrap();
        for len in [0, 1, INLINE_MAX, INLINE_MAX + 1, 3 << 20] {
            let payload: Vec<u8> = (0..len).map(|n| n as u8).collect();
            a.send(&payload, &[null.as_fd(), null.as_fd()]).unwrap();
            let packet = b.recv().unwrap().expect("a packet");
            assert!(*packet.payload == *payload, "{len}");
            assert_eq!((packet.fds.len(), packet.lost_fds), (2, false), "{len}");
        }
    }

    #[test]
    fn full_socket_keeps_all_messages_in_order() {
        let (mut a, mut b) = pair();
        let null = std::fs::File::open("/dev/null").unwrap();
        let fd = null.as_fd();
        for n in 0..5000u32 {
            let mut payload = n.to_le_bytes().to_vec();
            payload.resize(1000, 7);
            a.send(&payload, if n.is_multiple_of(100) { std::slice::from_ref(&fd) } else { &[] }).unwrap();
        }
        assert!(a.waiting() > 0, "the test needs a full socket");
        let mut next = 0u32;
        while next < 5000 {
            while let Some(packet) = b.recv().unwrap() {
                assert_eq!(packet.payload[..4], next.to_le_bytes());
                assert_eq!(packet.fds.len(), usize::from(next.is_multiple_of(100)));
                next += 1;
            }
            a.flush().unwrap();
        }
        assert_eq!(a.waiting(), 0);
    }

    #[test]
    fn end_of_file_comes_after_all_sent_messages() {
        let (mut a, mut b) = pair();
        a.send(b"last words", &[]).unwrap();
        drop(a);
        assert_eq!(b.recv().unwrap().unwrap().payload, *b"last words");
        assert_eq!(b.recv().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn messages_before_a_reset_are_received() {
        let (mut a, mut b) = pair();
        b.send(b"unread", &[]).unwrap();
        a.send(b"last words", &[]).unwrap();
        drop(a);
        assert_eq!(b.recv().unwrap().unwrap().payload, *b"last words");
        assert_eq!(b.recv().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn malformed_packets_are_rejected() {
        for packet in [&[][..], &[1], &[2, 0, 9], &[1, 7], &[1, 1], &[1, 1, 0]] {
            let (mut a, b) = pair();
            fdpass::send(&b.socket, &[IoSlice::new(packet)], &[]).unwrap();
            let error = a.recv().unwrap_err();
            let expected = if packet.is_empty() { io::ErrorKind::UnexpectedEof } else { io::ErrorKind::InvalidData };
            assert_eq!(error.kind(), expected, "{packet:?}");
        }
    }
}
