//! Round robin: the daemon accepts connections and hands each to the next worker in turn.
//!
//! # Theory of operation
//!
//! A connection is accepted only when a worker can take it at once
//! (`docs/adr/0009-accept-when-taken.md`). Until then it waits in the kernel's queue, which the
//! keeper's copy of the socket keeps alive even if this process dies. A connection that was handed
//! over is kept until the worker acknowledges it; the daemon reads no byte of it. If the worker
//! refuses it, or dies, another one gets it. If all refuse (`maxConnections`), it is offered again
//! after a short time, and no other connection is accepted until then.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::rc::Rc;

use ostler_core::lifecycle::InstanceState;
use ostler_core::serving::balance::{Choice, Load};
use rustix::io::Errno;

use super::Cluster;
use super::listeners::ListenerWait;
use crate::engine::Ctx;
use crate::platform::ipc::SendResult;
use crate::state::slots::{Connection, HandedConnection, SentDescriptor, Slot, Slots};
use crate::state::store::Role;

/// Most connections accepted from one listener before the other listeners are served.
pub(super) const ACCEPTS_PER_TURN: usize = 64;
/// Time until a connection that all workers refused is offered again.
pub(super) const RETRY_MS: u64 = 25;
/// Time until connections are accepted again after descriptors were used up.
const EXHAUSTED_MS: u64 = 100;

impl Cluster {
    /// Handles a worker's answers to the connections that were handed to it.
    pub(super) fn take_answers(&mut self, ctx: &mut Ctx, id: u32) {
        let Some(worker) = ctx.state.slots.get_mut(id).and_then(|slot| slot.live.worker.own_mut()) else { return };
        for (HandedConnection { listener, mut connection, .. }, accepted) in worker.answered.drain(..) {
            let Some(listener) = self.listeners.get_mut(listener) else { continue };
            if accepted {
                // There may be room for the other connections that were refused.
                listener.reset_offers();
            } else {
                connection.refused_by.push(id);
                listener.waiting.push_front(connection);
            }
        }
        self.mark_listeners_of(ctx, id);
    }

    /// Marks the listeners of a worker that has changed.
    pub(super) fn mark_listeners_of(&mut self, ctx: &Ctx, id: u32) {
        let Some(slot) = ctx.state.slots.get(id) else { return };
        for &listener in &slot.live.worker.served_by {
            if self.listeners.get(listener).is_some_and(super::Listener::waits_for_workers) {
                self.listeners.mark_dirty(listener);
            }
        }
    }

    /// Hands over the waiting connections of the marked listeners.
    pub(super) fn serve_listeners(&mut self, ctx: &mut Ctx) {
        while let Some(id) = self.listeners.next_dirty() {
            let rest = match self.stickiness(ctx, id) {
                Some(sticky) => self.serve_sticky(ctx, id, &sticky),
                None => self.serve_listener(ctx, id),
            };
            self.listeners.rest(ctx, id, rest);
        }
    }

    fn serve_listener(&mut self, ctx: &mut Ctx, id: u32) -> ListenerWait {
        let now_ms = ctx.now.mono_ms;
        self.steer(ctx, id);
        let mut accepted = 0;
        // Workers that do not read their channel.
        let mut full = Vec::new();
        loop {
            let Some(listener) = self.listeners.get_mut(id) else { return ListenerWait::UntilWorker };
            let who = Eligible::among(&ctx.state.slots, listener.turns.workers());
            let refused = listener.waiting.front().map_or(&[][..], |connection| &connection.refused_by);
            let load = |worker: u32| {
                let excluded = refused.contains(&worker) || full.contains(&worker);
                if excluded { None } else { load_of(&ctx.state.slots, worker, who) }
            };
            let worker = match listener.turns.next(now_ms, load) {
                Choice::Worker(worker) => worker,
                Choice::NotBefore(at) => return ListenerWait::Until(at),
                Choice::NoWorker => {
                    listener.refused = !refused.is_empty();
                    return if listener.refused || !full.is_empty() {
                        ListenerWait::Until(now_ms + RETRY_MS)
                    } else {
                        ListenerWait::UntilWorker
                    };
                }
            };
            let connection = match listener.waiting.pop_front() {
                Some(connection) => connection,
                None if accepted == ACCEPTS_PER_TURN => return ListenerWait::Watch,
                None => match listener.accept() {
                    Ok(Some(fd)) => {
                        accepted += 1;
                        let connection = Connection::from(fd);
                        match self.asked_worker(ctx, id, &connection) {
                            // A health check is for one worker, which need not be the next in turn.
                            // If the worker has no room for it, the check has failed.
                            Some(asked) => {
                                drop(self.hand_over(ctx, id, asked, connection));
                                continue;
                            }
                            None => connection,
                        }
                    }
                    Ok(None) => return ListenerWait::Watch,
                    Err(errno) => return exhausted(ctx, errno),
                },
            };
            if let Err(connection) = self.hand_over(ctx, id, worker, connection) {
                full.push(worker);
                if let Some(listener) = self.listeners.get_mut(id) {
                    listener.waiting.push_front(connection);
                }
            }
        }
    }

