//! Shards: which processes get the new connections of a port.
//!
//! # Theory of operation
//!
//! Every slot has a shard of each port: a socket of its own with its own queue (`SO_REUSEPORT`). Its processes have it one after the other;
//! a candidate of a reload is another slot and has another shard. A program in the kernel gives new connections only to the shards of
//! processes that serve, and is replaced when these change. So a process can be kept from getting connections before it is asked to end: most
//! servers close what they have accepted but not read by then. The kernel knows of each connection which side had the last word: the process is asked to end
//! when it has answered what had come ([`ostler_core::serving::unanswered`]), so a server without any shutdown code loses no request either.
//!
//! Shards are opened when a process first needs them, held by the keeper, and closed only with the app's sockets. After both daemon and
//! keeper were killed the kernel's order of what is left is not known: then these shards get connections all together or, beside newer
//! ones, not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use ostler_core::lifecycle::State;
use ostler_core::serving::keyed;
use ostler_core::serving::shards::{Emptying, Standing, eligible};
use ostler_core::serving::unanswered::{self, Unanswered};
use ostler_sys::net::connections::{Connection, sockets_of_tree};

use super::Sockets;
use super::group::Group;
use crate::engine::{Answer, Ctx, Key, Request};
use crate::state::slots::Slot;

/// Shards that have to be checked, and when.
#[derive(Debug, Default)]
pub(super) struct Shards {
    /// Apps in which something changed.
    dirty: BTreeSet<String>,
    /// Apps in which something changes at a time.
    later: BTreeMap<String, u64>,
    /// Slots whose shards have to become empty.
    finishing: BTreeMap<u32, Finishing>,
}

/// A process that gets nothing new any more, and finishes what it has.
#[derive(Debug)]
struct Finishing {
    inc: u32,
    emptying: Emptying,
    unanswered: Unanswered,
    /// Requests that were under way at the last look.
    requests: usize,
}

/// Share of the time that looks at connections may take: one part of so many.
const LOOKS_SHARE: u32 = 20;

/// Timer of the first of [`Shards::later`].
const LATER: Key = (Sockets::NAME, 1 << 32);

/// Timer of the next check of the shards of a slot that have to become empty.
fn look_at(id: u32) -> Key {
    (Sockets::NAME, id.into())
}

/// Number of the shards of a slot, if it has any.
pub(super) fn shard_of(slot: &Slot) -> Option<u32> {
    slot.spec().has_shards().then_some(slot.durable.shard)
}

/// True if a process of this slot has a socket of its own for a port.
pub(super) fn has_shard(ctx: &Ctx, id: u32) -> bool {
    ctx.state.slots.get(id).is_some_and(|slot| slot.spec().has_shards())
}

impl Sockets {
    /// Marks the app of an instance as changed: who gets its connections is decided when the turn is over.
    pub(super) fn mark_dirty(&mut self, ctx: &Ctx, id: u32) {
        if let Some(slot) = ctx.state.slots.get(id).filter(|slot| !slot.spec().listen.is_empty())
            && !self.shards.dirty.contains(slot.spec().key())
        {
            self.shards.dirty.insert(slot.spec().key().to_owned());
        }
    }

    /// Sets in the kernel who gets connections, where that has changed.
    pub(super) fn steer(&mut self, ctx: &mut Ctx) {
        while let Some(app) = self.shards.dirty.pop_first() {
            self.steer_app(ctx, &app);
        }
    }

    fn steer_app(&mut self, ctx: &mut Ctx, app: &str) {
        self.set_later(ctx, app, None);
        if self.groups_of(app).next().is_none() {
            return;
        }
        let now_ms = ctx.now.mono_ms;
        let slots: Vec<&Slot> = ctx.state.slots.iter().filter(|slot| slot.spec().key() == app && !slot.spec().listen.is_empty()).collect();
        let standings: Vec<(Standing, Option<u64>)> = slots.iter().map(|slot| slot.standing(now_ms)).collect();
        for (owner, group) in self.by_app.iter_mut().filter(|(owner, group)| owner.app == app && group.has_shards()) {
            // After a change of the file some have this socket and others do not.
            let users = slots.iter().zip(&standings).filter(|(slot, _)| keyed(&slot.spec().listen).any(|(_, key)| key == owner.key));
            let shards: Vec<(Standing, Option<u32>)> = users.map(|(slot, (standing, _))| (*standing, shard_of(slot))).collect();
            if let Err(errno) = group.steer(&eligible(shards.into_iter())) {
                let port = &owner.key;
                ctx.io.log.error_once("steer", format_args!("cannot steer the connections of {app} at {port}: {errno}"));
            }
        }
        // Who is young gets its share when it is not any more.
        let serves = standings.iter().any(|(standing, _)| *standing == Standing::Serves);
        let at_ms = standings.iter().filter_map(|(_, until)| *until).min().filter(|_| serves);
        self.set_later(ctx, app, at_ms);
    }

    /// Ports of an app whose connections are steered.
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

    /// Nothing new for this process; once it has taken what is its own already, it is to finish. False: it has no shard that could be
    /// closed to others.
    pub(super) fn empty_shard(&mut self, ctx: &mut Ctx, id: u32, inc: u32) -> bool {
        let Some(slot) = ctx.state.slots.get(id) else { return false };
        let name = slot.spec().key().to_owned();
        self.steer_app(ctx, &name);
        if !self.is_left_out(ctx, id) {
            return false;
        }
        let emptying = Emptying::since(ctx.now.mono_ms);
        ctx.outbox.timers.set(look_at(id), Some(emptying.look_ms()));
        self.shards.finishing.insert(id, Finishing { inc, emptying, unanswered: Unanswered::default(), requests: 0 });
        true
    }

