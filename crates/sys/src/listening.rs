//! Listeners at a TCP port of this network namespace, as far as `/proc` lets us see.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// State of a listening socket in `/proc/net/tcp`.
const LISTEN: &str = "0A";
/// State of a bound socket in `/proc/net/udp` that is not connected.
const UNCONNECTED: &str = "07";

/// Inodes of the sockets that listen at a port, IPv4 and IPv6.
pub fn sockets_at(port: u16) -> Vec<u64> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| std::fs::read_to_string(table).unwrap_or_default());
    tables.iter().flat_map(|table| listening(table, port)).collect()
}

fn listening(table: &str, port: u16) -> impl Iterator<Item = u64> {
    bound(table, LISTEN).into_iter().filter(move |(at, _)| *at == port).map(|(_, inode)| inode)
}

/// Processes that have one of these sockets open. Those of other users are seen by root only.
pub fn processes_with(sockets: &[u64]) -> Vec<i32> {
    let links: Vec<String> = sockets.iter().map(|inode| format!("socket:[{inode}]")).collect();
    if links.is_empty() {
        return Vec::new();
    }
    let pids = std::fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &i32| has_open(*pid, &links)).collect()
}

fn has_open(pid: i32, links: &[String]) -> bool {
    descriptors(pid).any(|target| links.iter().any(|link| target.as_os_str() == link.as_str()))
}

/// What its descriptors are.
fn descriptors(pid: i32) -> impl Iterator<Item = PathBuf> {
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    descriptors.filter_map(|entry| std::fs::read_link(entry.path()).ok())
}

/// Inodes of the sockets that it has open.
pub(crate) fn socket_inodes(pid: i32) -> impl Iterator<Item = u64> {
    descriptors(pid).filter_map(|target| socket_inode(&target))
}

/// What these processes listen at: TCP and UDP ports (`3000`, `udp 53`) and paths of unix sockets. Of processes of other users only root sees it.
pub fn places_of(pids: &[i32]) -> BTreeSet<String> {
    let mut places = BTreeSet::new();
    for pid in pids {
        let sockets: BTreeSet<u64> = socket_inodes(*pid).collect();
        if sockets.is_empty() {
            continue;
        }
        // Its own network namespace.
        let table = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/net/{name}")).unwrap_or_default();
        for (name, state, prefix) in
            [("tcp", LISTEN, ""), ("tcp6", LISTEN, ""), ("udp", UNCONNECTED, "udp "), ("udp6", UNCONNECTED, "udp ")]
        {
            let open = bound(&table(name), state).into_iter().filter(|(_, inode)| sockets.contains(inode));
            places.extend(open.map(|(port, _)| format!("{prefix}{port}")));
        }
        places.extend(unix_paths(&table("unix"), &sockets));
    }
    places
}

/// Inodes of the sockets that listen at a TCP port in the network namespace of a process.
pub(crate) fn inodes_at(pid: i32, port: u16) -> BTreeSet<u64> {
    let tables = ["tcp", "tcp6"].map(|name| std::fs::read_to_string(format!("/proc/{pid}/net/{name}")).unwrap_or_default());
    let open = tables.iter().flat_map(|table| bound(table, LISTEN));
    open.filter(|(at, _)| *at == port).map(|(_, inode)| inode).collect()
}

/// Ports and inodes of the sockets in this state.
fn bound(table: &str, state: &str) -> Vec<(u16, u64)> {
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        let port = u16::from_str_radix(words.nth(1)?.rsplit(':').next()?, 16).ok()?;
        (words.nth(1)? == state).then(|| Some((port, words.nth(5)?.parse().ok()?))).flatten()
    };
    table.lines().skip(1).filter_map(row).collect()
}

/// Paths of those of these unix sockets that accept connections.
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

/// The inode of a socket by the target of its link in `/proc`.
pub(crate) fn socket_inode(target: &Path) -> Option<u64> {
    target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// Name of the program of a process.
pub fn program(pid: i32) -> Option<String> {
    Some(std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim_end().to_owned())
}

/// Inode of an open socket.
pub fn inode(socket: std::os::fd::BorrowedFd<'_>) -> Option<u64> {
    Some(rustix::fs::fstat(socket).ok()?.st_ino)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn we_find_ourselves() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = std::net::TcpListener::bind(address) else { continue };
            let port = listener.local_addr().map_or(0, |address| address.port());
            let sockets = sockets_at(port);
            assert_eq!(sockets.first().copied(), inode(listener.as_fd()), "{address}");
            assert!(processes_with(&sockets).contains(&std::process::id().cast_signed()));
        }
        assert!(processes_with(&[]).is_empty());
        assert!(program(std::process::id().cast_signed()).is_some());
    }

    #[test]
    fn only_what_listens_at_this_port() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
                     0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1\n\
                     1: 0100007F:1F90 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 4712 1\n\
                     2: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1\n\
                     torn";
        assert_eq!(listening(table, 8080).collect::<Vec<_>>(), [4711]);
        assert_eq!(listening("", 8080).count(), 0);
    }
}
