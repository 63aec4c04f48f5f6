//! Connections of PM2's clients: bytes in, frames out; never blocks, never waits for a slow reader.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

use ostler_proto::pm2::amp::Decoder;
use ostler_proto::pm2::rpc::{self, Request};
use ostler_sys::fd::counted::CountedSends;
use ostler_sys::net::socket;
use rustix::io::Errno;
use rustix::net::SendFlags;

use super::Pm2Sockets;
use super::leaving;
use super::sockets::{Admitted, Kind};
use crate::platform::reactor::{Reactor, Source};

/// Most connections to both sockets. Whoever comes when all places are taken gets that of the one that needs it least.
const MAX_PEERS: usize = 512;
/// Connections taken at once; what they ask has its turn before the next ones.
const ACCEPTED_PER_TURN: usize = 64;
/// Largest request: an app with its environment is some KB.
const MAX_REQUEST_BYTES: usize = 16 << 20;
/// Most bytes of requests that are not there as a whole, of all connections together: beyond that the largest is given up.
const MAX_UNREAD_IN_ALL: usize = 64 << 20;
/// Most bytes read of one connection before others have their turn.
const READ_PER_TURN: usize = 1 << 20;
/// Most bytes of answers that wait for one client; then it is cut off. A list of a thousand apps is 10 MB.
const MAX_ANSWERS_BYTES: usize = 64 << 20;
/// Most bytes of events that wait for one subscriber; then it is dropped.
const MAX_EVENTS_BYTES: usize = 1 << 20;
/// Most bytes that wait in all connections together: beyond that the slowest reader is cut off.
const MAX_WAITING_IN_ALL: usize = 128 << 20;
/// Size of one connection below which it is not worth adding all up.
const SMALL: usize = 64 << 10;
/// First number of a connection; those below are the listening sockets'.
const FIRST: u32 = 16;

/// Claim of a connection to its place, the weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    /// It has had all its answers.
    Idle,
    /// It gets events.
    Subscribed,
    /// It waits for an answer.
    Waits,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Peer {
    socket: OwnedFd,
    kind: Kind,
    decoder: Decoder,
    out: Vec<u8>,
    sent: usize,
    waits_for_room: bool,
    /// Where what it got of the stream of events is counted.
    counted: Option<usize>,
    /// Whether it is of no further use.
    broken: bool,
    /// Number of calls without an answer.
    pub pending: u32,
    /// Its user.
    pub uid: u32,
    /// Its pid.
    pub pid: i32,
}

impl Peer {
    fn waiting(&self) -> usize {
        self.out.len() - self.sent
    }

