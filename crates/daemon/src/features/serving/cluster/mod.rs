//! Node's cluster *primary*, without Node: workers ask on their IPC channel for a listening socket.
//!
//! # Theory of operation
//!
//! A worker's `listen` becomes a `queryServer` message. The daemon makes the listening socket once
//! per app and address. It belongs to the app and outlives every worker. Through the keeper's copy
//! it outlives the daemon, so a connection waits but is never refused. The app's `scheduling`
//! decides how the worker gets connections. The daemon hands them over one by one
//! ([`round_robin`]), or the worker accepts them itself. It then accepts from its own socket for
//! the same port ([`reuseport`]), or from a copy of one shared socket. A listener keeps its
//! scheduling while it is open.

mod abandoned;
mod listen;
mod listeners;
mod query;
mod refused;
mod reuseport;
mod round_robin;
mod shared_sockets;
mod sharing;
mod sticky;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use ostler_core::app::AppSpec;
use ostler_core::app::ExecMode;
use ostler_core::lifecycle::{SpawnFailure, Transition};
use ostler_core::serving::Scheduling;
use ostler_proto::node::Message;
use rustix::io::Errno;
use serde_json::{Map, Value, json};

use crate::engine::{Ctx, FeatureRequest, Input, InstanceStep, Key, SpawnExtras};
use crate::platform::confinement::may_create_socket;
use crate::state::slots::complaints::Topic;
use crate::state::slots::{SentDescriptor, Slot};
use listeners::{Listener, Listeners, PREFIX};
use query::{Query, SocketKind};
use round_robin::routes_to;
use shared_sockets::SocketSource;
use sharing::app_lives;
use sticky::Peeks;

/// Primary of all apps with workers.
#[derive(Debug, Default)]
pub(crate) struct Cluster {
    listeners: Listeners,
    /// Connections whose first request has not arrived.
    peeks: Peeks,
    /// Times at which an app is checked for listeners that it does not use.
    checks: BTreeMap<String, u64>,
    /// Descriptors that the keeper held, until all of them have arrived.
    held: Vec<(String, OwnedFd)>,
    /// Another manager, from which apps are moved.
    lender: Option<SocketSource>,
}

/// Returns true if the sandbox of a worker allows the socket. The daemon opens it, so the kernel does not
/// apply the sandbox.
fn sandbox_allows(slot: &Slot, query: &Query) -> bool {
    match (query.kind, &query.address) {
        _ if query.fd.is_some() => true,
        (SocketKind::Unix, Some(path)) => may_create_socket(slot.spec(), slot.durable.learned.sandbox.as_ref(), Path::new(path)),
        _ => !query.is_tcp() || slot.may_bind(query.port),
    }
}

/// Way in which a worker gets connections.
#[derive(Debug)]
enum Delivery {
    /// The daemon hands them over one by one.
    InTurn,
    /// The worker accepts them itself.
    Socket(Rc<OwnedFd>),
}

impl Cluster {
    pub(crate) const NAME: &str = "cluster";
    /// Limit between two kinds of numbers of descriptors and timers. Lower numbers are listeners;
    /// higher ones are connections whose first request has not arrived.
    const PEEKS: u64 = 1 << 32;
    const PEEK_TIMER: Key = (Self::NAME, Self::PEEKS);
    const CHECKS: Key = (Self::NAME, 2 << 32);

    fn on_cluster_message(&mut self, ctx: &mut Ctx, id: u32, message: &Map<String, Value>) {
        match message.get("act").and_then(Value::as_str) {
            Some("queryServer") => self.query_server(ctx, id, message),
            Some("listening") => {
                let Some(slot) = ctx.state.slots.get(id) else { return };
                let app = Rc::clone(slot.app());
                self.schedule_abandoned_check(ctx, app.spec.key());
            }
            Some("close") => self.server_closed(ctx, id, message.get("key").and_then(Value::as_str).unwrap_or_default()),
            Some("exitedAfterDisconnect") => ctx.send(id, &json!({"cmd": "NODE_CLUSTER", "ack": message.get("seq")}), None),
            _ => {}
        }
    }

