//! Copies of the listening sockets of another process: both processes accept from the same queue.
//! The kernel permits this to a process that may trace the other one.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{PidfdGetfdFlags, pidfd_getfd};

use crate::ProcRef;
use crate::net::listening::{inodes_at, socket_inode};

/// Returns true if the kernel permits copies of the descriptors of that process.
pub fn may_take_from(process: ProcRef) -> bool {
    let Ok(pidfd) = process.open() else { return false };
    matches!(pidfd_getfd(&pidfd, 0, PidfdGetfdFlags::empty()), Ok(_) | Err(Errno::BADF))
}

/// Returns copies of the sockets of that process that listen on this TCP port, at any address.
pub fn listening_at(process: ProcRef, port: u16) -> Vec<OwnedFd> {
    let wanted = inodes_at(process.pid, port);
    let numbers = numbers_of(process.pid, &wanted);
    let Ok(pidfd) = process.open() else { return Vec::new() };
    let copies = numbers.into_iter().filter_map(|number| pidfd_getfd(&pidfd, number, PidfdGetfdFlags::empty()).ok());
    // The process may have closed it since then, and the number may refer to another file.
    copies.filter(|copy| crate::net::listening::inode(copy.as_fd()).is_some_and(|inode| wanted.contains(&inode))).collect()
}

/// Returns the descriptor numbers of these sockets, one for each socket.
fn numbers_of(pid: i32, inodes: &BTreeSet<u64>) -> Vec<i32> {
    let mut left = inodes.clone();
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
        let inode = std::fs::read_link(entry.path()).ok().and_then(|target| socket_inode(&target));
        if inode.is_some_and(|inode| left.remove(&inode)) {
            numbers.extend(entry.file_name().to_str().and_then(|number| number.parse::<i32>().ok()));
        }
    }
    numbers
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn copied_listener_accepts_connections() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let me = ProcRef::me();
        assert!(may_take_from(me));
        let mut copies = listening_at(me, port);
        assert_eq!(copies.len(), 1);
        drop(listener);
        let copy = TcpListener::from(copies.remove(0));
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (_, from) = copy.accept().unwrap();
        assert_eq!(from, client.local_addr().unwrap());
        drop(copy);
        assert!(listening_at(me, port).is_empty());
    }
}
