//! Sockets of one address: one, or a shard for each process.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use ostler_sys::net::connections::{Connection, accepted_at};
use rustix::io::Errno;

use super::owner::SocketRole;

/// Most shards of one address; processes beyond that share them.
const MAX_SHARDS: u32 = 512;

/// Sockets of one address, at least one.
#[derive(Debug)]
pub(super) struct Group {
    first: Socket,
    /// Further sockets in the kernel's order, as far as that order is known.
    more: Vec<Socket>,
    /// Positions of the sockets that get new connections, as they were set in the kernel.
    steered: Option<Vec<u32>>,
}

/// Socket of a group. It is never closed before the others. Otherwise the kernel would reset the
/// connections in its queue, and renumber the others.
#[derive(Debug)]
pub(super) struct Socket {
    pub fd: Rc<OwnedFd>,
    pub role: SocketRole,
}

impl Socket {
    fn number(&self) -> Option<u32> {
        match self.role {
            SocketRole::Alone => None,
            SocketRole::Shard { number, .. } => Some(number),
        }
    }

    fn position(&self) -> Option<u32> {
        match self.role {
            SocketRole::Alone => None,
            SocketRole::Shard { position, .. } => position,
        }
    }
}

/// Returns the number of the socket for slots with this shard.
pub(super) fn shard_number(shard: u32) -> u32 {
    shard % MAX_SHARDS
}

impl Group {
    pub(super) fn new(first: Socket) -> Self {
        Self { first, more: Vec::new(), steered: None }
    }

    /// Returns all sockets of the group.
    pub(super) fn sockets(&self) -> impl Iterator<Item = &Socket> {
        std::iter::once(&self.first).chain(&self.more)
    }

    /// Adds a socket of the same address: a new socket, or a recovered one.
    pub(super) fn add(&mut self, socket: Socket) {
        self.steered = None;
        self.more.push(socket);
        // For sockets without a position, the kernel's order was lost. They come before sockets
        // that were opened since.
        self.more.sort_by_key(Socket::position);
    }

    /// Returns true if it has shards.
    pub(super) fn has_shards(&self) -> bool {
        self.first.role != SocketRole::Alone
    }

    /// Returns the shard of this number.
    pub(super) fn shard(&self, number: u32) -> Option<&Socket> {
        self.sockets().find(|socket| socket.number() == Some(number))
    }

    /// Returns the socket of a process: its shard, or by default the first one.
    pub(super) fn socket_for(&self, shard: Option<u32>) -> &Socket {
        shard.and_then(|shard| self.shard(shard_number(shard))).unwrap_or(&self.first)
    }

    /// Returns the socket that represents the address.
    pub(super) fn first(&self) -> &Rc<OwnedFd> {
        &self.first.fd
    }

    /// Returns the position that the kernel gives to a socket that is opened now.
    pub(super) fn next_position(&self) -> u32 {
        let last = self.sockets().filter_map(Socket::position).max();
        let count = u32::try_from(self.sockets().count()).unwrap_or(u32::MAX);
        last.map_or(0, |last| last.saturating_add(1)).max(count)
    }

    /// Returns the number of sockets that have the first positions in the kernel's order, in
    /// unknown order.
    fn unordered(&self) -> u32 {
        u32::try_from(self.sockets().filter(|socket| socket.position().is_none()).count()).unwrap_or(0)
    }

    /// Returns the positions to set in the kernel, so that the processes with these shards get the
    /// new connections.
    fn positions(&self, shards: &[Option<u32>]) -> Vec<u32> {
        let mut known: Vec<u32> = shards.iter().filter_map(|shard| self.socket_for(*shard).position()).collect();
        if known.is_empty() && !shards.is_empty() {
            known = (0..self.unordered()).collect();
        }
        known.sort_unstable();
        known.dedup();
        known
    }

    /// Steers the new connections to the processes with these shards.
    pub(super) fn steer(&mut self, shards: &[Option<u32>]) -> Result<(), Errno> {
        let positions = self.positions(shards);
        // Without a process, connections stay in their present queue.
        if positions.is_empty() || self.steered.as_ref() == Some(&positions) {
            return Ok(());
        }
        let steered = ostler_sys::net::reuseport::steer(&self.first.fd, &positions);
        self.steered = Some(positions);
        steered
    }

    /// Returns true if the process of this shard gets no new connections.
    pub(super) fn is_left_out(&self, shard: u32) -> bool {
        let Some(steered) = &self.steered else { return false };
        match self.socket_for(Some(shard)).position() {
            Some(position) => !steered.contains(&position),
            None => steered.iter().all(|position| *position >= self.unordered()),
        }
    }

    /// Returns true if connections wait for the process of this shard. If that cannot be queried,
    /// returns false.
    pub(super) fn waits(&self, shard: u32) -> bool {
        ostler_sys::net::reuseport::waiting(&self.socket_for(Some(shard)).fd).is_ok_and(|waiting| waiting > 0)
    }

    /// Returns the connections at its port, of any process. If they cannot be queried, returns
    /// none.
    pub(super) fn accepted(&self, shard: u32) -> Vec<Connection> {
        accepted_at(&self.socket_for(Some(shard)).fd).unwrap_or_default()
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(number: u32, position: Option<u32>) -> Socket {
        Socket { fd: Rc::new(std::fs::File::open("/dev/null").unwrap().into()), role: SocketRole::Shard { number, position } }
    }

    fn group(places: &[(u32, Option<u32>)]) -> Group {
        let mut sockets = places.iter().map(|(number, position)| shard(*number, *position));
        let mut group = Group::new(sockets.next().unwrap());
        sockets.for_each(|socket| group.add(socket));
        group
    }

    #[test]
    fn shard_numbers_map_to_positions() {
        let group = group(&[(4, Some(0)), (0, Some(2)), (1, Some(1))]);
        assert_eq!(group.positions(&[Some(0), Some(4)]), [0, 2]);
        // A process without a shard, or whose shard is missing, accepts from the first socket.
        assert_eq!(group.positions(&[Some(7)]), [0]);
        assert_eq!(group.positions(&[None, Some(1)]), [0, 1]);
        assert!(group.positions(&[]).is_empty());
        assert_eq!(group.next_position(), 3);
    }

    #[test]
    fn shards_of_unknown_position_are_steered_all_or_none() {
        let mut group = group(&[(0, None), (2, None)]);
        assert_eq!(group.positions(&[Some(2)]), [0, 1]);
        assert_eq!(group.next_position(), 2);
        group.add(shard(1, Some(2)));
        assert_eq!(group.positions(&[Some(0), Some(1)]), [2]);
        assert_eq!(group.positions(&[Some(0)]), [0, 1]);
        group.steered = Some(vec![2]);
        assert!(group.is_left_out(0) && group.is_left_out(2) && !group.is_left_out(1));
        group.steered = Some(vec![0, 1]);
        assert!(!group.is_left_out(0) && group.is_left_out(1));
    }

    #[test]
    fn missing_shard_keeps_its_position() {
        assert_eq!(group(&[(0, Some(0)), (2, Some(2))]).next_position(), 3);
    }
}
