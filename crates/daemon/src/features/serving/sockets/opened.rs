//! Ports that the processes of an app open by themselves: the sockets for them, and the reasons for
//! which a process keeps its own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use ostler_core::app::AppSpec;
use ostler_core::serving::interception::{BindFacts, OwnSocket, OwnSocketReason, declared_port, place_of, shared_address};
use ostler_core::serving::{Listen, ListenAt};
use ostler_proto::control::OpenSocket;
use ostler_sys::ProcRef;
use ostler_sys::net::{connections, listening, socket};
use rustix::io::Errno;

use super::Sockets;
use super::reading::ReadBind;
use super::shards::shard_of;
use crate::engine::Ctx;
use crate::platform::rights::Rights;
use crate::state::slots::Slot;
use crate::state::slots::complaints::Topic;
use crate::state::slots::listening::uses;

/// Most ports that the processes of an app share.
const MOST_PORTS: usize = 16;
/// Most sockets of its own of which the daemon keeps the reasons, for each process.
const MOST_REASONS: usize = 8;
/// Time after `bind` at which a process counts as listening. Some programs do not call `listen` if
/// their socket listens already.
const LISTENS_WITHIN_MS: u64 = 1000;
/// Bit of the timers of [`LISTENS_WITHIN_MS`], beside the number of the instance.
pub(super) const LISTEN_TIMERS: u64 = 1 << 34;

impl Sockets {
    /// Returns the socket for a process that binds one, opened and held if it is new, and its key.
    pub(super) fn socket_for_bind(&mut self, ctx: &mut Ctx, id: u32, read: &ReadBind) -> Result<(OwnedFd, String), OwnSocketReason> {
        let slot = ctx.state.slots.get(id).ok_or(OwnSocketReason::NotShared)?;
        let (spec, shard) = (Rc::clone(&slot.app().spec), slot.spec().has_shards().then_some(slot.durable.shard));
        let is_v6_only = read.socket.is_v6_only().unwrap_or_else(|| read.address.is_some_and(|address| self.is_v6_only(slot, address)));
        // The key is that of the address ([`ostler_core::serving::keyed`]).
        let own_key = read.address.and_then(|address| place_of(address, is_v6_only)).map(|at| at.to_string());
        let ports = self.by_app.keys().filter(|owner| owner.app == spec.key());
        let has_room = ports.clone().count() < MOST_PORTS || ports.clone().any(|owner| Some(&owner.key) == own_key.as_ref());
        let declares = !spec.listen.is_empty();
        let declared = read.address.filter(|_| declares).map(|address| declared_port(&spec.listen, address, is_v6_only));
        let present = own_key.as_ref().and_then(|key| self.inode_at(slot, key));
        let is_it = present.is_some() && read.socket.inode() == present;
        // The daemon opens the port, so the kernel does not apply the sandbox of the process.
        let sandbox_allows = |port: u16| slot.may_bind(port);
        let facts = BindFacts {
            address: read.address,
            is_tcp: read.socket.is_tcp(),
            is_v6_only,
            is_in_our_network: read.is_in_our_network,
            is_registered: read.is_registered,
            // The daemon has opened what is declared, and the process has inherited it.
            is_allowed: declares || read.address.is_none_or(|address| may_open(&spec, address.port()) && sandbox_allows(address.port())),
            is_second: !declares && !is_it && present.is_some_and(|inode| is_second(inode, read)),
            is_bound: !is_it && read.socket.is_bound(),
            has_room: declares || has_room,
            declared,
        };
        let at = shared_address(&facts)?;
        let key = at.to_string();
        let listen = spec.listen.iter().find(|listen| listen.at == at).cloned();
        let listen = listen.unwrap_or_else(|| Listen { at, name: String::new(), backlog: None, mode: None });
        let given = self.open_all(ctx, &spec, shard, std::slice::from_ref(&listen)).map_err(|failure| why_not_opened(failure.errno))?;
        let socket = given.fds.into_iter().next().ok_or(OwnSocketReason::Refused)?;
        if let Some(slot) = ctx.state.slots.get_mut(id) {
            let known = &mut slot.durable.learned.sockets;
            let is_first = known.is_empty();
            let new: Vec<OpenSocket> = given.shown.into_iter().filter(|socket| !known.contains(socket)).collect();
            known.extend(new);
            ctx.state.slots.changed(id);
            if is_first {
                ctx.outbox.timers.set((Self::NAME, LISTEN_TIMERS | u64::from(id)), Some(ctx.now.mono_ms.saturating_add(LISTENS_WITHIN_MS)));
            }
        }
        self.mark_dirty(ctx, id);
        Ok((socket, key))
    }

