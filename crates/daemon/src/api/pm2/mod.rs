//! PM2's sockets: clients make calls on `rpc.sock` and receive events on `pub.sock`.
//! `ostler_proto::pm2` describes the protocol.
//!
//! # Theory of operation
//!
//! A call is a plan ([`calls`]): requests to the daemon, in order, and the form of the result
//! ([`results`]). The requests are the same as on our own socket. Plans continue when a turn has
//! nothing left to do; their answers are sent when it is over. Calls of one client run concurrently
//! and are answered in any order, as in PM2. Bad input at worst closes the client's own connection.

mod calls;
mod clients;
mod events;
mod files;
mod home;
mod leaving;
mod ledger;
mod lines;
mod messages;
mod peers;
mod plan;
mod results;
mod sockets;

use std::collections::BTreeMap;
use std::os::fd::{BorrowedFd, OwnedFd};

use ostler_core::lifecycle::SpawnFailure;
use ostler_proto::control::{Detail, Event, Json, Progress, Response};
use ostler_proto::node::Message;
use ostler_proto::pm2::PM2_VERSION;
use ostler_proto::pm2::rpc::{self, Call};
use ostler_sys::ProcRef;
use ostler_sys::net::socket;
use ostler_sys::process::signal::{QUIT, TERM};
use rustix::io::Errno;
use serde_json::Value;

use self::files::Files;
use self::leaving::Leaving;
use self::lines::LogLines;
use self::peers::Peers;
use self::plan::{AfterReply, CallError, CallPlan, CallResult, CallStep};
use self::sockets::{KINDS, Pm2Socket, Sockets, held_name};
use crate::engine::{Caller, ClientRequest, Ctx, Key, PM2_CLIENT, ShutdownKind, SpawnExtras};
use crate::platform::reactor::Source;
use crate::platform::rights::Rights;
use crate::platform::working_trees::version_of;

/// Pause after a failed `accept`.
const DEAF_MS: u64 = 100;

/// Most calls in progress, of all clients together.
const MAX_CALLS: usize = 4096;
/// Delay after a file was removed: the whole folder may be about to be removed and recreated.
const SETTLE_MS: u64 = 100;
/// Backlog of one subscriber in bytes beyond which no more lines are read.
const PAUSE_BYTES: usize = 256 << 10;
/// Longest time that others wait for a subscriber that does not read its lines.
const STALLED_MS: u64 = 5000;
/// Delay before a log reader that has exited is restarted.
const AGAIN_MS: u64 = 1000;
/// Interval at which the daemon checks whether a log reader has exited.
const REAP_MS: u64 = 50;
/// Attempts to recreate a file.
const TRIES: u32 = 100;

/// A call in progress.
#[derive(Debug)]
struct RunningCall {
    peer: u32,
    /// Id of the call, chosen by the client.
    id: Vec<u8>,
    caller: Caller,
    plan: CallPlan,
    /// Instances that the last step has changed.
    touched: Vec<u32>,
    /// Details that the `ReadDetails` steps have read.
    details: Vec<Detail>,
    /// Answer of a step, as JSON, if it is the result.
    passed: Option<Json>,
    /// Reason why an instance failed.
    reason: Option<String>,
    /// Whether the first step was carried out.
    is_started: bool,
}

/// PM2's sockets and their connections.
#[derive(Debug, Default)]
pub(crate) struct Pm2Sockets {
    sockets: Sockets,
    peers: Peers,
    /// Calls by the number under which their steps are requested.
    calls: BTreeMap<u64, RunningCall>,
    /// Clients that wait for SIGQUIT when the daemon exits.
    quit: Vec<ProcRef>,
    leaving: Leaving,
    files: Files,
    lines: LogLines,
    /// Earliest time at which the log reader is restarted.
    restart_reader_ms: u64,
    /// Attempts to recreate a file so far.
    tries: u32,
}

