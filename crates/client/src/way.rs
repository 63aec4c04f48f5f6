//! Way to a daemon: what carries the bytes, and how another connection is made when one is lost.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use crate::ClientError;

/// Stream that carries the bytes of both directions. Writing blocks; reading may. Its descriptor is readable when [`Read::read`] has something, so nothing between the two may
/// keep bytes back (a buffer, TLS).
pub trait Stream: Read + Write + AsFd {}

impl<T: Read + Write + AsFd> Stream for T {}

/// Maker of connections to a daemon.
pub trait Way<S>: Send {
    /// Makes one connection; nothing is sent on it.
    ///
    /// # Errors
    /// [`ClientError::NotRunning`] when nobody listens; anything else ends the request that wanted it.
    fn connect(&self) -> Result<S, ClientError>;

    /// Looks why nobody listens. True = somebody does by now, and [`Way::connect`] is tried once more: a keeper that lost its socket has made another.
    ///
    /// # Errors
    /// The reason why there is nobody and will be nobody: [`ClientError::Elsewhere`].
    fn find(&self) -> Result<bool, ClientError> {
        Ok(false)
    }
}

/// [`Way::connect`], and once more when [`Way::find`] has found somebody.
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
