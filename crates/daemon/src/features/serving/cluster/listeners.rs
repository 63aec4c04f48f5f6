//! Listening sockets of all apps.
//!
//! The keeper holds a copy of each under a name that says whose it is, so a fresh daemon finds them all, and with it the session ticket
//! keys of TLS servers (in memory only: who has these keys can read what was recorded).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use ostler_core::serving::balance::Turns;
use ostler_proto::node::cluster::{begin_connection, finish_connection};
use ostler_sys::net::socket::{has_stopped, stop_listening};
use serde_json::Value;

use super::Cluster;
use crate::engine::{Ctx, Key};
use crate::platform::reactor::Source;
use crate::platform::rights::Rights;
use crate::state::slots::Connection;

/// Most sockets of one app; more is not an app's ordinary behaviour.
const MAX_PER_APP: usize = 256;
/// Most refused addresses of an app that are logged.
const MAX_REFUSED: usize = 16;
/// Longest data of a worker (its ticket keys) that is kept for the others.
const MAX_DATA_BYTES: usize = 1024;

/// Prefix of the names under which the keeper holds listening sockets.
const HELD_PREFIX: &str = "listen:";
/// Prefix of all of the names here.
pub(super) const PREFIX: &str = "listen";
/// Prefix of the names under which the keeper holds the several sockets of a port.
const SHARD_PREFIX: &str = "listen-lane:";
/// Prefix of the names under which the keeper holds what belongs to them.
const DATA_PREFIX: &str = "listen-data:";

/// A listening socket. It belongs to the app and outlives workers and daemons: a connection waits, it is never refused.
#[derive(Debug)]
pub(super) struct Listener {
    /// Name under which the keeper holds it.
    pub name: String,
    /// Other apps that have it, too.
    sharers: BTreeSet<String>,
    /// The socket.
    pub fd: Rc<OwnedFd>,
    /// Shards: the sockets of one port, each with a queue of its own; the first is `fd`. None where there is but one.
    pub shards: Vec<Shard>,
    /// Workers that are handed its connections.
    pub turns: Turns,
    /// Connections that were accepted and that nobody has now. Never more than were on their way to workers.
    pub waiting: VecDeque<Connection>,
    /// Whether every worker has refused the first of them.
    pub refused: bool,
    /// Number of the instance that got the last client that belonged to nobody.
    pub newcomer: Option<u32>,
    /// Begin of the message that hands over a connection, and the last one's end.
    message: Vec<u8>,
    /// Length of the begin.
    message_start: usize,
    /// Data of the first worker for all others: session ticket keys.
    data: Option<(Value, OwnedFd)>,
    /// Sockets that are watched for connections.
    watched: Vec<Rc<OwnedFd>>,
    wake_ms: Option<u64>,
}

/// Shard of a listener. It is never closed before the others: what waits in its queue would be reset, and the kernel would
/// count the others anew.
#[derive(Debug)]
pub(super) struct Shard {
    /// Number of the instances that accept from it: a worker and its replacement.
    pub index: u32,
    /// The socket.
    pub fd: Rc<OwnedFd>,
    /// Whether somebody accepts from it, as the kernel was told.
    pub active: bool,
}

/// State of a listener until something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Wait for a connection.
    Watch,
    /// Wait for a connection, and look again at this time.
    WatchUntil(u64),
    /// Nobody takes one before this time; they wait in the kernel's queue.
    Until(u64),
    /// Nobody takes one until something changes for a worker.
    UntilWorker,
}

/// All listeners.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    all: BTreeMap<u32, Listener>,
    by_name: BTreeMap<String, u32>,
    next: u32,
    last_seq: u64,
    /// Listeners to be looked at in this turn.
    dirty: BTreeSet<u32>,
    /// Apps and addresses whose refusal was logged.
    refused: BTreeSet<String>,
}

/// The name of an app's listener. The length keeps app "a" with key "b:c" apart from app "a:b" with key "c".
pub(super) fn held_name(app: &str, key: &str) -> String {
    format!("{HELD_PREFIX}{}:{app}:{key}", app.len())
}

/// Time at which a listener is looked at in any case.
fn wake(id: u32) -> Key {
    (Cluster::NAME, u64::from(id))
}

/// App and key of such a name.
fn split_name(name: &str) -> Option<(&str, &str)> {
    let (len, rest) = name.strip_prefix(HELD_PREFIX)?.split_once(':')?;
    let (app, rest) = rest.split_at_checked(len.parse().ok()?)?;
    Some((app, rest.strip_prefix(':')?))
}