    fn claim(&self) -> Claim {
        match self.kind {
            Kind::Events => Claim::Subscribed,
            Kind::Calls if self.pending > 0 => Claim::Waits,
            Kind::Calls => Claim::Idle,
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

    /// Reads what is there. Requests that were whole before its end are answered into the void, but carried out.
    fn read(&mut self) -> Vec<Request> {
        let (mut requests, mut read) = (Vec::new(), 0);
        let mut buffer = vec![0; 16 << 10];
        // The rest comes with the next turn.
        while read < READ_PER_TURN && !self.broken {
            match rustix::io::read(&self.socket, &mut *buffer) {
                Ok(0) => self.broken = true,
                Ok(length) => {
                    read += length;
                    // What a subscriber sends means nothing.
                    if self.kind == Kind::Calls {
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

    /// Takes the requests that are whole. What is none ends the connection.
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
    /// Bytes of events that were published so far, the same for everybody.
    stream: u64,
    /// Slots of the counts that are in use.
    counted: Vec<usize>,
}

impl Peers {
    /// Takes everybody who waits at a socket. Who is not admitted is turned away without a word.
    pub(super) fn accept(&mut self, listener: impl AsFd, kind: Kind, admitted: &Admitted, reactor: &Reactor) -> Result<(), Errno> {
        for _ in 0..ACCEPTED_PER_TURN {
            let Some(connection) = socket::accept(&listener)? else { return Ok(()) };
            // One that is gone already has no owner.
            let Some(peer) = socket::peer(&connection).ok().filter(|peer| admitted.has(peer.uid)) else { continue };
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

    /// True if the connection is there.
    pub(super) fn has(&self, id: u32) -> bool {
        self.all.contains_key(&id)
    }

    /// Returns true if a connection belongs to `pm2 update` of npm's command line, not to a program with npm's library.
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

    /// Gives up the largest unfinished requests until the rest is within bounds.
    fn bound_unread(&mut self) {
        let mut all: usize = self.all.values().map(|peer| peer.decoder.buffered()).sum();
        while all > MAX_UNREAD_IN_ALL
            && let Some((&id, peer)) = self.all.iter().max_by_key(|(_, peer)| peer.decoder.buffered())
        {
            all -= peer.decoder.buffered();
            self.all.remove(&id);
        }
    }

    /// Queues an answer. A client that is gone misses it.
    pub(super) fn answer(&mut self, id: u32, frame: Vec<u8>) {
        let Some(peer) = self.all.get_mut(&id) else { return };
        if peer.out.is_empty() {
            // A list of many apps is large: it is not copied.
            peer.out = frame;
        } else {
            peer.queue(&frame);
        }
        if peer.waiting() > MAX_ANSWERS_BYTES {
            self.all.remove(&id);
        }
        self.bound_waiting();
    }

    /// True if anybody gets events.
    pub(super) fn has_subscribers(&self) -> bool {
        self.all.values().any(|peer| peer.kind == Kind::Events)
    }

    /// The number of those who get events.
    pub(super) fn subscribers(&self) -> usize {
        self.all.values().filter(|peer| peer.kind == Kind::Events).count()
    }

    /// Bytes of events that were published so far.
    pub(super) const fn stream(&self) -> u64 {
        self.stream
    }

    /// Bytes of them that everybody has got.
    pub(super) fn delivered(&self) -> u64 {
        self.stream.saturating_sub(self.most_waiting() as u64)
    }

    /// Has what each subscriber gets counted in other memory.
    pub(super) fn count_anew(&mut self, sends: &mut CountedSends) {
        self.counted.clear();
        self.all.values_mut().for_each(|peer| peer.counted = None);
        self.count(sends);
    }

    /// Has what each subscriber gets counted, as far as there are slots, and that of nobody else.
    pub(super) fn count(&mut self, sends: &mut CountedSends) {
        let used: Vec<usize> = self.all.values().filter_map(|peer| peer.counted).collect();
        self.counted.iter().filter(|slot| !used.contains(slot)).for_each(|slot| sends.close(*slot));
        self.counted = used;
        for peer in self.all.values_mut().filter(|peer| peer.kind == Kind::Events && peer.counted.is_none()) {
            peer.counted = sends.open(self.stream.saturating_sub(peer.waiting() as u64));
            self.counted.extend(peer.counted);
        }
    }

    /// Most bytes that wait for one subscriber.
    pub(super) fn most_waiting(&self) -> usize {
        self.all.values().filter(|peer| peer.kind == Kind::Events).map(Peer::waiting).max().unwrap_or(0)
    }

    /// Drops the subscribers for which more than this waits. Their pids.
    pub(super) fn drop_slower_than(&mut self, bytes: usize) -> Vec<i32> {
        let mut dropped = Vec::new();
        self.all.retain(|_, peer| {
            let is_slow = peer.kind == Kind::Events && peer.waiting() > bytes;
            dropped.extend(is_slow.then_some(peer.pid));
            !is_slow
        });
        dropped
    }

    /// Queues events for everybody who subscribed. Returns the pids of those who did not read and are dropped: that costs less than what waits for
    /// them, and they can come back.
    pub(super) fn publish(&mut self, frame: &[u8]) -> Vec<i32> {
        let mut dropped = Vec::new();
        self.stream += frame.len() as u64;
        self.all.retain(|_, peer| {
            if peer.kind == Kind::Events {
                peer.queue(frame);
            }
            let falls_behind = peer.kind == Kind::Events && peer.waiting() > MAX_EVENTS_BYTES.max(2 * frame.len());
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

    /// Sends what is queued, as far as the sockets take it.
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

    /// Ends all connections after a last try to send what waits.
    pub(super) fn close(&mut self, mut sends: Option<&mut CountedSends>) {
        self.all.values_mut().for_each(|peer| peer.drain(&mut sends));
        self.all.clear();
    }
}
