//! Connections of PM2's clients: reads bytes, writes frames, never blocks and never waits for a
//! slow reader.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

use ostler_proto::pm2::amp::Decoder;
use ostler_proto::pm2::rpc::{self, Request};
use ostler_sys::fd::counted_sends::CountedSends;
use ostler_sys::net::socket;
use rustix::io::Errno;
use rustix::net::SendFlags;

use super::Pm2Sockets;
use super::leaving;
use super::sockets::Pm2Socket;
use crate::platform::reactor::{Reactor, Source};

/// Most connections to both sockets. If all places are taken, a new connection replaces the one
/// with the weakest claim.
const MAX_PEERS: usize = 512;
/// Connections accepted in one go. Their requests are handled before further ones are accepted.
const ACCEPTED_PER_TURN: usize = 64;
/// Largest request in bytes: an app with its environment has some KB.
const MAX_REQUEST_BYTES: usize = 16 << 20;
/// Most bytes of incomplete requests of all connections together. Beyond it the daemon drops the
/// largest.
const MAX_UNREAD_IN_ALL: usize = 64 << 20;
/// Most bytes read from one connection before the others are read.
const READ_PER_TURN: usize = 1 << 20;
/// Most bytes of answers that wait for one client; then it is cut off. A list of a thousand apps is
/// 10 MB.
const MAX_ANSWERS_BYTES: usize = 64 << 20;
/// Most bytes of events that wait for one subscriber; then it is dropped.
const MAX_EVENTS_BYTES: usize = 1 << 20;
/// Most bytes that wait in all connections together. Beyond it the daemon cuts off the slowest
/// reader.
const MAX_WAITING_IN_ALL: usize = 128 << 20;
/// Backlog in bytes up to which adding up all connections is not worth the work.
const SMALL: usize = 64 << 10;
/// First number of a connection; smaller numbers are the listening sockets.
const FIRST: u32 = 16;

/// Claim of a connection to its place, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ConnectionPriority {
    /// The client has received all its answers.
    Idle,
    /// The client is subscribed to events.
    Subscribed,
    /// The client waits for an answer.
    Waits,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Peer {
    socket: OwnedFd,
    kind: Pm2Socket,
    decoder: Decoder,
    out: Vec<u8>,
    sent: usize,
    waits_for_room: bool,
    /// Slot that counts what this subscriber got of the stream of events.
    counted: Option<usize>,
    /// Whether the connection is unusable.
    broken: bool,
    /// Number of calls without an answer.
    pub pending: u32,
    /// User of the client process.
    pub uid: u32,
    /// Pid of the client process.
    pub pid: i32,
}

impl Peer {
    fn waiting(&self) -> usize {
        self.out.len() - self.sent
    }

    fn claim(&self) -> ConnectionPriority {
        match self.kind {
            Pm2Socket::Events => ConnectionPriority::Subscribed,
            Pm2Socket::Calls if self.pending > 0 => ConnectionPriority::Waits,
            Pm2Socket::Calls => ConnectionPriority::Idle,
        }
    }

    fn queue(&mut self, frame: &[u8]) {
        self.out.extend_from_slice(frame);
    }

    fn drain(&mut self, sends: &mut Option<&mut CountedSends>) {
        while let Some(rest) = self.out.get(self.sent..).filter(|rest| !rest.is_empty()) {
            let sent = match (sends.as_mut(), self.counted) {
                (Some(sends), Some(slot)) => sends.send(slot, &self.socket, rest),
                _ => rustix::net::send(&self.socket, rest, SendFlags::NOSIGNAL),
            };
            match sent {
                Ok(sent) => self.sent += sent,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => {
                    self.broken = true;
                    return;
                }
            }
        }
        (self.out, self.sent) = (Vec::new(), 0);
    }

