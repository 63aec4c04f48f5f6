//! IPC channels of apps. They are read within budgets, and each message of an app goes to all
//! features.
//!
//! # Theory of operation
//!
//! A channel is read when it is ready. Each line becomes an entry of the queue
//! ([`Input::Message`]). Features handle all entries before the journal is written. The lines stay
//! in the socket until the channel is read the next time. If the daemon dies before it has
//! journaled them, the next one reads them again. A worker's answers to connections that were
//! handed to it are applied to its slot at once ([`ostler_proto::node::cluster`]). They are most of
//! the traffic, change nothing in the journal, and have no budget.
//!
//! If an app sends too much, its channel is not read for a while (it is *muted*). Only that app
//! then has to wait.

mod kept;
#[cfg(test)]
mod tests;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ostler_core::app::AppSpec;
use ostler_core::lifecycle::{SpawnFailure, Transition};
use ostler_core::serving::budget::{Admission, KEPT_BYTES, MESSAGE_BYTES, MESSAGES, Rate};
use ostler_core::serving::{FIRST_FD, ReadyBy};
use ostler_proto::node::{Message, classify, cluster};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use serde_json::{Value, json};

use crate::engine::{Ctx, Input, Key, SpawnExtras};
use crate::platform::ipc::{Ipc, READER, held_name, key_of};
use crate::state::slots::complaints::Topic;
use crate::state::slots::split_key;

/// Longest version that is accepted; no version of Node reaches it.
const MAX_VERSION_BYTES: usize = 64;

/// Bytes that one read of a channel takes.
const BUFFER_BYTES: usize = 16 << 10;

/// Most reads of an exited process's channel. Its messages fit into far fewer reads, but a child
/// that inherited the channel may continue to write.
const LOOKS_AT_END: u32 = 64;

/// Reader of all channels.
#[derive(Debug, Default)]
pub(crate) struct Channels {
    /// Buffer for reads.
    buffer: Vec<u8>,
    /// Reads so far of the channel of an exited process.
    reads: u32,
}

/// One read of a channel.
struct Reading {
    id: u32,
    inc: u32,
    now_ms: u64,
    /// Bytes that count for the budget.
    bytes: usize,
    lines: usize,
    /// Whether a line has to be journaled before it is taken out of the socket.
    remembers: bool,
    /// Whether a worker has answered a connection that was handed to it.
    has_answers: bool,
}

impl Channels {
    pub(crate) const NAME: &str = READER;

    /// Time at which the muted channel of an instance is read again.
    fn unmuting(id: u32) -> Key {
        (Self::NAME, u64::from(id))
    }

    /// Reads once. Returns true if there may be more.
    fn read(&mut self, ctx: &mut Ctx, id: u32) -> bool {
        self.buffer.resize(BUFFER_BYTES, 0);
        let Some(ipc) = channel(ctx, id) else { return false };
        let received = ipc.read(&mut self.buffer);
        let (_, inc) = split_key(ipc.key());
        let now_ms = ctx.now.mono_ms;
        let mut reading = Reading { id, inc, now_ms, bytes: received.bytes, lines: 0, remembers: false, has_answers: false };
        if let Some(lines) = received.lines {
            let mut beginning = received.beginning;
            for line in self.buffer[lines].split(|byte| *byte == b'\n') {
                if beginning.is_empty() {
                    reading.take(ctx, line);
                } else {
                    beginning.extend_from_slice(line);
                    reading.take(ctx, &std::mem::take(&mut beginning));
                }
            }
        }
        reading.settle(ctx);
        if received.overlong {
            ctx.complain(
                id,
                Topic::Length,
                format_args!("sent a message longer than {} KiB: such messages are ignored", MESSAGE_BYTES >> 10),
            );
        }
        if received.ended {
            end(ctx, id);
        }
        received.more && !received.ended
    }
}

