//! What apps say over their IPC channel.

use ostler_proto::node::{Message, classify, cluster};

use crate::control::Control;
use crate::supervisor::readiness::Sign;

/// Distinct metrics and actions kept per app; more is not an app's ordinary traffic.
const MAX_ENTRIES: usize = 1000;

/// What is read of a channel at once.
const IPC_BUFFER_BYTES: usize = 16 << 10;

impl Control {
    /// An app's channel is readable, or has room again.
    pub(crate) fn hear_app(&mut self, id: u32, writable: bool) {
        let Some(ipc) = self.registry.get_mut(id).and_then(|slot| slot.ipc.as_mut()) else { return };
        if writable {
            ipc.drain(&self.reactor);
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

    /// Reads once. Whether there may be more.
    fn read_channel(&mut self, id: u32) -> bool {
        let mut buffer = std::mem::take(&mut self.ipc_buffer);
        buffer.resize(IPC_BUFFER_BYTES, 0);
        let more = self.read_channel_into(id, &mut buffer);
        self.ipc_buffer = buffer;
        more
    }

    fn read_channel_into(&mut self, id: u32, buffer: &mut [u8]) -> bool {
        let Some(ipc) = self.registry.get_mut(id).and_then(|slot| slot.ipc.as_mut()) else { return false };
        let heard = ipc.read(buffer);
        let (_, inc) = crate::registry::split_key(ipc.key());
        let mut quiet = true;
        if let Some(end) = heard.lines {
            let mut beginning = heard.beginning;
            for line in buffer[..end].split(|byte| *byte == b'\n') {
                if beginning.is_empty() {
                    quiet &= self.hear_line(id, inc, line);
                } else {
                    beginning.extend_from_slice(line);
                    quiet &= self.hear_line(id, inc, &std::mem::take(&mut beginning));
                }
            }
        }
        if quiet && let Some(ipc) = self.registry.get_mut(id).and_then(|slot| slot.ipc.as_mut()) {
            // Nothing that the next daemon would have to know.
            ipc.consume();
        }
        if heard.endless
            && let Some(slot) = self.registry.get(id)
        {
            let (name, pm_id) = (&slot.spec().name, slot.pm_id);
            self.log.error(format_args!("App [{name}:{pm_id}] sent an endless line on its IPC channel, which is closed now"));
        }
        if heard.ended {
            self.end_channel(id);
        }
        heard.more && !heard.ended
    }

    /// Whatever an app sends, null and nonsense included, is a value or nothing; it never harms anybody else. True when nothing
    /// of it has to be remembered.
    fn hear_line(&mut self, id: u32, inc: u32, line: &[u8]) -> bool {
        if let Some(answer) = cluster::answer(line) {
            self.hear_answer(id, answer);
            return true;
        }
        // Bun marks Node's own messages with this byte.
        let line = line.strip_prefix(b"\x02").unwrap_or(line);
        if let Ok(value) = serde_json::from_slice(line) {
            self.hear_message(id, inc, classify(value));
        }
        false
    }

    fn end_channel(&mut self, id: u32) {
        self.heart_is_lost(id);
        if let Some(ipc) = self.registry.get_mut(id).and_then(|slot| slot.ipc.as_mut()) {
            // Usually the process is about to end: the keeper's copy is dropped then, so that nothing delays its next start.
            ipc.end(&self.reactor);
        }
        self.worker_left(id);
    }

    fn hear_message(&mut self, id: u32, inc: u32, message: Message) {
        let Some(slot) = self.registry.get_mut(id) else { return };
        let learned = &mut slot.learned;
        match message {
            Message::Ready => self.told_ready(id, inc, Sign::Message),
            Message::NodeVersion(version) => learned.node_version = Some(version),
            Message::Metrics(metrics) => {
                for (name, value) in metrics {
                    if learned.axm_monitor.len() < MAX_ENTRIES || learned.axm_monitor.contains_key(&name) {
                        learned.axm_monitor.insert(name, value);
                    }
                }
            }
            Message::Action(action) => {
                let known = learned.axm_actions.iter().any(|known| known.get("action_name") == action.get("action_name"));
                if !known && learned.axm_actions.len() < MAX_ENTRIES {
                    learned.axm_actions.push(action.into());
                }
            }
            Message::Options(options) => learned.axm_options.extend(options.into_iter().take(MAX_ENTRIES)),
            Message::Internal(message) => self.hear_worker(id, &message),
            Message::Typed { topic, .. } if topic == "process:exception" => self.hear_exception(id),
            // For followers of the bus.
            Message::Typed { .. } | Message::Raw(_) => {}
        }
    }

    /// The app's end is closed, or it misbehaved: nothing more comes.
    pub(super) fn close_channel(&mut self, id: u32) {
        self.worker_left(id);
        let Some(ipc) = self.registry.get_mut(id).and_then(|slot| slot.ipc.take()) else { return };
        self.keeper.drop_held(&ipc.held_name());
        ipc.close(&self.reactor);
    }
}
