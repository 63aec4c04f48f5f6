//! The keeper's end of the link, for tests that play a keeper. With the feature `played` only.

use std::cell::RefCell;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use crate::launch::{LaunchError, Revival};
use crate::link::codec::{decode, encode};
use crate::link::message::{FromKeeper, ToKeeper};
use crate::link::{Channel, Link, invalid};

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

type Revive = dyn Fn(&Revival<'_>) -> Result<(Link, i32), LaunchError>;

thread_local! {
    static REVIVE: RefCell<Option<Box<Revive>>> = const { RefCell::new(None) };
}

/// Gives daemons of this thread their new keepers from here.
pub fn play(revive: Option<Box<Revive>>) {
    REVIVE.set(revive);
}

pub(crate) fn revive(revival: &Revival<'_>) -> Option<Result<(Link, i32), LaunchError>> {
    REVIVE.with_borrow(|revive| revive.as_ref().map(|revive| revive(revival)))
}

/// What holds for any bytes on the link: they are a message that is written again in the same way, or malformed.
pub fn check_message(bytes: &[u8]) {
    crate::link::codec::check(bytes);
}
