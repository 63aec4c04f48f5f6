//! Shards: which processes get the new connections of a port.
//!
//! # Theory of operation
//!
//! Every slot has a shard of each port: a socket of its own with its own queue (`SO_REUSEPORT`). Its processes have it one after the other;
//! a candidate of a reload is another slot and has another shard. A program in the kernel gives new connections only to the shards of
//! processes that serve, and is replaced when these change. So a process can be kept from getting connections before it is asked to end: most
//! servers close what they have accepted but not read by then.
//!
//! Shards are opened when a process first needs them, held by the keeper, and closed only with the app's sockets. After both daemon and
//! keeper were killed the kernel's order of what is left is not known: then these shards get connections all together or, beside newer
//! ones, not at all.

use std::collections::{BTreeMap, BTreeSet};

use ostler_core::lifecycle::State;
use ostler_core::serving::keyed;
use ostler_core::shards::{Emptying, Standing, eligible};

use super::Sockets;
use super::group::Group;
use crate::engine::{Ctx, Key, Request};
use crate::slots::Slot;

/// Shards that have to be checked, and when.
#[derive(Debug, Default)]
pub(super) struct Shards {
    /// Apps in which something changed.
    dirty: BTreeSet<String>,
    /// Apps in which something changes at a time.
    later: BTreeMap<String, u64>,
    /// Slots whose shards have to become empty, with the incarnation.
    emptying: BTreeMap<u32, (u32, Emptying)>,
}

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
    ctx.slots.get(id).is_some_and(|slot| slot.spec().has_shards())
}

impl Sockets {
    /// Marks the app of an instance as changed: who gets its connections is decided when the turn is over.
    pub(super) fn mark_dirty(&mut self, ctx: &Ctx, id: u32) {
        if let Some(slot) = ctx.slots.get(id).filter(|slot| !slot.spec().listen.is_empty())
            && !self.shards.dirty.contains(&slot.spec().name)
        {
            self.shards.dirty.insert(slot.spec().name.clone());
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
        let slots: Vec<&Slot> = ctx.slots.iter().filter(|slot| slot.spec().name == app && !slot.spec().listen.is_empty()).collect();
        let standings: Vec<(Standing, Option<u64>)> = slots.iter().map(|slot| slot.standing(now_ms)).collect();
        for (owner, group) in self.by_app.iter_mut().filter(|(owner, group)| owner.app == app && group.has_shards()) {
            // After a change of the file some have this socket and others do not.
            let users = slots.iter().zip(&standings).filter(|(slot, _)| keyed(&slot.spec().listen).any(|(_, key)| key == owner.key));
            let shards: Vec<(Standing, Option<u32>)> = users.map(|(slot, (standing, _))| (*standing, shard_of(slot))).collect();
            if let Err(errno) = group.steer(&eligible(shards.into_iter())) {
                let port = &owner.key;
                ctx.log.error_once("steer", format_args!("cannot steer the connections of {app} at {port}: {errno}"));
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
        ctx.timers.set(LATER, later.values().copied().min());
    }

    /// Nothing new for this process; once it has taken what is its own already, it is to finish. False: it has no shard that could be
    /// closed to others.
    pub(super) fn empty_shard(&mut self, ctx: &mut Ctx, id: u32, inc: u32) -> bool {
        let Some(slot) = ctx.slots.get(id) else { return false };
        let name = slot.spec().name.clone();
        self.steer_app(ctx, &name);
        if !self.is_left_out(ctx, id) {
            return false;
        }
        let emptying = Emptying::since(ctx.now.mono_ms);
        ctx.timers.set(look_at(id), Some(emptying.look_ms()));
        self.shards.emptying.insert(id, (inc, emptying));
        true
    }

    /// True if nothing new comes to any of its shards.
    fn is_left_out(&self, ctx: &Ctx, id: u32) -> bool {
        let Some((slot, shard)) = ctx.slots.get(id).and_then(|slot| Some((slot, shard_of(slot)?))) else { return false };
        let mut groups = self.groups_of(&slot.spec().name).peekable();
        groups.peek().is_some() && groups.all(|group| group.is_left_out(shard))
    }

    /// Handles a deadline.
    pub(super) fn on_shard_timer(&mut self, ctx: &mut Ctx, key: u64) {
        match u32::try_from(key) {
            Ok(id) => self.look_if_empty(ctx, id),
            Err(_) => {
                let now_ms = ctx.now.mono_ms;
                let later = &mut self.shards.later;
                self.shards.dirty.extend(later.iter().filter(|(_, at_ms)| **at_ms <= now_ms).map(|(app, _)| app.clone()));
                later.retain(|_, at_ms| *at_ms > now_ms);
                ctx.timers.set(LATER, later.values().copied().min());
            }
        }
    }

    fn look_if_empty(&mut self, ctx: &mut Ctx, id: u32) {
        let Some(&(inc, _)) = self.shards.emptying.get(&id) else { return };
        let drains = |slot: &&Slot| matches!(slot.durable.instance.state, State::Draining { inc: draining, .. } if draining == inc);
        let Some(slot) = ctx.slots.get(id).filter(drains) else {
            // It has ended, or is asked to.
            self.shards.emptying.remove(&id);
            return;
        };
        let waits = self.groups_of(&slot.spec().name).any(|group| group.waits(slot.durable.shard));
        let Some((_, emptying)) = self.shards.emptying.get_mut(&id) else { return };
        if emptying.seen(waits, ctx.now.mono_ms) {
            self.shards.emptying.remove(&id);
            ctx.request(Request::FinishRequests { id, inc });
        } else {
            ctx.timers.set(look_at(id), Some(emptying.look_ms()));
        }
    }

    /// Forgets the shards of a slot: its number may be used again.
    pub(super) fn forget_shard(&mut self, ctx: &mut Ctx, id: u32) {
        if self.shards.emptying.remove(&id).is_some() {
            ctx.timers.set(look_at(id), None);
        }
    }
}
