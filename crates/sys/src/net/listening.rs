//! Listeners on a TCP port of this network namespace, as far as `/proc` shows them.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::ops::RangeInclusive;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::AddressFamily;

use crate::net::sock_diag::{Dump, owner};

/// State of a listening socket in `/proc/net/tcp`.
const LISTEN: &str = "0A";
/// State of a bound, unconnected socket in `/proc/net/udp`.
const UNCONNECTED: &str = "07";

/// Maximum number of listening sockets read per port.
const MOST: usize = 1024;

/// Listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Inode.
    pub inode: u64,
    /// User that created it.
    pub uid: u32,
}

/// Returns the sockets that listen at a port, IPv4 and IPv6: from `sock_diag(7)`, or from
/// `/proc/net` if that is refused.
pub fn sockets_at(port: u16) -> Vec<Listener> {
    by_sock_diag(port).unwrap_or_else(|_| by_proc(port))
}

fn by_sock_diag(port: u16) -> Result<Vec<Listener>, Errno> {
    /// Bit of the state LISTEN.
    const STATES: u32 = 1 << 10;
    let mut listeners = Vec::new();
    for family in [AddressFamily::INET, AddressFamily::INET6] {
        let dump = Dump { family, port, states: STATES, attributes: 0 };
        listeners.extend(dump.read(MOST, |body| owner(body).map(|(uid, inode)| Listener { inode, uid }))?);
    }
    Ok(listeners)
}

fn by_proc(port: u16) -> Vec<Listener> {
    let open = ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().flat_map(|table| tcp_listeners(Path::new(table)));
    open.filter(|(at, _)| *at == port).map(|(_, listener)| listener).collect()
}

/// Returns the listening sockets of a table of the kernel, with their ports.
fn tcp_listeners(table: &Path) -> Vec<(u16, Listener)> {
    File::open(table).map(|file| leading_listeners(BufReader::new(file))).unwrap_or_default()
}

/// Reads the listening sockets, which come before all others. A server may have a hundred thousand
/// connections, and the kernel needs seconds to list them.
fn leading_listeners(table: impl BufRead) -> Vec<(u16, Listener)> {
    let rows = table.lines().map_while(Result::ok).skip(1).map_while(|line| row(&line));
    rows.take_while(|(_, state, _)| state == LISTEN).map(|(port, _, listener)| (port, listener)).collect()
}

/// Returns a process that has one of these sockets open. Processes in `first` take precedence over
/// all others. Only root sees the descriptors of other users.
pub fn holder_of(sockets: &[Listener], first: &[i32]) -> Option<i32> {
    let links: Vec<String> = sockets.iter().map(|socket| format!("socket:[{}]", socket.inode)).collect();
    if links.is_empty() {
        return None;
    }
    let all = || std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let others = std::iter::once_with(all).flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    first.iter().copied().chain(others).find(|pid| has_open(*pid, &links))
}

fn has_open(pid: i32, links: &[String]) -> bool {
    descriptors(pid).any(|(_, target)| links.iter().any(|link| target.as_os_str() == link.as_str()))
}

/// Returns the numbers and link targets of the process's descriptors.
fn descriptors(pid: i32) -> impl Iterator<Item = (RawFd, PathBuf)> {
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    descriptors.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, std::fs::read_link(entry.path()).ok()?)))
}

/// Returns the descriptors of sockets that the process has open, with the inodes of these.
pub(crate) fn socket_descriptors(pid: i32) -> impl Iterator<Item = (RawFd, u64)> {
    descriptors(pid).filter_map(|(number, target)| Some((number, socket_inode(&target)?)))
}

/// Returns the inodes of the sockets that the process has open.
pub(crate) fn socket_inodes(pid: i32) -> impl Iterator<Item = u64> {
    socket_descriptors(pid).map(|(_, inode)| inode)
}

