//! Open listening sockets of apps: the owner of each address, the numbers that an app's declared
//! sockets (`listen`) have in its processes, and the socket that the probe of a process reaches.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use ostler_core::app::AppSpec;
use ostler_core::serving::probe_route::{OwnSockets, ProbeRoute, route};
use ostler_core::serving::shards::shard_number;
use ostler_core::serving::{FIRST_FD, keyed};
use ostler_sys::net::dial;
use rustix::io::{fcntl_dupfd_cloexec, ioctl_fionbio};
use rustix::net::getsockname;

use super::Slot;

/// Sockets of each address, by app and address. The key is that of the description ([`keyed`]), or
/// a generated name (`listen:…`) if cluster workers asked for it. The feature that opens and closes
/// sockets keeps the table up to date.
#[derive(Debug, Default)]
pub(crate) struct Listening(BTreeMap<String, BTreeMap<String, ListeningAddress>>);

#[derive(Debug)]
struct ListeningAddress {
    socket: Rc<OwnedFd>,
    /// `None` for a unix socket.
    address: Option<SocketAddr>,
    /// Sockets that processes have for themselves; empty if all have the same one.
    shards: Vec<ShardPosition>,
}

/// Socket of one process at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShardPosition {
    /// Number of the slots that have it ([`shard_number`]).
    pub number: u32,
    /// Position in the kernel's order, if it is known.
    pub position: Option<u32>,
}

/// Returns true if the process of this slot accepts at the address with this key.
pub(crate) fn uses(slot: &Slot, key: &str) -> bool {
    keyed(&slot.spec().listen).any(|(_, own)| own == key)
        || slot.spec().shares_opened_port() && slot.durable.learned.sockets.iter().any(|socket| socket.address == key)
}

impl Listening {
    /// Adds an open socket.
    pub(crate) fn add(&mut self, app: &str, key: &str, socket: Rc<OwnedFd>) {
        let address = getsockname(&socket).ok().and_then(|name| SocketAddr::try_from(name).ok());
        let added = ListeningAddress { socket, address, shards: Vec::new() };
        self.0.entry(app.to_owned()).or_default().insert(key.to_owned(), added);
    }

    /// Sets which sockets the processes have at an address.
    pub(crate) fn set_shards(&mut self, app: &str, key: &str, shards: Vec<ShardPosition>) {
        if let Some(known) = self.0.get_mut(app).and_then(|sockets| sockets.get_mut(key)) {
            known.shards = shards;
        }
    }

    /// Removes a closed socket.
    pub(crate) fn remove(&mut self, app: &str, key: &str) {
        let Some(sockets) = self.0.get_mut(app) else { return };
        sockets.remove(key);
        if sockets.is_empty() {
            self.0.remove(app);
        }
    }

    /// Returns the destination of a probe of this slot's process.
    pub(crate) fn probe_route(&self, slot: &Slot, to: SocketAddr) -> ProbeRoute {
        let Some(sockets) = self.0.get(slot.spec().key()) else { return ProbeRoute::Common };
        let number = slot.spec().has_shards().then(|| shard_number(slot.durable.shard));
        let own = sockets.iter().filter(|(_, at)| !at.shards.is_empty()).filter_map(|(key, at)| {
            let shard = at.shards.iter().find(|shard| Some(shard.number) == number);
            Some(OwnSockets { address: at.address?, is_open: uses(slot, key), position: shard.and_then(|shard| shard.position) })
        });
        route(to, own, dial::is_own)
    }

    /// Returns the app that a socket is open for.
    pub(crate) fn app_of(&self, inode: u64) -> Option<&str> {
        let is_it = |at: &ListeningAddress| ostler_sys::net::listening::inode(at.socket.as_fd()) == Some(inode);
        self.0.iter().find(|(_, sockets)| sockets.values().any(is_it)).map(|(app, _)| app.as_str())
    }

    /// Returns the ports on which the sockets of an app listen.
    pub(crate) fn ports(&self, app: &str) -> Vec<u16> {
        let sockets = self.0.get(app).into_iter().flat_map(BTreeMap::values);
        let ports: BTreeSet<u16> = sockets.filter_map(|at| at.address).map(|address| address.port()).collect();
        ports.into_iter().collect()
    }

    /// Returns a copy of the socket with this number in the processes of an app, for a cluster
    /// worker. Node's servers do not block.
    pub(crate) fn copy_for_worker(&self, spec: &AppSpec, number: i64) -> Option<OwnedFd> {
        let index = usize::try_from(number.checked_sub(FIRST_FD.into())?).ok()?;
        let (_, key) = keyed(&spec.listen).nth(index)?;
        let fd = fcntl_dupfd_cloexec(&self.0.get(spec.key())?.get(&key)?.socket, 0).ok()?;
        ioctl_fionbio(&fd, true).ok()?;
        Some(fd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_core::serving::{Listen, ListenAt};

    #[test]
    fn socket_is_found_by_descriptor_number_and_inode() {
        let at = ListenAt::Tcp { address: None, port: 80 };
        let listen = vec![Listen { at, name: "web".into(), backlog: None, mode: None }];
        let spec = AppSpec { name: "api".into(), listen, ..AppSpec::default() };
        let socket: Rc<OwnedFd> = Rc::new(std::net::TcpListener::bind("127.0.0.1:0").unwrap().into());
        let inode = ostler_sys::net::listening::inode(socket.as_fd()).unwrap();
        let mut listening = Listening::default();
        assert!(listening.copy_for_worker(&spec, 3).is_none());
        listening.add("api", "port 80", socket);
        let copy = listening.copy_for_worker(&spec, 3).unwrap();
        assert_eq!(ostler_sys::net::listening::inode(copy.as_fd()), Some(inode));
        assert!([-1, 2, 4, i64::MIN].iter().all(|number| listening.copy_for_worker(&spec, *number).is_none()));
        assert_eq!(listening.app_of(inode), Some("api"));
        listening.remove("api", "port 80");
        assert_eq!(listening.app_of(inode), None);
    }
}
