//! Datagrams with the identity of their sender: the receiving end of sd_notify.

use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, socket_with, sockopt};

use crate::net::socket::Peer;
use crate::process::last_errno;

/// A received datagram. Its descriptors are closed: the sender of `BARRIER=1` takes that as the
/// answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Bytes in the buffer.
    pub len: usize,
    /// Whether the datagram was longer than the buffer. The rest is lost.
    pub cut: bool,
    /// The sender, as the kernel knows it. Pid 0 means that its pid namespace is hidden from us.
    pub sender: Option<Peer>,
}

/// Creates a socket that receives datagrams under this name in the abstract namespace (CLOEXEC,
/// nonblocking), each with its sender.
///
/// # Errors
/// Returns `EADDRINUSE` if the name is taken, `ENAMETOOLONG`, or `EMFILE`.
pub fn bind_abstract(name: &[u8]) -> Result<OwnedFd, Errno> {
    bound(&SocketAddrUnix::new_abstract_name(name)?)
}

fn bound(address: &SocketAddrUnix) -> Result<OwnedFd, Errno> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    // Before the first datagram can arrive: an earlier datagram would have no sender.
    sockopt::set_socket_passcred(&socket, true)?;
    bind(&socket, address)?;
    Ok(socket)
}

/// Creates a socket that receives datagrams at this path (CLOEXEC, nonblocking), each with its
/// sender.
///
/// # Errors
/// Returns the errors of `bind(2)`, and `ENAMETOOLONG` if the path has more than 107 bytes.
pub fn bind_path(path: &Path) -> Result<OwnedFd, Errno> {
    bound(&SocketAddrUnix::new(path)?)
}

/// Room for the credentials and for a realistic number of descriptors. If a message has more, the
/// kernel itself closes the rest.
const CONTROL_WORDS: usize = 64;

/// Returns the next datagram, or `None` if none has arrived.
///
/// # Errors
/// Returns an error if the descriptor is not a socket.
pub fn recv(socket: impl AsFd, buffer: &mut [u8]) -> Result<Option<Datagram>, Errno> {
    receive(socket, buffer, 0)
}

/// Works like [`recv`] but leaves the datagram in the queue: the next call finds it again.
///
/// # Errors
/// Returns the errors of [`recv`].
pub fn peek(socket: impl AsFd, buffer: &mut [u8]) -> Result<Option<Datagram>, Errno> {
    receive(socket, buffer, libc::MSG_PEEK)
}

fn receive(socket: impl AsFd, buffer: &mut [u8], more: libc::c_int) -> Result<Option<Datagram>, Errno> {
    // This type has the alignment that headers of control messages need.
    let mut control = [0u64; CONTROL_WORDS];
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all zero is a valid header: null pointers and lengths of zero.
    let mut header: libc::msghdr = unsafe { zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = length(size_of::<[u64; CONTROL_WORDS]>());
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC | more;
    let len = loop {
        // SAFETY: the header points to live buffers with the given lengths.
        let got = unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut header, flags) };
        match usize::try_from(got) {
            Ok(len) => break len,
            Err(_) => match last_errno() {
                Errno::INTR => {}
                Errno::AGAIN => return Ok(None),
                errno => return Err(errno),
            },
        }
    };
    // SAFETY: the kernel has filled the control buffer of this header.
    let sender = unsafe { take_control(&header) };
    Ok(Some(Datagram { len: len.min(buffer.len()), cut: header.msg_flags & libc::MSG_TRUNC != 0, sender }))
}

/// Converts a length: these headers use `size_t` with glibc and `socklen_t` with musl.
fn length<From, To: TryFrom<From> + Default>(length: From) -> To {
    length.try_into().unwrap_or_default()
}

/// Returns the sender and closes the descriptors.
///
/// # Safety
/// The kernel must have filled the header and its control buffer, and the descriptors must not have
/// an owner yet.
unsafe fn take_control(header: &libc::msghdr) -> Option<Peer> {
    let mut sender = None;
    // SAFETY: the macros stay within the control buffer that the kernel has filled. Each value is
    // read as the type that the message header states, with at least its length. Each descriptor is
    // new and ours.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while let Some(found) = message.as_ref() {
            let data = libc::CMSG_DATA(message);
            let len = length::<_, usize>(found.cmsg_len).saturating_sub(libc::CMSG_LEN(0) as usize);
            match (found.cmsg_level, found.cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) if len >= size_of::<libc::ucred>() => {
                    let cred: libc::ucred = data.cast::<libc::ucred>().read_unaligned();
                    sender = Some(Peer { pid: cred.pid, uid: cred.uid, gid: cred.gid });
                }
                (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                    for index in 0..len / size_of::<libc::c_int>() {
                        drop(OwnedFd::from_raw_fd(data.cast::<libc::c_int>().add(index).read_unaligned()));
                    }
                }
                _ => {}
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
    sender
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{IoSlice, Read};
    use std::os::fd::BorrowedFd;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    fn pair(name: &str) -> (OwnedFd, UnixDatagram) {
        let name = format!("ostler-test-{name}-{}", std::process::id());
        let receiver = bind_abstract(name.as_bytes()).unwrap();
        assert_eq!(bind_abstract(name.as_bytes()).unwrap_err(), Errno::ADDRINUSE);
        let sender = UnixDatagram::unbound().unwrap();
        sender.connect_addr(&SocketAddr::from_abstract_name(name.as_bytes()).unwrap()).unwrap();
        (receiver, sender)
    }

    #[test]
    fn datagrams_arrive_with_their_sender() {
        let (receiver, sender) = pair("sender");
        let mut buffer = [0; 16];
        assert_eq!(recv(&receiver, &mut buffer), Ok(None));
        sender.send(b"READY=1").unwrap();
        sender.send(&[7; 100]).unwrap();
        sender.send(b"").unwrap();
        let me = Peer {
            pid: i32::try_from(std::process::id()).unwrap(),
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
        };
        assert_eq!(peek(&receiver, &mut buffer), Ok(Some(Datagram { len: 7, cut: false, sender: Some(me) })));
        assert_eq!(recv(&receiver, &mut buffer), Ok(Some(Datagram { len: 7, cut: false, sender: Some(me) })));
        assert_eq!(&buffer[..7], b"READY=1");
        assert_eq!(recv(&receiver, &mut buffer), Ok(Some(Datagram { len: 16, cut: true, sender: Some(me) })));
        assert_eq!(recv(&receiver, &mut buffer), Ok(Some(Datagram { len: 0, cut: false, sender: Some(me) })));
        assert_eq!(recv(&receiver, &mut buffer), Ok(None));
    }

    #[test]
    fn descriptors_received_with_a_datagram_are_closed() {
        for count in [1, 40, 250] {
            let (receiver, sender) = pair(&format!("fds-{count}"));
            let (read, write) = crate::fd::pipe::pipe().unwrap();
            let fds: Vec<BorrowedFd<'_>> = (0..count).map(|_| write.as_fd()).collect();
            crate::fd::fdpass::send(&sender, &[IoSlice::new(b"BARRIER=1")], &fds).unwrap();
            drop(write);
            let mut buffer = [0; 64];
            peek(&receiver, &mut buffer).unwrap().unwrap();
            let datagram = recv(&receiver, &mut buffer).unwrap().unwrap();
            assert!(datagram.sender.is_some() && datagram.len == 9);
            // All ends of the pipe are closed, as the sender expects.
            assert_eq!(std::fs::File::from(read).read(&mut [0; 1]).unwrap(), 0);
        }
    }
}
