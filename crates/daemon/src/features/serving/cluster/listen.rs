//! Creation of listening sockets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
use serde_json::{Value, json};

use super::query::{Query, SocketKind};
use crate::platform::rights::Rights;

const IPV6_ONLY: u64 = 1;

impl Query {
    /// Makes the requested socket: bound, listening, not blocking.
    pub(super) fn open(&self, umask: u32) -> Result<OwnedFd, Errno> {
        self.rights.open_socket(|| self.open_as_it_is(umask))
    }

    fn open_as_it_is(&self, umask: u32) -> Result<OwnedFd, Errno> {
        match (self.kind, &self.address) {
            (SocketKind::Unix, Some(path)) => self.open_unix(path, umask),
            (SocketKind::Unix, None) => Err(Errno::INVAL),
            // As in Node: all addresses of both families, or of IPv4 if the machine has no IPv6.
            (SocketKind::Tcp4, None) => self.open_ip(IpAddr::V6(Ipv6Addr::UNSPECIFIED)).or_else(|error| match error {
                Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL => self.open_ip(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
                other => Err(other),
            }),
            (SocketKind::Tcp6, None) | (SocketKind::Udp6, None) => self.open_ip(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
            (SocketKind::Udp4, None) => self.open_ip(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            (_, Some(address)) => self.open_ip(address.split('%').next().and_then(|text| text.parse().ok()).ok_or(Errno::INVAL)?),
        }
    }

    /// Opens the first of several sockets of a port, which checks that the port is free. Without
    /// this check, another program that shares its ports could own one of them.
    pub(super) fn open_first_shard(&self) -> Result<OwnedFd, Errno> {
        let probe = self.open(0)?;
        let address = bound_to(&probe)?;
        drop(probe);
        self.open_shard(address)
    }

    /// Opens another of several sockets of a port.
    pub(super) fn open_shard(&self, address: SocketAddr) -> Result<OwnedFd, Errno> {
        self.rights.open_socket(|| self.open_at(address, true))
    }

    fn open_ip(&self, address: IpAddr) -> Result<OwnedFd, Errno> {
        self.open_at(SocketAddr::new(address, self.port), false)
    }

    fn open_at(&self, address: SocketAddr, shard: bool) -> Result<OwnedFd, Errno> {
        let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
        let udp = self.is_udp();
        let fd = socket(family, if udp { SocketType::DGRAM } else { SocketType::STREAM })?;
        if address.is_ipv6() {
            sockopt::set_ipv6_v6only(&fd, self.flags & IPV6_ONLY != 0)?;
        }
        if !udp || self.flags & 4 != 0 {
            sockopt::set_socket_reuseaddr(&fd, true)?;
        }
        if shard {
            sockopt::set_socket_reuseport(&fd, true)?;
        }
        bind(&fd, &address)?;
        if !udp {
            listen(&fd, self.backlog)?;
        }
        Ok(fd)
    }

    fn open_unix(&self, path: &str, umask: u32) -> Result<OwnedFd, Errno> {
        let fd = socket(AddressFamily::UNIX, SocketType::STREAM)?;
        if let Some(name) = path.strip_prefix('\0') {
            bind(&fd, &SocketAddrUnix::new_abstract_name(name.as_bytes())?)?;
        } else {
            let place = short_address(Path::new(path))?;
            // Only its owner can access the file until its mode is set.
            rustix::fs::fchmod(&fd, Mode::from_raw_mode(0o600))?;
            match bind(&fd, &place.address) {
                Err(Errno::ADDRINUSE) if ostler_sys::net::socket::is_stale(&place.path, &place.address) => {
                    rustix::fs::unlink(&place.path)?;
                    bind(&fd, &place.address)?;
                }
                bound => bound?,
            }
            // The mode does not depend on the daemon's umask, because the app decides who may
            // connect.
            ostler_sys::net::socket::SocketFile::at(&place.path)?.set_mode(0o777 & !umask)?;
        }
        listen(&fd, self.backlog)?;
        Ok(fd)
    }
}

/// Address of 108 bytes at most.
struct ShortAddress {
    address: SocketAddrUnix,
    /// The same address as a path.
    path: PathBuf,
    /// Folder that shortens the path, if that is necessary.
    _folder: Option<OwnedFd>,
}

/// Returns an address for this path.
fn short_address(path: &Path) -> Result<ShortAddress, Errno> {
    if let Ok(address) = SocketAddrUnix::new(path) {
        return Ok(ShortAddress { address, path: path.to_owned(), _folder: None });
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Err(Errno::INVAL) };
    let folder = rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let path = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
    Ok(ShortAddress { address: SocketAddrUnix::new(&path)?, path, _folder: Some(folder) })
}

/// Removes the file of a unix socket that is closed, if the file still belongs to this socket. The
/// rights are those with which it was made.
pub(super) fn remove_file(key: &str, fd: &OwnedFd, rights: &Rights) {
    let Some(path) = super::query::path_of(key).filter(|path| path.starts_with('/')).map(Path::new) else { return };
    // From here on the socket refuses connections. If the path still accepts them, another socket
    // has replaced this one.
    let _ = rustix::net::shutdown(fd, rustix::net::Shutdown::Both);
    let remove = || {
        let place = short_address(path)?;
        if ostler_sys::net::socket::is_stale(&place.path, &place.address) {
            rustix::fs::unlink(&place.path)?;
        }
        Ok(())
    };
    // Another program may have removed it already.
    let _ = rights.act(remove);
}

/// Returns the address of its server that Node shows to the app; `None` for unix sockets.
pub(super) fn name_of(fd: &OwnedFd) -> Option<Value> {
    let address = bound_to(fd).ok()?;
    let family = if address.is_ipv6() { "IPv6" } else { "IPv4" };
    Some(json!({"address": address.ip().to_string(), "family": family, "port": address.port()}))
}

/// Returns the address to which an internet socket is bound.
pub(super) fn bound_to(fd: &OwnedFd) -> Result<SocketAddr, Errno> {
    SocketAddr::try_from(rustix::net::getsockname(fd)?)
}

fn socket(family: AddressFamily, kind: SocketType) -> Result<OwnedFd, Errno> {
    socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
}