    /// Returns true if a socket of unknown kind probably accepts IPv6 only: another process of the app
    /// has opened the port in that way, or this process has it at all addresses of IPv4, and the
    /// kernel then lets it open the port for IPv6 only.
    fn is_v6_only(&self, slot: &Slot, address: SocketAddr) -> bool {
        let port = address.port();
        let is_open = |at: ListenAt| self.find(slot.spec().key(), &at.to_string()).is_some();
        let v4 = ListenAt::Tcp { address: Some(Ipv4Addr::UNSPECIFIED.into()), port }.to_string();
        let has_v4 = slot.durable.learned.sockets.iter().any(|socket| socket.address == v4);
        !is_open(ListenAt::Tcp { address: None, port }) && (is_open(ListenAt::TcpV6 { port }) || has_v4)
    }

    /// Returns the inode of the socket that the process of a slot has got at an address.
    fn inode_at(&self, slot: &Slot, key: &str) -> Option<u64> {
        let (_, group) = self.find(slot.spec().key(), key).filter(|_| uses(slot, key))?;
        listening::inode(group.socket_of(shard_of(slot))?.as_fd())
    }

    /// Withdraws the socket of a process that could not get it, so that it can open its own there.
    pub(super) fn take_back(&mut self, ctx: &mut Ctx, id: u32, key: &str) {
        let Some(slot) = ctx.state.slots.get_mut(id).filter(|slot| slot.spec().shares_opened_port()) else { return };
        slot.durable.learned.sockets.retain(|socket| socket.address != key);
        let app = slot.spec().key().to_owned();
        ctx.state.slots.changed(id);
        self.mark_dirty(ctx, id);
        if ctx.state.slots.iter().any(|slot| slot.spec().key() == app && uses(slot, key)) {
            return;
        }
        let owner = self.find(&app, key).map(|(owner, _)| owner.clone());
        if let Some(group) = owner.and_then(|owner| self.remove_group(ctx, &owner)) {
            group.sockets().for_each(|socket| socket::stop_listening(socket.as_fd()));
        }
    }

    /// Forgets ports that the process has closed again, and returns the number of the others. A
    /// program that looks for a free port, for example, opens several. Clients would wait there.
    /// `openers`: processes that opened the ports, by key.
    pub(super) fn forget_closed_ports(&mut self, ctx: &mut Ctx, id: u32, openers: &BTreeMap<String, i32>) -> usize {
        let Some((slot, pid)) = ctx.state.slots.get(id).and_then(|slot| Some((slot, slot.durable.instance.pid()?))) else { return 0 };
        let mut open = connections::sockets_of_tree(pid);
        // A process may have left the tree.
        openers.values().collect::<BTreeSet<_>>().into_iter().for_each(|opener| open.extend(connections::sockets_of_tree(*opener)));
        // The sockets of a process that is gone may have gone to another one, out of the tree.
        let is_known = |key: &str| openers.get(key).is_some_and(|opener| ProcRef::of(*opener).is_ok());
        let is_open = |key: &str| !is_known(key) || self.inode_at(slot, key).is_none_or(|inode| open.contains_key(&inode));
        let known = &slot.durable.learned.sockets;
        let kept: Vec<OpenSocket> = known.iter().filter(|socket| is_open(&socket.address)).cloned().collect();
        // If none of them is seen, the processes may not be read.
        if kept.is_empty() || kept.len() == known.len() {
            return kept.len();
        }
        let (spec, left) = (Rc::clone(&slot.app().spec), kept.len());
        if let Some(slot) = ctx.state.slots.get_mut(id) {
            slot.durable.learned.sockets = kept;
            ctx.state.slots.changed(id);
        }
        self.mark_dirty(ctx, id);
        self.close_unused(ctx, &spec);
        left
    }
}

/// Records that the process of an instance keeps a socket of its own.
pub(super) fn keep_own(ctx: &mut Ctx, id: u32, own: OwnSocket) {
    let Some(slot) = ctx.state.slots.get_mut(id) else { return };
    let known = &mut slot.durable.learned.own_sockets;
    if known.len() >= MOST_REASONS || known.contains(&own) {
        return;
    }
    let reason = own.reason;
    known.push(own);
    ctx.state.slots.changed(id);
    ctx.complain(id, Topic::OwnSocket, format_args!("keeps a socket of its own, which its instances cannot share: {reason}"));
}

/// Returns the reason for which a process keeps its own socket, if ours could not be opened.
fn why_not_opened(errno: i32) -> OwnSocketReason {
    match Errno::from_raw_os_error(errno) {
        // Ours, not the program's.
        Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS => OwnSocketReason::NotReplaced(errno),
        // The kernel executes the call and returns the true error.
        _ => OwnSocketReason::Refused,
    }
}

/// Returns true if the process has the socket with this inode already, and its second one may not
/// share the port.
fn is_second(inode: u64, read: &ReadBind) -> bool {
    !read.socket.may_share_port() && connections::sockets_of_tree(read.pid).contains_key(&inode)
}

/// Returns true if the app's user may open this port. The daemon may open more as root.
fn may_open(spec: &AppSpec, port: u16) -> bool {
    port >= listening::first_unprivileged_port() || Rights::of(spec).is_daemon_user()
}
