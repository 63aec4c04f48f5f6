//! Rescue of sockets after both daemon and keeper were killed: the app's processes still have them.

use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use ostler_core::serving::shards::shard_number;
use ostler_core::serving::{FIRST_FD, ListenAt, keyed};
use ostler_sys::ProcRef;
use rustix::net::{SocketAddrAny, SocketAddrUnix, getsockname, sockopt};
use rustix::process::{PidfdGetfdFlags, pidfd_getfd};

use super::Sockets;
use super::group::Socket;
use super::owner::{SocketOwner, SocketRole, identity};
use super::shards::shard_of;
use crate::engine::Ctx;
use crate::platform::rights::Rights;

impl Sockets {
    /// Takes copies of the sockets of an adopted process, so that others can be started beside it.
    /// The kernel may not allow that (Yama's `ptrace_scope`). The next start of an instance then
    /// finds the address in use while another instance runs.
    pub(super) fn rescue(&mut self, ctx: &mut Ctx, id: u32, process: ProcRef) {
        let Some(slot) = ctx.state.slots.get(id).filter(|slot| !slot.spec().listen.is_empty()) else { return };
        let (spec, shard) = (Rc::clone(&slot.app().spec), shard_of(slot).map(shard_number));
        let Ok(pidfd) = process.open() else { return };
        for ((listen, key), number) in keyed(&spec.listen).zip(FIRST_FD..) {
            if let Some((_, group)) = self.find(spec.key(), &key)
                && (!group.has_shards() || shard.is_none_or(|shard| group.shard(shard).is_some()))
            {
                continue;
            }
            let found = pidfd_getfd(&pidfd, number, PidfdGetfdFlags::empty()).ok();
            // The program may have replaced this descriptor long ago.
            let Some(fd) = found.filter(|fd| listens_at(fd, &listen.at)) else { continue };
            let file = match &listen.at {
                ListenAt::Unix { path } => identity(Path::new(path), &Rights::of(&spec)),
                ListenAt::Tcp { .. } | ListenAt::TcpV6 { .. } => None,
            };
            let role = match shard.filter(|_| sockopt::socket_reuseport(&fd) == Ok(true)) {
                Some(number) => SocketRole::Shard { number, position: None },
                None => SocketRole::Alone,
            };
            let owner = SocketOwner { app: spec.key().to_owned(), key, file };
            if let Some(name) = owner.held_name(role) {
                ctx.io.keeper.hold(&name, fd.as_fd());
            }
            self.add(ctx, owner, Socket { fd: fd.into(), role });
        }
    }
}

/// Returns true if it is a listening socket at that address.
fn listens_at(fd: &OwnedFd, wanted: &ListenAt) -> bool {
    if sockopt::socket_acceptconn(fd) != Ok(true) {
        return false;
    }
    let Ok(address) = getsockname(fd) else { return false };
    match wanted {
        ListenAt::Tcp { address: ip, port } => same_tcp(address, *ip, *port),
        ListenAt::TcpV6 { port } => sockopt::ipv6_v6only(fd) == Ok(true) && same_tcp(address, Some(Ipv6Addr::UNSPECIFIED.into()), *port),
        ListenAt::Unix { path } => {
            SocketAddrUnix::try_from(address).is_ok_and(|own| own.path().is_some_and(|own| own.to_bytes() == path.as_bytes()))
        }
    }
}

fn same_tcp(address: SocketAddrAny, ip: Option<std::net::IpAddr>, port: u16) -> bool {
    SocketAddr::try_from(address)
        .is_ok_and(|own| (port == 0 || own.port() == port) && ip.map_or(own.ip().is_unspecified(), |ip| own.ip() == ip))
}
