//! Rights of an app's user, for clients that access a file or socket which the app names.
//!
//! If a client of root opens such a path as root, it is a confused deputy: the app chooses the
//! path, and root's rights open it. With [`AppRights`], the kernel permits only what the app's user
//! could do itself.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;

use ostler_core::app::AppSpec;
use ostler_sys::process::owner;
use ostler_sys::users::rights::{as_user, with_file_rights_of};
use ostler_sys::users::user::{Credentials, identity};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

/// Rights of an app's user, or our own if the app runs as we do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppRights(Option<Credentials>);

impl AppRights {
    /// Returns the rights of the user in the description. If the description names no user, but the
    /// process has changed its user, that change counts only as far as it gives up rights.
    ///
    /// # Errors
    /// Returns an error if the user database has no such user, or if the process is gone.
    pub fn of(spec: &AppSpec, pid: i32) -> io::Result<Self> {
        let own = rustix::process::geteuid().as_raw();
        let named = identity(spec.uid.as_deref(), spec.gid.as_deref()).map_err(io::Error::other)?;
        let user = match named {
            Some(named) => named.credentials,
            None => {
                let uid = owner(pid).ok_or(io::ErrorKind::NotFound)?;
                Credentials { uid, gid: uid, groups: vec![uid] }
            }
        };
        Ok(Self(Some(user).filter(|user| user.uid != own)))
    }

    /// Returns the user that owns the files which the app creates.
    pub fn uid(&self) -> u32 {
        self.0.as_ref().map_or_else(|| rustix::process::geteuid().as_raw(), |user| user.uid)
    }

    /// Accesses files with these rights.
    ///
    /// # Errors
    /// Returns the error of the work, or `EPERM` if we may not act for that user.
    pub fn act<T>(&self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match &self.0 {
            Some(user) => with_file_rights_of(user, work)?,
            None => work(),
        }
    }

    /// Connects to a unix socket with these rights. Never waits: a listener with a full queue is an
    /// error.
    ///
    /// # Errors
    /// Returns the system's error for this user.
    pub fn connect(&self, path: &Path) -> io::Result<UnixStream> {
        let work = || {
            let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
            connect(&socket, &SocketAddrUnix::new(path)?)?;
            Ok(UnixStream::from(socket))
        };
        match &self.0 {
            Some(user) => as_user(user, work)?,
            None => work(),
        }
    }
}
