//! Sockets that apps declare (`listen`). The daemon opens them once per app, for programs of any
//! language.
//!
//! # Theory of operation
//!
//! Before an instance is started, every socket of its app is open. The process gets copies as
//! descriptors 3, 4, … and the variables of systemd's socket activation. The sockets belong to the
//! app. The exit of an instance does not close them, and the keeper's copies outlive the daemon. A
//! connection that no process has accepted yet waits in their queue. A port has a socket for each
//! process ([`shards`]); other addresses have one for all. They are closed when no instance of the
//! app is wanted up, or when no instance's description names them any more. The file of a unix
//! socket is removed then, if it is still the file that the daemon made.
//!
//! A process can shut a socket down for all that hold it ([`shut_down`]).

mod give;
mod group;
mod interception;
mod open;
mod opened;
mod owner;
mod reading;
mod rescue;
mod retire;
mod shards;
mod shut_down;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;

use ostler_core::app::AppSpec;
use ostler_core::lifecycle::{SpawnFailure, Transition};
use ostler_sys::ProcRef;
use ostler_sys::net::shutdowns::ShutdownWatch;
use ostler_sys::net::socket::stop_listening;

use crate::engine::{Ctx, InstanceStep, SpawnExtras};
use crate::platform::rights::Rights;
use crate::state::slots::Slot;
use crate::state::slots::listening::uses;
use group::{Group, Socket};
use interception::Interceptions;
use owner::SocketOwner;
use shards::Shards;

/// Open sockets of all apps.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    by_app: BTreeMap<SocketOwner, Group>,
    shards: Shards,
    interceptions: Interceptions,
    /// Watch of all these sockets, as soon as there are some.
    watch: Option<ShutdownWatch>,
}

impl Sockets {
    pub(crate) const NAME: &str = "sockets";

    fn find(&self, app: &str, key: &str) -> Option<(&SocketOwner, &Group)> {
        self.by_app.iter().find(|(owner, _)| owner.app == app && owner.key == key)
    }

    fn find_mut(&mut self, app: &str, key: &str) -> Option<&mut Group> {
        self.by_app.iter_mut().find(|(owner, _)| owner.app == app && owner.key == key).map(|(_, group)| group)
    }

    /// Adds an open socket that the keeper holds.
    fn add(&mut self, ctx: &mut Ctx, owner: SocketOwner, socket: Socket) {
        match self.by_app.get_mut(&owner) {
            Some(present) => {
                let fd = Rc::clone(&socket.fd);
                present.add(socket);
                ctx.state.listening.set_shards(&owner.app, &owner.key, present.shard_positions());
                self.watch(ctx, &fd);
            }
            None => self.add_group(ctx, owner, Group::new(socket)),
        }
    }

    fn add_group(&mut self, ctx: &mut Ctx, owner: SocketOwner, group: Group) {
        ctx.state.listening.add(&owner.app, &owner.key, Rc::clone(group.first()));
        ctx.state.listening.set_shards(&owner.app, &owner.key, group.shard_positions());
        group.sockets().for_each(|socket| self.watch(ctx, &socket.fd));
        self.by_app.insert(owner, group);
    }

    /// Adds the shard with this number, which was opened a moment ago.
    fn add_opened(&mut self, ctx: &mut Ctx, owner: &SocketOwner, number: u32, fd: OwnedFd) {
        self.watch(ctx, &fd);
        self.change(ctx, owner, |group| group.add_opened(number, fd));
    }

    /// Changes a group, and the names under which the keeper holds its sockets.
    fn change(&mut self, ctx: &mut Ctx, owner: &SocketOwner, change: impl FnOnce(&mut Group)) {
        let Some(group) = self.by_app.get_mut(owner) else { return };
        let named = |group: &Group| -> BTreeMap<String, RawFd> { held(owner, group).map(|(name, fd)| (name, fd.as_raw_fd())).collect() };
        let before = named(group);
        change(group);
        held(owner, group)
            .filter(|(name, fd)| before.get(name) != Some(&fd.as_raw_fd()))
            .for_each(|(name, fd)| ctx.io.keeper.hold(&name, fd));
        let after = named(group);
        before.keys().filter(|name| !after.contains_key(*name)).for_each(|name| ctx.io.keeper.drop_held(name));
        ctx.state.listening.add(&owner.app, &owner.key, Rc::clone(group.first()));
        ctx.state.listening.set_shards(&owner.app, &owner.key, group.shard_positions());
    }

    /// Removes all sockets of an address. The keeper then no longer holds them for this owner.
    fn remove_group(&mut self, ctx: &mut Ctx, owner: &SocketOwner) -> Option<Group> {
        let group = self.by_app.remove(owner)?;
        ctx.state.listening.remove(&owner.app, &owner.key);
        held(owner, &group).for_each(|(name, _)| ctx.io.keeper.drop_held(&name));
        group.sockets().for_each(|socket| self.unwatch(socket));
        Some(group)
    }

