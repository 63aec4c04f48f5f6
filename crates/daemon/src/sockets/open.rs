//! Opening one socket.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::Path;

use ostler_core::serving::{Listen, ListenAt};
use rustix::fs::{Gid, Mode, Uid};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with, sockopt};

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

/// How many sockets its port has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    /// This one.
    Alone,
    /// This is the first of several.
    First,
    /// This is a further one.
    Further,
}

/// Opens a socket: bound, listening, CLOEXEC. It blocks, as by systemd: a server that wants it otherwise says so itself, and nobody may
/// change it later, because all instances share it.
pub(super) fn open(wanted: &Listen, rights: FileRights, sharing: Sharing) -> Result<OwnedFd, Errno> {
    let backlog = backlog_of(wanted);
    let socket = match &wanted.at {
        ListenAt::Tcp { address: Some(address), port } => tcp((*address, *port).into(), backlog, sharing)?,
        // All addresses of both families, or of IPv4 where there is no IPv6.
        ListenAt::Tcp { address: None, port } => match tcp((Ipv6Addr::UNSPECIFIED, *port).into(), backlog, sharing) {
            Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) => tcp((Ipv4Addr::UNSPECIFIED, *port).into(), backlog, sharing)?,
            opened => opened?,
        },
        ListenAt::Unix { path } => unix(Path::new(path), backlog, wanted.mode, rights)?,
    };
    rustix::io::ioctl_fionbio(&socket, false)?;
    Ok(socket)
}

/// Opens a further socket of the port of this one.
pub(super) fn open_beside(first: &OwnedFd, wanted: &Listen) -> Result<OwnedFd, Errno> {
    let address = SocketAddr::try_from(getsockname(first)?)?;
    let socket = tcp(address, backlog_of(wanted), Sharing::Further)?;
    rustix::io::ioctl_fionbio(&socket, false)?;
    Ok(socket)
}

fn backlog_of(wanted: &Listen) -> i32 {
    wanted.backlog.and_then(|length| i32::try_from(length).ok()).unwrap_or(BACKLOG)
}

fn tcp(address: SocketAddr, backlog: i32, sharing: Sharing) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    if sharing == Sharing::Further {
        sockopt::set_socket_reuseport(&socket, true)?;
    }
    bind(&socket, &address)?;
    if sharing == Sharing::First {
        // Not before it is bound: otherwise it could become one of the sockets of another program that shares its port.
        sockopt::set_socket_reuseport(&socket, true)?;
    }
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