/// The name of a shard: position, instances, and the name of its listener.
fn shard_name(position: usize, index: u32, name: &str) -> String {
    format!("{SHARD_PREFIX}{position}:{index}:{}", name.strip_prefix(HELD_PREFIX).unwrap_or(name))
}

/// Position, index and listener of such a name.
fn split_shard_name(name: &str) -> Option<(usize, u32, String)> {
    let (position, rest) = name.strip_prefix(SHARD_PREFIX)?.split_once(':')?;
    let (index, rest) = rest.split_once(':')?;
    Some((position.parse().ok()?, index.parse().ok()?, format!("{HELD_PREFIX}{rest}")))
}

fn data_name(name: &str) -> String {
    format!("{DATA_PREFIX}{}", name.strip_prefix(HELD_PREFIX).unwrap_or(name))
}

impl Listeners {
    /// Takes back what the keeper held while there was no daemon.
    pub(super) fn restore(&mut self, ctx: &mut Ctx, held: Vec<(String, OwnedFd)>) {
        let mut shards = Vec::new();
        let mut data = Vec::new();
        for (name, fd) in held {
            // Of a daemon that closed it, and died before the keeper heard of that.
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
        // By position: the kernel counts in the order in which they began to listen.
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

    /// Descriptors for a new keeper.
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
            turns: Turns::default(),
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

    /// A new socket of an app.
    pub(super) fn add(&mut self, ctx: &mut Ctx, app: &str, key: &str, fd: Rc<OwnedFd>) -> u32 {
        let name = held_name(app, key);
        ctx.io.keeper.hold_now(&name, fd.as_fd());
        ctx.state.listening.add(app, &name, Rc::clone(&fd));
        self.insert(name, fd, begin_connection(key))
    }

    /// Another socket of the same port, for the instances of this number.
    pub(super) fn add_shard(&mut self, ctx: &mut Ctx, id: u32, index: u32, fd: Rc<OwnedFd>) {
        let Some(listener) = self.all.get_mut(&id) else { return };
        ctx.io.keeper.hold(&shard_name(listener.shards.len(), index, &listener.name), fd.as_fd());
        listener.shards.push(Shard { index, fd, active: false });
    }

    /// True if this app may have another one.
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

    /// The next number of a message. They go on from the clock: an answer to a daemon that is no more must not look like one to us.
    pub(super) fn next_seq(&mut self, now_ms: u64) -> u64 {
        // Below 2^53 for 200 years without a reboot, and nobody hands over a million connections in a second.
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

    /// Closes one. The file of a unix socket is removed with these rights; without any, because nobody knows whose it was, it stays.
    pub(super) fn close(&mut self, ctx: &mut Ctx, id: u32, rights: Option<&Rights>) {
        let Some(listener) = self.all.remove(&id) else { return };
        self.by_name.remove(&listener.name);
        if let Some((app, _)) = split_name(&listener.name) {
            ctx.state.listening.remove(app, &listener.name);
        }
        self.dirty.remove(&id);
        ctx.outbox.timers.set(wake(id), None);
        listener.watched.iter().for_each(|fd| ctx.io.reactor.remove(fd));
        // Whoever is told that the app was stopped finds its port closed.
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

    /// True if an app may not have this address, and that is still to be logged. Of an app that asks for everything not without end.
    pub(super) fn is_news(&mut self, app: &str, key: &str) -> bool {
        let told = self.refused.range(held_name(app, "")..).take_while(|told| told.starts_with(&held_name(app, ""))).count();
        told < MAX_REFUSED && self.refused.insert(held_name(app, key))
    }

    /// The listener of any app for this address.
    pub(super) fn with_key(&self, key: &str) -> Option<u32> {
        self.all.iter().find(|(_, listener)| listener.key() == Some(key)).map(|(id, _)| *id)
    }

    /// The apps that have it, first the one whose name it has.
    pub(super) fn members(&self, id: u32) -> Vec<String> {
        let Some(listener) = self.all.get(&id) else { return Vec::new() };
        let owner = split_name(&listener.name).map(|(app, _)| app.to_owned());
        owner.into_iter().chain(listener.sharers.iter().cloned()).collect()
    }

    /// Shares it with another app.
    pub(super) fn share(&mut self, id: u32, app: &str) {
        if let Some(listener) = self.all.get_mut(&id) {
            listener.sharers.insert(app.to_owned());
        }
    }

    /// Listeners that an app has, alone or with others.
    pub(super) fn used_by(&self, app: &str) -> Vec<u32> {
        let shared = self.all.iter().filter(|(_, listener)| listener.sharers.contains(app)).map(|(id, _)| *id);
        self.of_app(app).into_iter().chain(shared).collect()
    }

    /// Removes an app; if it had its name, it gets the heir's.
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
        // In this order something is held at any time.
        held(listener).iter().zip(fds).for_each(|(name, fd)| ctx.io.keeper.hold(name, fd));
        former.iter().for_each(|name| ctx.io.keeper.drop_held(name));
    }

    /// Has it looked at in this turn.
    pub(super) fn mark_dirty(&mut self, id: u32) {
        self.dirty.insert(id);
    }

    /// The next one to look at.
    pub(super) fn next_dirty(&mut self) -> Option<u32> {
        self.dirty.pop_first()
    }

    /// Rests until something happens to it.
    pub(super) fn rest(&mut self, ctx: &mut Ctx, id: u32, rest: Rest) {
        let Some(listener) = self.all.get_mut(&id) else { return };
        let watch: Vec<Rc<OwnedFd>> =
            if matches!(rest, Rest::Watch | Rest::WatchUntil(_)) { listener.sources().cloned().collect() } else { Vec::new() };
        let same = watch.len() == listener.watched.len() && watch.iter().zip(&listener.watched).all(|(new, old)| Rc::ptr_eq(new, old));
        if !same {
            listener.watched.iter().for_each(|fd| ctx.io.reactor.remove(fd));
            let source = Source::Feature(Cluster::NAME, u64::from(id));
            listener.watched = watch.into_iter().filter(|fd| ctx.io.reactor.add(fd, source).is_ok()).collect();
        }
        let wake_ms = if let Rest::Until(at) | Rest::WatchUntil(at) = rest { Some(at) } else { None };
        if wake_ms != std::mem::replace(&mut listener.wake_ms, wake_ms) {
            ctx.outbox.timers.set(wake(id), wake_ms);
        }
    }

    /// Wakes it: the time has come for which it rested.
    pub(super) fn wake(&mut self, id: u32) {
        let Some(listener) = self.all.get_mut(&id) else { return };
        listener.wake_ms = None;
        if std::mem::take(&mut listener.refused) {
            // One is offered again; if it finds a place the next ones follow.
            listener.ask_again();
        }
        self.dirty.insert(id);
    }

    /// Apps that have listeners.
    pub(super) fn apps(&self) -> BTreeSet<String> {
        self.by_name.keys().filter_map(|name| Some(split_name(name)?.0.to_owned())).collect()
    }
}

impl Listener {
    /// The workers' name for it.
    pub(super) fn key(&self) -> Option<&str> {
        split_name(&self.name).map(|(_, key)| key)
    }

    /// True if a change of its workers makes a difference.
    pub(super) fn waits_for_workers(&self) -> bool {
        self.watched.is_empty() || !self.waiting.is_empty() || !self.shards.is_empty()
    }

    /// The message that hands over a connection.
    pub(super) fn line(&mut self, seq: u64) -> &[u8] {
        self.message.truncate(self.message_start);
        finish_connection(&mut self.message, seq);
        &self.message
    }

    /// The next connection of these.
    pub(super) fn accept(&self) -> Result<Option<OwnedFd>, rustix::io::Errno> {
        for socket in self.sources() {
            if let Some(connection) = ostler_sys::net::socket::accept(&**socket)? {
                return Ok(Some(connection));
            }
        }
        Ok(None)
    }

    /// Sockets whose connections nobody but us accepts.
    pub(super) fn sources(&self) -> impl Iterator<Item = &Rc<OwnedFd>> {
        let only = self.shards.is_empty().then_some(&self.fd);
        only.into_iter().chain(self.shards.iter().filter(|shard| !shard.active).map(|shard| &shard.fd))
    }

    fn shard_names(&self) -> impl Iterator<Item = String> {
        self.shards.iter().enumerate().map(|(position, shard)| shard_name(position, shard.index, &self.name))
    }

    /// Lets the first connection that waits be offered to everybody again.
    pub(super) fn ask_again(&mut self) {
        if let Some(first) = self.waiting.front_mut() {
            first.refused_by.clear();
        }
    }
}

/// The value as a file in memory that the keeper can hold.
fn in_memory(value: &Value) -> Option<OwnedFd> {
    let bytes = serde_json::to_vec(value).ok().filter(|bytes| bytes.len() <= MAX_DATA_BYTES)?;
    ostler_sys::fd::memfd::with("ostler-listener", &bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_whose_socket_it_is() {
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
    fn numbers_never_begin_again() {
        let mut first = Listeners::default();
        let used: Vec<u64> = (0..2000).map(|_| first.next_seq(5)).collect();
        assert!(used.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(Listeners::default().next_seq(7) > used[1999]);
        assert!(Listeners::default().next_seq(200 * 365 * 86_400_000) < 1 << 53);
    }
}
