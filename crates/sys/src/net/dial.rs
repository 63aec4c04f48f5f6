//! TCP connections to servers, started without waiting, and the addresses of both ends.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrAny, SocketFlags, SocketType, getpeername, getsockname, socket_with};

/// Starts a connection.
///
/// # Errors
/// Returns an error if the connection fails immediately, or if no descriptor is free.
pub fn connect(peer: SocketAddr) -> Result<OwnedFd, Errno> {
    crate::simulated::ask(|kernel| kernel.connect(peer)).flatten().unwrap_or_else(|| begin(peer))
}

fn begin(peer: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if peer.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    match rustix::net::connect(&socket, &peer) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(errno) => Err(errno),
    }
}

/// Returns the result of a connection attempt.
///
/// # Errors
/// Returns `EALREADY` while the attempt is in progress, otherwise the reason for its failure.
pub fn outcome(socket: impl AsFd, peer: SocketAddr) -> Result<(), Errno> {
    if crate::simulated::is_played(&socket) {
        return Ok(());
    }
    match rustix::net::connect(&socket, &peer) {
        // A second `connect` returns the result of the first.
        Ok(()) | Err(Errno::ISCONN) => Ok(()),
        Err(Errno::INPROGRESS | Errno::INTR) => Err(Errno::ALREADY),
        Err(errno) => Err(errno),
    }
}

/// Returns the address of our end.
pub fn local(socket: impl AsFd) -> Option<SocketAddr> {
    address(getsockname(socket).ok()?)
}

/// Returns the address of the other end, or `None` if it is gone or not a TCP peer.
pub fn peer(socket: impl AsFd) -> Option<SocketAddr> {
    address(getpeername(socket).ok()??)
}

fn address(of: SocketAddrAny) -> Option<SocketAddr> {
    SocketAddr::try_from(of.clone()).ok().or_else(|| crate::simulated::address(&of))
}