impl Reading {
    /// Handles a line. Any line of an app, even null or nonsense, is a value or is ignored. It
    /// never harms other apps.
    fn take(&mut self, ctx: &mut Ctx, line: &[u8]) {
        let Some(slot) = ctx.state.slots.get_mut(self.id) else { return };
        if let Some(answer) = cluster::answer(line)
            && slot.live.worker.own_mut().is_some_and(|worker| worker.take(answer))
        {
            // There are at most as many answers as connections that were handed to it.
            self.bytes = self.bytes.saturating_sub(line.len());
            if !self.has_answers && !slot.live.worker.answered.is_empty() {
                self.has_answers = true;
                ctx.outbox.queue.push_back(Input::Capacity(self.id));
            }
            return;
        }
        self.lines += 1;
        let internal = memchr::memmem::find(line, br#""cmd":"NODE_"#).is_some();
        let Some(ipc) = slot.live.ipc.as_mut() else { return };
        if ipc.budget.message(internal, self.now_ms) == Admission::Skipped {
            let Rate { per_second, .. } = MESSAGES;
            return ctx.complain(self.id, Topic::Rate, format_args!("sends more messages than are accepted ({per_second} per second)"));
        }
        self.remembers = true;
        // Bun prefixes Node's own messages with this byte.
        let line = line.strip_prefix(b"\x02").unwrap_or(line);
        if let Ok(value) = serde_json::from_slice(line) {
            ctx.outbox.queue.push_back(Input::Message(self.id, self.inc, classify(value)));
        }
    }

    /// Decides how to continue with the channel when all lines are handled.
    fn settle(&self, ctx: &mut Ctx) {
        let (id, now_ms) = (self.id, self.now_ms);
        let Some(ipc) = ctx.state.slots.get_mut(id).and_then(|slot| slot.live.ipc.as_mut()) else { return };
        if !self.remembers {
            // The lines contain nothing for the next daemon.
            ipc.consume();
        }
        ipc.budget.read(self.bytes, self.lines, now_ms);
        if let Some(until_ms) = ipc.budget.take_wait() {
            ipc.mute(&ctx.io.reactor, until_ms);
            ctx.outbox.timers.set(Channels::unmuting(id), Some(until_ms));
            ctx.complain(id, Topic::Rate, format_args!("sends more than ostler reads from its channel: its messages are delayed"));
        }
    }
}

fn channel(ctx: &mut Ctx, id: u32) -> Option<&mut Ipc> {
    ctx.state.slots.get_mut(id)?.live.ipc.as_deref_mut()
}

/// Closes a channel whose other end the app has closed. Usually the process is about to exit. The
/// keeper's copy is then dropped early, so that it does not delay the next start.
fn end(ctx: &mut Ctx, id: u32) {
    if let Some(ipc) = ctx.state.slots.get_mut(id).and_then(|slot| slot.live.ipc.as_mut()) {
        ipc.end(&ctx.io.reactor);
    }
    ctx.outbox.queue.push_back(Input::ChannelEnded(id));
}

/// Keeps the facts that an app reports about itself, for lists, within its budget. They are not
/// journaled, because the app chooses their size.
fn store_facts(ctx: &mut Ctx, id: u32, message: &Message) {
    let Some(slot) = ctx.state.slots.get_mut(id) else { return };
    let Some(ipc) = slot.live.ipc.as_mut() else { return };
    let axm = &mut *slot.live.axm;
    let mut kept = ipc.kept.take().unwrap_or_else(|| kept::of(axm));
    let all = match message {
        Message::Metrics(metrics) => kept::merge(&mut axm.monitor, metrics, &mut kept),
        Message::Options(options) => kept::merge(&mut axm.options, options, &mut kept),
        Message::Action(action) => kept::add(&mut axm.actions, action, &mut kept),
        _ => true,
    };
    ipc.kept = Some(kept);
    if !all {
        let limit = KEPT_BYTES >> 10;
        ctx.complain(
            id,
            Topic::Kept,
            format_args!("reports more metrics and actions than ostler keeps: at most {limit} KiB, 1000 of each"),
        );
    }
}

/// Returns both ends of a channel: ours, and the app's.
fn pair() -> Result<(OwnedFd, OwnedFd), SpawnFailure> {
    socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .map_err(|errno| SpawnFailure::new("socketpair", errno.raw_os_error()))
}

/// Returns the channel's number in the process. It is 3, which scripts expect, unless that is a
/// socket or the descriptor for the app's newline.
fn number(spec: &AppSpec, proof: Option<&ReadyBy>) -> i32 {
    let first_free = FIRST_FD.saturating_add(i32::try_from(spec.listen.len()).unwrap_or(0));
    if proof == Some(&ReadyBy::Descriptor(first_free)) { first_free + 1 } else { first_free }
}

/// Closes the channel of a slot, including the keeper's copy.
fn close(ctx: &mut Ctx, id: u32) {
    if let Some(ipc) = ctx.state.slots.get_mut(id).and_then(|slot| slot.live.ipc.take()) {
        ctx.io.keeper.drop_held(&ipc.held_name());
        ipc.close(&ctx.io.reactor);
    }
}

impl Channels {
    pub(crate) fn on_prepare(&mut self, ctx: &mut Ctx, id: u32, inc: u32, beside: &mut SpawnExtras) -> Result<(), SpawnFailure> {
        let Some(slot) = ctx.state.slots.get_mut(id) else { return Ok(()) };
        let (key, number) = (slot.key(inc), number(slot.spec(), slot.live.proof.as_deref()));
        let (ours, theirs) = pair()?;
        // The keeper gets the channel before the process is requested. A process that starts while
        // the daemon is killed thus has an intact channel.
        ctx.io.keeper.hold(&held_name(key), ours.as_fd());
        if let Some(former) = slot.live.ipc.take() {
            former.close(&ctx.io.reactor);
        }
        slot.live.ipc = Ipc::open(ours, id, key, &ctx.io.reactor).map(Box::new);
        beside.fds.push((theirs, number));
        beside.vars.push(("NODE_CHANNEL_FD", number.to_string()));
        beside.vars.push(("NODE_CHANNEL_SERIALIZATION_MODE", "json".into()));
        Ok(())
    }