/// Returns the addresses on which these processes listen: TCP and UDP ports (`3000`, `udp 53`) and
/// paths of unix sockets. Only root sees those of other users.
pub fn places_of(pids: &[i32]) -> BTreeSet<String> {
    let mut places = BTreeSet::new();
    for pid in pids {
        let sockets: BTreeSet<u64> = socket_inodes(*pid).collect();
        if sockets.is_empty() {
            continue;
        }
        // The tables of the process's own network namespace.
        let table = |name: &str| std::fs::read_to_string(table_of(*pid, name)).unwrap_or_default();
        let is_own = |listener: &Listener| sockets.contains(&listener.inode);
        let tcp = ["tcp", "tcp6"].into_iter().flat_map(|name| tcp_listeners(&table_of(*pid, name)));
        places.extend(tcp.filter(|(_, listener)| is_own(listener)).map(|(port, _)| port.to_string()));
        let udp = ["udp", "udp6"].into_iter().flat_map(|name| unconnected(&table(name)));
        places.extend(udp.filter(|(_, listener)| is_own(listener)).map(|(port, _)| format!("udp {port}")));
        places.extend(unix_paths(&table("unix"), &sockets));
    }
    places
}

/// Returns the TCP ports on which these processes listen, as [`TcpTables::ports_of`] does.
pub fn tcp_ports_of(pids: &[i32]) -> BTreeSet<u16> {
    TcpTables::default().ports_of(pids)
}

/// Listening TCP sockets of network namespaces, each read once. With a thousand servers, each of
/// them would otherwise read the sockets of all.
#[derive(Debug, Default)]
pub struct TcpTables {
    /// Ports by inode, for each namespace.
    ports: HashMap<PathBuf, HashMap<u64, u16>>,
}

impl TcpTables {
    /// Returns the TCP ports on which these processes listen, each in its own network namespace.
    /// Only root sees those of other users.
    pub fn ports_of(&mut self, pids: &[i32]) -> BTreeSet<u16> {
        pids.iter().flat_map(|pid| self.ports_of_process(*pid)).collect()
    }

    fn ports_of_process(&mut self, pid: i32) -> Vec<u16> {
        let mut sockets = socket_inodes(pid).peekable();
        if sockets.peek().is_none() {
            return Vec::new();
        }
        // Some sandboxes have no links to namespaces.
        let own_table = || format!("of process {pid}").into();
        let namespace = std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap_or_else(|_| own_table());
        let ports = self.ports.entry(namespace).or_insert_with(|| {
            let open = ["tcp", "tcp6"].into_iter().flat_map(|name| tcp_listeners(&table_of(pid, name)));
            open.map(|(port, listener)| (listener.inode, port)).collect()
        });
        sockets.filter_map(|inode| ports.get(&inode).copied()).collect()
    }
}

/// Returns the ports from which the kernel picks if a socket requests none.
pub fn ephemeral_ports() -> Option<RangeInclusive<u16>> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut bounds = range.split_whitespace().filter_map(|bound| bound.parse::<u16>().ok());
    Some(bounds.next()?..=bounds.next()?)
}

/// Returns the first port that every user may open.
pub fn first_unprivileged_port() -> u16 {
    let setting = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    setting.ok().and_then(|port| port.trim().parse().ok()).unwrap_or(1024)
}

/// Returns the inodes of the sockets that listen on a TCP port in the network namespace of a
/// process.
pub(crate) fn inodes_at(pid: i32, port: u16) -> BTreeSet<u64> {
    let open = ["tcp", "tcp6"].into_iter().flat_map(|name| tcp_listeners(&table_of(pid, name)));
    open.filter(|(at, _)| *at == port).map(|(_, listener)| listener.inode).collect()
}

/// Returns the path of a table of the kernel, in the network namespace of a process.
fn table_of(pid: i32, name: &str) -> PathBuf {
    format!("/proc/{pid}/net/{name}").into()
}

