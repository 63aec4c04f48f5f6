//! Opening one socket.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::Path;

use ostler_core::serving::{Listen, ListenAt};
use rustix::fs::{Gid, Mode, Uid};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

/// Queue of connections where the app names no length: Node's.
const BACKLOG: i32 = 511;

/// Whom the file of a socket belongs to and who may connect there.
#[derive(Clone, Copy, Debug)]
pub(super) struct FileRights {
    /// File mode creation mask, where the app names no mode.
    pub umask: u32,
    /// The app's user and group, if not ours.
    pub owner: Option<(u32, u32)>,
}

/// Opens a socket: bound, listening, CLOEXEC. It blocks, as by systemd: a server that wants it otherwise says so itself, and nobody may
/// change it later, because all instances share it.
pub(super) fn open(wanted: &Listen, rights: FileRights) -> Result<OwnedFd, Errno> {
    let backlog = wanted.backlog.and_then(|length| i32::try_from(length).ok()).unwrap_or(BACKLOG);
    let socket = match &wanted.at {
        ListenAt::Tcp { address: Some(address), port } => tcp(*address, *port, backlog)?,
        // All addresses of both families, or of IPv4 where there is no IPv6.
        ListenAt::Tcp { address: None, port } => match tcp(IpAddr::V6(Ipv6Addr::UNSPECIFIED), *port, backlog) {
            Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) => tcp(IpAddr::V4(Ipv4Addr::UNSPECIFIED), *port, backlog)?,
            opened => opened?,
        },
        ListenAt::Unix { path } => unix(Path::new(path), backlog, wanted.mode, rights)?,
    };
    rustix::io::ioctl_fionbio(&socket, false)?;
    Ok(socket)
}

fn tcp(address: IpAddr, port: u16, backlog: i32) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    bind(&socket, &SocketAddr::new(address, port))?;
    listen(&socket, backlog)?;
    Ok(socket)
}

/// The file is ours alone until its mode is what was asked for.
fn unix(path: &Path, backlog: i32, mode: Option<u32>, rights: FileRights) -> Result<OwnedFd, Errno> {
    if !path.is_absolute() {
        return Err(Errno::INVAL);
    }
    let socket = ostler_sys::socket::listen_with(path, backlog)?;
    let opened_up = || {
        if let Some((uid, gid)) = rights.owner {
            rustix::fs::chown(path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
        rustix::fs::chmod(path, Mode::from_raw_mode(mode.unwrap_or(0o777 & !rights.umask) & 0o777))
    };
    if let Err(errno) = opened_up() {
        let _ = rustix::fs::unlink(path);
        return Err(errno);
    }
    Ok(socket)
}
