//! Clients that stay with one worker: by their address, by the client address that a proxy reports,
//! or by a cookie in their first request.
//!
//! A connection has to be accepted before its worker is known. The daemon thus holds some
//! connections: those whose first bytes have not arrived (a fifth of a second at most) and those
//! whose worker has no room. Both numbers are limited; further connections wait in the kernel's
//! queue.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use ostler_core::lifecycle::InstanceState;
use ostler_core::serving::Sticky;
use ostler_core::serving::balance::{WINDOW, after, home_of};
use ostler_core::serving::sticky::{MAX_HEAD_BYTES, StickyKey, StickyMatch, find, may_be_proxy};
use rustix::io::Errno;
use rustix::net::{RecvFlags, getpeername, recv};

use super::Cluster;
use super::listeners::ListenerWait;
use super::round_robin::{ACCEPTS_PER_TURN, Eligible, RETRY_MS, exhausted, load_of};
use crate::engine::Ctx;
use crate::platform::reactor::Source;
use crate::state::policy::DRAIN_IDLE_MS;
use crate::state::slots::{Client, Connection, Slot};

/// Most connections of one listener that wait for their worker.
const MAX_WAITING: usize = 256;
/// Most connections of all listeners whose first request has not arrived. The worker of further
/// ones is chosen by their address.
const MAX_PEEKED: usize = 1024;
/// Longest wait for a first request.
const PEEK_MS: u64 = 200;
/// Time for which a process that finishes its requests gets the connections of its own clients. A
/// session of socket.io begins with several requests, and only its process knows it. The preload
/// waits as long.
const FINISHING_MS: u64 = 2 * DRAIN_IDLE_MS;
/// Time without an answer after which other workers get a worker's clients.
const LOST_MS: u64 = 1000;

/// Connections whose first request has not arrived.
#[derive(Debug, Default)]
pub(super) struct Peeks {
    all: BTreeMap<u32, Peek>,
    next: u32,
    /// Buffer for the first bytes of requests.
    head: Vec<u8>,
}

#[derive(Debug)]
struct Peek {
    listener: u32,
    until_ms: u64,
    sought: StickyKey,
    connection: Connection,
}

impl Cluster {
    /// Returns the stickiness of a listener, if it has one.
    pub(super) fn stickiness(&self, ctx: &Ctx, id: u32) -> Option<Sticky> {
        let listener = self.listeners.get(id).filter(|listener| listener.shards.is_empty())?;
        let worker = listener.turns.workers().next()?;
        ctx.state.slots.get(worker)?.spec().sticky.clone()
    }