/// Returns ports and sockets that are bound and not connected.
fn unconnected(table: &str) -> Vec<(u16, Listener)> {
    let rows = table.lines().skip(1).filter_map(row);
    rows.filter(|(_, state, _)| state == UNCONNECTED).map(|(port, _, listener)| (port, listener)).collect()
}

/// Parses a row of a table: port, state, socket.
fn row(line: &str) -> Option<(u16, String, Listener)> {
    let mut words = line.split_whitespace();
    let port = u16::from_str_radix(words.nth(1)?.rsplit(':').next()?, 16).ok()?;
    let state = words.nth(1)?.to_owned();
    let uid = words.nth(3)?.parse().ok()?;
    Some((port, state, Listener { inode: words.nth(1)?.parse().ok()?, uid }))
}

/// Returns the paths of the given unix sockets that accept connections.
fn unix_paths(table: &str, sockets: &BTreeSet<u64>) -> Vec<String> {
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        let accepts = words.nth(3)? == "00010000";
        let inode = words.nth(2)?.parse().ok()?;
        let path = words.collect::<Vec<_>>().join(" ");
        (accepts && sockets.contains(&inode) && !path.is_empty()).then_some(path)
    };
    table.lines().skip(1).filter_map(row).collect()
}

/// Returns the inode of a socket from the target of its link in `/proc`.
pub(crate) fn socket_inode(target: &Path) -> Option<u64> {
    target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// Returns the program name of a process.
pub fn program(pid: i32) -> Option<String> {
    Some(std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim_end().to_owned())
}

/// Returns the inode of an open socket.
pub fn inode(socket: std::os::fd::BorrowedFd<'_>) -> Option<u64> {
    Some(rustix::fs::fstat(socket).ok()?.st_ino)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::AsFd;

    #[test]
    fn connections_after_the_listeners_are_not_read() {
        struct Never;
        impl Read for Never {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                panic!("the rest of the table is read");
            }
        }
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
                     \x20  0: 00000000:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 41 1 x 100 0 0 10 0\n\
                     \x20  1: 0100007F:0BB8 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 42 1 x 20 4 30 10 -1\n";
        let found = leading_listeners(BufReader::new(table.as_bytes().chain(Never)));
        assert_eq!(found, [(3000, Listener { inode: 41, uid: 1000 })]);
    }

    #[test]
    fn sock_diag_and_proc_find_the_same_listener() {
        let us = std::process::id().cast_signed();
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = std::net::TcpListener::bind(address) else { continue };
            let port = listener.local_addr().map_or(0, |address| address.port());
            let expected = [Listener { inode: inode(listener.as_fd()).unwrap(), uid: rustix::process::geteuid().as_raw() }];
            let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            assert_eq!(by_sock_diag(port).unwrap(), expected, "{address}");
            assert_eq!(by_proc(port), expected, "{address}");
            assert_eq!(holder_of(&expected, &[]), Some(us));
            assert_eq!(holder_of(&expected, &[1, us]), Some(us));
            let mut tables = TcpTables::default();
            assert!(tables.ports_of(&[us]).contains(&port) && tables.ports_of(&[us, 1]).contains(&port), "{address}");
            assert_eq!(tables.ports.len(), 1, "{address}: both processes are in one namespace");
            assert!(ephemeral_ports().unwrap().contains(&port), "{address}");
            drop(listener);
            assert!(sockets_at(port).is_empty(), "{address}");
        }
        assert_eq!(holder_of(&[], &[us]), None);
        assert!(program(us).is_some());
    }

    #[test]
    fn proc_table_is_filtered_by_socket_state() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
                     0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1\n\
                     1: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1\n\
                     2: 0100007F:1F90 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 4712 1\n\
                     torn";
        let listeners = [(8080, Listener { inode: 4711, uid: 1000 }), (8081, Listener { inode: 4713, uid: 0 })];
        assert_eq!(leading_listeners(table.as_bytes()), listeners);
        assert!(leading_listeners(&b""[..]).is_empty());
    }
}
