//! Sockets of one address: one, or a shard for each process.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;

use ostler_core::serving::shards::{ShardRank, shard_number};
use ostler_sys::net::connections::{Connection, accepted_at};
use rustix::io::Errno;

use super::owner::SocketRole;
use crate::state::slots::listening::ShardPosition;

/// Sockets of one address, at least one.
#[derive(Debug)]
pub(super) struct Group {
    first: Socket,
    /// Further sockets in the kernel's order, as far as that order is known.
    more: Vec<Socket>,
    /// Positions of the sockets that get new connections, as they were set in the kernel.
    steered: Option<Vec<u32>>,
    /// Numbers of shards whose process has shut its socket down. The process has no other.
    lost: BTreeSet<u32>,
    /// Whether the kernel's order could not be read.
    is_unreadable: bool,
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

    fn set_position(&mut self, to: Option<u32>) {
        if let SocketRole::Shard { position, .. } = &mut self.role {
            *position = to;
        }
    }

    fn is(&self, fd: RawFd) -> bool {
        self.fd.as_raw_fd() == fd
    }
}

impl Group {
    pub(super) fn new(first: Socket) -> Self {
        Self { first, more: Vec::new(), steered: None, lost: BTreeSet::new(), is_unreadable: false }
    }

    /// Returns all sockets of the group.
    pub(super) fn sockets(&self) -> impl Iterator<Item = &Socket> {
        std::iter::once(&self.first).chain(&self.more)
    }

    fn sockets_mut(&mut self) -> impl Iterator<Item = &mut Socket> {
        std::iter::once(&mut self.first).chain(&mut self.more)
    }

    /// Adds a socket of the same address: a new socket, or a recovered one.
    pub(super) fn add(&mut self, socket: Socket) {
        self.more.push(socket);
        self.order_changed();
    }

    /// Adds a shard that was opened a moment ago.
    pub(super) fn add_opened(&mut self, number: u32, fd: OwnedFd) {
        self.add(Socket { fd: fd.into(), role: SocketRole::Shard { number, position: Some(self.next_position()) } });
    }

    fn order_changed(&mut self) {
        self.steered = None;
        // For sockets without a position, the kernel's order was lost. They come before sockets
        // that were opened since.
        self.more.sort_by_key(Socket::position);
    }

    /// Removes a socket that was shut down, and repeats the kernel's move: the last socket takes its
    /// position. Returns false if it is the only socket, which stays.
    pub(super) fn lose(&mut self, fd: RawFd) -> bool {
        let lost = self.sockets().find(|socket| socket.is(fd)).and_then(Socket::number);
        self.lost.extend(lost);
        let lost = match self.more.iter().position(|socket| socket.is(fd)) {
            Some(at) => self.more.remove(at),
            None if self.more.is_empty() || !self.first.is(fd) => return false,
            None => std::mem::replace(&mut self.first, self.more.remove(0)),
        };
        let last = self.sockets_mut().filter(|socket| socket.position() > lost.position()).max_by_key(|socket| socket.position());
        last.into_iter().for_each(|last| last.set_position(lost.position()));
        if self.unordered() == 1 {
            self.sockets_mut().filter(|socket| socket.position().is_none()).for_each(|socket| socket.set_position(Some(0)));
        }
        self.order_changed();
        true
    }

    /// Replaces the only socket, which was shut down, by a new one.
    pub(super) fn replace(&mut self, number: u32, fd: OwnedFd) {
        self.first = Socket { fd: fd.into(), role: SocketRole::Shard { number, position: Some(0) } };
        self.steered = None;
    }

    /// Gives a shard to another slot.
    pub(super) fn renumber(&mut self, from: u32, to: u32) {
        let shard = self.sockets_mut().find(|socket| socket.number() == Some(from));
        if let Some(SocketRole::Shard { number, .. }) = shard.map(|shard| &mut shard.role) {
            *number = to;
        }
    }

    /// Marks the kernel's order as unknown.
    pub(super) fn forget_order(&mut self) {
        self.sockets_mut().for_each(|socket| socket.set_position(None));
        self.order_changed();
    }

    /// Reads the kernel's order if it is unknown.
    pub(super) fn read_order(&mut self) {
        if !self.wants_order() {
            return;
        }
        let sockets: Vec<BorrowedFd<'_>> = self.sockets().map(AsFd::as_fd).collect();
        match ostler_sys::net::order::order(&sockets, self.steered.as_deref().unwrap_or_default()) {
            Ok(positions) => self.sockets_mut().zip(positions).for_each(|(socket, position)| socket.set_position(Some(position))),
            Err(_) => self.is_unreadable = true,
        }
        self.order_changed();
    }

    /// Returns true if the kernel's order is unknown and may be readable.
    pub(super) fn wants_order(&self) -> bool {
        self.unordered() > 1 && !self.is_unreadable
    }

