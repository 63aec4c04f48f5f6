//! TCP connections to servers, started without waiting, and the addresses of both ends.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrAny, SocketFlags, SocketType, bind, getpeername, getsockname, socket_with};

use super::reuseport;

/// Starts a connection: with a position, to the socket of the peer's port that is there
/// ([`reuseport::mark`]).
///
/// # Errors
/// Returns an error if the connection fails immediately, or if no descriptor is free.
pub fn connect(peer: SocketAddr, position: Option<u32>) -> Result<OwnedFd, Errno> {
    crate::simulated::ask(|kernel| kernel.connect(peer)).flatten().unwrap_or_else(|| begin(peer, position))
}

fn begin(peer: SocketAddr, position: Option<u32>) -> Result<OwnedFd, Errno> {
    let family = if peer.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    if let Some(position) = position {
        reuseport::mark(&socket, peer.ip(), position)?;
    }
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

/// Returns true if this is an address of this machine. If that cannot be tried, returns false.
pub fn is_own(address: IpAddr) -> bool {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = || socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    address.is_loopback() || socket().is_ok_and(|socket| bind(&socket, &SocketAddr::new(address, 0)).is_ok())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_addresses_are_known() {
        for (address, expected) in
            [("127.0.0.1", true), ("127.0.0.9", true), ("::1", true), ("203.0.113.77", false), ("2001:db8::77", false)]
        {
            assert_eq!(is_own(address.parse().unwrap()), expected, "{address}");
        }
    }
}