    pub(crate) fn held<'a>(&'a self, ctx: &'a Ctx) -> Vec<(String, BorrowedFd<'a>)> {
        ctx.state.slots.iter().filter_map(|slot| slot.live.ipc.as_ref()).map(|ipc| (ipc.held_name(), ipc.as_fd())).collect()
    }

    pub(crate) fn adopt_fd(&mut self, ctx: &mut Ctx, name: &str, fd: OwnedFd) -> Option<OwnedFd> {
        let Some(key) = key_of(name) else { return Some(fd) };
        let (id, inc) = split_key(key);
        match ctx.state.slots.get_mut(id).filter(|slot| slot.durable.instance.inc == inc) {
            Some(slot) => slot.live.ipc = Ipc::open(fd, id, key, &ctx.io.reactor).map(Box::new),
            None => ctx.io.keeper.drop_held(name),
        }
        None
    }

    pub(crate) fn on_transition(&mut self, ctx: &mut Ctx, id: u32, transition: &Transition) {
        if *transition == Transition::Deleted {
            close(ctx, id);
        }
    }

    /// Handles a channel that is readable, or has room again.
    pub(crate) fn on_ready(&mut self, ctx: &mut Ctx, key: u64, writable: bool) {
        let id = key as u32;
        let Some(ipc) = ctx.state.slots.get_mut(id).and_then(|slot| slot.live.ipc.as_mut()) else { return };
        if writable {
            ipc.drain(&ctx.io.reactor);
            ctx.outbox.queue.push_back(Input::Capacity(id));
        }
        self.read(ctx, id);
    }

    /// Reads a muted channel again.
    pub(crate) fn on_timer(&mut self, ctx: &mut Ctx, key: u64) {
        let (id, now_ms) = (key as u32, ctx.now.mono_ms);
        let Some(ipc) = ctx.state.slots.get_mut(id).and_then(|slot| slot.live.ipc.as_mut()) else { return };
        if !ipc.unmute(&ctx.io.reactor, now_ms) {
            end(ctx, id);
        }
    }

    /// Reads the messages that the process sent before it exited.
    pub(crate) fn on_end(&mut self, ctx: &mut Ctx, id: u32) -> bool {
        // A message that was read in this turn leaves the socket with the next read, so it must be
        // in the journal before that.
        let is_unwritten = self.reads == 0 && channel(ctx, id).is_some_and(|ipc| ipc.is_peeked());
        let goes_on = is_unwritten || (self.read(ctx, id) && self.reads < LOOKS_AT_END);
        self.reads = if goes_on { self.reads + 1 } else { 0 };
        goes_on
    }

    pub(crate) fn on_message(&mut self, ctx: &mut Ctx, id: u32, _inc: u32, message: &Message) {
        match message {
            Message::Metrics(_) | Message::Action(_) | Message::Options(_) => store_facts(ctx, id, message),
            Message::NodeVersion(version) if version.len() <= MAX_VERSION_BYTES => {
                if let Some(slot) = ctx.state.slots.get_mut(id) {
                    slot.durable.learned.node_version = Some(version.clone());
                }
            }
            // The app sent a handle, and sends no further message until it is acknowledged. The
            // daemon does not use the handle. The read has no place for it, so the kernel closes
            // it.
            Message::Internal(message) if message.get("cmd").and_then(Value::as_str) == Some("NODE_HANDLE") => {
                ctx.send(id, &json!({"cmd": "NODE_HANDLE_ACK"}), None);
            }
            _ => {}
        }
    }

    /// Drops the channel with the process, and the facts that the process reported about itself.
    pub(crate) fn on_process_gone(&mut self, ctx: &mut Ctx, id: u32, _inc: u32) {
        ctx.outbox.timers.set(Self::unmuting(id), None);
        let Some(slot) = ctx.state.slots.get_mut(id) else { return };
        if let Some(axm) = slot.live.axm.own_mut() {
            axm.monitor.clear();
            axm.actions.clear();
        }
        close(ctx, id);
    }

    pub(crate) fn on_forgotten(&mut self, ctx: &mut Ctx, id: u32) {
        ctx.outbox.timers.set(Self::unmuting(id), None);
    }
}
