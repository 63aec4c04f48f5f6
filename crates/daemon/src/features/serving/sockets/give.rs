//! Sockets for a new process: a copy of every socket of its app. Missing sockets are opened now.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use ostler_core::app::AppSpec;
use ostler_core::lifecycle::SpawnFailure;
use ostler_core::serving::shards::shard_number;
use ostler_core::serving::{FIRST_FD, Listen, ListenAt, keyed};
use ostler_proto::control::OpenSocket;
use ostler_sys::process::cstrings::OWN_PID;
use rustix::io::Errno;

use super::group::{Group, Socket};
use super::open::{self, FileRights, PortSharing};
use super::owner::{SocketOwner, SocketRole};
use super::{Sockets, held};
use crate::engine::{Ctx, SpawnExtras};
use crate::state::slots::Slot;

/// Process that is about to be started.
struct SocketRequest<'a> {
    spec: &'a AppSpec,
    /// Shard of each port that it gets; `None` if its app has no shards.
    shard: Option<u32>,
    rights: FileRights,
}

/// Adds the variables of systemd's protocol, which describe the sockets to a program. The child
/// itself adds its pid, which is not known before.
fn announce(spec: &AppSpec, beside: &mut SpawnExtras) {
    if spec.listen.is_empty() {
        return;
    }
    let names: Vec<&str> = spec.listen.iter().map(|listen| listen.name.as_str()).collect();
    beside.vars.extend([
        ("LISTEN_FDS", spec.listen.len().to_string()),
        ("LISTEN_FDNAMES", names.join(":")),
        ("LISTEN_PID", OWN_PID.to_owned()),
    ]);
}

/// Sockets for a process.
#[derive(Default)]
pub(super) struct ProcessSockets {
    /// Descriptors in the order of the description.
    pub fds: Vec<OwnedFd>,
    /// Sockets as they are displayed, with the port that the kernel chose.
    pub shown: Vec<OpenSocket>,
}

impl Sockets {
    /// Adds the sockets of its app to a process that is about to be started.
    pub(super) fn give(&mut self, ctx: &mut Ctx, id: u32, beside: &mut SpawnExtras) -> Result<(), SpawnFailure> {
        let Some(slot) = ctx.state.slots.get(id) else { return Ok(()) };
        let (spec, shard) = (Rc::clone(&slot.app().spec), slot.spec().has_shards().then_some(slot.durable.shard));
        let given = if spec.listen.is_empty() {
            self.close_unused(ctx, &spec);
            ProcessSockets::default()
        } else {
            self.open_all(ctx, &spec, shard, &spec.listen)?
        };
        announce(&spec, beside);
        beside.fds.extend(given.fds.into_iter().zip(FIRST_FD..));
        let is_new = |slot: &&mut Slot| slot.durable.learned.sockets != given.shown || !slot.durable.learned.own_sockets.is_empty();
        if let Some(slot) = ctx.state.slots.get_mut(id).filter(is_new) {
            slot.durable.learned.sockets = given.shown;
            slot.durable.learned.own_sockets = Vec::new();
        }
        Ok(())
    }

    /// Copies the present sockets, and opens the missing ones. It opens all of them or none.
    pub(super) fn open_all(
        &mut self,
        ctx: &mut Ctx,
        spec: &AppSpec,
        shard: Option<u32>,
        listens: &[Listen],
    ) -> Result<ProcessSockets, SpawnFailure> {
        // Otherwise it could get a socket that was shut down a moment ago.
        self.on_shutdowns(ctx);
        let wants = SocketRequest { spec, shard, rights: FileRights::of(ctx, spec) };
        let mut fresh: Vec<(SocketOwner, Group)> = Vec::new();
        let mut given = ProcessSockets::default();
        for (listen, key) in keyed(listens) {
            self.add_shard(ctx, &wants, listen, &key);
            match self.copy_for(ctx, &wants, (listen, &key), &mut fresh) {
                Ok(fd) => {
                    given.shown.push(OpenSocket { name: listen.name.clone(), address: address_of(&fd, &listen.at) });
                    given.fds.push(fd);
                }
                Err(errno) => {
                    fresh.iter().for_each(|(owner, _)| owner.remove_file(&wants.rights.rights));
                    return Err(SpawnFailure { step: self.explain(&listen.at, &key, errno), errno: errno.raw_os_error() });
                }
            }
        }
        for (owner, group) in fresh {
            held(&owner, &group).for_each(|(name, fd)| ctx.io.keeper.hold(&name, fd));
            self.add_group(ctx, owner, group);
        }
        // After an edit of the file, sockets that no description names any more are closed. That
        // happens as soon as the first instance has the new ones.
        if !spec.shares_opened_port() && self.by_app.keys().filter(|owner| owner.app == spec.key()).count() > listens.len() {
            self.close_unused(ctx, spec);
        }
        Ok(given)
    }

    /// Returns a copy of one socket for the process. A socket that was opened for that goes to
    /// `fresh`.
    fn copy_for(
        &mut self,
        ctx: &mut Ctx,
        wants: &SocketRequest<'_>,
        (listen, key): (&Listen, &str),
        fresh: &mut Vec<(SocketOwner, Group)>,
    ) -> Result<OwnedFd, Errno> {
        if let Some(group) = self.find_mut(wants.spec.key(), key) {
            return copy(group.give_to(wants.shard));
        }
        let (owner, mut group) = self.open_one(ctx, wants, listen, key)?;
        let copied = copy(group.give_to(wants.shard));
        fresh.push((owner, group));
        copied
    }

