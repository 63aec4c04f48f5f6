//! Listening sockets of all apps.
//!
//! The keeper holds a copy of each under a name that contains its owner, so a new daemon finds them
//! all. The keeper also holds the session ticket keys of TLS servers. They are only in memory,
//! because recorded traffic can be read with these keys.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use ostler_core::serving::balance::ConnectionCounts;
use ostler_proto::node::cluster::{begin_connection, finish_connection};
use ostler_sys::net::socket::{has_stopped, stop_listening};
use serde_json::Value;

use super::Cluster;
use crate::engine::{Ctx, Key};
use crate::platform::reactor::Source;
use crate::platform::rights::Rights;
use crate::state::slots::Connection;

/// Most sockets of one app, far above the number that an ordinary app opens.
const MAX_PER_APP: usize = 256;
/// Most refused addresses of an app that are logged.
const MAX_REFUSED: usize = 16;
/// Longest data of a worker (its ticket keys) that is kept for the other workers.
const MAX_DATA_BYTES: usize = 1024;

/// Prefix of the names under which the keeper holds listening sockets.
const HELD_PREFIX: &str = "listen:";
/// Prefix of all names in this file.
pub(super) const PREFIX: &str = "listen";
/// Prefix of the names under which the keeper holds the shards of a port.
const SHARD_PREFIX: &str = "listen-lane:";
/// Prefix of the names under which the keeper holds the data of listeners.
const DATA_PREFIX: &str = "listen-data:";

/// Listening socket. It belongs to the app and outlives workers and daemons, so a connection may
/// wait but is never refused.
#[derive(Debug)]
pub(super) struct Listener {
    /// Name under which the keeper holds the listener.
    pub name: String,
    /// Other apps that share it.
    sharers: BTreeSet<String>,
    /// The socket.
    pub fd: Rc<OwnedFd>,
    /// Shards: the sockets of one port, each with its own queue. The first is `fd`. Empty if there
    /// is only one socket.
    pub shards: Vec<Shard>,
    /// Workers to which its connections are handed.
    pub turns: ConnectionCounts,
    /// Connections that were accepted and that no worker has now. There are never more than were on
    /// their way to workers.
    pub waiting: VecDeque<Connection>,
    /// Whether every worker has refused the first of these connections.
    pub refused: bool,
    /// Number of the instance that got the last client without an instance of its own.
    pub newcomer: Option<u32>,
    /// Buffer for the message that hands over a connection: the constant start, and the end of the
    /// last message.
    message: Vec<u8>,
    /// Length of the constant start.
    message_start: usize,
    /// Data of the first worker for all others: session ticket keys.
    data: Option<(Value, OwnedFd)>,
    /// Sockets that are watched for connections.
    watched: Vec<Rc<OwnedFd>>,
    wake_ms: Option<u64>,
}

/// Shard of a listener. It is never closed before the others. Otherwise the kernel would reset the
/// connections in its queue, and renumber the others.
#[derive(Debug)]
pub(super) struct Shard {
    /// Number of the instances that accept from it: a worker and its replacement.
    pub index: u32,
    /// The socket.
    pub fd: Rc<OwnedFd>,
    /// Whether a worker accepts from it, as it was last set in the kernel.
    pub active: bool,
}

/// State of a listener until the next event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListenerWait {
    /// Wait for a connection.
    Watch,
    /// Wait for a connection, and check again at this time.
    WatchUntil(u64),
    /// Accept no connection before this time. Connections wait in the kernel's queue.
    Until(u64),
    /// Accept no connection until a worker changes.
    UntilWorker,
}

/// All listeners.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    all: BTreeMap<u32, Listener>,
    by_name: BTreeMap<String, u32>,
    next: u32,
    last_seq: u64,
    /// Listeners to be served in this turn.
    dirty: BTreeSet<u32>,
    /// Apps and addresses whose refusal was logged.
    refused: BTreeSet<String>,
}

/// Returns the name of an app's listener. The length distinguishes app "a" with key "b:c" from app
/// "a:b" with key "c".
pub(super) fn held_name(app: &str, key: &str) -> String {
    format!("{HELD_PREFIX}{}:{app}:{key}", app.len())
}

