//! Shards: decide which processes get the new connections of a port.
//!
//! # Theory of operation
//!
//! Every slot has a shard of each port: its own socket with its own queue (`SO_REUSEPORT`). The
//! processes of a slot have it one after the other. A candidate of a reload is another slot and has
//! another shard. A program in the kernel gives new connections only to the shards of processes
//! that serve. It is replaced when these change. A process thus gets no new connections before it
//! is stopped, when most servers close connections that they have accepted but not read. The kernel
//! knows for each connection which side sent last. The process gets its stop signal when it has
//! answered all received requests ([`ostler_core::serving::unanswered`]). Thus even a server
//! without any shutdown code loses no request.
//!
//! Shards are opened when a process first needs them, held by the keeper, and closed only with the
//! app's sockets. After both daemon and keeper were killed, or if several sockets were shut down at
//! once, the kernel's order of the remaining shards is unknown. It is read then
//! ([`ostler_sys::net::order`]). If that fails, these shards get connections all together or, beside
//! newer ones, not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use ostler_core::lifecycle::InstanceState;
use ostler_core::serving::retiring::{Canary, Retiring};
use ostler_core::serving::shards::{Emptying, ShardRank, eligible};
use ostler_core::serving::unanswered::{self, Unanswered};
use ostler_sys::net::connections::{Connection, sockets_of_tree};

use super::Sockets;
use super::group::Group;
use crate::engine::{Ctx, FeatureAnswer, FeatureRequest, Key};
use crate::state::slots::Slot;
use crate::state::slots::listening::uses;

/// Shards that have to be checked, and when.
#[derive(Debug, Default)]
pub(super) struct Shards {
    /// Apps in which something changed.
    dirty: BTreeSet<String>,
    /// Apps that change at a known time.
    later: BTreeMap<String, u64>,
    /// Slots whose shards have to become empty.
    pub(super) finishing: BTreeMap<u32, Finishing>,
    /// Whether the programs of apps close retired connections.
    pub(super) canaries: BTreeMap<String, Canary>,
}

/// Process that gets no new connections any more, and finishes its present ones.
#[derive(Debug)]
pub(super) struct Finishing {
    inc: u32,
    emptying: Emptying,
    pub(super) retiring: Retiring,
    unanswered: Unanswered,
    /// Number of open requests at the last check.
    requests: usize,
}

/// Share of the time that checks of connections may take: one part in this many.
const LOOKS_SHARE: u32 = 20;

/// Time between two checks of kept connections. They are at rest for moments only.
const RETIRE_LOOK_MS: u64 = 10;

/// Timer of the first of [`Shards::later`].
const LATER: Key = (Sockets::NAME, 1 << 32);

/// Returns the timer of the next check of a slot's shards that have to become empty.
fn check_timer(id: u32) -> Key {
    (Sockets::NAME, id.into())
}

/// Returns the number of the shards of a slot, if it has any.
pub(super) fn shard_of(slot: &Slot) -> Option<u32> {
    slot.spec().has_shards().then_some(slot.durable.shard)
}

/// Returns true if a process of this slot has its own socket for a port.
pub(super) fn has_shard(ctx: &Ctx, id: u32) -> bool {
    ctx.state.slots.get(id).is_some_and(|slot| slot.spec().has_shards())
}

/// Returns true if processes of this slot get sockets of their app.
fn has_sockets(slot: &Slot) -> bool {
    !slot.spec().listen.is_empty() || slot.spec().shares_opened_port()
}

impl Sockets {
    /// Marks the app of an instance as changed. When the turn is over, its connections are steered
    /// again.
    pub(super) fn mark_dirty(&mut self, ctx: &Ctx, id: u32) {
        if let Some(slot) = ctx.state.slots.get(id).filter(|slot| has_sockets(slot))
            && !self.shards.dirty.contains(slot.spec().key())
        {
            self.shards.dirty.insert(slot.spec().key().to_owned());
        }
    }

    /// Sets in the kernel which shards get connections, if that has changed.
    pub(super) fn steer(&mut self, ctx: &mut Ctx) {
        while let Some(app) = self.shards.dirty.pop_first() {
            self.steer_app(ctx, &app);
        }
    }