    /// Opens the shard of a process at a port that is open already. It gets no connections until
    /// they are steered to it.
    fn add_shard(&mut self, ctx: &mut Ctx, wants: &SocketRequest<'_>, listen: &Listen, key: &str) {
        let Some(number) = wants.shard.map(shard_number) else { return };
        let app = wants.spec.key();
        let Some((owner, group)) = self.find(app, key).filter(|(_, group)| group.has_shards() && group.shard(number).is_none()) else {
            return;
        };
        let owner = owner.clone();
        // Connections may wait there that no other process will accept.
        if let Some(other) = group.ownerless() {
            return self.change(ctx, &owner, |group| group.renumber(other, number));
        }
        match open::open_at_address_of(group.first(), listen, PortSharing::Further) {
            Ok(fd) => self.add_opened(ctx, &owner, number, fd),
            // Two processes then accept from the first socket.
            Err(errno) => {
                ctx.io.log.error_once("shard", format_args!("cannot open another socket at {key} for {app}: {errno}"));
            }
        }
    }

    /// Opens a missing socket, or takes it from an app that no longer exists: the same app under
    /// its former name.
    fn open_one(&mut self, ctx: &mut Ctx, wants: &SocketRequest<'_>, listen: &Listen, key: &str) -> Result<(SocketOwner, Group), Errno> {
        let app = wants.spec.key().to_owned();
        let is_ownerless = |owner: &&SocketOwner| owner.key == key && !ctx.state.slots.iter().any(|slot| slot.spec().key() == owner.app);
        if let Some(former) = self.by_app.keys().find(is_ownerless).cloned()
            && let Some(group) = self.remove_group(ctx, &former)
        {
            return Ok((SocketOwner { app, ..former }, group));
        }
        let mut file = None;
        let socket = match wants.shard.filter(|_| listen.at.port().is_some()) {
            Some(shard) => open_first_shard(ctx, listen, shard, &wants.rights, self.sharing(&app, listen))?,
            None => {
                let opened = open::open(listen, &wants.rights, PortSharing::Alone)?;
                file = opened.file;
                Socket { fd: opened.fd.into(), role: SocketRole::Alone }
            }
        };
        Ok((SocketOwner { app, key: key.to_owned(), file }, Group::new(socket)))
    }

    /// Returns how the first socket of an address shares its port. A program that opens the port for
    /// IPv6 and then for IPv4 wants the first one for IPv6 only. If the options of its sockets are
    /// unknown, our socket accepts both. The kernel prefers the IPv4 socket for IPv4 connections.
    fn sharing(&self, app: &str, listen: &Listen) -> PortSharing {
        let ListenAt::Tcp { address: Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), port } = listen.at else { return PortSharing::First };
        let beside = ListenAt::Tcp { address: None, port }.to_string();
        match self.find(app, &beside) {
            // Sockets of `listen` have names.
            Some(_) if listen.name.is_empty() => PortSharing::Further,
            _ => PortSharing::First,
        }
    }

    /// Returns the failed step, with the reason if errno's text is not enough.
    fn explain(&self, at: &ListenAt, key: &str, errno: Errno) -> String {
        let other = self.by_app.keys().find(|owner| owner.key == key);
        let hint = match (at, errno) {
            (_, Errno::ADDRINUSE) if other.is_some() => other.map_or_else(String::new, |owner| format!(" (the app {} has it)", owner.app)),
            (ListenAt::Tcp { port: 1..1024, .. } | ListenAt::TcpV6 { port: 1..1024 }, Errno::ACCESS) => {
                " (ports below 1024 need root or CAP_NET_BIND_SERVICE)".into()
            }
            (ListenAt::Unix { .. }, Errno::ADDRINUSE) => " (another process listens there, or the file is not a socket)".into(),
            _ => String::new(),
        };
        format!("listen at {at}{hint}")
    }
}

/// Opens the first of several sockets of a port. If the kernel does not let connections be steered,
/// it stays the only one.
fn open_first_shard(ctx: &mut Ctx, listen: &Listen, shard: u32, rights: &FileRights, sharing: PortSharing) -> Result<Socket, Errno> {
    let fd = open::open(listen, rights, sharing)?.fd;
    // This happens at once, so that further sockets get no connections too early.
    match ostler_sys::net::reuseport::steer(&fd, &[0]) {
        Ok(()) => Ok(Socket { fd: fd.into(), role: SocketRole::Shard { number: shard_number(shard), position: Some(0) } }),
        Err(errno) => {
            let at = &listen.at;
            ctx.io.log.error_once("steer", format_args!("cannot steer the connections at {at} ({errno}): a reload may drop some"));
            drop(fd);
            Ok(Socket { fd: open::open(listen, rights, PortSharing::Alone)?.fd.into(), role: SocketRole::Alone })
        }
    }
}

fn copy(fd: impl AsFd) -> Result<OwnedFd, Errno> {
    rustix::io::fcntl_dupfd_cloexec(fd, 0)
}

/// Returns the address at which it really listens.
fn address_of(fd: &OwnedFd, wanted: &ListenAt) -> String {
    let actual = match wanted {
        ListenAt::Tcp { .. } => rustix::net::getsockname(fd).ok().and_then(|address| SocketAddr::try_from(address).ok()),
        ListenAt::TcpV6 { .. } | ListenAt::Unix { .. } => None,
    };
    match (actual, wanted) {
        (Some(address), ListenAt::Tcp { address: None, .. }) => ListenAt::Tcp { address: None, port: address.port() },
        (Some(address), _) => ListenAt::Tcp { address: Some(address.ip()), port: address.port() },
        (None, wanted) => wanted.clone(),
    }
    .to_string()
}
