//! TCP connections of a port, as the kernel knows them (`sock_diag(7)`): when the last data
//! arrived, and when the last data was sent.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, Shutdown, getsockname, shutdown};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use crate::net::listening::socket_descriptors;
use crate::net::sock_diag::{Dump, INFO, int, owner};
use crate::process::last_errno;
use crate::process::tree::with_descendants;

/// Maximum number of connections that are examined.
pub const MOST: usize = 20_000;

/// Offsets of `tcpi_last_data_sent` and `tcpi_last_data_recv` in `tcp_info` of `linux/tcp.h`.
const SENT_AT: usize = 44;
const RECEIVED_AT: usize = 52;

/// An accepted connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// Number that is unique among all sockets since boot.
    pub cookie: u64,
    /// Inode of the socket in its process.
    pub inode: u64,
    /// Bytes that its process has not read yet.
    pub unread: u32,
    /// Bytes that the other side has not acknowledged yet.
    pub unsent: u32,
    /// Bytes that the kernel has not sent yet.
    pub queued: u32,
    /// Bytes received.
    pub received: u64,
    /// Data segments sent.
    pub sent: u32,
    /// Time since data was last received, ms.
    pub since_received_ms: u32,
    /// Time since data was last sent, ms.
    pub since_sent_ms: u32,
}

/// Returns the accepted connections of this listening socket's port whose client is still there, at
/// most [`MOST`].
///
/// # Errors
/// Returns an error if the socket is not a TCP socket, or if the kernel has no `sock_diag`.
pub fn accepted_at(listener: impl AsFd) -> Result<Vec<Connection>, Errno> {
    /// Established connections, and connections whose other side has announced that it sends no
    /// more data.
    const STATES: u32 = 1 << 1 | 1 << 8;
    let address = std::net::SocketAddr::try_from(getsockname(listener)?)?;
    // An IPv6 socket may have IPv4 connections: the kernel lists them with it.
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    // `1 << (INET_DIAG_INFO - 1)`: the answer includes `tcp_info`.
    let dump = Dump { family, port: address.port(), states: STATES, attributes: 1 << (INFO - 1) };
    // A connection in the listener's queue has no inode yet.
    dump.read(MOST, |body| connection(body).filter(|connection| connection.inode != 0))
}

/// Parses `inet_diag_msg`, and the attribute with `tcp_info` of `linux/tcp.h`.
fn connection(body: &[u8]) -> Option<Connection> {
    let half = |at: usize| int(body, at).map(u64::from);
    let (low, high) = (half(44)?, half(48)?);
    let mut rest = body.get(72..)?;
    let info = loop {
        let head: [u8; 4] = rest.get(..4)?.try_into().ok()?;
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let value = rest.get(4..length)?;
        if u16::from_ne_bytes([head[2], head[3]]) == u16::from(INFO) {
            break value;
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    };
    Some(Connection {
        cookie: high << 32 | low,
        unread: int(body, 56)?,
        unsent: int(body, 60)?,
        queued: int(info, 144)?,
        inode: owner(body)?.1,
        since_sent_ms: int(info, SENT_AT)?,
        since_received_ms: int(info, RECEIVED_AT)?,
        received: u64::from_ne_bytes(info.get(128..136)?.try_into().ok()?),
        sent: int(info, 156)?,
    })
}

/// Descriptor of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessFd {
    pid: i32,
    number: RawFd,
}

/// Returns the inodes of the sockets that this process and its descendants have open, each with a
/// descriptor, as far as we may see them.
pub fn sockets_of_tree(pid: i32) -> BTreeMap<u64, ProcessFd> {
    let of = |pid| socket_descriptors(pid).map(move |(number, inode)| (inode, ProcessFd { pid, number }));
    with_descendants(pid).into_iter().flat_map(of).collect()
}

/// Lets a connection look to its process as if the client had announced that it sends no more data.
/// Data that still arrives is read first. A connection that is no longer at rest is left alone, and so
/// is another socket.
///
/// # Errors
/// Returns `EPERM` if inspection of the process is forbidden, `EBADF` or `ESRCH` if the descriptor or
/// the process is gone, and `ENOSYS` before Linux 5.6.
pub fn announce_end(connection: &Connection, of: ProcessFd, is_at_rest: impl Fn(&Connection) -> bool) -> Result<(), Errno> {
    let pidfd = pidfd_open(Pid::from_raw(of.pid).ok_or(Errno::SRCH)?, PidfdFlags::empty())?;
    // A copy that stays open would delay the end of the connection.
    let socket = pidfd_getfd(&pidfd, of.number, PidfdGetfdFlags::empty())?;
    if rustix::fs::fstat(&socket)?.st_ino == connection.inode && is_at_rest(&present(&socket, connection)?) {
        shutdown(&socket, Shutdown::Read)?;
    }
    Ok(())
}

