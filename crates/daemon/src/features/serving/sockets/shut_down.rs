//! Sockets that a process has shut down: `shutdown(2)` on a listening socket stops it for all
//! processes that hold it. Some servers do that when they stop (WEBrick).
//!
//! # Theory of operation
//!
//! A shard that was shut down is given up. It has left its group in the kernel, so the positions of
//! the others are corrected, and connections are steered again. The next process of its slot gets a
//! new shard. Until then, other processes get the connections. If there is no other process, the new
//! shard is opened at once, so that connections wait there. The socket that was shut down never
//! listens again. A thread of the process may still wait in `accept`, and would take connections
//! that the process does not want.
//!
//! A single TCP socket that several processes share listens again. A unix socket cannot. A new one
//! replaces it, and processes that still run with the old one are restarted.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;

use ostler_core::app::AppSpec;
use ostler_core::health::RemedyCause;
use ostler_core::lifecycle::{DesiredState, InstanceState};
use ostler_core::serving::shards::{ShardRank, shard_number};
use ostler_core::serving::{Listen, ListenAt, keyed};
use ostler_sys::net::shutdowns::ShutdownWatch;
use rustix::io::Errno;

use super::group::{Group, Socket};
use super::open::{self, FileRights, PortSharing};
use super::owner::{SocketOwner, SocketRole};
use super::shards::shard_of;
use super::{Sockets, held};
use crate::engine::{Ctx, FeatureRequest};
use crate::platform::reactor::Source;
use crate::state::slots::Slot;
use crate::state::slots::listening::uses;
use crate::state::store::Role;

/// Key of the watch. Those of interceptions are smaller.
pub(super) const WATCH: u64 = 1 << 33;

impl Sockets {
    /// Watches a socket until [`Self::unwatch`].
    pub(super) fn watch(&mut self, ctx: &mut Ctx, socket: impl AsFd) {
        let watched = match &self.watch {
            Some(watch) => watch.add(socket).map_err(Into::into),
            None => ShutdownWatch::new().map_err(Into::into).and_then(|watch| {
                ctx.io.reactor.add(&watch, Source::Feature(Self::NAME, WATCH))?;
                Ok(self.watch.insert(watch).add(socket)?)
            }),
        };
        if let Err(error) = watched {
            let error: std::io::Error = error;
            ctx.io.log.error_once("shutdown", format_args!("cannot watch sockets of apps: {error}"));
        }
    }

    /// Stops watching a socket that is about to be closed.
    pub(super) fn unwatch(&self, socket: impl AsFd) {
        self.watch.iter().for_each(|watch| watch.remove(&socket));
    }

    /// Handles sockets that were shut down.
    pub(super) fn on_shutdowns(&mut self, ctx: &mut Ctx) {
        let Some(watch) = &self.watch else { return };
        let mut by_owner: BTreeMap<SocketOwner, Vec<RawFd>> = BTreeMap::new();
        for fd in watch.take() {
            if let Some((owner, _)) = self.by_app.iter().find(|(_, group)| group.has_fd(fd)) {
                by_owner.entry(owner.clone()).or_default().push(fd);
            }
        }
        for (owner, lost) in by_owner {
            match self.by_app.get(&owner) {
                Some(group) if group.has_shards() => self.lose_shards(ctx, &owner, &lost),
                Some(group) => {
                    let socket = Rc::clone(group.first());
                    self.lose_single(ctx, &owner, &socket);
                }
                None => {}
            }
        }
    }

    fn lose_shards(&mut self, ctx: &mut Ctx, owner: &SocketOwner, lost: &[RawFd]) {
        let Some(group) = self.by_app.get(owner) else { return };
        for socket in group.sockets().filter(|socket| lost.contains(&socket.fd.as_raw_fd())) {
            self.unwatch(socket);
            open::keep_out(&socket.fd);
        }
        let mut is_any_left = true;
        self.change(ctx, owner, |group| {
            // The order of their moves is uncertain.
            if lost.len() > 1 {
                group.forget_order();
            }
            lost.iter().for_each(|fd| is_any_left &= group.lose(*fd));
        });
        self.note_deaf_processes(ctx, owner);
        if is_any_left {
            // Another socket takes a position that may get connections, so it is opened after this.
            self.steer_app(ctx, &owner.app);
        }
        self.reopen(ctx, owner, is_any_left);
        self.steer_app(ctx, &owner.app);
    }

    /// Opens a shard for connections that have to wait for the next process. If there will be none,
    /// closes the address.
    fn reopen(&mut self, ctx: &mut Ctx, owner: &SocketOwner, is_any_left: bool) {
        let Some(group) = self.by_app.get(owner) else { return };
        if is_any_left && users(ctx, owner).any(|slot| accepts(ctx, group, slot)) {
            return;
        }
        let is_next = |slot: &&Slot| slot.durable.instance.wanted == DesiredState::Up && group.has_lost(shard_of(slot));
        let next = users(ctx, owner).find(|slot| is_next(slot) && slot.durable.role != Role::Retiring);
        let Some((spec, number)) = next.map(|slot| (Rc::clone(&slot.app().spec), shard_number(slot.durable.shard))) else {
            if !is_any_left {
                self.remove_group(ctx, owner);
            }
            return;
        };
        match open::open_at_address_of(group.first(), &listen_of(&spec, &owner.key), PortSharing::Further) {
            Ok(fd) if is_any_left => self.add_opened(ctx, owner, number, fd),
            Ok(fd) => {
                self.watch(ctx, &fd);
                self.change(ctx, owner, |group| group.replace(number, fd));
            }
            Err(errno) => {
                log_failure(ctx, owner, errno);
                if !is_any_left {
                    self.remove_group(ctx, owner);
                }
            }
        }
    }

