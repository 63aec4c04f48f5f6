//! What apps say over their IPC channel.

use ostler_proto::node::{Message, classify};

use crate::control::Control;
use crate::supervisor::readiness::Sign;

/// Distinct metrics and actions kept per app; more is not an app's ordinary traffic.
const MAX_ENTRIES: usize = 1000;

impl Control {
    /// An app's channel is readable, or has room again.
    pub(crate) fn hear_app(&mut self, id: u32, writable: bool) {
        let Some(ipc) = self.registry.get_mut(id).and_then(|slot| slot.ipc.as_mut()) else { return };
        if writable {
            ipc.drain(&self.reactor);
        }
        let heard = ipc.read();
        let (_, inc) = crate::registry::split_key(ipc.key());
        for line in heard.lines {
            // Whatever an app sends, null and nonsense included, is a value or nothing; it never harms anybody else.
            if let Ok(value) = serde_json::from_slice(&line) {
                self.hear_message(id, inc, classify(value));
            }
        }
        if heard.ended
            && let Some(ipc) = self.registry.get_mut(id).and_then(|slot| slot.ipc.as_mut())
        {
            // Usually the process is about to end: the keeper's copy is dropped then, so that nothing delays its next start.
            ipc.end(&self.reactor);
        }
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
            // For followers of the bus.
            Message::Typed { .. } | Message::Raw(_) => {}
        }
    }

    /// The app's end is closed, or it misbehaved: nothing more comes.
    pub(super) fn close_channel(&mut self, id: u32) {
        let Some(ipc) = self.registry.get_mut(id).and_then(|slot| slot.ipc.take()) else { return };
        self.keeper.drop_held(&ipc.held_name());
        ipc.close(&self.reactor);
    }
}