/// Time at which a listener is served in any case.
fn wake(id: u32) -> Key {
    (Cluster::NAME, u64::from(id))
}

/// Returns app and key of such a name.
fn split_name(name: &str) -> Option<(&str, &str)> {
    let (len, rest) = name.strip_prefix(HELD_PREFIX)?.split_once(':')?;
    let (app, rest) = rest.split_at_checked(len.parse().ok()?)?;
    Some((app, rest.strip_prefix(':')?))
}

/// Returns the name of a shard: position, instances, and the name of its listener.
fn shard_name(position: usize, index: u32, name: &str) -> String {
    format!("{SHARD_PREFIX}{position}:{index}:{}", name.strip_prefix(HELD_PREFIX).unwrap_or(name))
}

/// Returns position, index and listener of such a name.
fn split_shard_name(name: &str) -> Option<(usize, u32, String)> {
    let (position, rest) = name.strip_prefix(SHARD_PREFIX)?.split_once(':')?;
    let (index, rest) = rest.split_once(':')?;
    Some((position.parse().ok()?, index.parse().ok()?, format!("{HELD_PREFIX}{rest}")))
}

fn data_name(name: &str) -> String {
    format!("{DATA_PREFIX}{}", name.strip_prefix(HELD_PREFIX).unwrap_or(name))
}

impl Listeners {
    /// Takes back the descriptors that the keeper held while no daemon ran.
    pub(super) fn restore(&mut self, ctx: &mut Ctx, held: Vec<(String, OwnedFd)>) {
        let mut shards = Vec::new();
        let mut data = Vec::new();
        for (name, fd) in held {
            // A former daemon closed it, and died before it notified the keeper.
            if has_stopped(&fd) {
                ctx.io.keeper.drop_held(&name);
            } else if let Some((app, key)) = split_name(&name) {
                let (fd, message) = (Rc::new(fd), begin_connection(key));
                ctx.state.listening.add(app, &name, Rc::clone(&fd));
                self.insert(name, fd, message);
            } else if let Some((position, index, listener)) = split_shard_name(&name) {
                shards.push((listener, position, index, fd));
            } else if let Some(listener) = name.strip_prefix(DATA_PREFIX) {
                data.push((format!("{HELD_PREFIX}{listener}"), fd));
            }
        }
        // Shards are sorted by position, because the kernel numbers them in the order in which they
        // began to listen.
        shards.sort_by_key(|(_, position, ..)| *position);
        for (listener, position, index, fd) in shards {
            if let Some(listener) = self.named_mut(&listener).filter(|listener| listener.shards.len() == position) {
                listener.shards.push(Shard { index, fd: Rc::new(fd), active: true });
            }
        }
        for (listener, fd) in data {
            let value = ostler_sys::fd::memfd::read(&fd, MAX_DATA_BYTES).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
            if let Some(listener) = self.named_mut(&listener) {
                listener.data = value.map(|value| (value, fd));
            }
        }
    }

    fn named_mut(&mut self, name: &str) -> Option<&mut Listener> {
        self.by_name.get(name).and_then(|id| self.all.get_mut(id))
    }

    /// Returns the descriptors for a new keeper.
    pub(super) fn held(&self) -> impl Iterator<Item = (String, BorrowedFd<'_>)> {
        self.all.values().flat_map(|listener| {
            let data = listener.data.as_ref().map(|(_, fd)| (data_name(&listener.name), fd.as_fd()));
            let shards = listener.shard_names().zip(&listener.shards).map(|(name, shard)| (name, shard.fd.as_fd()));
            std::iter::once((listener.name.clone(), listener.fd.as_fd())).chain(shards).chain(data)
        })
    }

    fn insert(&mut self, name: String, fd: Rc<OwnedFd>, message: Vec<u8>) -> u32 {
        let id = self.next;
        self.next = self.next.wrapping_add(1);
        self.by_name.insert(name.clone(), id);
        let listener = Listener {
            name,
            sharers: BTreeSet::new(),
            fd,
            shards: Vec::new(),
            turns: ConnectionCounts::default(),
            waiting: VecDeque::new(),
            refused: false,
            newcomer: None,
            message_start: message.len(),
            message,
            data: None,
            watched: Vec::new(),
            wake_ms: None,
        };
        self.all.insert(id, listener);
        id
    }

