//! The two sockets: their paths and the users that may connect.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use ostler_core::home::home_paths::HomePaths;
use ostler_sys::net::socket::{self, SocketFile};
use rustix::io::Errno;

/// Numeric user and group that may also connect. Both or neither must be set, as in PM2.
const USER_VAR: &str = "PM2_SOCKET_USER";
const GROUP_VAR: &str = "PM2_SOCKET_GROUP";

/// Socket that a connection came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pm2Socket {
    /// `rpc.sock`.
    Calls,
    /// `pub.sock`.
    Events,
}

/// Users that may connect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Admitted {
    /// User and group beside our own user and root.
    others: Option<(u32, u32)>,
}

impl Admitted {
    fn from_env() -> Self {
        let number = |name: &str| std::env::var(name).ok()?.trim().parse::<u32>().ok();
        Self { others: number(USER_VAR).zip(number(GROUP_VAR)) }
    }

    /// Returns true if this user may connect. If the socket was given to another user and group,
    /// the kernel checks its file mode, which also covers a user's other groups.
    pub(super) fn has(&self, uid: u32) -> bool {
        uid == 0 || uid == rustix::process::geteuid().as_raw() || self.others.is_some()
    }
}

/// One listening socket.
#[derive(Debug)]
pub(super) struct Listening {
    pub fd: OwnedFd,
    path: PathBuf,
}

/// Both sockets, as far as they could be opened.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    pub calls: Option<Listening>,
    pub events: Option<Listening>,
    pub admitted: Admitted,
}

/// Returns the name under which the keeper holds the socket.
pub(super) fn held_name(kind: Pm2Socket) -> &'static str {
    match kind {
        Pm2Socket::Calls => "pm2-rpc",
        Pm2Socket::Events => "pm2-pub",
    }
}

pub(super) const KINDS: [Pm2Socket; 2] = [Pm2Socket::Calls, Pm2Socket::Events];

/// Returns the path of a socket, even if the socket does not exist.
pub(super) fn path_of(kind: Pm2Socket, paths: &HomePaths) -> &Path {
    match kind {
        Pm2Socket::Calls => &paths.calls,
        Pm2Socket::Events => &paths.events,
    }
}

impl Sockets {
    pub(super) fn get(&self, kind: Pm2Socket) -> Option<&Listening> {
        match kind {
            Pm2Socket::Calls => self.calls.as_ref(),
            Pm2Socket::Events => self.events.as_ref(),
        }
    }

    fn place(&mut self, kind: Pm2Socket) -> &mut Option<Listening> {
        match kind {
            Pm2Socket::Calls => &mut self.calls,
            Pm2Socket::Events => &mut self.events,
        }
    }

    /// Takes over a socket that the keeper held.
    pub(super) fn adopt_fd(&mut self, kind: Pm2Socket, fd: OwnedFd, paths: &HomePaths) {
        *self.place(kind) = Some(Listening { fd, path: path_of(kind, paths).to_owned() });
    }

    /// Opens a socket unless it is open.
    ///
    /// # Errors
    ///
    /// Returns the path and the system's error. `EADDRINUSE` means that another manager listens
    /// there.
    pub(super) fn open(&mut self, kind: Pm2Socket, paths: &HomePaths) -> Result<(), (PathBuf, Errno)> {
        self.admitted = Admitted::from_env();
        if self.get(kind).is_some() {
            return Ok(());
        }
        self.reopen(kind, paths).map(drop)
    }

    /// Opens a socket whose file is gone, even if the socket is open. Returns the socket that was
    /// open before.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`Sockets::open`]; the open socket then stays.
    pub(super) fn reopen(&mut self, kind: Pm2Socket, paths: &HomePaths) -> Result<Option<Listening>, (PathBuf, Errno)> {
        let path = path_of(kind, paths).to_owned();
        match open_at(&path, self.admitted, &paths.home) {
            Ok(fd) => Ok(self.place(kind).replace(Listening { fd, path })),
            Err(errno) => Err((path, errno)),
        }
    }

    pub(super) fn held(&self) -> impl Iterator<Item = (String, BorrowedFd<'_>)> {
        KINDS.into_iter().filter_map(|kind| Some((held_name(kind).to_owned(), self.get(kind)?.fd.as_fd())))
    }

    /// Closes both sockets and removes their files, but only files that no longer accept
    /// connections.
    pub(super) fn remove(&mut self) {
        for kind in KINDS {
            let Some(Listening { fd, path }) = self.place(kind).take() else { continue };
            socket::stop_listening(&fd);
            if SocketFile::at(&path).is_ok() {
                // Another process may have removed it already.
                let _ = rustix::fs::unlink(&path);
            }
        }
    }
}

/// Listens on a socket. Before the socket is given to others, only our own user may connect.
fn open_at(path: &Path, admitted: Admitted, home: &Path) -> Result<OwnedFd, Errno> {
    let fd = socket::listen_at(path)?;
    if let Some((uid, gid)) = admitted.others {
        if path.parent() == Some(home) {
            let_through(home, gid)?;
        }
        let file = SocketFile::at(path)?;
        file.give_to(uid, gid)?;
        file.set_mode(0o660)?;
    }
    Ok(fd)
}

/// Lets this group reach its own files in the home, that is the sockets. It can neither list the
/// folder nor read anything else there.
fn let_through(home: &Path, gid: u32) -> Result<(), Errno> {
    rustix::fs::chown(home, None, Some(rustix::fs::Gid::from_raw(gid)))?;
    rustix::fs::chmod(home, rustix::fs::Mode::from_raw_mode(0o710))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_admitted_users_may_connect() {
        let own = rustix::process::geteuid().as_raw();
        let nobody_else = Admitted::default();
        assert!(nobody_else.has(own) && nobody_else.has(0) && !nobody_else.has(own + 4711));
        assert!(Admitted { others: Some((own + 4711, 815)) }.has(own + 4711));
    }
}