    /// Closes sockets that no instance of an app needs. If no instance is wanted up, these are all;
    /// otherwise those that no description names any more.
    fn close_unused(&mut self, ctx: &mut Ctx, spec: &AppSpec) {
        let app = spec.key();
        if !self.by_app.keys().any(|owner| owner.app == app) {
            return;
        }
        let up: Vec<&Slot> = ctx.state.slots.iter().filter(|slot| slot.spec().key() == app && slot.is_or_will_be_up()).collect();
        // A process that has opened nothing yet may open any of the ports again.
        if up.iter().any(|slot| slot.spec().shares_opened_port() && slot.durable.learned.sockets.is_empty()) {
            return;
        }
        let is_unused = |owner: &&SocketOwner| owner.app == app && !up.iter().any(|slot| uses(slot, &owner.key));
        let unused: Vec<SocketOwner> = self.by_app.keys().filter(is_unused).cloned().collect();
        let rights = Rights::of(spec);
        for owner in unused {
            owner.remove_file(&rights);
            if let Some(group) = self.remove_group(ctx, &owner) {
                // A client that gets the answer to a stop finds the port closed.
                group.sockets().for_each(|socket| stop_listening(socket.as_fd()));
            }
        }
        if !self.by_app.keys().any(|owner| owner.app == app) {
            self.shards.canaries.remove(app);
        }
    }
}

/// Returns names and sockets for the keeper.
fn held<'a>(owner: &'a SocketOwner, group: &'a Group) -> impl Iterator<Item = (String, BorrowedFd<'a>)> {
    group.sockets().filter_map(|socket| Some((owner.held_name(socket.role)?, socket.as_fd())))
}

impl Sockets {
    pub(crate) fn on_step(&mut self, ctx: &mut Ctx, step: &InstanceStep<'_>) {
        self.mark_dirty(ctx, step.id);
    }

    /// Handles a change that may decide whether an instance gets new connections.
    pub(crate) fn on_capacity(&mut self, ctx: &mut Ctx, id: u32) {
        if shards::has_shard(ctx, id) {
            self.mark_dirty(ctx, id);
        }
    }

    pub(crate) fn on_transition(&mut self, ctx: &mut Ctx, id: u32, transition: &Transition) {
        if matches!(transition, Transition::DrainTimeout) {
            self.on_drain_timeout(ctx, id);
        }
        if matches!(transition, Transition::Stopped | Transition::Overlimit { .. } | Transition::CouldNotStart(_) | Transition::Deleted)
            && let Some(slot) = ctx.state.slots.get(id)
        {
            let spec = Rc::clone(&slot.app().spec);
            self.close_unused(ctx, &spec);
        }
    }

    pub(crate) fn on_prepare(&mut self, ctx: &mut Ctx, id: u32, inc: u32, beside: &mut SpawnExtras) -> Result<(), SpawnFailure> {
        self.give(ctx, id, beside)?;
        self.intercept(ctx, id, inc, beside);
        Ok(())
    }

    pub(crate) fn on_ready(&mut self, ctx: &mut Ctx, key: u64, _writable: bool) {
        match key {
            shut_down::WATCH => self.on_shutdowns(ctx),
            key => self.on_calls(ctx, key),
        }
    }

    pub(crate) fn on_adopted(&mut self, ctx: &mut Ctx, id: u32, process: ProcRef) {
        self.rescue(ctx, id, process);
    }

    pub(crate) fn on_drain(&mut self, ctx: &mut Ctx, id: u32, inc: u32) -> bool {
        self.empty_shard(ctx, id, inc)
    }

    pub(crate) fn on_timer(&mut self, ctx: &mut Ctx, key: u64) {
        if !self.on_call_timer(ctx, key) {
            self.on_shard_timer(ctx, key);
        }
    }

    pub(crate) fn on_forgotten(&mut self, ctx: &mut Ctx, id: u32) {
        self.forget_shard(ctx, id);
        self.forget_instance_of_calls(id);
    }

    /// Steers connections before the signals of this turn are sent, because a process that is being
    /// stopped must get no new ones.
    pub(crate) fn on_settled(&mut self, ctx: &mut Ctx) {
        self.steer(ctx);
    }

    pub(crate) fn held<'a>(&'a self, _ctx: &'a Ctx) -> Vec<(String, BorrowedFd<'a>)> {
        self.by_app.iter().flat_map(|(owner, group)| held(owner, group)).chain(self.held_calls()).collect()
    }

    pub(crate) fn adopt_fd(&mut self, ctx: &mut Ctx, name: &str, fd: OwnedFd) -> Option<OwnedFd> {
        if !owner::is_held_name(name) {
            return self.adopt_calls(ctx, name, fd);
        }
        match SocketOwner::parse(name) {
            // The former daemon was killed while it renamed sockets.
            Some((owner, role)) if self.by_app.get(&owner).is_some_and(|group| group.has(role)) => {
                ctx.io.keeper.drop_held(name);
                self.change(ctx, &owner, Group::forget_order);
            }
            // If it was shut down while no daemon ran, it is reported as soon as it is watched.
            Some((owner, role)) => self.add(ctx, owner, Socket { fd: fd.into(), role }),
            None => ctx.io.keeper.drop_held(name),
        }
        None
    }
}
