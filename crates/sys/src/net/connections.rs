//! TCP connections of a port, as the kernel knows them (`sock_diag(7)`): when the last data
//! arrived, and when the last data was sent.

use std::collections::BTreeSet;
use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, getsockname};

use crate::net::sock_diag::{Dump, INFO, int, owner};

/// Maximum number of connections that are examined.
pub const MOST: usize = 20_000;
/// Maximum number of processes of a tree that are examined.
const MOST_PROCESSES: usize = 1000;

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
        inode: owner(body)?.1,
        since_sent_ms: int(info, 44)?,
        since_received_ms: int(info, 52)?,
        received: u64::from_ne_bytes(info.get(128..136)?.try_into().ok()?),
        sent: int(info, 156)?,
    })
}

/// Returns the inodes of the sockets that this process and its descendants have open, as far as we
/// may see them.
pub fn sockets_of_tree(pid: i32) -> BTreeSet<u64> {
    let mut pids = vec![pid];
    let mut at = 0;
    while let Some(pid) = pids.get(at).copied().filter(|_| pids.len() < MOST_PROCESSES) {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        for thread in threads {
            let children = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            pids.extend(children.split_ascii_whitespace().filter_map(|child| child.parse::<i32>().ok()));
        }
        at += 1;
    }
    pids.iter().flat_map(|pid| crate::net::listening::socket_inodes(*pid)).collect()
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
            assert!(sockets_of_tree(std::process::id().cast_signed()).contains(&asks.inode));
            // The other side sends no more data and waits for its answer.
            client.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(only().map(|seen| seen.cookie), Some(asks.cookie));
            drop((client, server));
        }
        assert!(accepted_at(std::os::unix::net::UnixStream::pair().unwrap().0).is_err());
    }

    #[test]
    fn malformed_message_gives_no_connection() {
        assert_eq!(connection(&[0; 72]), None);
        assert_eq!(connection(&[vec![0; 72], vec![2, 0, 2, 0]].concat()), None);
        assert_eq!(connection(&[vec![0; 72], vec![0, 0, 9, 0]].concat()), None);
    }
}
