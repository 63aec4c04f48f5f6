//! One kernel queue per worker (`SO_REUSEPORT`).
//!
//! # Theory of operation
//!
//! Each instance number of the app has its own socket of the same port, a *shard* of the listener.
//! Its worker accepts from it, and so does the worker's replacement. A shard is never closed before
//! all are, because that would reset the connections in its queue. A program in the kernel gives
//! each new connection to a random shard from which a worker accepts. The program is replaced
//! whenever these shards change. If the worker of a shard is gone, the daemon accepts the
//! connections in its queue and hands them to the other workers.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::io::Errno;

use super::Cluster;
use super::listen::bound_to;
use super::query::Query;
use super::round_robin::is_up;
use crate::engine::Ctx;

impl Cluster {
    /// Opens a listener with a shard for each present instance of the app, in the order of their
    /// numbers.
    pub(super) fn open_shards(&mut self, ctx: &mut Ctx, app: &str, key: &str, query: &Query) -> Result<u32, Errno> {
        let first = Rc::new(query.open_first_shard()?);
        let id = self.listeners.add(ctx, app, key, Rc::clone(&first));
        let slots = ctx.state.slots.iter().filter(|slot| slot.spec().key() == app);
        let mut indexes: Vec<u32> = slots.map(|slot| slot.durable.index).collect();
        indexes.sort_unstable();
        indexes.dedup();
        let mut indexes = indexes.into_iter();
        self.listeners.add_shard(ctx, id, indexes.next().unwrap_or(0), first);
        for index in indexes {
            self.shard_of(ctx, id, index, query);
        }
        Ok(id)
    }

    /// Returns the socket of the instances of this number.
    pub(super) fn shard_of(&mut self, ctx: &mut Ctx, id: u32, index: u32, query: &Query) -> Option<Rc<OwnedFd>> {
        let listener = self.listeners.get(id)?;
        if let Some(shard) = listener.shards.iter().find(|shard| shard.index == index) {
            return Some(Rc::clone(&shard.fd));
        }
        let first = Rc::clone(&listener.fd);
        match bound_to(&first).and_then(|address| query.open_shard(address)) {
            Ok(fd) => {
                let fd = Rc::new(fd);
                self.listeners.add_shard(ctx, id, index, Rc::clone(&fd));
                Some(fd)
            }
            // Two instances then accept from the first socket.
            Err(errno) => {
                ctx.io.log.error_once("shard", format_args!("cannot open another socket for the same port: {errno}"));
                Some(first)
            }
        }
    }

    /// Sets in the kernel from which shards workers accept, if that has changed.
    pub(super) fn steer(&mut self, ctx: &mut Ctx, id: u32) {
        let Some(listener) = self.listeners.get_mut(id).filter(|listener| !listener.shards.is_empty()) else { return };
        let workers = listener.turns.workers().filter_map(|worker| ctx.state.slots.get(worker)).filter(|slot| is_up(slot));
        let eligible: Vec<u32> = workers.map(|slot| slot.durable.index).collect();
        let changed = listener.shards.iter().any(|shard| shard.active != eligible.contains(&shard.index));
        if !changed {
            return;
        }
        for shard in &mut listener.shards {
            shard.active = eligible.contains(&shard.index);
        }
        let positions = listener.shards.iter().zip(0..).filter(|(shard, _)| shard.active);
        let active: Vec<u32> = positions.map(|(_, position)| position).collect();
        // Without a worker, all connections wait.
        if !active.is_empty()
            && let Err(errno) = ostler_sys::net::reuseport::steer(&*listener.fd, &active)
        {
            ctx.io.log.error_once("steer", format_args!("cannot steer connections ({errno}): the kernel distributes them itself"));
        }
    }
}
