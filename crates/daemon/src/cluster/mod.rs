//! Node's cluster *primary*, without Node: workers ask on their IPC channel for a listening socket and get the app's.
//!
//! # Theory of operation
//!
//! A worker's `listen` becomes a `queryServer` message. The listening socket is made here, once per app and address, and belongs to
//! the app: it outlives every worker, and through the keeper's copy it outlives the daemon, so a connection waits but is never
//! refused. Each worker gets a copy of the socket itself and accepts from it directly; nothing of a request passes the daemon.

mod listen;
mod query;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

use serde_json::{Map, Value, json};

pub(crate) use query::Query;

use crate::control::Control;
use crate::supervisor::readiness::Sign;

/// Sockets at the same time; more is not an app's ordinary behaviour.
const MAX_LISTENERS: usize = 4096;

/// The listening sockets of all apps by the name under which the keeper holds them.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    all: BTreeMap<String, OwnedFd>,
}

impl Listeners {
    /// Takes back what the keeper held while there was no daemon.
    pub(crate) fn restore(&mut self, name: String, fd: OwnedFd) {
        self.all.insert(name, fd);
    }

    /// For a new keeper.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, &OwnedFd)> {
        self.all.iter()
    }
}

/// Prefix of the names under which the keeper holds listening sockets.
pub(crate) const HELD_PREFIX: &str = "listen:";

fn prefix(app: &str) -> String {
    // The length keeps app "a" with key "b:c" apart from app "a:b" with key "c".
    format!("{HELD_PREFIX}{}:{app}:", app.len())
}

impl Control {
    /// A message of Node's own cluster protocol.
    pub(crate) fn hear_worker(&mut self, id: u32, message: &Map<String, Value>) {
        match message.get("cmd").and_then(Value::as_str) {
            Some("NODE_CLUSTER") => self.hear_cluster(id, message),
            Some("NODE_HANDLE_ACK" | "NODE_HANDLE_NACK") => {
                if let Some(ipc) = self.registry.get_mut(id).and_then(|slot| slot.ipc.as_mut()) {
                    ipc.handle_taken(&self.reactor);
                }
            }
            // The app sent a handle: it waits for the answer before anything else is sent. Nobody here wants the handle.
            Some("NODE_HANDLE") => self.send_to(id, &json!({"cmd": "NODE_HANDLE_ACK"}), None),
            _ => {}
        }
    }

    fn hear_cluster(&mut self, id: u32, message: &Map<String, Value>) {
        match message.get("act").and_then(Value::as_str) {
            Some("queryServer") => self.query_server(id, message),
            Some("listening") => {
                let inc = self.registry.get(id).map_or(0, |slot| slot.instance.inc);
                self.told_ready(id, inc, Sign::Listening);
            }
            Some("close") => {
                let key = message.get("key").and_then(Value::as_str).unwrap_or_default();
                if let Some(slot) = self.registry.get_mut(id) {
                    slot.listening.retain(|open| open != key);
                }
            }
            Some("exitedAfterDisconnect") => {
                let reply = json!({"cmd": "NODE_CLUSTER", "ack": message.get("seq")});
                self.send_to(id, &reply, None);
            }
            _ => {}
        }
    }

    fn query_server(&mut self, id: u32, message: &Map<String, Value>) {
        let Some(slot) = self.registry.get(id) else { return };
        let app = slot.spec().name.clone();
        let cwd = slot.spec().cwd.clone();
        let query = Query::parse(message);
        let key = query.key();
        let reply =
            |errno: i32| json!({"cmd": "NODE_CLUSTER", "errno": errno, "key": key, "ack": message.get("seq"), "data": message.get("data")});
        // The same key twice in one worker is an assertion in Node: the worker would die.
        if slot.listening.contains(&key) {
            return self.send_to(id, &reply(-rustix::io::Errno::ADDRINUSE.raw_os_error()), None);
        }
        match self.listener(&app, &key, &query, &cwd) {
            Ok(fd) => {
                let wrapped = json!({"cmd": "NODE_HANDLE", "type": query.handle_type(), "msg": reply(0)});
                if let Some(slot) = self.registry.get_mut(id) {
                    slot.listening.push(key);
                }
                self.send_to(id, &wrapped, Some(fd));
            }
            Err(errno) => self.send_to(id, &reply(-errno.raw_os_error()), None),
        }
    }

    /// The app's socket for that query: the present one, or a new one.
    fn listener(&mut self, app: &str, key: &str, query: &Query, cwd: &str) -> Result<OwnedFd, rustix::io::Errno> {
        let name = format!("{}{key}", prefix(app));
        if let Some(fd) = self.listeners.all.get(&name) {
            return rustix::io::fcntl_dupfd_cloexec(fd, 0);
        }
        if self.listeners.all.len() >= MAX_LISTENERS {
            return Err(rustix::io::Errno::MFILE);
        }
        let fd = query.open(cwd)?;
        let copy = rustix::io::fcntl_dupfd_cloexec(&fd, 0)?;
        self.keeper.hold(&name, fd.as_fd());
        self.listeners.all.insert(name, fd);
        Ok(copy)
    }

    /// Nothing of this app is wanted up any more: its sockets are closed.
    pub(crate) fn close_listeners_of(&mut self, app: &str) {
        use ostler_core::lifecycle::{State, Wanted};
        let idle = |state: &State| matches!(state, State::Stopped | State::Errored | State::Gone);
        if self.registry.iter().any(|slot| slot.spec().name == app && (slot.instance.wanted == Wanted::Up || !idle(&slot.instance.state))) {
            return;
        }
        let prefix = prefix(app);
        let names: Vec<String> = self.listeners.all.keys().filter(|name| name.starts_with(&prefix)).cloned().collect();
        for name in names {
            self.listeners.all.remove(&name);
            self.keeper.drop_held(&name);
        }
    }

    pub(crate) fn send_to(&mut self, id: u32, message: &Value, fd: Option<OwnedFd>) {
        let Some(ipc) = self.registry.get_mut(id).and_then(|slot| slot.ipc.as_mut()) else { return };
        // A worker whose channel is closed is on its way out: its exit says the rest.
        ipc.send_message(&self.reactor, message, fd);
    }
}