    /// Handles that the only socket of an address was shut down.
    fn lose_single(&mut self, ctx: &mut Ctx, owner: &SocketOwner, lost: &OwnedFd) {
        let next = users(ctx, owner).find(|slot| slot.durable.instance.wanted == DesiredState::Up);
        let spec = next.map(|slot| Rc::clone(&slot.app().spec));
        let listen = spec.as_ref().map(|spec| listen_of(spec, &owner.key));
        // One of them shut it down. If that was the only one, it wants no connections.
        let holders: Vec<u32> = users(ctx, owner).filter(|slot| holds(slot)).map(|slot| slot.durable.id).collect();
        let is_tcp = owner.path().is_none();
        if is_tcp && holders.len() > 1 && listen.as_ref().is_some_and(|listen| open::listen_again(lost, listen).is_ok()) {
            return;
        }
        self.remove_group(ctx, owner);
        let (Some(spec), Some(listen)) = (spec, listen) else { return };
        let opened = if is_tcp {
            open::open_at_address_of(lost, &listen, PortSharing::Alone).map(|fd| (fd, None))
        } else {
            open::open(&listen, &FileRights::of(ctx, &spec), PortSharing::Alone).map(|opened| (opened.fd, opened.file))
        };
        match opened {
            Ok((fd, file)) => {
                let owner = SocketOwner { file, ..owner.clone() };
                let group = Group::new(Socket { fd: fd.into(), role: SocketRole::Alone });
                held(&owner, &group).for_each(|(name, fd)| ctx.io.keeper.hold(&name, fd));
                self.add_group(ctx, owner, group);
            }
            Err(errno) => log_failure(ctx, owner, errno),
        }
        if holders.len() > 1 {
            holders.into_iter().for_each(|id| replace_process(ctx, id, &owner.key));
        }
    }

    /// Reports processes that have shut their socket down and were not asked to stop.
    fn note_deaf_processes(&self, ctx: &mut Ctx, owner: &SocketOwner) {
        let Some(group) = self.by_app.get(owner) else { return };
        let is_deaf = |slot: &&Slot| group.has_lost(shard_of(slot)) && slot.serving_inc().is_some();
        let deaf: Vec<u32> = users(ctx, owner).filter(is_deaf).map(|slot| slot.durable.id).collect();
        for id in deaf {
            ctx.note(id, format!("has shut down its socket ({}) and gets no connections until it is restarted", owner.key));
        }
    }
}

/// Returns the slots whose processes accept at an address.
fn users<'a>(ctx: &'a Ctx, owner: &'a SocketOwner) -> impl Iterator<Item = &'a Slot> {
    ctx.state.slots.iter().filter(move |slot| slot.spec().key() == owner.app && uses(slot, &owner.key))
}

/// Returns true if a process of this slot takes connections of the group, or will take them.
fn accepts(ctx: &Ctx, group: &Group, slot: &Slot) -> bool {
    let Some(shard) = shard_of(slot).map(shard_number) else { return false };
    let is_eligible = slot.durable.role == Role::Candidate || slot.standing(ctx.now.mono_ms).0 != ShardRank::Excluded;
    is_eligible && !group.has_lost(Some(shard)) && group.shard(shard).is_some()
}

/// Returns true if a process of this slot has the sockets of its app.
fn holds(slot: &Slot) -> bool {
    slot.durable.instance.pid().is_some() || matches!(slot.durable.instance.state, InstanceState::Stopping { .. })
}

/// Returns the description of the socket at an address. A port that the program opens by itself has
/// none.
fn listen_of(spec: &AppSpec, key: &str) -> Listen {
    let declared = keyed(&spec.listen).find(|(_, own)| own == key).map(|(listen, _)| listen.clone());
    declared.unwrap_or_else(|| Listen { at: ListenAt::Tcp { address: None, port: 0 }, name: String::new(), backlog: None, mode: None })
}

fn log_failure(ctx: &mut Ctx, owner: &SocketOwner, errno: Errno) {
    let SocketOwner { app, key, .. } = owner;
    ctx.io.log.error_once("reopen", format_args!("cannot open {key} again after {app} has shut it down: {errno}"));
}

/// Requests the replacement of a process that serves and whose socket is dead.
fn replace_process(ctx: &mut Ctx, id: u32, key: &str) {
    let Some(inc) = ctx.state.slots.get(id).and_then(Slot::serving_inc) else { return };
    let why = format!("another process has shut down the socket {key}");
    ctx.note(id, format!("is restarted: {why}"));
    ctx.request(FeatureRequest::Remedy { id, inc, cause: RemedyCause::Health, why });
}
