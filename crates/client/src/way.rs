//! Way to a daemon: the stream for the bytes, and the creation of another connection after a loss.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use crate::ClientError;

/// Stream that carries the bytes of both directions. Writes block; reads may block. Its descriptor
/// must be readable if [`Read::read`] has data, so no layer in between may hold bytes back (a
/// buffer, TLS).
pub trait Stream: Read + Write + AsFd {}

impl<T: Read + Write + AsFd> Stream for T {}

/// Creator of connections to a daemon.
pub trait Way<S>: Send {
    /// Creates one connection and sends nothing on it.
    ///
    /// # Errors
    /// Returns [`ClientError::NotRunning`] if no process listens. Any other error ends the current
    /// request.
    fn connect(&self) -> Result<S, ClientError>;

    /// Investigates why no process listens. Returns true if a process listens by now, for example
    /// because a keeper that lost its socket has created another. The caller then tries
    /// [`Way::connect`] once more.
    ///
    /// # Errors
    /// Returns [`ClientError::Elsewhere`] with the reason if no process will listen.
    fn find(&self) -> Result<bool, ClientError> {
        Ok(false)
    }
}

/// Calls [`Way::connect`], and once more if [`Way::find`] was successful.
pub(crate) fn connect_or_find<S>(way: &dyn Way<S>) -> Result<S, ClientError> {
    match way.connect() {
        Err(ClientError::NotRunning { .. }) if way.find()? => way.connect(),
        connected => connected,
    }
}

/// The path of a unix socket (`<home>/ostler.sock`).
#[derive(Clone, Debug)]
pub struct Socket(pub PathBuf);

impl Way<UnixStream> for Socket {
    fn connect(&self) -> Result<UnixStream, ClientError> {
        let home = || self.0.parent().unwrap_or(&self.0).display().to_string();
        UnixStream::connect(&self.0).map_err(|source| match source.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => ClientError::NotRunning { home: home() },
            ErrorKind::PermissionDenied => ClientError::Permission { home: home() },
            _ => ClientError::Connect { home: home(), source },
        })
    }
}
