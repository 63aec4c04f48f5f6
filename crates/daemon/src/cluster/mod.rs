//! Node's cluster *primary*, without Node: workers ask on their IPC channel for a listening socket.
//!
//! # Theory of operation
//!
//! A worker's `listen` becomes a `queryServer` message. The listening socket is made here, once per app and address, and belongs to
//! the app: it outlives every worker, and through the keeper's copy it outlives the daemon, so a connection waits but is never
//! refused. How the worker gets connections is the app's `scheduling`: handed over one by one ([`round_robin`]), from a socket of its
//! own for the same port ([`reuseport`]), or from the one socket of all, of which each gets a copy. A listener stays what it is as
//! long as it is open.

mod abandoned;
mod listen;
mod listeners;
mod query;
mod refused;
mod reuseport;
mod round_robin;
mod sharing;
mod sticky;

use std::os::fd::OwnedFd;
use std::rc::Rc;

use ostler_core::app::AppSpec;
use ostler_core::serving::Scheduling;
use rustix::io::Errno;
use serde_json::{Map, Value, json};

pub(crate) use listeners::{Listener, Listeners, PREFIX};
pub(crate) use query::Query;

use crate::control::Control;
use crate::slots::Sending;
use crate::slots::complaints::Topic;
use crate::supervisor::drain::PRELOAD_COMMAND;
use crate::supervisor::readiness::Sign;

impl Control {
    /// A message that Node itself or our preload sent, or whoever writes such things.
    pub(crate) fn hear_worker(&mut self, id: u32, message: &Map<String, Value>) {
        let Some(slot) = self.ctx.slots.get(id) else { return };
        match message.get("cmd").and_then(Value::as_str) {
            Some("NODE_CLUSTER") if slot.spec().has_workers() => self.hear_cluster(id, message),
            // No Node does so: it was told that it is no worker. What it wants would be done with our rights.
            Some("NODE_CLUSTER") => {
                self.ctx.complain(id, Topic::Cluster, format_args!("asks for sockets as a cluster worker, which it is not: not heard"));
            }
            Some(PRELOAD_COMMAND) if slot.preloaded => self.hear_preload(id, message),
            _ => {}
        }
    }

    fn hear_cluster(&mut self, id: u32, message: &Map<String, Value>) {
        match message.get("act").and_then(Value::as_str) {
            Some("queryServer") => self.query_server(id, message),
            Some("listening") => {
                let Some(slot) = self.ctx.slots.get(id) else { return };
                let (app, inc) = (Rc::clone(&slot.app), slot.instance.inc);
                self.told_ready(id, inc, Sign::Listening);
                self.look_for_abandoned(&app.spec.name);
            }
            Some("close") => self.server_closed(id, message.get("key").and_then(Value::as_str).unwrap_or_default()),
            Some("exitedAfterDisconnect") => {
                let reply = json!({"cmd": "NODE_CLUSTER", "ack": message.get("seq")});
                self.ctx.send(id, &reply, None);
            }
            _ => {}
        }
    }

    fn query_server(&mut self, id: u32, message: &Map<String, Value>) {
        let Some(slot) = self.ctx.slots.get(id) else { return };
        let app = Rc::clone(&slot.app);
        let mut query = Query::parse(message);
        query.rights = self.rights_for(slot, &query);
        let key = query.key();
        let mut refused = false;
        let opened = if !query.is_sane() {
            Err(Errno::NAMETOOLONG)
        } else if slot.worker.has(&key) {
            Err(Errno::ADDRINUSE)
        } else {
            self.listener(&app.spec, &key, &query).inspect_err(|errno| refused = *errno == Errno::ACCESS && !query.rights.are_ours())
        };
        if refused {
            self.log_refusal(id, &query);
        }
        let reply =
            |errno: i32, data: Value| json!({"cmd": "NODE_CLUSTER", "errno": errno, "key": key, "ack": message.get("seq"), "data": data});
        let listener = match opened {
            Ok(listener) => listener,
            Err(errno) => return self.ctx.send(id, &reply(-errno.raw_os_error(), Value::Null), None),
        };
        let data = self.listeners.data(listener, message.get("data"), &mut self.ctx.keeper);
        match self.way(id, listener, &query) {
            Some(Way::InTurn) => {
                let mut reply = reply(0, data);
                reply["errno"] = Value::Null;
                if let Some(name) = self.listeners.get(listener).and_then(|listener| listen::name_of(&listener.fd)) {
                    reply["sockname"] = name;
                }
                self.ctx.send(id, &reply, None);
                self.serve(id, listener, key, Way::InTurn);
            }
            Some(Way::Socket(socket)) => {
                let wrapped = json!({"cmd": "NODE_HANDLE", "type": query.handle_type(), "msg": reply(0, data)});
                self.ctx.send(id, &wrapped, Some(Rc::clone(&socket)));
                self.serve(id, listener, key, Way::Socket(socket));
            }
            None => {}
        }
    }