    /// Returns true if this descriptor is one of its sockets.
    pub(super) fn has_fd(&self, fd: RawFd) -> bool {
        self.sockets().any(|socket| socket.is(fd))
    }

    /// Returns true if it has a shard of the same number.
    pub(super) fn has(&self, role: SocketRole) -> bool {
        matches!(role, SocketRole::Shard { number, .. } if self.shard(number).is_some())
    }

    /// Returns true if it has shards.
    pub(super) fn has_shards(&self) -> bool {
        self.first.role != SocketRole::Alone
    }

    /// Returns the shard of this number.
    pub(super) fn shard(&self, number: u32) -> Option<&Socket> {
        self.sockets().find(|socket| socket.number() == Some(number))
    }

    /// Returns the socket of a process: its shard, or by default the first one. Returns `None` if the
    /// process has shut its socket down.
    pub(super) fn socket_of(&self, shard: Option<u32>) -> Option<&Socket> {
        let Some(number) = shard.map(shard_number) else { return Some(&self.first) };
        self.shard(number).or_else(|| (!self.lost.contains(&number)).then_some(&self.first))
    }

    /// Returns the socket for a process that is given one now.
    pub(super) fn give_to(&mut self, shard: Option<u32>) -> &Socket {
        if let Some(shard) = shard {
            self.lost.remove(&shard_number(shard));
        }
        self.socket_of(shard).unwrap_or(&self.first)
    }

    /// Returns the number of a shard that no process has any more.
    pub(super) fn ownerless(&self) -> Option<u32> {
        self.lost.iter().copied().find(|number| self.shard(*number).is_some())
    }

    /// Returns true if the process of this shard has shut its socket down.
    pub(super) fn has_lost(&self, shard: Option<u32>) -> bool {
        shard.is_some_and(|shard| self.lost.contains(&shard_number(shard)))
    }

    /// Returns the rank of a process at this address. Without a socket, connections can only wait
    /// for its next process.
    pub(super) fn rank(&self, shard: Option<u32>, standing: ShardRank) -> ShardRank {
        if self.has_lost(shard) { standing.max(ShardRank::Retiring) } else { standing }
    }

    /// Returns the positions of its shards, as probes need them.
    pub(super) fn shard_positions(&self) -> Vec<ShardPosition> {
        let position = |socket: &Socket| Some(ShardPosition { number: socket.number()?, position: socket.position() });
        self.sockets().filter_map(position).collect()
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
        let mut known: Vec<u32> = shards.iter().filter_map(|shard| self.socket_of(*shard)?.position()).collect();
        if known.is_empty() && !shards.is_empty() {
            // Sockets without a position, or all if none of these processes has a socket.
            let unordered = self.unordered();
            known = if unordered > 0 { (0..unordered).collect() } else { self.sockets().filter_map(Socket::position).collect() };
        }
        known.sort_unstable();
        known.dedup();
        known
    }

    /// Steers the new connections to the processes with these shards. `leaving` others may soon shut
    /// their sockets down.
    pub(super) fn steer(&mut self, shards: &[Option<u32>], leaving: usize) -> Result<(), Errno> {
        let mut positions = self.positions(shards);
        // With the first loss, the last socket moves. Its former position is then invalid, and the
        // kernel chooses any socket, perhaps that of another process that leaves. Therefore the last
        // ones get no connections during that time, if others serve.
        let risky = u32::try_from(leaving.saturating_sub(1)).unwrap_or(u32::MAX);
        let last = self.next_position().saturating_sub(risky);
        if positions.iter().any(|position| *position < last) {
            positions.retain(|position| *position < last);
        }
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
        let Some(socket) = self.socket_of(Some(shard)) else { return true };
        let Some(steered) = &self.steered else { return false };
        match socket.position() {
            Some(position) => !steered.contains(&position),
            None => steered.iter().all(|position| *position >= self.unordered()),
        }
    }

    /// Returns true if connections wait for the process of this shard. If that cannot be queried,
    /// returns false.
    pub(super) fn waits(&self, shard: u32) -> bool {
        let waiting = |socket: &Socket| ostler_sys::net::reuseport::waiting(&socket.fd).is_ok_and(|waiting| waiting > 0);
        self.socket_of(Some(shard)).is_some_and(waiting)
    }