    pub(super) fn steer_app(&mut self, ctx: &mut Ctx, app: &str) {
        self.set_later(ctx, app, None);
        if self.groups_of(app).next().is_none() {
            return;
        }
        self.read_orders(ctx, app);
        let now_ms = ctx.now.mono_ms;
        let slots: Vec<&Slot> = ctx.state.slots.iter().filter(|slot| slot.spec().key() == app && has_sockets(slot)).collect();
        let standings: Vec<(ShardRank, Option<u64>)> = slots.iter().map(|slot| slot.standing(now_ms)).collect();
        for (owner, group) in self.by_app.iter_mut().filter(|(owner, group)| owner.app == app && group.has_shards()) {
            ctx.state.listening.set_shards(app, &owner.key, group.shard_positions());
            // After a change of the file, some instances have this socket and others do not.
            let users = slots.iter().zip(&standings).filter(|(slot, _)| uses(slot, &owner.key));
            let ranked = |slot: &Slot, standing: ShardRank| (group.rank(shard_of(slot), standing), shard_of(slot));
            let shards: Vec<(ShardRank, Option<u32>)> = users.map(|(slot, (standing, _))| ranked(slot, *standing)).collect();
            let leaving = slots.iter().filter(|slot| is_leaving(slot) && uses(slot, &owner.key)).count();
            if let Err(errno) = group.steer(&eligible(shards.into_iter()), leaving) {
                let port = &owner.key;
                ctx.io.log.error_once("steer", format_args!("cannot steer the connections of {app} at {port}: {errno}"));
            }
        }
        // A young process gets its share when it is older.
        let serves = standings.iter().any(|(standing, _)| *standing == ShardRank::Ready);
        let at_ms = standings.iter().filter_map(|(_, until)| *until).min().filter(|_| serves);
        self.set_later(ctx, app, at_ms);
    }

    /// Reads the kernel's order of the sockets of an app, as far as it is unknown.
    fn read_orders(&mut self, ctx: &mut Ctx, app: &str) {
        let unknown = self.by_app.iter().filter(|(owner, group)| owner.app == app && group.wants_order());
        for owner in unknown.map(|(owner, _)| owner.clone()).collect::<Vec<_>>() {
            self.change(ctx, &owner, Group::read_order);
        }
    }

    /// Returns the ports of an app whose connections are steered.
    fn groups_of(&self, app: &str) -> impl Iterator<Item = &Group> {
        self.by_app.iter().filter(move |(owner, group)| owner.app == app && group.has_shards()).map(|(_, group)| group)
    }

    fn set_later(&mut self, ctx: &mut Ctx, app: &str, at_ms: Option<u64>) {
        let later = &mut self.shards.later;
        match at_ms {
            Some(at_ms) => _ = later.insert(app.to_owned(), at_ms),
            None => _ = later.remove(app),
        }
        ctx.outbox.timers.set(LATER, later.values().copied().min());
    }

    /// Stops new connections to this process. When it has taken those in its own queue, it will
    /// finish its requests. Returns false if no shard of it could be left out.
    pub(super) fn empty_shard(&mut self, ctx: &mut Ctx, id: u32, inc: u32) -> bool {
        let Some(slot) = ctx.state.slots.get(id) else { return false };
        let name = slot.spec().key().to_owned();
        self.steer_app(ctx, &name);
        if !self.is_left_out(ctx, id) {
            return false;
        }
        let emptying = Emptying::since(ctx.now.mono_ms);
        ctx.outbox.timers.set(check_timer(id), Some(emptying.check_ms()));
        self.shards
            .finishing
            .insert(id, Finishing { inc, emptying, retiring: Retiring::default(), unanswered: Unanswered::default(), requests: 0 });
        true
    }

    /// Returns true if no new connection comes to any of its shards.
    fn is_left_out(&self, ctx: &Ctx, id: u32) -> bool {
        let Some((slot, shard)) = ctx.state.slots.get(id).and_then(|slot| Some((slot, shard_of(slot)?))) else { return false };
        let mut groups = self.groups_of(slot.spec().key()).peekable();
        groups.peek().is_some() && groups.all(|group| group.is_left_out(shard))
    }

    /// Handles a deadline.
    pub(super) fn on_shard_timer(&mut self, ctx: &mut Ctx, key: u64) {
        match u32::try_from(key) {
            Ok(id) => self.check_finished(ctx, id),
            Err(_) => {
                let now_ms = ctx.now.mono_ms;
                let later = &mut self.shards.later;
                self.shards.dirty.extend(later.iter().filter(|(_, at_ms)| **at_ms <= now_ms).map(|(app, _)| app.clone()));
                later.retain(|_, at_ms| *at_ms > now_ms);
                ctx.outbox.timers.set(LATER, later.values().copied().min());
            }
        }
    }