    /// True if nothing new comes to any of its shards.
    fn is_left_out(&self, ctx: &Ctx, id: u32) -> bool {
        let Some((slot, shard)) = ctx.state.slots.get(id).and_then(|slot| Some((slot, shard_of(slot)?))) else { return false };
        let mut groups = self.groups_of(slot.spec().key()).peekable();
        groups.peek().is_some() && groups.all(|group| group.is_left_out(shard))
    }

    /// Handles a deadline.
    pub(super) fn on_shard_timer(&mut self, ctx: &mut Ctx, key: u64) {
        match u32::try_from(key) {
            Ok(id) => self.look_if_finished(ctx, id),
            Err(_) => {
                let now_ms = ctx.now.mono_ms;
                let later = &mut self.shards.later;
                self.shards.dirty.extend(later.iter().filter(|(_, at_ms)| **at_ms <= now_ms).map(|(app, _)| app.clone()));
                later.retain(|_, at_ms| *at_ms > now_ms);
                ctx.outbox.timers.set(LATER, later.values().copied().min());
            }
        }
    }

    /// Looks whether it has all that will come to it, and has answered what had come.
    fn look_if_finished(&mut self, ctx: &mut Ctx, id: u32) {
        let Some(inc) = self.shards.finishing.get(&id).map(|finishing| finishing.inc) else { return };
        let pid_of = |slot: &Slot| match slot.durable.instance.state {
            State::Draining { inc: draining, pid, .. } if draining == inc => Some(pid),
            _ => None,
        };
        let Some((slot, pid)) = ctx.state.slots.get(id).and_then(|slot| Some((slot, pid_of(slot)?))) else {
            // It has ended, or is asked to.
            self.shards.finishing.remove(&id);
            return;
        };
        let (name, shard) = (slot.spec().key().to_owned(), slot.durable.shard);
        let began = Instant::now();
        let waits = self.groups_of(&name).any(|group| group.waits(shard));
        let connections: Vec<Connection> = self.groups_of(&name).flat_map(|group| group.accepted(shard)).collect();
        let Some(finishing) = self.shards.finishing.get_mut(&id) else { return };
        finishing.requests = requests_of(&mut finishing.unanswered, &connections, pid, ctx.now.mono_ms);
        if finishing.emptying.seen(waits || finishing.requests > 0, ctx.now.mono_ms) {
            self.shards.finishing.remove(&id);
            ctx.request(Request::FinishRequests { id, inc });
            return;
        }
        // With very many connections a look takes its time.
        let pause = u64::try_from((began.elapsed() * LOOKS_SHARE).as_millis()).unwrap_or(u64::MAX);
        ctx.outbox.timers.set(look_at(id), Some(finishing.emptying.look_ms().max(ctx.now.mono_ms.saturating_add(pause))));
    }

    /// Handles the end of its time to finish. What is still under way there is cut.
    pub(super) fn on_drain_timeout(&mut self, ctx: &mut Ctx, id: u32) {
        let Some(finishing) = self.shards.finishing.remove(&id) else { return };
        ctx.outbox.timers.set(look_at(id), None);
        let Some(slot) = ctx.state.slots.get(id).filter(|_| finishing.requests > 0) else { return };
        let (pm_id, name, drain_ms) = (slot.durable.pm_id, &slot.spec().name, slot.live.policy.drain_timeout_ms.unwrap_or(0));
        let requests = u32::try_from(finishing.requests).unwrap_or(u32::MAX);
        let text = unanswered::still_under_way(requests, drain_ms);
        ctx.io.log.error(format_args!("App [{name}:{pm_id}] {text}"));
        let warning = format!("[{name}]({pm_id}) {text}");
        ctx.answer(Answer::Cut { id, requests, warning });
    }

    /// Forgets the shards of a slot: its number may be used again.
    pub(super) fn forget_shard(&mut self, ctx: &mut Ctx, id: u32) {
        if self.shards.finishing.remove(&id).is_some() {
            ctx.outbox.timers.set(look_at(id), None);
        }
    }
}

/// Number of requests that this process has to answer yet.
fn requests_of(known: &mut Unanswered, connections: &[Connection], pid: i32, now_ms: u64) -> usize {
    let seen: Vec<unanswered::Connection> = connections.iter().map(seen).collect();
    // Whose a new connection is takes a look at all descriptors of the process.
    let is_any_new = seen.iter().any(|connection| !known.knows(connection.id));
    let own = if is_any_new { sockets_of_tree(pid) } else { BTreeSet::new() };
    let own: BTreeSet<u64> =
        connections.iter().filter(|connection| own.contains(&connection.inode)).map(|connection| connection.cookie).collect();
    known.seen(&seen, |id| own.contains(&id), now_ms)
}

fn seen(connection: &Connection) -> unanswered::Connection {
    unanswered::Connection {
        id: connection.cookie,
        asked: connection.received,
        answers: connection.sent,
        asks: connection.unread > 0 || connection.since_received_ms < connection.since_sent_ms,
        unsent: connection.unsent > 0,
    }
}
