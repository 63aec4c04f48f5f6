//! Connections to servers over TCP: begun without waiting, and the addresses of both ends.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrAny, SocketFlags, SocketType, getpeername, getsockname, socket_with};

/// Begins a connection.
///
/// # Errors
/// It is known at once that there will be none, or no descriptor is left.
pub fn connect(peer: SocketAddr) -> Result<OwnedFd, Errno> {
    crate::played::ask(|kernel| kernel.connect(peer)).flatten().unwrap_or_else(|| begin(peer))
}

fn begin(peer: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if peer.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    match rustix::net::connect(&socket, &peer) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(errno) => Err(errno),
    }
}

/// How a connection that was begun went.
///
/// # Errors
/// `EALREADY`: it is still under way; else why there is none.
pub fn outcome(socket: impl AsFd, peer: SocketAddr) -> Result<(), Errno> {
    if crate::played::is_played(&socket) {
        return Ok(());
    }
    match rustix::net::connect(&socket, &peer) {
        // A second `connect` tells how the first one went.
        Ok(()) | Err(Errno::ISCONN) => Ok(()),
        Err(Errno::INPROGRESS | Errno::INTR) => Err(Errno::ALREADY),
        Err(errno) => Err(errno),
    }
}

/// Our end.
pub fn local(socket: impl AsFd) -> Option<SocketAddr> {
    address(getsockname(socket).ok()?)
}

/// The other end; none where it is gone, or none over TCP.
pub fn peer(socket: impl AsFd) -> Option<SocketAddr> {
    address(getpeername(socket).ok()??)
}

fn address(of: SocketAddrAny) -> Option<SocketAddr> {
    SocketAddr::try_from(of.clone()).ok().or_else(|| crate::played::address(&of))
}
