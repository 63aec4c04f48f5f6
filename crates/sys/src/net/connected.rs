//! TCP ports that processes are connected to.

use std::collections::BTreeSet;

use super::listening::socket_inodes;

/// State of an established connection in `/proc/<pid>/net/tcp`.
const ESTABLISHED: &str = "01";
/// State of a connection that waits for the answer of the other side.
const CONNECTING: &str = "02";

/// Returns the remote ports of the connections that these processes opened: those whose local port is
/// not among `listening`. Only root sees processes of other users.
pub fn remote_ports_of(pids: &[i32], listening: &BTreeSet<u16>) -> BTreeSet<u16> {
    let mut ports = BTreeSet::new();
    for pid in pids {
        let sockets: BTreeSet<u64> = socket_inodes(*pid).collect();
        if sockets.is_empty() {
            continue;
        }
        for name in ["tcp", "tcp6"] {
            let table = std::fs::read_to_string(format!("/proc/{pid}/net/{name}")).unwrap_or_default();
            let own = table.lines().skip(1).filter_map(connection).filter(|(_, _, inode)| sockets.contains(inode));
            ports.extend(own.filter(|(local, ..)| !listening.contains(local)).map(|(_, remote, _)| remote));
        }
    }
    ports
}

/// Returns local port, remote port and inode of a line about a connection.
fn connection(line: &str) -> Option<(u16, u16, u64)> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let port = |address: &str| u16::from_str_radix(address.rsplit(':').next()?, 16).ok();
    matches!(*words.get(3)?, ESTABLISHED | CONNECTING).then_some(())?;
    Some((port(words.get(1)?)?, port(words.get(2)?)?, words.get(9)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outgoing_connections_of_a_process_are_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let me = [std::process::id().cast_signed()];
        assert!(remote_ports_of(&me, &BTreeSet::new()).contains(&port));
        let local = stream.local_addr().unwrap().port();
        assert!(!remote_ports_of(&me, &BTreeSet::from([local])).contains(&port));
    }
}