    fn query_server(&mut self, ctx: &mut Ctx, id: u32, message: &Map<String, Value>) {
        let Some(slot) = ctx.state.slots.get(id) else { return };
        let app = Rc::clone(slot.app());
        let mut query = Query::parse(message);
        query.rights = refused::rights_for(slot, &query);
        let key = query.key();
        // Without the listener, a former daemon died before it answered this query.
        let has_it = slot.has_listener(&key) && self.listener_of(ctx, &app.spec, &key).is_some();
        let opened = if !query.is_sane() {
            Err(Errno::NAMETOOLONG)
        } else if !sandbox_allows(slot, &query) {
            Err(Errno::ACCESS)
        } else if has_it {
            Err(Errno::ADDRINUSE)
        } else {
            self.listener(ctx, &app.spec, &key, &query).inspect_err(|errno| {
                if *errno == Errno::ACCESS && !query.rights.is_daemon_user() {
                    self.log_refusal(ctx, id, &query);
                }
            })
        };
        let reply =
            |errno: i32, data: Value| json!({"cmd": "NODE_CLUSTER", "errno": errno, "key": key, "ack": message.get("seq"), "data": data});
        let listener = match opened {
            Ok(listener) => listener,
            Err(errno) => return ctx.send(id, &reply(-errno.raw_os_error(), Value::Null), None),
        };
        let data = self.listeners.data(ctx, listener, message.get("data"));
        match self.delivery(ctx, id, listener, &query) {
            Some(Delivery::InTurn) => {
                let mut reply = reply(0, data);
                reply["errno"] = Value::Null;
                if let Some(name) = self.listeners.get(listener).and_then(|listener| listen::name_of(&listener.fd)) {
                    reply["sockname"] = name;
                }
                ctx.send(id, &reply, None);
                self.serve(ctx, id, listener, key, Delivery::InTurn);
            }
            Some(Delivery::Socket(socket)) => {
                let wrapped = json!({"cmd": "NODE_HANDLE", "type": query.handle_type(), "msg": reply(0, data)});
                ctx.send(id, &wrapped, Some(Rc::clone(&socket)));
                self.serve(ctx, id, listener, key, Delivery::Socket(socket));
            }
            None => {}
        }
    }

    /// Returns the way in which a worker gets the connections of a listener.
    fn delivery(&mut self, ctx: &mut Ctx, id: u32, listener: u32, query: &Query) -> Option<Delivery> {
        let slot = ctx.state.slots.get(id)?;
        let (spec, index) = (Rc::clone(&slot.app().spec), slot.durable.index);
        let known = self.listeners.get(listener)?;
        if !known.shards.is_empty() {
            return self.shard_of(ctx, listener, index, query).map(Delivery::Socket);
        }
        // Deno takes a socket and never accepts from it.
        let in_turn = !query.is_udp() && (spec.scheduling != Scheduling::Shared || spec.runs_in_deno());
        Some(if in_turn { Delivery::InTurn } else { Delivery::Socket(Rc::clone(&known.fd)) })
    }

    /// Adds this worker to that listener.
    fn serve(&mut self, ctx: &mut Ctx, id: u32, listener: u32, key: String, way: Delivery) {
        let Some(slot) = ctx.state.slots.get_mut(id) else { return };
        if slot.never_listened() {
            ctx.outbox.queue.push_back(Input::Listens(id));
        }
        slot.durable.listening.retain(|known| *known != key);
        slot.durable.served.retain(|known| *known != key);
        match way {
            Delivery::InTurn => slot.durable.served.push(key),
            Delivery::Socket(_) => {
                slot.live.worker.sent(SentDescriptor::Listener);
                slot.durable.listening.push(key);
            }
        }
        slot.live.worker.served_by.push(listener);
        ctx.state.slots.changed(id);
        self.join(ctx, id, listener);
    }

    /// Hands connections to this worker from now on, if the listener hands over connections.
    fn join(&mut self, ctx: &Ctx, id: u32, listener: u32) {
        let Some(slot) = ctx.state.slots.get(id) else { return };
        let Some(known) = self.listeners.get_mut(listener) else { return };
        if !known.shards.is_empty() || slot.durable.served.iter().any(|key| known.key() == Some(key)) {
            known.turns.join(id);
        }
        self.listeners.mark_dirty(listener);
    }

