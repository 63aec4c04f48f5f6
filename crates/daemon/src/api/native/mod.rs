//! The native socket. A malformed frame closes only the connection that sent it.

mod client;

use std::io::ErrorKind;
use std::time::Duration;

use ostler_proto::control::{AppMessage, Event, Position, Progress, Request, Response};
use ostler_proto::node::Message;

use crate::engine::{Caller, ClientRequest, Ctx, Key, PM2_CLIENT, ShutdownKind};
use crate::platform::reactor::LISTENER;
use client::Clients;

/// Pause after a failed `accept`.
const DEAF_MS: u64 = 100;

/// All connections.
#[derive(Debug, Default)]
pub(crate) struct Native {
    clients: Clients,
    /// Final answers that are sent when the turn is over: connection, request, answer.
    done: Vec<(u32, u64, Response)>,
}

impl Native {
    pub(crate) const NAME: &str = "native";
    /// End of the pause after which clients are accepted again.
    const LISTEN_AGAIN: Key = (Self::NAME, 0);
    /// Time at which progress messages are sent, or a client's time for hello runs out.
    const CLIENTS: Key = (Self::NAME, 1);

    /// Accepts new clients.
    fn accept(&mut self, ctx: &mut Ctx) {
        let own_uid = rustix::process::geteuid().as_raw();
        let (slots, keeper) = (&ctx.state.slots, ctx.io.keeper.pid());
        let is_confined = |pid: i32| slots.is_confined(pid, keeper);
        if let Err(error) = self.clients.accept(&ctx.io.listener, &ctx.io.reactor, own_uid, is_confined) {
            // The daemon is probably out of descriptors. Waiting clients are accepted once a
            // descriptor is free. The pause keeps the event loop from spinning.
            ctx.io.log.error_once("accept", format_args!("cannot accept a client: {error}"));
            ctx.io.reactor.remove(&ctx.io.listener);
            ctx.outbox.timers.set(Self::LISTEN_AGAIN, Some(ctx.now.mono_ms + DEAF_MS));
        }
    }

    /// Accepts clients again after a pause.
    fn listen_again(ctx: &mut Ctx) {
        match ctx.io.reactor.add(&ctx.io.listener, LISTENER) {
            Ok(()) => {}
            // The listening socket was replaced, and the new one is watched already.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(_) => ctx.outbox.timers.set(Self::LISTEN_AGAIN, Some(ctx.now.mono_ms + DEAF_MS)),
        }
    }

    /// Reads the requests of a client and passes them to the daemon.
    fn read(&mut self, ctx: &mut Ctx, client: u32) {
        let hello = hello(ctx);
        for (id, request) in self.clients.read(client, &hello) {
            match request {
                Request::Hello { .. } => ctx.reply(client, id, hello.clone()),
                Request::Ping => ctx.reply(client, id, Response::Pong),
                Request::Subscribe { after } => self.subscribe(ctx, client, id, after),
                Request::Listen { topics } => self.clients.listen(client, id, topics),
                request => ctx.queue_request(ClientRequest { client, id, caller: self.caller(client), request }),
            }
        }
    }

    /// Subscribes a client to events from now on. The client first gets the events since its
    /// position.
    fn subscribe(&mut self, ctx: &mut Ctx, client: u32, id: u64, after: Option<Position>) {
        if let Some(follower) = self.clients.get_mut(client) {
            follower.subscribed = Some(id);
        }
        let Some(after) = after else { return };
        let (missed, events) = ctx.state.events.after(Some(after));
        let missed = missed.map(Response::Missed);
        for response in missed.into_iter().chain(events.into_iter().map(Response::Happened)) {
            ctx.reply(client, id, response);
        }
    }

    /// Returns the caller behind a client.
    fn caller(&mut self, client: u32) -> Caller {
        match self.clients.get_mut(client) {
            Some(client) => Caller { uid: client.uid, pid: client.pid, on_behalf_of: client.on_behalf_of.clone() },
            None => Caller { uid: u32::MAX, pid: 0, on_behalf_of: None },
        }
    }

    /// Queues answers.
    fn answer(&mut self, ctx: &mut Ctx) {
        for (client, request, response) in ctx.take_replies(|client| client != PM2_CLIENT) {
            match response {
                Response::Done { .. } | Response::Failed(_) => self.done.push((client, request, response)),
                response => self.clients.answer(client, request, response),
            }
        }
    }

    /// Queues final answers. By now the copies of the state were written, or could not be written.
    fn finish(&mut self, ctx: &Ctx) {
        for (client, request, response) in std::mem::take(&mut self.done) {
            if let (Response::Done { .. }, false, Some(trouble)) = (&response, ctx.is_ending(), ctx.state.state_file.trouble()) {
                self.clients.answer(client, request, Response::Progress(Progress::Warning(trouble)));
            }
            self.clients.answer(client, request, response);
        }
    }
}

fn hello(ctx: &Ctx) -> Response {
    Response::Hello {
        protocol: ostler_proto::control::PROTOCOL,
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id().cast_signed(),
        keeper_pid: ctx.io.keeper.pid(),
        read_only: false,
    }
}

impl Native {
    /// Handles a ready descriptor: 0 is the listening socket, others are clients.
    pub(crate) fn on_ready(&mut self, ctx: &mut Ctx, key: u64, _writable: bool) {
        match key {
            0 => self.accept(ctx),
            client => self.read(ctx, client as u32),
        }
    }

    pub(crate) fn on_timer(&mut self, ctx: &mut Ctx, key: u64) {
        if (Self::NAME, key) == Self::LISTEN_AGAIN {
            Self::listen_again(ctx);
        } else {
            self.clients.tick(ctx.now.mono_ms);
        }
    }

    pub(crate) fn on_replies(&mut self, ctx: &mut Ctx) {
        self.answer(ctx);
    }

    /// Publishes events after the journal holds them, so a fresh daemon knows every published
    /// event.
    pub(crate) fn on_journaled(&mut self, ctx: &mut Ctx, events: &[Event]) {
        self.answer(ctx);
        self.clients.publish(events);
    }

    /// Passes on a message of an app to the clients that listen to its topic.
    pub(crate) fn on_message(&mut self, ctx: &mut Ctx, id: u32, _inc: u32, message: &Message) {
        let Message::Typed { topic, data } = message else { return };
        if !self.clients.are_listening(topic) {
            return;
        }
        let Some(slot) = ctx.state.slots.get(id) else { return };
        let (app, id) = (slot.spec().name.clone(), slot.durable.pm_id);
        self.clients.forward(&AppMessage { at_ms: ctx.now.wall_ms, app, id, topic: topic.clone(), data: data.clone() });
    }

    pub(crate) fn on_turn_end(&mut self, ctx: &mut Ctx) {
        self.answer(ctx);
        self.finish(ctx);
        self.clients.flush(&ctx.io.reactor, ctx.now.mono_ms);
        ctx.outbox.timers.set(Self::CLIENTS, self.clients.deadline_ms());
    }

    pub(crate) fn on_leave(&mut self, ctx: &mut Ctx, ending: ShutdownKind) {
        self.answer(ctx);
        self.finish(ctx);
        // The next daemon waits for this one. Without a next one, nothing is urgent.
        let patience = match ending {
            ShutdownKind::Retire => Duration::from_millis(500),
            ShutdownKind::Everything => Duration::from_secs(5),
        };
        self.clients.flush_finally(patience);
    }
}