    /// Returns the connections at its port, of any process. If they cannot be queried, returns
    /// none.
    pub(super) fn accepted(&self) -> Vec<Connection> {
        accepted_at(&self.first.fd).unwrap_or_default()
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
    fn last_positions_get_nothing_while_several_processes_leave() {
        let mut group = group(&[(0, Some(0)), (1, Some(1)), (2, Some(2)), (3, Some(3)), (4, Some(4))]);
        for (active, leaving, expected) in [
            (&[2, 3, 4][..], 0, &[2, 3, 4][..]),
            (&[2, 3, 4], 1, &[2, 3, 4]),
            (&[2, 3, 4], 2, &[2, 3]),
            (&[2, 3, 4], 3, &[2]),
            (&[2, 3, 4], 9, &[2, 3, 4]),
            (&[3, 4], 3, &[3, 4]),
        ] {
            let shards: Vec<Option<u32>> = active.iter().copied().map(Some).collect();
            // The kernel refuses the program, because these are no sockets.
            let _ = group.steer(&shards, leaving);
            assert_eq!(group.steered.as_deref(), Some(expected), "{active:?} {leaving}");
        }
    }

    fn lose(group: &mut Group, number: u32) -> bool {
        let fd = group.shard(number).unwrap().fd.as_raw_fd();
        group.lose(fd)
    }

    fn places(group: &Group) -> Vec<(u32, Option<u32>)> {
        let mut places: Vec<(u32, Option<u32>)> = group.sockets().map(|socket| (socket.number().unwrap(), socket.position())).collect();
        places.sort_unstable();
        places
    }

    #[test]
    fn last_socket_takes_the_position_of_a_lost_one() {
        for (before, lost, after) in [
            (&[(0, Some(0)), (1, Some(1)), (2, Some(2))][..], 0, &[(1, Some(1)), (2, Some(0))][..]),
            (&[(0, Some(0)), (1, Some(1)), (2, Some(2))], 1, &[(0, Some(0)), (2, Some(1))]),
            (&[(0, Some(0)), (1, Some(1)), (2, Some(2))], 2, &[(0, Some(0)), (1, Some(1))]),
            // An unknown position among the first three is taken by the last socket.
            (&[(0, None), (1, None), (2, None), (3, Some(3))], 1, &[(0, None), (2, None), (3, None)]),
            (&[(0, None), (1, None), (2, Some(2)), (3, Some(3))], 2, &[(0, None), (1, None), (3, Some(2))]),
            (&[(0, None), (1, None), (2, None)], 0, &[(1, None), (2, None)]),
            (&[(0, None), (1, None)], 0, &[(1, Some(0))]),
        ] {
            let mut group = group(before);
            assert!(lose(&mut group, lost), "{before:?}");
            assert_eq!(places(&group), after, "{before:?} without {lost}");
            assert_eq!(group.steered, None);
        }
    }

    /// All sequences of some steps: a shard is lost, or another one is opened.
    #[test]
    fn bookkeeping_repeats_the_moves_of_the_kernel() {
        const STEPS: u32 = 4;
        const CHOICES: u32 = 6;
        for sequence in 0..CHOICES.pow(STEPS) {
            let mut kernel: Vec<u32> = vec![0, 1, 2];
            let mut group = group(&[(0, Some(0)), (1, Some(1)), (2, Some(2))]);
            for step in 0..STEPS {
                let choice = (sequence / CHOICES.pow(step) % CHOICES) as usize;
                if choice < kernel.len() && kernel.len() > 1 {
                    assert!(lose(&mut group, kernel.swap_remove(choice)));
                } else {
                    let number = 10 + step;
                    kernel.push(number);
                    group.add_opened(number, std::fs::File::open("/dev/null").unwrap().into());
                }
                let mut expected: Vec<(u32, Option<u32>)> = kernel.iter().copied().zip((0..).map(Some)).collect();
                expected.sort_unstable();
                assert_eq!(places(&group), expected, "step {step} of {sequence}");
            }
        }
    }

    #[test]
    fn process_without_its_socket_gets_no_connections() {
        use ShardRank::{Excluded, Ready, Retiring};
        let mut group = group(&[(0, Some(0)), (1, Some(1))]);
        assert!(lose(&mut group, 0));
        assert_eq!((group.rank(Some(0), Ready), group.rank(Some(1), Ready), group.rank(Some(0), Excluded)), (Retiring, Ready, Excluded));
        assert!(group.is_left_out(0) && !group.waits(0) && group.socket_of(Some(0)).is_none());
        // Not to its neighbour only because it has no position: to those that may accept later.
        assert_eq!(group.positions(&[Some(0)]), [0]);
        assert!(!lose(&mut group, 1), "the only socket stays");
        assert_eq!(group.ownerless(), Some(1));
        group.renumber(1, 7);
        group.add_opened(0, std::fs::File::open("/dev/null").unwrap().into());
        group.give_to(Some(0));
        assert_eq!((group.rank(Some(0), Ready), places(&group)), (Ready, vec![(0, Some(1)), (7, Some(0))]));
    }

    #[test]
    fn missing_shard_keeps_its_position() {
        assert_eq!(group(&[(0, Some(0)), (2, Some(2))]).next_position(), 3);
    }
}
