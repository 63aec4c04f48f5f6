//! What apps say over their IPC channel.

use ostler_core::budget::{Hearing, KEPT_BYTES, MESSAGE_BYTES, MESSAGES, Rate};
use ostler_proto::node::{Message, classify, cluster};

use super::kept;
use crate::control::Control;
use crate::slots::complaints::Topic;
use crate::supervisor::readiness::Sign;

/// Longer than any version of Node.
const MAX_VERSION_BYTES: usize = 64;

/// What is read of a channel at once.
const IPC_BUFFER_BYTES: usize = 16 << 10;

/// One look at a channel.
struct Turn {
    id: u32,
    inc: u32,
    now_ms: u64,
    /// What counts for the budget.
    bytes: usize,
    lines: usize,
    /// There is something that has to be journaled before it is taken out of the socket.
    remembers: bool,
}

impl Control {
    /// An app's channel is readable, or has room again.
    pub(crate) fn hear_app(&mut self, id: u32, writable: bool) {
        let Some(ipc) = self.ctx.slots.get_mut(id).and_then(|slot| slot.ipc.as_mut()) else { return };
        if writable {
            ipc.drain(&self.ctx.reactor);
            self.stir_listeners_of(id);
        }
        self.read_channel(id);
    }

    /// Its process has ended: what it said before counts.
    pub(super) fn hear_last_of(&mut self, id: u32) {
        // Far more than fits into the channel: a child that inherited it may go on writing.
        for _ in 0..64 {
            if !self.read_channel(id) {
                return;
            }
        }
    }

    /// Channels that were read too much of are looked at again when their time has come.
    pub(crate) fn tick_channels(&mut self, now_ms: u64) {
        while let Some((at_ms, id)) = self.muted.first().copied().filter(|(at, _)| *at <= now_ms) {
            self.muted.remove(&(at_ms, id));
            let Some(ipc) = self.ctx.slots.get_mut(id).and_then(|slot| slot.ipc.as_mut()) else { continue };
            if !ipc.unmute(&self.ctx.reactor, at_ms) {
                self.end_channel(id);
            }
        }
    }

    /// Reads once. Whether there may be more.
    fn read_channel(&mut self, id: u32) -> bool {
        let mut buffer = std::mem::take(&mut self.ipc_buffer);
        buffer.resize(IPC_BUFFER_BYTES, 0);
        let more = self.read_channel_into(id, &mut buffer);
        self.ipc_buffer = buffer;
        more
    }

    fn read_channel_into(&mut self, id: u32, buffer: &mut [u8]) -> bool {
        let Some(ipc) = self.ctx.slots.get_mut(id).and_then(|slot| slot.ipc.as_mut()) else { return false };
        let heard = ipc.read(buffer);
        let (_, inc) = crate::slots::split_key(ipc.key());
        let now_ms = self.ctx.now.mono_ms;
        let mut turn = Turn { id, inc, now_ms, bytes: heard.bytes, lines: 0, remembers: false };
        if let Some(lines) = heard.lines {
            let mut beginning = heard.beginning;
            for line in buffer[lines].split(|byte| *byte == b'\n') {
                if beginning.is_empty() {
                    self.hear_line(&mut turn, line);
                } else {
                    beginning.extend_from_slice(line);
                    self.hear_line(&mut turn, &std::mem::take(&mut beginning));
                }
            }
        }
        let mut waits = None;
        if let Some(ipc) = self.ctx.slots.get_mut(id).and_then(|slot| slot.ipc.as_mut()) {
            if !turn.remembers {
                // Nothing that the next daemon would have to know.
                ipc.consume();
            }
            ipc.budget.read(turn.bytes, turn.lines, now_ms);
            waits = ipc.budget.take_wait();
            if let Some(until_ms) = waits {
                ipc.mute(&self.ctx.reactor, until_ms);
                self.muted.insert((until_ms, id));
            }
        }
        if heard.overlong {
            self.ctx.complain(
                id,
                Topic::Length,
                format_args!("sent a message longer than {} KiB: those are not heard", MESSAGE_BYTES >> 10),
            );
        }
        if waits.is_some() {
            self.ctx.complain(id, Topic::Rate, format_args!("sends more than is read of its channel: what it sends has to wait"));
        }
        if heard.ended {
            self.end_channel(id);
        }
        heard.more && !heard.ended
    }