impl Pm2Sockets {
    pub(crate) const NAME: &str = "pm2_sockets";
    /// End of the pause after which clients are accepted again.
    const LISTEN_AGAIN: Key = (Self::NAME, 0);
    /// Check after a change of the files.
    const LOOK: Key = (Self::NAME, 1);
    /// Time at which subscribers that do not read lines are dropped.
    const STALLED: Key = (Self::NAME, 2);
    /// Check whether a log reader has exited, and whether another one is due.
    const REAP: Key = (Self::NAME, 3);
    /// End of the time in which subscribers of a former daemon may reconnect.
    const TOO_LATE: Key = (Self::NAME, 4);
    /// Descriptor of the log reader; those of peers have smaller numbers.
    const LINES: u64 = 2 << 32;
    /// Descriptor that reports changes of the files; those of peers have smaller numbers.
    const FILES: u64 = 1 << 32;

    fn listen(&self, ctx: &Ctx) {
        for (key, kind) in KINDS.into_iter().enumerate() {
            if let Some(socket) = self.sockets.get(kind) {
                // An error here means that it is watched already.
                let _ = ctx.io.reactor.add(&socket.fd, Source::Feature(Self::NAME, key as u64));
            }
        }
    }

    /// Publishes log lines.
    fn read_lines(&mut self, ctx: &mut Ctx) {
        match self.lines.read(ctx, &mut self.peers) {
            Ok(frames) if frames.is_empty() => {}
            Ok(frames) => {
                let dropped = self.peers.publish(&frames);
                self.log_dropped(ctx, dropped);
            }
            Err(errno) => {
                ctx.io.log.error_once("log-reader", format_args!("the log reader for PM2 clients stopped: {errno}"));
                self.lines.stop(&ctx.io.reactor);
                self.restart_reader_ms = ctx.now.mono_ms + AGAIN_MS;
            }
        }
    }

    /// Runs the log reader while there are subscribers, no faster than the slowest subscriber
    /// reads. Unread lines stay in their files.
    fn supervise_log_reader(&mut self, ctx: &mut Ctx) {
        let source = Source::Feature(Self::NAME, Self::LINES);
        let now_ms = ctx.now.mono_ms;
        match (self.peers.has_subscribers(), self.lines.is_running()) {
            (true, false)
                if ctx.outbox.shutdown.ending.is_none()
                    && now_ms >= self.restart_reader_ms
                    && self.lines.are_all_back(self.peers.subscribers(), now_ms) =>
            {
                if let Err(error) = self.lines.start(ctx, source) {
                    ctx.io.log.error_once("log-reader", format_args!("PM2 clients receive no log lines: {error}"));
                    self.restart_reader_ms = ctx.now.mono_ms + AGAIN_MS;
                }
            }
            (false, is_running) if ctx.outbox.shutdown.ending.is_none() => {
                if is_running {
                    self.lines.stop(&ctx.io.reactor);
                }
                self.lines.forget(ctx);
            }
            _ => {}
        }
        let waiting = self.peers.most_waiting();
        if !self.lines.is_paused() && waiting > PAUSE_BYTES {
            self.lines.pause(true, &ctx.io.reactor, source);
            ctx.outbox.timers.set(Self::STALLED, Some(ctx.now.mono_ms + STALLED_MS));
        } else if self.lines.is_paused() && waiting <= PAUSE_BYTES / 2 {
            self.lines.pause(false, &ctx.io.reactor, source);
            ctx.outbox.timers.set(Self::STALLED, None);
        }
        if self.lines.reap() || self.peers.has_subscribers() && !self.lines.is_running() {
            ctx.outbox.timers.set_if_none(Self::REAP, ctx.now.mono_ms + REAP_MS);
        }
    }

    /// Counts what subscribers get, then sends it.
    fn send(&mut self, ctx: &Ctx) {
        let mut ledger = self.lines.counts();
        if let Some(ledger) = &mut ledger {
            self.peers.count(&mut ledger.sends);
        }
        self.peers.flush(&ctx.io.reactor, ledger.map(|ledger| &mut ledger.sends));
    }

