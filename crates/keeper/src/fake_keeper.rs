//! The keeper's end of the link, for tests that simulate a keeper. Only with the feature
//! `simulation`.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use crate::link::codec::{decode, encode};
use crate::link::message::{FromKeeper, ToKeeper};
use crate::link::{Channel, invalid};

pub use crate::launch::played::simulate_revive;

/// The keeper's end of a link.
#[derive(Debug)]
pub struct Peer {
    channel: Channel,
}

impl Peer {
    /// Creates a peer on a connected packet socket.
    pub fn new(socket: OwnedFd) -> Self {
        Self { channel: Channel::new(socket) }
    }

    /// Sends a message to the daemon.
    ///
    /// # Errors
    /// Returns the errors of [`Link::send`].
    pub fn send(&mut self, message: &FromKeeper, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.channel.send(&encode(message), fds)
    }

    /// Returns the daemon's next request, or `None` if no request has arrived.
    ///
    /// # Errors
    /// Returns the errors of [`Link::recv`].
    pub fn receive(&mut self) -> io::Result<Option<(ToKeeper, Vec<OwnedFd>)>> {
        let Some(packet) = self.channel.recv()? else { return Ok(None) };
        Ok(Some((decode(&packet.payload).map_err(invalid)?, packet.fds)))
    }
}
