//! Connector to a daemon: opens the stream for the bytes, and another one after a loss.

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
pub trait Connector<S>: Send {
    /// Creates one connection and sends nothing on it.
    ///
    /// # Errors
    /// Returns [`ClientError::NotRunning`] if no process listens. Any other error ends the current
    /// request.
    fn connect(&self) -> Result<S, ClientError>;

    /// Investigates why no process listens. Returns true if a process listens by now, for example
    /// because a keeper that lost its socket has created another. The caller then tries
    /// [`Connector::connect`] once more.
    ///
    /// # Errors
    /// Returns [`ClientError::Elsewhere`] with the reason if no process will listen.
    fn recover(&self) -> Result<bool, ClientError> {
        Ok(false)
    }
}

/// Calls [`Connector::connect`], and once more if [`Connector::recover`] was successful.
pub(crate) fn connect_or_recover<S>(connector: &dyn Connector<S>) -> Result<S, ClientError> {
    match connector.connect() {
        Err(ClientError::NotRunning { .. }) if connector.recover()? => connector.connect(),
        connected => connected,
    }
}

/// The path of a unix socket (`<home>/ostler.sock`).
#[derive(Clone, Debug)]
pub struct Socket(pub PathBuf);

impl Connector<UnixStream> for Socket {
    fn connect(&self) -> Result<UnixStream, ClientError> {
        let home = || self.0.parent().unwrap_or(&self.0).display().to_string();
        UnixStream::connect(&self.0).map_err(|source| match source.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => ClientError::NotRunning { home: home() },
            ErrorKind::PermissionDenied => ClientError::Permission { home: home() },
            _ => ClientError::Connect { home: home(), source },
        })
    }
}