    fn log_dropped(&self, ctx: &mut Ctx, pids: Vec<i32>) {
        for pid in pids {
            ctx.io.log.line(format_args!("process {pid} does not read the events of pub.sock: its connection is closed; it may reconnect"));
        }
    }

    /// Recreates files that are gone.
    fn recreate_missing(&mut self, ctx: &mut Ctx) {
        if ctx.outbox.shutdown.ending.is_some() {
            return;
        }
        home::complete(&ctx.io.settings.paths, ctx.now.wall_ms);
        let mut failed = None;
        for (number, kind) in KINDS.into_iter().enumerate() {
            let path = sockets::path_of(kind, &ctx.io.settings.paths).to_owned();
            if self.sockets.get(kind).is_some() && self.files.is_recorded(number, &path) {
                continue;
            }
            match self.sockets.reopen(kind, &ctx.io.settings.paths) {
                Ok(former) => {
                    if let Some(former) = former {
                        ctx.io.reactor.remove(&former.fd);
                        ostler_sys::net::socket::stop_listening(&former.fd);
                    }
                    self.files.note(number, &path);
                    if let Some(socket) = self.sockets.get(kind) {
                        ctx.io.keeper.hold(held_name(kind), std::os::fd::AsFd::as_fd(&socket.fd));
                    }
                    ctx.io.log.line(format_args!("PM2 clients can connect at \"{}\"", path.display()));
                }
                // Another process listens there. When it exits, inotify reports the removal of its
                // file.
                Err((_, Errno::ADDRINUSE)) => {}
                Err(error) => failed = Some(error),
            }
        }
        self.listen(ctx);
        self.follow(ctx);
        // The file was removed again before it was watched.
        let is_gone = |kind: &Pm2Socket| self.sockets.get(*kind).is_some() && !sockets::path_of(*kind, &ctx.io.settings.paths).exists();
        let is_late = failed.is_some() || KINDS.iter().any(is_gone);
        self.tries = if is_late { self.tries + 1 } else { 0 };
        match failed {
            _ if is_late && self.tries < TRIES => ctx.outbox.timers.set(Self::LOOK, Some(ctx.now.mono_ms + SETTLE_MS)),
            Some((path, errno)) => self.log_failure(ctx, &path, errno),
            None => {}
        }
    }

    fn follow(&mut self, ctx: &Ctx) {
        let [calls, events] = KINDS.map(|kind| sockets::path_of(kind, &ctx.io.settings.paths));
        self.files.follow([calls, events], &ctx.io.reactor, Source::Feature(Self::NAME, Self::FILES));
    }

    fn log_failure(&self, ctx: &mut Ctx, path: &std::path::Path, errno: Errno) {
        let why = match errno {
            Errno::ADDRINUSE => "another process manager listens there (PM2?)".to_owned(),
            errno => std::io::Error::from(errno).to_string(),
        };
        ctx.io.log.error(format_args!("PM2 clients cannot connect: \"{}\": {why}", path.display()));
    }

    fn accept(&mut self, ctx: &mut Ctx, kind: Pm2Socket) {
        let Some(socket) = self.sockets.get(kind) else { return };
        let (slots, keeper, admitted) = (&ctx.state.slots, ctx.io.keeper.pid(), &self.sockets.admitted);
        let admits = |peer: &socket::Peer| admitted.has(peer.uid) && !slots.is_confined(peer.pid, keeper);
        if let Err(errno) = self.peers.accept(&socket.fd, kind, admits, &ctx.io.reactor) {
            // The daemon is probably out of descriptors. Waiting clients are accepted once a
            // descriptor is free.
            ctx.io.log.error_once("accept-pm2", format_args!("cannot accept a client of PM2's sockets: {}", std::io::Error::from(errno)));
            ctx.io.reactor.remove(&socket.fd);
            ctx.outbox.timers.set(Self::LISTEN_AGAIN, Some(ctx.now.mono_ms + DEAF_MS));
        }
    }

