//! The keeper's end of the link, for tests that play a keeper. With the feature `played` only.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use crate::link::codec::{decode, encode};
use crate::link::message::{FromKeeper, ToKeeper};
use crate::link::{Channel, invalid};

pub use crate::launch::played::play;

/// The keeper's end of a link.
#[derive(Debug)]
pub struct Peer {
    channel: Channel,
}

impl Peer {
    /// On a connected packet socket.
    pub fn new(socket: OwnedFd) -> Self {
        Self { channel: Channel::new(socket) }
    }

    /// Sends to the daemon.
    ///
    /// # Errors
    /// As [`Link::send`].
    pub fn send(&mut self, message: &FromKeeper, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.channel.send(&encode(message), fds)
    }

    /// The daemon's next request, `None` when there is none now.
    ///
    /// # Errors
    /// As [`Link::recv`].
    pub fn receive(&mut self) -> io::Result<Option<(ToKeeper, Vec<OwnedFd>)>> {
        let Some(packet) = self.channel.recv()? else { return Ok(None) };
        Ok(Some((decode(&packet.payload).map_err(invalid)?, packet.fds)))
    }
}

/// What holds for any bytes on the link: they are a message that is written again in the same way, or malformed.
pub fn check_message(bytes: &[u8]) {
    crate::link::codec::check(bytes);
}
