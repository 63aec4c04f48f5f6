//! Descriptors in messages (`SCM_RIGHTS`).

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recvmsg,
    sendmsg,
};

/// Maximum number of descriptors in one message (`SCM_MAX_FD` of the kernel).
pub const MAX_FDS: usize = 253;

const CONTROL_BYTES: usize = rustix::cmsg_space!(ScmRights(MAX_FDS));

/// Sends one message with at most [`MAX_FDS`] descriptors. Returns the number of bytes sent (all of
/// them on a packet socket). Never raises SIGPIPE.
///
/// # Errors
/// Returns `EAGAIN` if a nonblocking socket is full, and `EMSGSIZE` if the packet is too large.
/// Returns `ETOOMANYREFS` if this user has too many descriptors in flight, and `EINVAL` if one
/// message has too many. Returns `EPIPE` or `ECONNRESET` if the other side is gone.
pub fn send(socket: impl AsFd, parts: &[IoSlice<'_>], fds: &[BorrowedFd<'_>]) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); CONTROL_BYTES];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if fds.len() > MAX_FDS || (!fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds))) {
        return Err(Errno::INVAL);
    }
    crate::simulated::step();
    let sent = loop {
        match sendmsg(&socket, parts, &mut control, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            sent => break sent,
        }
    };
    crate::simulated::step();
    sent
}

/// A received message.
#[derive(Debug)]
pub struct ReceivedMessage {
    /// Bytes in the buffer; 0 = the other side has closed (or sent an empty packet).
    pub len: usize,
    /// Whether the packet was longer than the buffer. The rest is lost.
    pub cut: bool,
    /// Whether descriptors were lost because our table is full (`RLIMIT_NOFILE`). The descriptors
    /// that did arrive are the first ones, in order.
    pub lost_fds: bool,
}

/// Receives one message and appends its descriptors (CLOEXEC) to `fds`.
///
/// # Errors
/// Returns `EAGAIN` if a nonblocking socket has no message, and `ECONNRESET`.
pub fn recv(socket: impl AsFd, buffer: &mut [u8], fds: &mut Vec<OwnedFd>) -> Result<ReceivedMessage, Errno> {
    let mut space = [MaybeUninit::uninit(); CONTROL_BYTES];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = loop {
        match recvmsg(&socket, &mut [IoSliceMut::new(buffer)], &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            received => break received?,
        }
    };
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = part {
            fds.extend(received);
        }
    }
    Ok(ReceivedMessage {
        len: message.bytes,
        cut: message.flags.contains(ReturnFlags::TRUNC),
        lost_fds: message.flags.contains(ReturnFlags::CTRUNC),
    })
}

/// Takes a descriptor that this process was started with, by its number, and sets CLOEXEC.
///
/// Only descriptors that came through `execve` can be taken, and only once: everything that this
/// process opens is CLOEXEC, and so is a taken descriptor.
///
/// # Errors
/// Returns `EBADF` if the number is not open, or if this process already owns the descriptor.
pub fn inherited(number: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: these calls only read and set flags, whatever the number refers to.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if number < 0 || flags < 0 || flags & libc::FD_CLOEXEC != 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: the descriptor is open, has no owner in this process by the convention above, and is
    // never returned twice because of the flag.
    unsafe {
        libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC);
        Ok(OwnedFd::from_raw_fd(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::socket::packet_pair;
    use std::os::fd::AsRawFd;

    #[test]
    fn received_descriptors_are_close_on_exec() {
        let (a, b) = packet_pair().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        let borrowed = vec![null.as_fd(); MAX_FDS];
        assert_eq!(send(&a, &[IoSlice::new(b"hello")], &borrowed), Ok(5));
        let (mut buffer, mut fds) = ([0; 16], Vec::new());
        let got = recv(&b, &mut buffer, &mut fds).unwrap();
        assert!((got.len, got.cut, got.lost_fds) == (5, false, false), "{got:?}");
        assert_eq!(fds.len(), MAX_FDS);
        let flags = rustix::io::fcntl_getfd(&fds[0]).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        let one_too_many = vec![null.as_fd(); MAX_FDS + 1];
        assert_eq!(send(&a, &[IoSlice::new(b"x")], &one_too_many), Err(Errno::INVAL));
    }

    #[test]
    fn lost_descriptors_are_reported() {
        let (a, b) = packet_pair().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        send(&a, &[IoSlice::new(b"0123456789")], &[null.as_fd(); 8]).unwrap();
        // Leave room for only two more descriptors.
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let next = null.try_clone().unwrap().as_raw_fd() as u64;
        let tight = rustix::process::Rlimit { current: Some(next + 2), ..limit };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, tight).unwrap();
        let (mut buffer, mut fds) = ([0; 4], Vec::new());
        let got = recv(&b, &mut buffer, &mut fds).unwrap();
        rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
        assert!(got.cut && got.lost_fds, "{got:?}");
        assert!(!fds.is_empty() && fds.len() < 8, "{}", fds.len());
    }

    #[test]
    fn closed_peer_gives_zero_bytes_or_a_broken_pipe() {
        let (a, b) = packet_pair().unwrap();
        drop(a);
        assert_eq!(recv(&b, &mut [0; 4], &mut Vec::new()).unwrap().len, 0);
        assert_eq!(send(&b, &[IoSlice::new(b"x")], &[]), Err(Errno::PIPE));
    }
}