    fn read(&mut self, ctx: &mut Ctx, peer: u32) {
        for rpc::Request { id, call } in self.peers.read(peer) {
            match call {
                Call::Methods => self.peers.answer(peer, rpc::methods(&id)),
                Call::Refused(why) => self.peers.answer(peer, rpc::refusal(&id, &why)),
                Call::Method { name, args } => self.call(ctx, peer, id, &name, args),
            }
        }
    }

    fn call(&mut self, ctx: &mut Ctx, peer: u32, id: Vec<u8>, name: &str, args: Vec<Value>) {
        let refusal = self.leaving.record_call(peer, name, |peer| self.peers.has(peer), |peer| self.peers.is_npms_update(peer));
        if refusal.is_some() && !rpc::has_reply(name) {
            return self.end_client(peer, &id);
        }
        let plan = match refusal {
            Some(why) => Err(CallError::Refused(why)),
            None if self.calls.len() >= MAX_CALLS => Err(CallError::Busy),
            None if name == "getVersion" => Ok(CallPlan::value(self.version_for(ctx, peer).into())),
            None => calls::plan(ctx, name, args),
        };
        let plan = match plan {
            Ok(plan) => plan,
            Err(why) if rpc::has_reply(name) => return self.peers.answer(peer, rpc::failure(&id, &why.to_string())),
            Err(why) => return ctx.io.log.error(format_args!("{name}: {why}")),
        };
        let caller = match self.peers.get_mut(peer) {
            Some(peer) => {
                peer.pending += 1;
                Caller { uid: peer.uid, pid: peer.pid, on_behalf_of: None }
            }
            // The client sent this and disconnected.
            None => Caller { uid: rustix::process::geteuid().as_raw(), pid: 0, on_behalf_of: None },
        };
        let calling =
            RunningCall { peer, id, caller, plan, touched: Vec::new(), details: Vec::new(), passed: None, reason: None, is_started: false };
        let is_free = self.is_free(calling.plan.alone.as_deref());
        let ticket = ctx.ticket();
        self.calls.insert(ticket, calling);
        if is_free {
            self.continue_call(ctx, ticket);
        }
    }

    /// Returns the version that a client gets. npm's command line gets its own version, unless a
    /// setting names another.
    fn version_for(&mut self, ctx: &Ctx, peer: u32) -> String {
        let set = &ctx.io.settings.pm2_version;
        let asks = self.peers.get_mut(peer).filter(|_| set == PM2_VERSION).map(|peer| (peer.pid, peer.uid));
        asks.and_then(|(pid, uid)| clients::version(pid, uid)).unwrap_or_else(|| set.clone())
    }

    /// Stops npm's command line before it starts npm's daemon beside this one. It has printed the
    /// refusal; no reply would stop it.
    fn end_client(&mut self, peer: u32, id: &[u8]) {
        let pid = self.peers.get_mut(peer).map(|peer| peer.pid);
        let is_stopped = pid.and_then(|pid| ProcRef::of(pid).ok()).is_some_and(|client| client.signal(TERM).is_ok());
        if !is_stopped {
            // The reply makes the client throw, which stops it as well.
            self.peers.answer(peer, rpc::failure(id, leaving::NOT_BY_NPM));
        }
    }

    /// Returns true if no call that needs this app for itself is in progress.
    fn is_free(&self, app: Option<&str>) -> bool {
        app.is_none() || !self.calls.values().any(|calling| calling.is_started && calling.plan.alone.as_deref() == app)
    }