    /// How a worker gets the connections of a listener.
    fn way(&mut self, id: u32, listener: u32, query: &Query) -> Option<Way> {
        let slot = self.ctx.slots.get(id)?;
        let (spec, index) = (slot.app.spec.clone(), slot.index);
        let known = self.listeners.get(listener)?;
        if !known.lanes.is_empty() {
            return Some(Way::Socket(self.lane_of(listener, index, query)));
        }
        // Deno takes a socket and never accepts from it.
        let in_turn = !query.is_udp() && (spec.scheduling != Scheduling::Shared || spec.runs_in_deno());
        Some(if in_turn { Way::InTurn } else { Way::Socket(Rc::clone(&known.fd)) })
    }

    /// From now on this worker is a part of that listener.
    fn serve(&mut self, id: u32, listener: u32, key: String, way: Way) {
        if self.ctx.slots.get(id).is_some_and(|slot| slot.worker.never_listened()) {
            self.begins_to_listen(id);
        }
        let Some(slot) = self.ctx.slots.get_mut(id) else { return };
        match way {
            Way::InTurn => slot.worker.served.push(key),
            Way::Socket(_) => {
                slot.worker.sent(Sending::Listener);
                slot.worker.listening.push(key);
            }
        }
        slot.worker.served_by.push(listener);
        self.ctx.slots.changed(id);
        self.join(id, listener);
    }

    /// Connections may be handed to this worker, if the listener has any to hand over.
    fn join(&mut self, id: u32, listener: u32) {
        let Some(slot) = self.ctx.slots.get(id) else { return };
        let Some(known) = self.listeners.get_mut(listener) else { return };
        if !known.lanes.is_empty() || slot.worker.served.iter().any(|key| known.key() == Some(key)) {
            known.turns.join(id);
        }
        self.listeners.stir(listener);
    }

    /// The app closed a server.
    fn server_closed(&mut self, id: u32, key: &str) {
        let Some(slot) = self.ctx.slots.get_mut(id) else { return };
        slot.worker.listening.retain(|open| open != key);
        slot.worker.served.retain(|open| open != key);
        let routed = Self::routes_to(slot);
        let app = slot.app.clone();
        self.ctx.slots.changed(id);
        let Some(listener) = self.listener_of(&app.spec, key) else { return };
        if let Some(slot) = self.ctx.slots.get_mut(id) {
            slot.worker.served_by.retain(|served| *served != listener);
        }
        if let Some(listener) = self.listeners.get_mut(listener) {
            listener.turns.leave(id);
        }
        // A worker on its way out closes everything; the next one wants it again. Otherwise the app means it.
        let held = self.ctx.slots.iter().any(|slot| slot.spec().name == app.spec.name && slot.worker.has(key));
        if routed && !held {
            self.leave_listener(listener, &app.spec);
        } else {
            self.listeners.stir(listener);
        }
    }

    /// The app's socket for that query: the present one, or a new one.
    fn listener(&mut self, spec: &AppSpec, key: &str, query: &Query) -> Result<u32, Errno> {
        let app = spec.name.as_str();
        if let Some(id) = self.listener_of(spec, key) {
            return Ok(id);
        }
        if !self.listeners.has_room(app) {
            return Err(Errno::MFILE);
        }
        let opened = match query.fd {
            // A number of the worker's: one of the app's own sockets.
            Some(number) => self.ctx.listening.copy_for_worker(spec, number).ok_or(Errno::BADF),
            None if spec.scheduling == Scheduling::Reuseport && query.is_tcp() && !spec.runs_in_deno() => {
                match self.open_lanes(app, key, query) {
                    Ok(listener) => return Ok(listener),
                    Err(errno) => Err(errno),
                }
            }
            None => query.open(self.umask_of(spec)),
        };
        let socket = opened.or_else(|errno| match errno {
            // What its user may not have, but was declared: that is open.
            Errno::ACCESS if !query.rights.are_ours() => self.declared_socket(spec, query).ok_or(errno),
            _ => Err(errno),
        })?;
        Ok(self.listeners.add(app, key, Rc::new(socket), &mut self.ctx.keeper))
    }

    fn umask_of(&self, spec: &AppSpec) -> u32 {
        spec.limits.umask.unwrap_or(self.ctx.originals.umask)
    }

    /// Nothing of this app is wanted up any more: its sockets are closed.
    pub(crate) fn close_listeners_of(&mut self, spec: &AppSpec) {
        let app = spec.name.as_str();
        if self.app_lives(app) {
            return;
        }
        for id in self.listeners.used_by(app) {
            self.leave_listener(id, spec);
        }
    }
}

/// How a worker gets connections.
#[derive(Debug)]
enum Way {
    /// One by one.
    InTurn,
    /// It accepts them itself.
    Socket(Rc<OwnedFd>),
}