    /// Returns the worker that our health check on this connection is for.
    pub(super) fn asked_worker(&self, ctx: &mut Ctx, id: u32, connection: &Connection) -> Option<u32> {
        if !ctx.io.checks.is_asking() {
            return None;
        }
        let peer = ostler_sys::net::dial::peer(&connection.fd)?;
        let worker = ctx.io.checks.asked_by(SocketAddr::new(peer.ip().to_canonical(), peer.port()))?;
        let serves = self.listeners.get(id)?.turns.workers().any(|known| known == worker);
        (serves && ctx.state.slots.get(worker).is_some_and(is_up)).then_some(worker)
    }

    /// Hands one connection to one worker. If that fails, returns the connection.
    pub(super) fn hand_over(&mut self, ctx: &mut Ctx, id: u32, worker: u32, connection: Connection) -> Result<(), Connection> {
        let now_ms = ctx.now.mono_ms;
        let seq = self.listeners.next_seq(now_ms);
        let Some(listener) = self.listeners.get_mut(id) else { return Err(connection) };
        let Some(slot) = ctx.state.slots.get_mut(worker) else { return Err(connection) };
        let line = listener.line(seq);
        match slot.live.ipc.as_mut().map_or(SendResult::Ended, |ipc| ipc.send_fd(&ctx.io.reactor, line, connection.fd.as_fd())) {
            SendResult::Sent => {
                slot.live.worker.sent(SentDescriptor::Connection);
                slot.live.worker.handed.push_back(HandedConnection { seq, listener: id, at_ms: now_ms, connection });
                let who = Eligible::among(&ctx.state.slots, listener.turns.workers());
                listener.turns.record(worker, |worker| load_of(&ctx.state.slots, worker, who));
                Ok(())
            }
            SendResult::NoRoom | SendResult::Ended => Err(connection),
        }
    }

    /// Handles a worker that is gone, or unreachable. The connections that it has not answered go
    /// to others.
    pub(super) fn on_worker_gone(&mut self, ctx: &mut Ctx, id: u32) {
        self.take_answers(ctx, id);
        let Some(slot) = ctx.state.slots.get_mut(id) else { return };
        let had_any = !(slot.durable.listening.is_empty() && slot.durable.served.is_empty());
        slot.durable.listening.clear();
        slot.durable.served.clear();
        if had_any {
            // Its channel may have ended long before its process exits.
            ctx.state.slots.changed(id);
        }
        let Some(worker) = ctx.state.slots.get_mut(id).and_then(|slot| slot.live.worker.own_mut()) else { return };
        worker.in_flight.clear();
        for HandedConnection { listener, connection, .. } in std::mem::take(&mut worker.handed).into_iter().rev() {
            if let Some(listener) = self.listeners.get_mut(listener) {
                listener.waiting.push_front(connection);
            }
        }
        for listener in std::mem::take(&mut worker.served_by) {
            if let Some(listener) = self.listeners.get_mut(listener) {
                listener.turns.leave(id);
                // Its next process did not refuse them.
                listener.waiting.iter_mut().for_each(|connection| connection.refused_by.retain(|refused| *refused != id));
            }
            self.listeners.mark_dirty(listener);
        }
        // After a reload the new processes listen before the old ones stop.
        if had_any && let Some(app) = ctx.state.slots.get(id).map(|slot| slot.spec().key().to_owned()) {
            self.schedule_abandoned_check(ctx, &app);
        }
    }