    /// Carries out the next steps of a call until it has to wait.
    fn continue_call(&mut self, ctx: &mut Ctx, ticket: u64) {
        while let Some(calling) = self.calls.get_mut(&ticket) {
            calling.is_started = true;
            match calling.plan.steps.pop_front() {
                Some(CallStep::Ask(request)) => {
                    let caller = calling.caller.clone();
                    return ctx.queue_request(ClientRequest { client: PM2_CLIENT, id: ticket, caller, request });
                }
                Some(CallStep::Send(slots, message)) => slots.into_iter().for_each(|slot| ctx.send(slot, &message, None)),
                Some(CallStep::Watch(slots, on)) => slots.into_iter().for_each(|slot| watch(ctx, slot, on)),
                Some(CallStep::Version(slot)) => read_version(ctx, slot),
                Some(CallStep::Mark(slot, is_shown)) => mark(ctx, slot, is_shown),
                Some(CallStep::Publish(slot, action, is_manual)) => self.publish_action(ctx, slot, &action, is_manual),
                Some(CallStep::ReadDetails(id)) => {
                    let ids = id.map_or_else(|| std::mem::take(&mut calling.touched), |id| vec![id]);
                    ctx.record_findings();
                    let wanted = ctx.state.slots.serving().filter(|slot| ids.contains(&slot.durable.pm_id));
                    calling.details.extend(wanted.map(|slot| slot.detail(&ctx.io.settings)));
                }
                None => return self.end(ctx, ticket, None),
            }
        }
    }

    /// Handles the daemon's response to a step of a call.
    fn take(&mut self, ctx: &mut Ctx, ticket: u64, response: Response) {
        let Some(calling) = self.calls.get_mut(&ticket) else { return };
        match response {
            Response::Progress(Progress::InstanceFailed { reason, .. }) => return calling.reason = Some(reason),
            Response::Progress(_) => return,
            Response::Failed(failure) => {
                let why = calling.reason.take().unwrap_or_else(|| failure.to_string());
                return self.end(ctx, ticket, Some(why));
            }
            Response::Done { ids } => calling.touched = ids,
            Response::Processes(list) => calling.passed = Some(list),
            Response::Host(host) => calling.passed = Json::of(&host.map(|host| host.metrics()).unwrap_or_default()).ok(),
            _ => {}
        }
        self.continue_call(ctx, ticket);
    }

    /// Answers a call, and starts the call that waited for it.
    fn end(&mut self, ctx: &mut Ctx, ticket: u64, why: Option<String>) {
        let Some(RunningCall { peer, id, plan, details: seen, passed, .. }) = self.calls.remove(&ticket) else { return };
        let each = |form| seen.iter().map(|detail| results::shown(detail, form)).collect::<Vec<_>>();
        let success = |value: &Value| rpc::success(&id, &[&value.to_string()]);
        let frame = match (why, plan.result) {
            (Some(why), CallResult::Silence) => {
                ctx.io.log.error(format_args!("a client of PM2's sockets cannot stop the daemon: {why}"));
                None
            }
            (None, CallResult::Silence) => None,
            (Some(why), _) => Some(rpc::failure(&id, &why)),
            (None, CallResult::Nothing) => Some(rpc::success(&id, &[])),
            (None, CallResult::Value(value)) => Some(success(&value)),
            (None, CallResult::Each(form)) => Some(success(&each(form).into())),
            (None, CallResult::One(form)) => match each(form).pop() {
                Some(value) => Some(success(&value)),
                // Another client deleted the instance in the meantime.
                None => Some(rpc::failure(&id, "process id doesnt exists")),
            },
            (None, CallResult::Passed) => Some(rpc::success(&id, &[passed.as_ref().map_or("null", Json::text)])),
        };
        if let Some(frame) = frame {
            self.peers.answer(peer, frame);
        }
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.pending = peer.pending.saturating_sub(1);
        }
        if let Some(AfterReply::Quit(pid)) = plan.then {
            self.quit.extend(ProcRef::of(pid).ok());
        }
        let waits = |calling: &RunningCall| plan.alone.is_some() && !calling.is_started && calling.plan.alone == plan.alone;
        if let Some(next) = self.calls.iter().find(|(_, calling)| waits(calling)).map(|(ticket, _)| *ticket) {
            self.continue_call(ctx, next);
        }
    }

    /// Sends an event to all subscribers.
    fn publish(&mut self, ctx: &mut Ctx, topic: &str, payload: &Value) {
        let dropped = self.peers.publish(&rpc::event(topic, payload));
        self.log_dropped(ctx, dropped);
    }

    /// Sends subscribers a client's report of an action on an instance.
    fn publish_action(&mut self, ctx: &mut Ctx, id: u32, action: &str, is_manual: bool) {
        if !self.peers.has_subscribers() {
            return;
        }
        if let Some(payload) = ctx.state.slots.get(id).map(|slot| events::of_client(ctx, slot, action, is_manual)) {
            self.publish(ctx, "process:event", &payload);
        }
    }

    fn take_replies(&mut self, ctx: &mut Ctx) {
        for (_, ticket, response) in ctx.take_replies(|client| client == PM2_CLIENT) {
            self.take(ctx, ticket, response);
        }
    }
}

