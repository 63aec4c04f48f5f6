//! Letting a process finish what it does.
//!
//! A Node process with our preload says `Connection: close` to its clients, closes what rests, and tells us when nobody is connected any
//! more. Without the preload a cluster worker is told to disconnect in Node's own way: it closes its servers, finishes, and ends.
//! A process with a lane of its own (`crate::sockets`) first has to empty it.

use ostler_core::app::ExecMode;
use ostler_core::lifecycle::{Event, State};
use ostler_core::serving::Scheduling;
use serde_json::{Map, Value, json};

use super::spawn::{is_deno, is_node};
use crate::control::Control;

/// `cmd` of the messages between us and the preload. Node keeps what begins with `NODE_` from the app.
pub(crate) const PRELOAD_COMMAND: &str = "NODE_OSTLER";

/// A kept connection that rests for so long during a drain is closed. A client that has just had its answer asks again sooner, and is
/// told to close then.
const IDLE_MS: u64 = 500;

impl Control {
    /// No new work for this process, and let it finish.
    pub(super) fn drain(&mut self, id: u32, inc: u32) {
        if !self.drain_lane(id, inc) {
            self.finish_requests(id, inc);
        }
    }

    /// It gets nothing new any more: it is to finish what it has.
    pub(crate) fn finish_requests(&mut self, id: u32, inc: u32) {
        let Some(slot) = self.registry.get(id) else { return };
        let spec = slot.spec();
        let cluster = spec.mode == ExecMode::Cluster;
        // Out of the rotation it gets nothing new; the app's own `server.close` is left to the app.
        let by_turns = cluster && spec.scheduling == Scheduling::RoundRobin;
        let message = match (&slot.ipc, slot.preloaded) {
            (None, _) => None,
            (Some(_), true) => Some(json!({"cmd": PRELOAD_COMMAND, "act": "drain", "stop_listening": !by_turns, "idle_ms": IDLE_MS})),
            (Some(_), false) if cluster && (is_node(spec) || is_deno(spec)) => Some(json!({"cmd": "NODE_CLUSTER", "act": "disconnect"})),
            (Some(_), false) => None,
        };
        match message {
            Some(message) => self.send_to(id, &message, None),
            None => self.feed(id, Event::Drained { inc }),
        }
    }

    /// What the preload says.
    pub(crate) fn hear_preload(&mut self, id: u32, message: &Map<String, Value>) {
        let Some(slot) = self.registry.get(id) else { return };
        if message.get("act").and_then(Value::as_str) == Some("turns") {
            return self.hear_heart(id);
        }
        if message.get("act").and_then(Value::as_str) == Some("drained")
            && let State::Draining { inc, .. } = slot.instance.state
        {
            self.feed(id, Event::Drained { inc });
        }
    }
}