    /// Restores the workers of each listener from the journal after a restart of the daemon.
    pub(super) fn rejoin_workers(&mut self, ctx: &mut Ctx) {
        let ids: Vec<u32> = ctx.state.slots.iter().filter(|slot| slot.live.ipc.is_some()).map(|slot| slot.durable.id).collect();
        for id in ids {
            let Some(slot) = ctx.state.slots.get(id) else { continue };
            let spec = Rc::clone(&slot.app().spec);
            let keys: Vec<String> = slot.durable.listening.iter().chain(&slot.durable.served).cloned().collect();
            let served_by: Vec<u32> = keys.iter().filter_map(|key| self.listener_of(ctx, &spec, key)).collect();
            if let Some(slot) = ctx.state.slots.get_mut(id).filter(|_| !served_by.is_empty()) {
                slot.live.worker.served_by.clone_from(&served_by);
            }
            for listener in served_by {
                self.join(ctx, id, listener);
            }
        }
        for app in self.listeners.apps() {
            self.schedule_abandoned_check(ctx, &app);
        }
    }
}

/// Pauses because descriptors or memory are exhausted. Connections wait in the kernel's queue.
pub(super) fn exhausted(ctx: &mut Ctx, errno: Errno) -> ListenerWait {
    ctx.io.log.error_once("accept", format_args!("cannot accept connections of apps: {errno}; they wait"));
    ListenerWait::Until(ctx.now.mono_ms + EXHAUSTED_MS)
}

/// Returns true if new connections go to this worker. Earlier connections stay with it in any case.
pub(super) fn routes_to(slot: &Slot) -> bool {
    let ready = matches!(slot.durable.instance.state, InstanceState::Running { .. });
    match slot.durable.role {
        Role::Serving => is_up(slot) && !slot.live.unready,
        // It has not proved yet that it can serve.
        Role::Candidate => ready,
        Role::Retiring => false,
    }
}

/// Returns true if it runs, and is not being stopped.
pub(super) fn is_up(slot: &Slot) -> bool {
    // A worker may send before the keeper reports its start.
    matches!(
        slot.durable.instance.state,
        InstanceState::Spawning { .. } | InstanceState::Starting { .. } | InstanceState::Completing { .. } | InstanceState::Running { .. }
    )
}

/// Workers of a listener that get new connections: the best available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Eligible {
    /// Healthy workers.
    Routed,
    /// If there is no healthy worker: workers that have proved themselves once and still run. They
    /// may be unhealthy or about to be replaced.
    Proven,
    /// If there are only new workers.
    All,
}

impl Eligible {
    pub(super) fn among(slots: &Slots, workers: impl Iterator<Item = u32>) -> Self {
        workers.filter_map(|worker| slots.get(worker)).fold(Self::All, |best, slot| match best {
            Self::Routed => best,
            _ if routes_to(slot) => Self::Routed,
            _ if is_proven(slot) => Self::Proven,
            _ => best,
        })
    }

    fn takes(self, slot: &Slot) -> bool {
        match self {
            Self::Routed => routes_to(slot),
            Self::Proven => is_proven(slot),
            Self::All => is_up(slot),
        }
    }
}

/// Returns true if it runs, and is no candidate that may be unable to serve.
fn is_proven(slot: &Slot) -> bool {
    is_up(slot) && slot.durable.role != Role::Candidate
}

/// Returns the connections that a worker has to answer, if it gets connections at all.
pub(super) fn load_of(slots: &Slots, worker: u32, who: Eligible) -> Option<Load> {
    let slot = slots.get(worker)?;
    who.takes(slot).then(|| slot.live.worker.load())
}