/// Turns file watching of an instance on or off; `None` toggles it.
fn watch(ctx: &mut Ctx, id: u32, on: Option<bool>) {
    let Some(mut spec) = ctx.state.slots.get(id).map(|slot| slot.spec().clone()) else { return };
    let mut watch = (*spec.watch).clone();
    if on == Some(watch.on) {
        return;
    }
    watch.on = on.unwrap_or(!watch.on);
    let mut given = spec.given.open().into_owned();
    given.insert("watch".into(), watch.attribute());
    (spec.watch, spec.given) = (watch.into(), given.into());
    ctx.redescribe(id, spec);
}

/// Reads the version of an instance's package, so that the answer has the version that starts.
fn read_version(ctx: &mut Ctx, id: u32) {
    if let Some(version) = ctx.state.slots.get(id).map(|slot| version_of(slot.spec(), Rights::of(slot.spec()).user())) {
        ctx.set_version(id, version);
    }
}

/// Sets whether the vendor's service would show an instance, as PM2 does.
fn mark(ctx: &mut Ctx, id: u32, is_shown: bool) {
    let Some(mut spec) = ctx.state.slots.get(id).map(|slot| slot.spec().clone()) else { return };
    let mut given = spec.given.open().into_owned();
    given.insert("_km_monitored".into(), is_shown.into());
    spec.given = given.into();
    ctx.redescribe(id, spec);
}

impl Pm2Sockets {
    pub(crate) fn on_boot(&mut self, ctx: &mut Ctx) {
        home::complete(&ctx.io.settings.paths, ctx.now.wall_ms);
        for (number, kind) in KINDS.into_iter().enumerate() {
            let known = self.sockets.get(kind).is_some();
            match self.sockets.open(kind, &ctx.io.settings.paths) {
                Ok(()) => {
                    self.files.note(number, sockets::path_of(kind, &ctx.io.settings.paths));
                    if let Some(socket) = self.sockets.get(kind).filter(|_| !known) {
                        ctx.io.keeper.hold(held_name(kind), std::os::fd::AsFd::as_fd(&socket.fd));
                    }
                }
                Err((path, errno)) => self.log_failure(ctx, &path, errno),
            }
        }
        self.listen(ctx);
        self.follow(ctx);
    }

    pub(crate) fn on_prepare(&mut self, ctx: &mut Ctx, id: u32, _inc: u32, _beside: &mut SpawnExtras) -> Result<(), SpawnFailure> {
        self.lines.meet(ctx, id);
        Ok(())
    }

