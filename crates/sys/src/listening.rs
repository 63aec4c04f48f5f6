//! Listeners at a TCP port of this network namespace, as far as `/proc` lets us see.

/// State of a listening socket in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// Inodes of the sockets that listen at a port, IPv4 and IPv6.
pub fn sockets_at(port: u16) -> Vec<u64> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| std::fs::read_to_string(table).unwrap_or_default());
    tables.iter().flat_map(|table| listening(table, port)).collect()
}

fn listening(table: &str, port: u16) -> impl Iterator<Item = u64> {
    let port = format!(":{port:04X}");
    table.lines().skip(1).filter_map(move |line| {
        let mut words = line.split_whitespace();
        let local = words.nth(1)?;
        let state = words.nth(1)?;
        (local.ends_with(&port) && state == LISTEN).then(|| words.nth(5)?.parse().ok()).flatten()
    })
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
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let mut targets = descriptors.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    targets.any(|target| links.iter().any(|link| target.as_os_str() == link.as_str()))
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