    /// Reads available input. Requests that were complete before the end of file are carried out;
    /// their answers are lost.
    fn read(&mut self) -> Vec<Request> {
        let (mut requests, mut read) = (Vec::new(), 0);
        let mut buffer = vec![0; 16 << 10];
        // The event loop reads the rest in its next turn.
        while read < READ_PER_TURN && !self.broken {
            match rustix::io::read(&self.socket, &mut *buffer) {
                Ok(0) => self.broken = true,
                Ok(length) => {
                    read += length;
                    // Input from a subscriber is ignored.
                    if self.kind == Pm2Socket::Calls {
                        self.decoder.push(buffer.get(..length).unwrap_or_default());
                        self.take(&mut requests);
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => self.broken = true,
            }
        }
        requests
    }

    /// Decodes complete requests. Malformed input breaks the connection.
    fn take(&mut self, requests: &mut Vec<Request>) {
        loop {
            match self.decoder.take().map(|args| args.map(rpc::request)) {
                Ok(Some(Ok(request))) => requests.push(request),
                Ok(None) => return,
                Ok(Some(Err(_))) | Err(_) => {
                    self.broken = true;
                    return;
                }
            }
        }
    }
}

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Peers {
    all: BTreeMap<u32, Peer>,
    last: u32,
    /// Bytes of events that were published so far, the same for all subscribers.
    stream: u64,
    /// Slots of the counts that are in use.
    counted: Vec<usize>,
}

impl Peers {
    /// Accepts all connections that wait at a socket. Users that are not admitted are disconnected
    /// without an answer.
    pub(super) fn accept(
        &mut self,
        listener: impl AsFd,
        kind: Pm2Socket,
        admits: impl Fn(&socket::Peer) -> bool,
        reactor: &Reactor,
    ) -> Result<(), Errno> {
        for _ in 0..ACCEPTED_PER_TURN {
            let Some(connection) = socket::accept(&listener)? else { return Ok(()) };
            // The client is gone already, so it has no owner.
            let Some(peer) = socket::peer(&connection).ok().filter(|peer| admits(peer)) else { continue };
            if self.all.len() >= MAX_PEERS {
                self.free_a_place();
            }
            self.last = if self.last < FIRST || self.last == u32::MAX { FIRST } else { self.last + 1 };
            if reactor.add(&connection, Source::Feature(Pm2Sockets::NAME, self.last.into())).is_err() {
                continue;
            }
            let peer = Peer {
                socket: connection,
                kind,
                decoder: Decoder::with_limit(MAX_REQUEST_BYTES),
                out: Vec::new(),
                sent: 0,
                waits_for_room: false,
                counted: None,
                broken: false,
                pending: 0,
                uid: peer.uid,
                pid: peer.pid,
            };
            self.all.insert(self.last, peer);
        }
        Ok(())
    }

    /// Closes the oldest connection of those with the weakest claim.
    fn free_a_place(&mut self) {
        let weakest = self.all.iter().min_by_key(|(id, peer)| (peer.claim(), **id)).map(|(id, _)| *id);
        weakest.map(|id| self.all.remove(&id));
    }

    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut Peer> {
        self.all.get_mut(&id)
    }

    /// Returns true if the connection exists.
    pub(super) fn has(&self, id: u32) -> bool {
        self.all.contains_key(&id)
    }

    /// Returns true if a connection belongs to `pm2 update` of npm's command line, not to a program
    /// with npm's library.
    pub(super) fn is_npms_update(&self, id: u32) -> bool {
        let command = self.all.get(&id).and_then(|peer| std::fs::read(format!("/proc/{}/cmdline", peer.pid)).ok());
        leaving::is_npms_update(&command.unwrap_or_default())
    }

    /// Reads the requests of a connection.
    pub(super) fn read(&mut self, id: u32) -> Vec<Request> {
        let Some(peer) = self.all.get_mut(&id) else { return Vec::new() };
        let requests = peer.read();
        if peer.broken {
            self.all.remove(&id);
        } else if peer.decoder.buffered() > SMALL {
            self.bound_unread();
        }
        requests
    }

    /// Drops the largest incomplete requests until the rest is within bounds.
    fn bound_unread(&mut self) {
        let mut all: usize = self.all.values().map(|peer| peer.decoder.buffered()).sum();
        while all > MAX_UNREAD_IN_ALL
            && let Some((&id, peer)) = self.all.iter().max_by_key(|(_, peer)| peer.decoder.buffered())
        {
            all -= peer.decoder.buffered();
            self.all.remove(&id);
        }
    }

    /// Queues an answer. It is lost if the client is gone.
    pub(super) fn answer(&mut self, id: u32, frame: Vec<u8>) {
        let Some(peer) = self.all.get_mut(&id) else { return };
        if peer.out.is_empty() {
            // A list of many apps is large, so it is not copied.
            peer.out = frame;
        } else {
            peer.queue(&frame);
        }
        if peer.waiting() > MAX_ANSWERS_BYTES {
            self.all.remove(&id);
        }
        self.bound_waiting();
    }

    /// Returns true if there are subscribers.
    pub(super) fn has_subscribers(&self) -> bool {
        self.all.values().any(|peer| peer.kind == Pm2Socket::Events)
    }

    /// Returns the number of subscribers.
    pub(super) fn subscribers(&self) -> usize {
        self.all.values().filter(|peer| peer.kind == Pm2Socket::Events).count()
    }

    /// Returns the bytes of events that were published so far.
    pub(super) const fn stream(&self) -> u64 {
        self.stream
    }

    /// Returns the bytes of events that all subscribers have received.
    pub(super) fn delivered(&self) -> u64 {
        self.stream.saturating_sub(self.most_waiting() as u64)
    }

    /// Counts what each subscriber gets in other memory.
    pub(super) fn replace_counters(&mut self, sends: &mut CountedSends) {
        self.counted.clear();
        self.all.values_mut().for_each(|peer| peer.counted = None);
        self.count(sends);
    }

    /// Counts what each subscriber gets, as far as there are slots, and frees the other slots.
    pub(super) fn count(&mut self, sends: &mut CountedSends) {
        let used: Vec<usize> = self.all.values().filter_map(|peer| peer.counted).collect();
        self.counted.iter().filter(|slot| !used.contains(slot)).for_each(|slot| sends.close(*slot));
        self.counted = used;
        for peer in self.all.values_mut().filter(|peer| peer.kind == Pm2Socket::Events && peer.counted.is_none()) {
            peer.counted = sends.open(self.stream.saturating_sub(peer.waiting() as u64));
            self.counted.extend(peer.counted);
        }
    }

    /// Returns the largest backlog of a subscriber in bytes.
    pub(super) fn most_waiting(&self) -> usize {
        self.all.values().filter(|peer| peer.kind == Pm2Socket::Events).map(Peer::waiting).max().unwrap_or(0)
    }

    /// Drops the subscribers with a larger backlog than this. Returns their pids.
    pub(super) fn drop_slower_than(&mut self, bytes: usize) -> Vec<i32> {
        let mut dropped = Vec::new();
        self.all.retain(|_, peer| {
            let is_slow = peer.kind == Pm2Socket::Events && peer.waiting() > bytes;
            dropped.extend(is_slow.then_some(peer.pid));
            !is_slow
        });
        dropped
    }

    /// Queues events for all subscribers. Drops subscribers that do not read, and returns their
    /// pids. They can reconnect; that costs less than their backlog.
    pub(super) fn publish(&mut self, frame: &[u8]) -> Vec<i32> {
        let mut dropped = Vec::new();
        self.stream += frame.len() as u64;
        self.all.retain(|_, peer| {
            if peer.kind == Pm2Socket::Events {
                peer.queue(frame);
            }
            let falls_behind = peer.kind == Pm2Socket::Events && peer.waiting() > MAX_EVENTS_BYTES.max(2 * frame.len());
            dropped.extend(falls_behind.then_some(peer.pid));
            !falls_behind
        });
        self.bound_waiting();
        dropped
    }

    /// Cuts off the slowest readers until the rest is within bounds.
    fn bound_waiting(&mut self) {
        if !self.all.values().any(|peer| peer.waiting() > SMALL) {
            return;
        }
        let mut all: usize = self.all.values().map(Peer::waiting).sum();
        while all > MAX_WAITING_IN_ALL
            && let Some((&id, peer)) = self.all.iter().max_by_key(|(_, peer)| peer.waiting())
        {
            all -= peer.waiting();
            self.all.remove(&id);
        }
    }

    /// Sends queued bytes, as far as the sockets accept them.
    pub(super) fn flush(&mut self, reactor: &Reactor, mut sends: Option<&mut CountedSends>) {
        self.all.retain(|&id, peer| {
            if !peer.out.is_empty() {
                peer.drain(&mut sends);
            }
            let waits = !peer.out.is_empty();
            if waits != peer.waits_for_room && !peer.broken {
                peer.waits_for_room = waits;
                peer.broken = reactor.want_write(&peer.socket, Source::Feature(Pm2Sockets::NAME, id.into()), waits).is_err();
            }
            !peer.broken
        });
    }

    /// Closes all connections after a last attempt to send their backlog.
    pub(super) fn close(&mut self, mut sends: Option<&mut CountedSends>) {
        self.all.values_mut().for_each(|peer| peer.drain(&mut sends));
        self.all.clear();
    }
}