    pub(crate) fn held<'a>(&'a self, _ctx: &'a Ctx) -> Vec<(String, BorrowedFd<'a>)> {
        self.sockets.held().chain(self.lines.held()).collect()
    }

    pub(crate) fn adopt_fd(&mut self, ctx: &mut Ctx, name: &str, fd: OwnedFd) -> Option<OwnedFd> {
        if name == ledger::HELD {
            if self.lines.adopt_fd(fd, ctx.now.mono_ms) {
                ctx.outbox.timers.set(Self::TOO_LATE, self.lines.too_late_ms());
            } else {
                ctx.io.keeper.drop_held(name);
            }
            return None;
        }
        let Some(kind) = KINDS.into_iter().find(|kind| held_name(*kind) == name) else { return Some(fd) };
        self.sockets.adopt_fd(kind, fd, &ctx.io.settings.paths);
        None
    }

    pub(crate) fn on_ready(&mut self, ctx: &mut Ctx, key: u64, _writable: bool) {
        if key == Self::FILES {
            self.files.clear();
            ctx.outbox.timers.set_if_none(Self::LOOK, ctx.now.mono_ms + SETTLE_MS);
            return;
        }
        if key == Self::LINES {
            return self.read_lines(ctx);
        }
        match usize::try_from(key).ok().and_then(|key| KINDS.get(key)) {
            Some(kind) => self.accept(ctx, *kind),
            None => self.read(ctx, key as u32),
        }
    }

    pub(crate) fn on_timer(&mut self, ctx: &mut Ctx, key: u64) {
        match (Self::NAME, key) {
            Self::LOOK => self.recreate_missing(ctx),
            Self::STALLED => {
                let dropped = self.peers.drop_slower_than(PAUSE_BYTES / 2);
                self.log_dropped(ctx, dropped);
            }
            Self::TOO_LATE => {
                self.lines.drop_expired_record(ctx);
                ctx.outbox.timers.set(Self::TOO_LATE, self.lines.too_late_ms());
            }
            // The work is done at the end of the turn.
            Self::REAP => {}
            _ => self.listen(ctx),
        }
    }

    pub(crate) fn on_message(&mut self, ctx: &mut Ctx, id: u32, _inc: u32, message: &Message) {
        if !self.peers.has_subscribers() {
            return;
        }
        let at_ms = ctx.now.wall_ms;
        ctx.record_findings();
        let event = ctx.state.slots.get(id).and_then(|slot| events::of_message(slot, message, at_ms));
        event.into_iter().for_each(|(topic, payload)| self.publish(ctx, &topic, &payload));
    }

    /// Publishes events after the journal holds them, so a fresh daemon knows every published
    /// event.
    pub(crate) fn on_journaled(&mut self, ctx: &mut Ctx, events: &[Event]) {
        if !self.peers.has_subscribers() {
            return;
        }
        for payload in events.iter().flat_map(|event| events::of_event(ctx, event)).collect::<Vec<_>>() {
            self.publish(ctx, "process:event", &payload);
        }
    }

    /// Continues calls of several steps in the same turn.
    pub(crate) fn on_idle(&mut self, ctx: &mut Ctx) {
        self.take_replies(ctx);
    }

    pub(crate) fn on_turn_end(&mut self, ctx: &mut Ctx) {
        for line in ctx.io.log.take_copies() {
            self.publish(ctx, "log:PM2", &events::of_log(&line, ctx.now.wall_ms));
        }
        ctx.io.log.copy_lines(self.peers.has_subscribers());
        self.send(ctx);
        self.supervise_log_reader(ctx);
    }

    pub(crate) fn on_leave(&mut self, ctx: &mut Ctx, ending: ShutdownKind) {
        self.take_replies(ctx);
        if ending == ShutdownKind::Everything {
            let payload = events::of_end(ctx.outbox.shutdown.is_signalled);
            self.publish(ctx, "pm2:kill", &payload);
        }
        // Subscribers that reconnect to the next daemon resume from there.
        self.peers.close(self.lines.counts().map(|ledger| &mut ledger.sends));
        self.lines.stop(&ctx.io.reactor);
        // The reader was killed and exits at once. This is the last chance to reap it.
        self.lines.reap();
        if ending == ShutdownKind::Everything {
            self.sockets.remove();
            // A process that is gone, or whose pid was reused, gets no signal.
            self.quit.iter().for_each(|client| _ = client.signal(QUIT));
        }
    }
}