    /// Handles a server that the app closed.
    fn server_closed(&mut self, ctx: &mut Ctx, id: u32, key: &str) {
        let Some(slot) = ctx.state.slots.get_mut(id) else { return };
        slot.durable.listening.retain(|open| open != key);
        slot.durable.served.retain(|open| open != key);
        let routed = routes_to(slot);
        let app = Rc::clone(slot.app());
        ctx.state.slots.changed(id);
        let Some(listener) = self.listener_of(ctx, &app.spec, key) else { return };
        if let Some(slot) = ctx.state.slots.get_mut(id) {
            slot.live.worker.served_by.retain(|served| *served != listener);
        }
        if let Some(listener) = self.listeners.get_mut(listener) {
            listener.turns.leave(id);
        }
        // A worker that is stopping closes everything, and the next one wants it again. Otherwise
        // the app closed the server on purpose.
        let held = ctx.state.slots.iter().any(|slot| slot.spec().key() == app.spec.name && slot.has_listener(key));
        if routed && !held {
            self.leave_listener(ctx, listener, &app.spec);
        } else {
            self.listeners.mark_dirty(listener);
        }
    }

    /// Returns the app's socket for that query: the present one, or a new one.
    fn listener(&mut self, ctx: &mut Ctx, spec: &AppSpec, key: &str, query: &Query) -> Result<u32, Errno> {
        let app = spec.key();
        if let Some(id) = self.listener_of(ctx, spec, key) {
            return Ok(id);
        }
        if !self.listeners.has_room(app) {
            return Err(Errno::MFILE);
        }
        let opened = match query.fd {
            // The worker names a number: one of the app's own sockets.
            Some(number) => ctx.state.listening.copy_for_worker(spec, number).ok_or(Errno::BADF),
            None if spec.scheduling == Scheduling::Reuseport && query.is_tcp() && !spec.runs_in_deno() => {
                match self.open_shards(ctx, app, key, query) {
                    Ok(listener) => return Ok(listener),
                    Err(errno) => Err(errno),
                }
            }
            None => query.open(spec.limits.umask.unwrap_or(ctx.io.originals.umask)),
        };
        let socket = opened.or_else(|errno| match errno {
            // If its user may not open the address but it is declared, the declared socket is open
            // already.
            Errno::ADDRINUSE => self.lender.as_ref().and_then(|lender| lender.socket(app, query)).ok_or(errno),
            Errno::ACCESS if !query.rights.is_daemon_user() => refused::declared_socket(ctx, spec, query).ok_or(errno),
            _ => Err(errno),
        })?;
        Ok(self.listeners.add(ctx, app, key, Rc::new(socket)))
    }

    /// Closes unused listeners after a restart of the daemon. The former daemon may have died
    /// before it closed them.
    fn close_unused(&mut self, ctx: &mut Ctx) {
        for app in self.listeners.apps() {
            let spec = ctx.state.slots.iter().find(|slot| slot.spec().key() == app).map(|slot| Rc::clone(&slot.app().spec));
            match spec {
                Some(spec) => self.close_listeners_of(ctx, &spec),
                None => self.listeners.used_by(&app).into_iter().for_each(|id| self.listeners.close(ctx, id, None)),
            }
        }
    }

    /// Closes the app's sockets, unless an instance of it is or will be up.
    fn close_listeners_of(&mut self, ctx: &mut Ctx, spec: &AppSpec) {
        if app_lives(ctx, spec.key()) {
            return;
        }
        for id in self.listeners.used_by(spec.key()) {
            self.leave_listener(ctx, id, spec);
        }
    }
}

/// Numbers a cluster worker. No other worker ever had its number. The number is journaled with the
/// step. If the daemon dies before it sees the process, the next daemon therefore does not reuse
/// the number.
fn number_worker(ctx: &mut Ctx, id: u32) {
    if ctx.state.slots.get(id).is_none_or(|slot| slot.spec().mode != ExecMode::Cluster) {
        return;
    }
    let number = ctx.state.slots.next_worker_id();
    if let Some(slot) = ctx.state.slots.get_mut(id) {
        slot.durable.worker_id = number;
    }
}

impl Cluster {
    /// Handles a listener with connections, or a client whose first request was incomplete and that
    /// has sent more.
    pub(crate) fn on_ready(&mut self, ctx: &mut Ctx, key: u64, _writable: bool) {
        if key & Self::PEEKS == 0 {
            self.listeners.mark_dirty(key as u32);
        } else {
            self.on_client(ctx, key as u32);
        }
    }