    /// Adds a new socket of an app.
    pub(super) fn add(&mut self, ctx: &mut Ctx, app: &str, key: &str, fd: Rc<OwnedFd>) -> u32 {
        let name = held_name(app, key);
        ctx.io.keeper.hold_now(&name, fd.as_fd());
        ctx.state.listening.add(app, &name, Rc::clone(&fd));
        self.insert(name, fd, begin_connection(key))
    }

    /// Adds another socket of the same port, for the instances of this number.
    pub(super) fn add_shard(&mut self, ctx: &mut Ctx, id: u32, index: u32, fd: Rc<OwnedFd>) {
        let Some(listener) = self.all.get_mut(&id) else { return };
        ctx.io.keeper.hold(&shard_name(listener.shards.len(), index, &listener.name), fd.as_fd());
        listener.shards.push(Shard { index, fd, active: false });
    }

    /// Returns true if this app may have another listener.
    pub(super) fn has_room(&self, app: &str) -> bool {
        self.of_app(app).len() < MAX_PER_APP
    }

    pub(super) fn find(&self, app: &str, key: &str) -> Option<u32> {
        self.by_name.get(&held_name(app, key)).copied()
    }

    pub(super) fn of_app(&self, app: &str) -> Vec<u32> {
        let prefix = held_name(app, "");
        self.by_name.range(prefix.clone()..).take_while(|(name, _)| name.starts_with(&prefix)).map(|(_, id)| *id).collect()
    }

    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut Listener> {
        self.all.get_mut(&id)
    }

    pub(super) fn get(&self, id: u32) -> Option<&Listener> {
        self.all.get(&id)
    }

    /// Returns the next number of a message. Numbers start from the clock, so an answer to a former
    /// daemon does not match a message of this one.
    pub(super) fn next_seq(&mut self, now_ms: u64) -> u64 {
        // The number stays below 2^53 for 200 years without a reboot, because a machine hands over
        // less than a million connections in a second.
        self.last_seq = (self.last_seq + 1).max(now_ms << 10);
        self.last_seq
    }

    /// Keeps the first worker's data, and returns the data for all workers.
    pub(super) fn data(&mut self, ctx: &mut Ctx, id: u32, said: Option<&Value>) -> Value {
        let Some(listener) = self.all.get_mut(&id) else { return Value::Null };
        if listener.data.is_none()
            && let Some(value) = said.filter(|value| !value.is_null())
            && let Some(fd) = in_memory(value)
        {
            ctx.io.keeper.hold(&data_name(&listener.name), fd.as_fd());
            listener.data = Some((value.clone(), fd));
        }
        listener.data.as_ref().map_or(Value::Null, |(value, _)| value.clone())
    }

    /// Closes a listener. These rights remove the file of a unix socket. If its user is unknown,
    /// there are no rights, and the file stays.
    pub(super) fn close(&mut self, ctx: &mut Ctx, id: u32, rights: Option<&Rights>) {
        let Some(listener) = self.all.remove(&id) else { return };
        self.by_name.remove(&listener.name);
        if let Some((app, _)) = split_name(&listener.name) {
            ctx.state.listening.remove(app, &listener.name);
        }
        self.dirty.remove(&id);
        ctx.outbox.timers.set(wake(id), None);
        listener.watched.iter().for_each(|fd| ctx.io.reactor.remove(fd));
        // A client that gets the answer to a stop finds the port closed.
        stop_listening(&listener.fd);
        listener.shards.iter().for_each(|shard| stop_listening(&shard.fd));
        ctx.io.keeper.drop_held(&listener.name);
        listener.shard_names().for_each(|name| ctx.io.keeper.drop_held(&name));
        if listener.data.is_some() {
            ctx.io.keeper.drop_held(&data_name(&listener.name));
        }
        if let Some((key, rights)) = listener.key().zip(rights) {
            super::listen::remove_file(key, &listener.fd, rights);
        }
    }