    /// Serves a listener, but gives each connection to its own worker.
    pub(super) fn serve_sticky(&mut self, ctx: &mut Ctx, id: u32, sticky: &Sticky) -> ListenerWait {
        let now_ms = ctx.now.mono_ms;
        self.hand_over_waiting(ctx, id);
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listener) = self.listeners.get_mut(id) else { return ListenerWait::UntilWorker };
            let who = Eligible::among(&ctx.state.slots, listener.turns.workers());
            let anybody = listener.turns.workers().any(|worker| load_of(&ctx.state.slots, worker, who).is_some());
            if !anybody || listener.waiting.len() >= MAX_WAITING {
                return if listener.waiting.is_empty() { ListenerWait::UntilWorker } else { ListenerWait::Until(now_ms + RETRY_MS) };
            }
            match listener.accept() {
                Ok(Some(fd)) => {
                    let connection = Connection::from(fd);
                    match self.asked_worker(ctx, id, &connection) {
                        Some(asked) => drop(self.hand_over(ctx, id, asked, connection)),
                        None => self.receive(ctx, id, connection, sticky),
                    }
                }
                Ok(None) => break,
                Err(errno) => return exhausted(ctx, errno),
            }
        }
        match self.listeners.get(id) {
            Some(listener) if !listener.waiting.is_empty() => ListenerWait::WatchUntil(now_ms + RETRY_MS),
            _ => ListenerWait::Watch,
        }
    }

    fn receive(&mut self, ctx: &mut Ctx, id: u32, mut connection: Connection, sticky: &Sticky) {
        let peer = getpeername(&connection.fd).ok().flatten().and_then(|peer| SocketAddr::try_from(peer).ok());
        // A unix socket has no addresses, so all its clients seem to come from the same place.
        let address = peer.map(|peer| peer.ip().to_canonical());
        connection.client = match sticky {
            Sticky::Cookie(_) => Some(Client::Address(address.unwrap_or(IpAddr::from([0; 4])))),
            Sticky::Address => address.map(Client::Address),
        };
        let sought = match sticky {
            Sticky::Cookie(cookie) => Some(StickyKey::Cookie(cookie.clone())),
            // All clients of a proxy have the proxy's address.
            Sticky::Address => address.is_none_or(may_be_proxy).then_some(StickyKey::Forwarded),
        };
        match sought.filter(|_| self.peeks.all.len() < MAX_PEEKED) {
            Some(sought) => self.peek(ctx, Peek { listener: id, until_ms: ctx.now.mono_ms + PEEK_MS, sought, connection }),
            None => self.give(ctx, id, connection),
        }
    }

    /// Reads the first bytes of the client without taking them. If they are not enough, waits for
    /// more.
    fn peek(&mut self, ctx: &mut Ctx, peek: Peek) {
        let found = self.search(&peek);
        let number = self.peeks.next;
        let source = Source::Feature(Self::NAME, Self::PEEKS | u64::from(number));
        if found == StickyMatch::More && ctx.io.reactor.add_for_more(&peek.connection.fd, source).is_ok() {
            self.peeks.next = number.wrapping_add(1);
            self.peeks.all.insert(number, peek);
            self.set_peek_timer(ctx);
        } else {
            self.put(peek, found);
        }
    }

    fn search(&mut self, peek: &Peek) -> StickyMatch {
        let head = &mut self.peeks.head;
        head.resize(MAX_HEAD_BYTES, 0);
        match recv(&peek.connection.fd, head.as_mut_slice(), RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            // No more bytes will come, which the app may want to know.
            Ok((_, 0)) => StickyMatch::Nothing,
            Ok((_, len)) => seek(&head[..len], &peek.sought),
            Err(Errno::AGAIN | Errno::INTR) => StickyMatch::More,
            Err(_) => StickyMatch::Nothing,
        }
    }

    /// Adds a connection to those that wait for their worker.
    fn put(&mut self, peek: Peek, found: StickyMatch) {
        let Peek { listener, sought, mut connection, .. } = peek;
        match found {
            StickyMatch::Instance(instance) => connection.client = Some(Client::Instance(instance)),
            StickyMatch::Process(instance, inc) => connection.client = Some(Client::Process(instance, inc)),
            StickyMatch::Client(address) => connection.client = Some(Client::Address(address)),
            StickyMatch::Absent if matches!(sought, StickyKey::Cookie(_)) => connection.client = Some(Client::New),
            StickyMatch::Absent | StickyMatch::Nothing | StickyMatch::More => {}
        }
        if let Some(known) = self.listeners.get_mut(listener) {
            known.waiting.push_back(connection);
            self.listeners.mark_dirty(listener);
        }
    }

    /// Handles a client whose first request was incomplete and that has sent more.
    pub(super) fn on_client(&mut self, ctx: &mut Ctx, number: u32) {
        let Some(peek) = self.peeks.all.remove(&number) else { return };
        match self.search(&peek) {
            StickyMatch::More => {
                self.peeks.all.insert(number, peek);
            }
            found => {
                // Otherwise it would be watched as long as the worker has it.
                ctx.io.reactor.remove(&peek.connection.fd);
                self.put(peek, found);
                self.set_peek_timer(ctx);
            }
        }
    }

    /// Stops the wait for clients that sent too little in time. Their worker is chosen by their
    /// address.
    pub(super) fn end_peeks(&mut self, ctx: &mut Ctx) {
        let now_ms = ctx.now.mono_ms;
        while let Some(entry) = self.peeks.all.first_entry().filter(|entry| entry.get().until_ms <= now_ms) {
            let peek = entry.remove();
            ctx.io.reactor.remove(&peek.connection.fd);
            self.put(peek, StickyMatch::Nothing);
        }
        self.set_peek_timer(ctx);
    }

    /// Sets the timer. The connection that came first times out first.
    fn set_peek_timer(&self, ctx: &mut Ctx) {
        ctx.outbox.timers.set(Self::PEEK_TIMER, self.peeks.all.values().next().map(|peek| peek.until_ms));
    }

    fn hand_over_waiting(&mut self, ctx: &mut Ctx, id: u32) {
        let Some(listener) = self.listeners.get_mut(id) else { return };
        for connection in std::mem::take(&mut listener.waiting) {
            self.give(ctx, id, connection);
        }
    }

    /// Hands a connection to its worker, or keeps it until the worker has room.
    fn give(&mut self, ctx: &mut Ctx, id: u32, mut connection: Connection) {
        let now_ms = ctx.now.mono_ms;
        let given = match self.home_of(ctx, id, &connection) {
            _ if now_ms < connection.not_before_ms => Err(connection),
            Some(worker) if ctx.state.slots.get(worker).is_some_and(|slot| slot.live.worker.load().unanswered < WINDOW) => {
                let client = connection.client;
                let handed = self.hand_over(ctx, id, worker, connection);
                let index = ctx.state.slots.get(worker).map(|slot| slot.durable.index);
                let by_turn = match client {
                    Some(Client::New) => true,
                    Some(Client::Instance(instance) | Client::Process(instance, _)) => index != Some(instance),
                    Some(Client::Address(_)) | None => false,
                };
                if by_turn
                    && handed.is_ok()
                    && let Some(listener) = self.listeners.get_mut(id)
                {
                    listener.newcomer = index;
                }
                handed
            }
            Some(_) => Err(connection),
            None => {
                // All have refused it, so all are tried again after a while.
                connection.refused_by.clear();
                connection.not_before_ms = now_ms + RETRY_MS;
                Err(connection)
            }
        };
        if let (Err(connection), Some(listener)) = (given, self.listeners.get_mut(id)) {
            listener.waiting.push_back(connection);
        }
    }

    fn home_of(&self, ctx: &Ctx, id: u32, connection: &Connection) -> Option<u32> {
        let now_ms = ctx.now.mono_ms;
        let listener = self.listeners.get(id)?;
        let who = Eligible::among(&ctx.state.slots, listener.turns.workers());
        let able = |worker: &u32| {
            let lost = |load: ostler_core::serving::balance::Load| load.unanswered > 0 && now_ms.saturating_sub(load.since_ms) >= LOST_MS;
            !connection.refused_by.contains(worker) && load_of(&ctx.state.slots, *worker, who).is_some_and(|load| !lost(load))
        };
        if let Some(Client::Process(index, inc)) = connection.client {
            let is_own = |worker: &u32| {
                ctx.state.slots.get(*worker).is_some_and(|slot| slot.durable.index == index && has_process(slot, inc, now_ms))
            };
            let mut own = listener.turns.workers().filter(|worker| !connection.refused_by.contains(worker)).filter(is_own);
            if let Some(worker) = own.find(|worker| is_finishing(ctx, *worker) || able(worker)) {
                return Some(worker);
            }
        }
        let able: Vec<(u32, u32)> =
            listener.turns.workers().filter(able).filter_map(|worker| Some((ctx.state.slots.get(worker)?.durable.index, worker))).collect();
        // The number of an instance stays the same when its process is replaced.
        let by_address = |address: IpAddr| {
            let bytes = match address {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            };
            home_of(&bytes, able.iter().map(|(index, _)| *index))
        };
        // By their address, all clients of a proxy would get the same worker.
        let in_turn = || after(listener.newcomer, able.iter().map(|(index, _)| *index));
        let index = match connection.client {
            Some(Client::Instance(instance) | Client::Process(instance, _)) if able.iter().any(|(index, _)| *index == instance) => {
                Some(instance)
            }
            Some(Client::Instance(_) | Client::Process(..) | Client::New) => in_turn(),
            Some(Client::Address(address)) => by_address(address),
            None => able
                .iter()
                .min_by_key(|(_, worker)| ctx.state.slots.get(*worker).map(|slot| slot.live.worker.load().unanswered))
                .map(|(index, _)| *index),
        }?;
        able.iter().find(|(able, _)| *able == index).map(|(_, worker)| *worker)
    }
}

/// Returns true if this incarnation of an instance serves, or began to finish its requests a moment
/// ago.
fn has_process(slot: &Slot, inc: u32, now_ms: u64) -> bool {
    match slot.durable.instance.state {
        InstanceState::Running { inc: own, .. } => own == inc,
        InstanceState::Draining { inc: own, .. } => {
            own == inc && slot.live.drain_began_ms.is_some_and(|began| now_ms.saturating_sub(began) < FINISHING_MS)
        }
        _ => false,
    }
}

fn is_finishing(ctx: &Ctx, worker: u32) -> bool {
    ctx.state.slots.get(worker).is_some_and(|slot| matches!(slot.durable.instance.state, InstanceState::Draining { .. }))
}

/// Searches for the cookie, or for the client of a proxy. The latter also finds clients without
/// cookies, such as most programs.
fn seek(head: &[u8], sought: &StickyKey) -> StickyMatch {
    match find(head, sought) {
        StickyMatch::Absent => find(head, &StickyKey::Forwarded),
        found => found,
    }
}