/// Returns the present data of a connection.
fn present(socket: &OwnedFd, before: &Connection) -> Result<Connection, Errno> {
    /// Request of `linux/sockios.h` for the bytes that were not sent yet.
    const SIOCOUTQNSD: libc::Ioctl = 0x894B;
    let mut info = [0_u8; 56];
    let mut length = info.len() as libc::socklen_t;
    let mut queued: libc::c_int = 0;
    // SAFETY: the kernel writes at most that many bytes to a buffer of that length, and a number.
    let failed = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &raw mut length) < 0
            || libc::ioctl(socket.as_raw_fd(), SIOCOUTQNSD, &raw mut queued) < 0
    };
    if failed {
        return Err(last_errno());
    }
    Ok(Connection {
        unread: u32::try_from(rustix::io::ioctl_fionread(socket)?).unwrap_or(u32::MAX),
        queued: queued.cast_unsigned(),
        since_sent_ms: int(&info, SENT_AT).ok_or(Errno::INVAL)?,
        since_received_ms: int(&info, RECEIVED_AT).ok_or(Errno::INVAL)?,
        ..*before
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn byte_counts_follow_requests_and_answers() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let at = listener.local_addr().unwrap();
            let only = || {
                let all = accepted_at(&listener).unwrap();
                assert!(all.len() <= 1, "{all:?}");
                all.first().copied()
            };
            assert_eq!(only(), None);
            let mut client = TcpStream::connect(at).unwrap();
            assert_eq!(only(), None, "nobody has accepted it");
            let (mut server, _) = listener.accept().unwrap();
            let fresh = only().unwrap();
            assert_eq!((fresh.received, fresh.sent, fresh.unread), (0, 0, 0));
            client.write_all(b"ask").unwrap();
            assert_eq!(only().map(|seen| (seen.cookie, seen.received, seen.unread)), Some((fresh.cookie, 3, 3)));
            let mut block = [0; 3];
            server.read_exact(&mut block).unwrap();
            server.write_all(b"answer").unwrap();
            client.read_exact(&mut [0; 6]).unwrap();
            assert_eq!(only().map(|seen| (seen.unread, seen.sent)), Some((0, 1)));
            while only().is_some_and(|seen| seen.since_sent_ms < 20) {}
            client.write_all(b"ask").unwrap();
            let asks = only().unwrap();
            assert!(asks.since_received_ms < asks.since_sent_ms, "{asks:?}");
            assert!(sockets_of_tree(std::process::id().cast_signed()).contains_key(&asks.inode));
            // The other side sends no more data and waits for its answer.
            client.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(only().map(|seen| seen.cookie), Some(asks.cookie));
            drop((client, server));
        }
        assert!(accepted_at(std::os::unix::net::UnixStream::pair().unwrap().0).is_err());
    }

    #[test]
    fn end_of_a_connection_at_rest_is_announced() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let seen = accepted_at(&listener).unwrap().remove(0);
        let of = sockets_of_tree(std::process::id().cast_signed())[&seen.inode];
        // Data arrived since the check, so it is not at rest any more.
        client.write_all(b"ask").unwrap();
        announce_end(&seen, of, |now| now.unread == 0).unwrap();
        // Another socket has this number now.
        announce_end(&Connection { inode: seen.inode + 1, ..seen }, of, |_| true).unwrap();
        let mut block = [0; 9];
        assert_eq!(server.read(&mut block).unwrap(), 3);
        announce_end(&seen, of, |now| now.unread == 0).unwrap();
        // A request that was on its way is read before the end.
        client.write_all(b"late").unwrap();
        assert_eq!(server.read(&mut block).unwrap(), 4);
        assert_eq!(server.read(&mut block).unwrap(), 0);
        server.write_all(b"answer").unwrap();
        assert_eq!(client.read(&mut block).unwrap(), 6);
    }

    #[test]
    fn malformed_message_gives_no_connection() {
        assert_eq!(connection(&[0; 72]), None);
        assert_eq!(connection(&[vec![0; 72], vec![2, 0, 2, 0]].concat()), None);
        assert_eq!(connection(&[vec![0; 72], vec![0, 0, 9, 0]].concat()), None);
    }
}