    /// Whatever an app sends, null and nonsense included, is a value or nothing; it never harms anybody else.
    fn hear_line(&mut self, turn: &mut Turn, line: &[u8]) {
        if let Some(answer) = cluster::answer(line)
            && self.hear_answer(turn.id, answer)
        {
            // There are no more of them than connections that were given to it.
            turn.bytes = turn.bytes.saturating_sub(line.len());
            return;
        }
        turn.lines += 1;
        let internal = memchr::memmem::find(line, br#""cmd":"NODE_"#).is_some();
        let Some(ipc) = self.ctx.slots.get_mut(turn.id).and_then(|slot| slot.ipc.as_mut()) else { return };
        if ipc.budget.message(internal, turn.now_ms) == Hearing::PassedOver {
            let Rate { per_second, .. } = MESSAGES;
            return self.ctx.complain(turn.id, Topic::Rate, format_args!("sends more messages than are heard ({per_second} each second)"));
        }
        turn.remembers = true;
        // Bun marks Node's own messages with this byte.
        let line = line.strip_prefix(b"\x02").unwrap_or(line);
        if let Ok(value) = serde_json::from_slice(line) {
            self.hear_message(turn.id, turn.inc, classify(value));
        }
    }

    fn end_channel(&mut self, id: u32) {
        self.heart_is_lost(id);
        if let Some(ipc) = self.ctx.slots.get_mut(id).and_then(|slot| slot.ipc.as_mut()) {
            // Usually the process is about to end: the keeper's copy is dropped then, so that nothing delays its next start.
            ipc.end(&self.ctx.reactor);
        }
        self.worker_left(id);
        self.features.each().for_each(|feature| feature.on_channel_ended(&mut self.ctx, id));
    }

    fn hear_message(&mut self, id: u32, inc: u32, message: Message) {
        self.features.each().for_each(|feature| feature.on_message(&mut self.ctx, id, inc, &message));
        let Some(slot) = self.ctx.slots.get_mut(id) else { return };
        match message {
            Message::Ready => self.told_ready(id, inc, Sign::Message),
            Message::NodeVersion(version) if version.len() <= MAX_VERSION_BYTES => slot.learned.node_version = Some(version),
            Message::NodeVersion(_) => {}
            Message::Metrics(_) | Message::Action(_) | Message::Options(_) => self.keep(id, message),
            Message::Internal(message) => self.hear_worker(id, &message),
            Message::Typed { topic, .. } if topic == "process:exception" => self.hear_exception(id),
            // For followers of the bus.
            Message::Typed { .. } | Message::Raw(_) => {}
        }
    }

    /// What a list shows of what an app says of itself, within its budget. It is not journaled: its size is the app's to choose.
    fn keep(&mut self, id: u32, message: Message) {
        let Some(slot) = self.ctx.slots.get_mut(id) else { return };
        let Some(ipc) = slot.ipc.as_mut() else { return };
        let learned = &mut *slot.learned;
        let mut kept = ipc.kept.take().unwrap_or_else(|| kept::of(learned));
        let all = match message {
            Message::Metrics(metrics) => kept::merge(&mut learned.axm_monitor, metrics, &mut kept),
            Message::Options(options) => kept::merge(&mut learned.axm_options, options, &mut kept),
            Message::Action(action) => kept::add(&mut learned.axm_actions, action, &mut kept),
            _ => true,
        };
        ipc.kept = Some(kept);
        if !all {
            let limit = KEPT_BYTES >> 10;
            self.ctx.complain(
                id,
                Topic::Kept,
                format_args!("says more of itself (metrics, actions) than is kept: {limit} KiB, 1000 of a kind"),
            );
        }
    }

    /// The app's end is closed, or it misbehaved: nothing more comes.
    pub(super) fn close_channel(&mut self, id: u32) {
        self.worker_left(id);
        let Some(ipc) = self.ctx.slots.get_mut(id).and_then(|slot| slot.ipc.take()) else { return };
        self.ctx.keeper.drop_held(&ipc.held_name());
        ipc.close(&self.ctx.reactor);
        self.features.each().for_each(|feature| feature.on_channel_ended(&mut self.ctx, id));
    }
}