    /// Checks whether it has taken all its connections and answered all received requests.
    fn check_finished(&mut self, ctx: &mut Ctx, id: u32) {
        let Some(inc) = self.shards.finishing.get(&id).map(|finishing| finishing.inc) else { return };
        let pid_of = |slot: &Slot| match slot.durable.instance.state {
            InstanceState::Draining { inc: draining, pid, .. } if draining == inc => Some(pid),
            _ => None,
        };
        let Some((slot, pid)) = ctx.state.slots.get(id).and_then(|slot| Some((slot, pid_of(slot)?))) else {
            // It has exited, or is being stopped.
            self.shards.finishing.remove(&id);
            return;
        };
        let (name, shard) = (slot.spec().key().to_owned(), slot.durable.shard);
        let retires = slot.spec().retire_connections;
        let began = Instant::now();
        let waits = self.groups_of(&name).any(|group| group.waits(shard));
        let connections: Vec<Connection> = self.groups_of(&name).flat_map(Group::accepted).collect();
        let Some(finishing) = self.shards.finishing.get_mut(&id) else { return };
        finishing.requests = requests_of(&mut finishing.unanswered, &connections, pid, ctx.now.mono_ms);
        if retires {
            finishing.retiring.observe(connections.iter().map(|connection| (connection.cookie, connection.received)));
        }
        let is_quiet = finishing.emptying.update(waits || finishing.requests > 0, ctx.now.mono_ms);
        let check_ms = finishing.emptying.check_ms();
        if is_quiet && self.has_retired(ctx, id, pid, &connections) {
            self.shards.finishing.remove(&id);
            ctx.request(FeatureRequest::FinishRequests { id, inc });
            return;
        }
        // With very many connections a check takes long.
        let pause = u64::try_from((began.elapsed() * LOOKS_SHARE).as_millis()).unwrap_or(u64::MAX);
        let check_ms = if is_quiet { ctx.now.mono_ms.saturating_add(RETIRE_LOOK_MS) } else { check_ms };
        ctx.outbox.timers.set(check_timer(id), Some(check_ms.max(ctx.now.mono_ms.saturating_add(pause))));
    }

    /// Handles the end of its time to finish. Requests that are still open are cut.
    pub(super) fn on_drain_timeout(&mut self, ctx: &mut Ctx, id: u32) {
        let Some(finishing) = self.shards.finishing.remove(&id) else { return };
        ctx.outbox.timers.set(check_timer(id), None);
        let Some(slot) = ctx.state.slots.get(id).filter(|_| finishing.requests > 0) else { return };
        let (pm_id, name, drain_ms) = (slot.durable.pm_id, &slot.spec().name, slot.live.policy.drain_timeout_ms.unwrap_or(0));
        let requests = u32::try_from(finishing.requests).unwrap_or(u32::MAX);
        let text = unanswered::cut_warning(requests, drain_ms);
        ctx.io.log.error(format_args!("App [{name}:{pm_id}] {text}"));
        let warning = format!("[{name}]({pm_id}) {text}");
        ctx.answer(FeatureAnswer::Cut { id, requests, warning });
    }

    /// Forgets the shards of a slot, whose number may be used again.
    pub(super) fn forget_shard(&mut self, ctx: &mut Ctx, id: u32) {
        if self.shards.finishing.remove(&id).is_some() {
            ctx.outbox.timers.set(check_timer(id), None);
        }
    }
}

/// Returns true if the process of this slot finishes its requests, or is stopping.
fn is_leaving(slot: &Slot) -> bool {
    matches!(slot.durable.instance.state, InstanceState::Draining { .. } | InstanceState::Stopping { .. })
}

/// Returns the number of requests that this process has to answer.
fn requests_of(known: &mut Unanswered, connections: &[Connection], pid: i32, now_ms: u64) -> usize {
    let seen: Vec<unanswered::Connection> = connections.iter().map(to_core).collect();
    // To assign a new connection, all descriptors of the process are read.
    let is_any_new = seen.iter().any(|connection| !known.contains(connection.id));
    let own = if is_any_new { sockets_of_tree(pid) } else { BTreeMap::new() };
    let own: BTreeSet<u64> =
        connections.iter().filter(|connection| own.contains_key(&connection.inode)).map(|connection| connection.cookie).collect();
    known.update(&seen, |id| own.contains(&id), now_ms)
}

fn to_core(connection: &Connection) -> unanswered::Connection {
    unanswered::Connection {
        id: connection.cookie,
        received: connection.received,
        answers: connection.sent,
        client_sent_last: connection.unread > 0 || connection.since_received_ms < connection.since_sent_ms,
        unsent: connection.unsent > 0,
    }
}
