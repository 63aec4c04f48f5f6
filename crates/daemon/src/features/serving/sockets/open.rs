//! Creation of one declared socket.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::Path;

use ostler_core::app::AppSpec;
use ostler_core::serving::{Listen, ListenAt};
use ostler_sys::net::socket::{SocketFile, listen_with, stop_listening};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with, sockopt};

use crate::engine::Ctx;
use crate::platform::rights::Rights;

/// Length of the queue of connections if the app sets none: Node's.
const BACKLOG: i32 = 511;

/// Owner and mode of a socket's file, which decide who may connect.
#[derive(Clone, Debug)]
pub(super) struct FileRights {
    /// File mode creation mask, if the app sets no mode.
    pub umask: u32,
    /// Rights of the app.
    pub rights: Rights,
}

impl FileRights {
    /// Returns the rights of an app.
    pub(super) fn of(ctx: &Ctx, spec: &AppSpec) -> Self {
        Self { umask: spec.limits.umask.unwrap_or(ctx.io.originals.umask), rights: Rights::of(spec) }
    }
}

/// Socket that was opened.
pub(super) struct OpenedSocket {
    pub fd: OwnedFd,
    /// Identity of the file that was made for it.
    pub file: Option<(u64, u64)>,
}

/// Number of sockets of its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PortSharing {
    /// Only this one.
    Alone,
    /// The first of several.
    First,
    /// A further one.
    Further,
}

/// Opens a socket: bound, listening, CLOEXEC. It blocks, as in systemd. A server that needs a
/// non-blocking socket sets that itself. The mode must not change later, because all instances
/// share it.
pub(super) fn open(wanted: &Listen, rights: &FileRights, sharing: PortSharing) -> Result<OpenedSocket, Errno> {
    let backlog = backlog_of(wanted);
    let mut file = None;
    let socket = match &wanted.at {
        ListenAt::Tcp { address: Some(address), port } => tcp((*address, *port).into(), backlog, sharing)?,
        // All addresses of both families, or of IPv4 if the machine has no IPv6.
        ListenAt::Tcp { address: None, port } => match tcp((Ipv6Addr::UNSPECIFIED, *port).into(), backlog, sharing) {
            Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) => tcp((Ipv4Addr::UNSPECIFIED, *port).into(), backlog, sharing)?,
            opened => opened?,
        },
        ListenAt::TcpV6 { port } => tcp_of((Ipv6Addr::UNSPECIFIED, *port).into(), true, backlog, sharing)?,
        ListenAt::Unix { path } => {
            let (socket, made) = unix(Path::new(path), backlog, wanted.mode, rights)?;
            file = Some(made);
            socket
        }
    };
    rustix::io::ioctl_fionbio(&socket, false)?;
    Ok(OpenedSocket { fd: socket, file })
}

/// Opens another TCP socket at the address of this one, which may have been shut down.
pub(super) fn open_at_address_of(socket: &OwnedFd, wanted: &Listen, sharing: PortSharing) -> Result<OwnedFd, Errno> {
    let address = SocketAddr::try_from(getsockname(socket)?)?;
    let is_v6_only = address.is_ipv6() && sockopt::ipv6_v6only(socket)?;
    let socket = tcp_of(address, is_v6_only, backlog_of(wanted), sharing)?;
    rustix::io::ioctl_fionbio(&socket, false)?;
    Ok(socket)
}

/// Makes a TCP socket that was shut down listen again. This concerns all processes that hold it.
pub(super) fn listen_again(socket: &OwnedFd, wanted: &Listen) -> Result<(), Errno> {
    // The kernel has given back a port that it had chosen itself. Otherwise this fails, because
    // the socket is still bound.
    let _ = bind(socket, &SocketAddr::try_from(getsockname(socket)?)?);
    listen(socket, backlog_of(wanted))
}

/// Makes sure that a socket of a group that was shut down stays outside the group, even if a process
/// lets it listen again.
pub(super) fn keep_out(socket: &OwnedFd) {
    let _ = sockopt::set_socket_reuseport(socket, false);
    stop_listening(socket);
}

fn backlog_of(wanted: &Listen) -> i32 {
    wanted.backlog.and_then(|length| i32::try_from(length).ok()).unwrap_or(BACKLOG)
}

/// Opens a socket that accepts both families at an address of IPv6.
fn tcp(address: SocketAddr, backlog: i32, sharing: PortSharing) -> Result<OwnedFd, Errno> {
    tcp_of(address, false, backlog, sharing)
}

fn tcp_of(address: SocketAddr, is_v6_only: bool, backlog: i32, sharing: PortSharing) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, is_v6_only)?;
    }
    if sharing == PortSharing::Further {
        sockopt::set_socket_reuseport(&socket, true)?;
    }
    bind(&socket, &address)?;
    if sharing == PortSharing::First {
        // The option is set only after the bind. Otherwise the socket could join the sockets of
        // another program that shares its port.
        sockopt::set_socket_reuseport(&socket, true)?;
    }
    listen(&socket, backlog)?;
    Ok(socket)
}

/// Returns a socket and the identity of its file, which only its owner can access until its mode is
/// set.
fn unix(path: &Path, backlog: i32, mode: Option<u32>, wanted: &FileRights) -> Result<(OwnedFd, (u64, u64)), Errno> {
    if !path.is_absolute() {
        return Err(Errno::INVAL);
    }
    let mode = mode.unwrap_or(0o777 & !wanted.umask) & 0o777;
    let role = wanted.rights.entry_of_name(path).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    match role {
        // The app's user may change this folder. The user's own rights are used, so a change of the
        // folder at this moment gives the user no more rights.
        Some(role) if !role.rights().is_daemon_user() => {
            let rights = role.rights();
            rights.open_socket(|| {
                match bind_at(path, backlog, mode, None) {
                    // The name is too long, or that user may not enter a folder on the way.
                    Err(Errno::ACCESS | Errno::NAMETOOLONG) => bind_at(&role.through(), backlog, mode, None),
                    bound => bound,
                }
            })
        }
        _ => bind_at(path, backlog, mode, wanted.rights.user().map(|user| (user.uid, user.gid))),
    }
}

fn bind_at(path: &Path, backlog: i32, mode: u32, owner: Option<(u32, u32)>) -> Result<(OwnedFd, (u64, u64)), Errno> {
    let socket = listen_with(path, backlog)?;
    let opened_up = || {
        let file = SocketFile::at(path)?;
        if let Some((uid, gid)) = owner {
            file.give_to(uid, gid)?;
        }
        file.set_mode(mode)?;
        Ok(file.identity)
    };
    match opened_up() {
        Ok(file) => Ok((socket, file)),
        Err(errno) => {
            let _ = rustix::fs::unlink(path);
            Err(errno)
        }
    }
}