    /// Returns true if an app may not have this address and that is not logged yet. The number of
    /// logged addresses per app is limited.
    pub(super) fn is_news(&mut self, app: &str, key: &str) -> bool {
        let reported = self.refused.range(held_name(app, "")..).take_while(|told| told.starts_with(&held_name(app, ""))).count();
        reported < MAX_REFUSED && self.refused.insert(held_name(app, key))
    }

    /// Returns the listener of any app for this address.
    pub(super) fn with_key(&self, key: &str) -> Option<u32> {
        self.all.iter().find(|(_, listener)| listener.key() == Some(key)).map(|(id, _)| *id)
    }

    /// Returns the apps that share a listener, first the app in its name.
    pub(super) fn members(&self, id: u32) -> Vec<String> {
        let Some(listener) = self.all.get(&id) else { return Vec::new() };
        let owner = split_name(&listener.name).map(|(app, _)| app.to_owned());
        owner.into_iter().chain(listener.sharers.iter().cloned()).collect()
    }

    /// Shares the listener with another app.
    pub(super) fn share(&mut self, id: u32, app: &str) {
        if let Some(listener) = self.all.get_mut(&id) {
            listener.sharers.insert(app.to_owned());
        }
    }

    /// Returns the listeners that an app has, alone or with others.
    pub(super) fn used_by(&self, app: &str) -> Vec<u32> {
        let shared = self.all.iter().filter(|(_, listener)| listener.sharers.contains(app)).map(|(id, _)| *id);
        self.of_app(app).into_iter().chain(shared).collect()
    }

    /// Removes an app. If the listener has its name, the name changes to the heir's.
    pub(super) fn leave(&mut self, ctx: &mut Ctx, id: u32, app: &str, heir: &str) {
        let Some(listener) = self.all.get_mut(&id) else { return };
        listener.sharers.remove(app);
        let Some(key) = split_name(&listener.name).filter(|(owner, _)| *owner == app).map(|(_, key)| key.to_owned()) else { return };
        listener.sharers.remove(heir);
        let held = |listener: &Listener| {
            let data = listener.data.as_ref().map(|_| data_name(&listener.name));
            std::iter::once(listener.name.clone()).chain(listener.shard_names()).chain(data).collect::<Vec<_>>()
        };
        let former = held(listener);
        self.by_name.remove(&listener.name);
        ctx.state.listening.remove(app, &listener.name);
        listener.name = held_name(heir, &key);
        ctx.state.listening.add(heir, &listener.name, Rc::clone(&listener.fd));
        self.by_name.insert(listener.name.clone(), id);
        let data = listener.data.as_ref().map(|(_, fd)| fd.as_fd());
        let fds = std::iter::once(listener.fd.as_fd()).chain(listener.shards.iter().map(|shard| shard.fd.as_fd())).chain(data);
        // In this order the keeper always holds at least one copy.
        held(listener).iter().zip(fds).for_each(|(name, fd)| ctx.io.keeper.hold(name, fd));
        former.iter().for_each(|name| ctx.io.keeper.drop_held(name));
    }

    /// Marks a listener to be served in this turn.
    pub(super) fn mark_dirty(&mut self, id: u32) {
        self.dirty.insert(id);
    }

    /// Returns the next listener to serve.
    pub(super) fn next_dirty(&mut self) -> Option<u32> {
        self.dirty.pop_first()
    }

    /// Leaves a listener alone until its next event.
    pub(super) fn rest(&mut self, ctx: &mut Ctx, id: u32, rest: ListenerWait) {
        let Some(listener) = self.all.get_mut(&id) else { return };
        let watch: Vec<Rc<OwnedFd>> = if matches!(rest, ListenerWait::Watch | ListenerWait::WatchUntil(_)) {
            listener.sources().cloned().collect()
        } else {
            Vec::new()
        };
        let same = watch.len() == listener.watched.len() && watch.iter().zip(&listener.watched).all(|(new, old)| Rc::ptr_eq(new, old));
        if !same {
            listener.watched.iter().for_each(|fd| ctx.io.reactor.remove(fd));
            let source = Source::Feature(Cluster::NAME, u64::from(id));
            listener.watched = watch.into_iter().filter(|fd| ctx.io.reactor.add(fd, source).is_ok()).collect();
        }
        let wake_ms = if let ListenerWait::Until(at) | ListenerWait::WatchUntil(at) = rest { Some(at) } else { None };
        if wake_ms != std::mem::replace(&mut listener.wake_ms, wake_ms) {
            ctx.outbox.timers.set(wake(id), wake_ms);
        }
    }

