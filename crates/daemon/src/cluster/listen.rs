//! Making the sockets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

use super::query::{Kind, Query};

const IPV6_ONLY: u64 = 1;

impl Query {
    /// Makes the socket that was asked for: bound, listening, not blocking.
    pub(crate) fn open(&self, cwd: &str) -> Result<OwnedFd, Errno> {
        if self.fd.is_some() {
            // A number in the primary: there is no such thing here.
            return Err(Errno::BADF);
        }
        match (self.kind, &self.address) {
            (Kind::Unix, Some(path)) => self.open_unix(&Path::new(cwd).join(path)),
            (Kind::Unix, None) => Err(Errno::INVAL),
            // As Node: all addresses of both families, or of IPv4 where there is no IPv6.
            (Kind::Tcp4, None) => self.open_ip(IpAddr::V6(Ipv6Addr::UNSPECIFIED)).or_else(|error| match error {
                Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL => self.open_ip(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
                other => Err(other),
            }),
            (Kind::Tcp6, None) | (Kind::Udp6, None) => self.open_ip(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
            (Kind::Udp4, None) => self.open_ip(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            (_, Some(address)) => self.open_ip(address.split('%').next().and_then(|text| text.parse().ok()).ok_or(Errno::INVAL)?),
        }
    }

    fn open_ip(&self, address: IpAddr) -> Result<OwnedFd, Errno> {
        let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
        let udp = matches!(self.kind, Kind::Udp4 | Kind::Udp6);
        let fd = socket(family, if udp { SocketType::DGRAM } else { SocketType::STREAM })?;
        if address.is_ipv6() {
            sockopt::set_ipv6_v6only(&fd, self.flags & IPV6_ONLY != 0)?;
        }
        if !udp || self.flags & 4 != 0 {
            sockopt::set_socket_reuseaddr(&fd, true)?;
        }
        bind(&fd, &SocketAddr::new(address, self.port))?;
        if !udp {
            listen(&fd, self.backlog)?;
        }
        Ok(fd)
    }

    fn open_unix(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let fd = socket(AddressFamily::UNIX, SocketType::STREAM)?;
        let address = SocketAddrUnix::new(path)?;
        bind(&fd, &address)?;
        listen(&fd, self.backlog)?;
        Ok(fd)
    }
}

fn socket(family: AddressFamily, kind: SocketType) -> Result<OwnedFd, Errno> {
    socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
}