    pub(crate) fn on_timer(&mut self, ctx: &mut Ctx, key: u64) {
        match (Self::NAME, key) {
            Self::PEEK_TIMER => self.end_peeks(ctx),
            Self::CHECKS => self.close_abandoned(ctx),
            (_, listener) => self.listeners.wake(listener as u32),
        }
    }

    pub(crate) fn on_message(&mut self, ctx: &mut Ctx, id: u32, _inc: u32, message: &Message) {
        let Message::Internal(message) = message else { return };
        if message.get("cmd").and_then(Value::as_str) != Some("NODE_CLUSTER") {
            return;
        }
        if ctx.state.slots.get(id).is_some_and(|slot| slot.spec().has_workers()) {
            self.on_cluster_message(ctx, id, message);
        } else {
            // Node never does this, because its variables show that it is no worker. The socket
            // would be opened with our rights.
            ctx.complain(id, Topic::Cluster, format_args!("requests sockets like a cluster worker, but is not one: ignored"));
        }
    }

    /// Marks the listeners of an instance, because it may get connections from now on, or none any
    /// more.
    pub(crate) fn on_step(&mut self, ctx: &mut Ctx, step: &InstanceStep<'_>) {
        if step.spawns {
            number_worker(ctx, step.id);
        }
        self.mark_listeners_of(ctx, step.id);
    }

    pub(crate) fn on_capacity(&mut self, ctx: &mut Ctx, id: u32) {
        self.take_answers(ctx, id);
    }

    pub(crate) fn on_channel_ended(&mut self, ctx: &mut Ctx, id: u32) {
        self.on_worker_gone(ctx, id);
    }

    pub(crate) fn on_process_gone(&mut self, ctx: &mut Ctx, id: u32, _inc: u32) {
        self.on_worker_gone(ctx, id);
    }

    /// Forgets the journal's facts about a former process, in case its end was not reported.
    pub(crate) fn on_prepare(&mut self, ctx: &mut Ctx, id: u32, _inc: u32, beside: &mut SpawnExtras) -> Result<(), SpawnFailure> {
        self.on_worker_gone(ctx, id);
        if let Some(slot) = ctx.state.slots.get(id).filter(|slot| slot.spec().has_workers()) {
            beside.vars.push(("NODE_UNIQUE_ID", slot.durable.worker_id.to_string()));
        }
        Ok(())
    }

    pub(crate) fn on_transition(&mut self, ctx: &mut Ctx, id: u32, transition: &Transition) {
        // If a user requested the start, a failed start is not repeated.
        if !matches!(transition, Transition::Stopped | Transition::Overlimit { .. } | Transition::CouldNotStart(_) | Transition::Deleted) {
            return;
        }
        if *transition == Transition::Deleted {
            self.on_worker_gone(ctx, id);
        }
        if let Some(spec) = ctx.state.slots.get(id).map(|slot| Rc::clone(&slot.app().spec)) {
            self.close_listeners_of(ctx, &spec);
        }
    }

    pub(crate) fn on_request(&mut self, _ctx: &mut Ctx, request: FeatureRequest) -> Option<FeatureRequest> {
        match request {
            FeatureRequest::ShareSockets { of, apps } => self.lender = Some(SocketSource { process: of, apps }),
            other => return Some(other),
        }
        None
    }

    /// Hands connections to workers when all events of the turn are known.
    pub(crate) fn on_settled(&mut self, ctx: &mut Ctx) {
        self.serve_listeners(ctx);
    }

    pub(crate) fn held<'a>(&'a self, _ctx: &'a Ctx) -> Vec<(String, BorrowedFd<'a>)> {
        self.listeners.held().collect()
    }

    pub(crate) fn adopt_fd(&mut self, _ctx: &mut Ctx, name: &str, fd: OwnedFd) -> Option<OwnedFd> {
        if !name.starts_with(PREFIX) {
            return Some(fd);
        }
        self.held.push((name.to_owned(), fd));
        None
    }

    pub(crate) fn on_fds_adopted(&mut self, ctx: &mut Ctx) {
        self.listeners.restore(ctx, std::mem::take(&mut self.held));
        self.close_unused(ctx);
        self.rejoin_workers(ctx);
    }
}