    /// Wakes a listener at the end of its rest.
    pub(super) fn wake(&mut self, id: u32) {
        let Some(listener) = self.all.get_mut(&id) else { return };
        listener.wake_ms = None;
        if std::mem::take(&mut listener.refused) {
            // One connection is offered again. If a worker takes it, the next ones follow.
            listener.reset_offers();
        }
        self.dirty.insert(id);
    }

    /// Returns the apps that have listeners.
    pub(super) fn apps(&self) -> BTreeSet<String> {
        self.by_name.keys().filter_map(|name| Some(split_name(name)?.0.to_owned())).collect()
    }
}

impl Listener {
    /// Returns the workers' name for it.
    pub(super) fn key(&self) -> Option<&str> {
        split_name(&self.name).map(|(_, key)| key)
    }

    /// Returns true if a change of its workers affects it.
    pub(super) fn waits_for_workers(&self) -> bool {
        self.watched.is_empty() || !self.waiting.is_empty() || !self.shards.is_empty()
    }

    /// Returns the message that hands over a connection.
    pub(super) fn line(&mut self, seq: u64) -> &[u8] {
        self.message.truncate(self.message_start);
        finish_connection(&mut self.message, seq);
        &self.message
    }

    /// Accepts the next connection from these sockets.
    pub(super) fn accept(&self) -> Result<Option<OwnedFd>, rustix::io::Errno> {
        for socket in self.sources() {
            if let Some(connection) = ostler_sys::net::socket::accept(&**socket)? {
                return Ok(Some(connection));
            }
        }
        Ok(None)
    }

    /// Returns the sockets from which only the daemon accepts.
    pub(super) fn sources(&self) -> impl Iterator<Item = &Rc<OwnedFd>> {
        let only = self.shards.is_empty().then_some(&self.fd);
        only.into_iter().chain(self.shards.iter().filter(|shard| !shard.active).map(|shard| &shard.fd))
    }

    fn shard_names(&self) -> impl Iterator<Item = String> {
        self.shards.iter().enumerate().map(|(position, shard)| shard_name(position, shard.index, &self.name))
    }

    /// Allows the first waiting connection to be offered to all workers again.
    pub(super) fn reset_offers(&mut self) {
        if let Some(first) = self.waiting.front_mut() {
            first.refused_by.clear();
        }
    }
}

/// Returns the value as a file in memory, which the keeper can hold.
fn in_memory(value: &Value) -> Option<OwnedFd> {
    let bytes = serde_json::to_vec(value).ok().filter(|bytes| bytes.len() <= MAX_DATA_BYTES)?;
    ostler_sys::fd::memfd::with("ostler-listener", &bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_names_round_trip() {
        for (app, key) in [("a", "b:c"), ("a:b", "c"), ("", ""), ("ä", "/run/ü:0")] {
            assert_eq!(split_name(&held_name(app, key)), Some((app, key)));
        }
        let shard = shard_name(3, 7, &held_name("a:b", "c"));
        assert_eq!(split_shard_name(&shard), Some((3, 7, held_name("a:b", "c"))));
        assert!(split_name(&shard).is_none() && shard.starts_with(PREFIX));
        for nonsense in ["listen:", "listen:x:a:b", "listen:9:a:b", "listen:1:ä:b", "other"] {
            assert_eq!(split_name(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn sequence_numbers_grow_across_daemons() {
        let mut first = Listeners::default();
        let used: Vec<u64> = (0..2000).map(|_| first.next_seq(5)).collect();
        assert!(used.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(Listeners::default().next_seq(7) > used[1999]);
        assert!(Listeners::default().next_seq(200 * 365 * 86_400_000) < 1 << 53);
    }
}
