//! Letting a process finish what it does.

use ostler_core::app::ExecMode;
use ostler_core::lifecycle::Event;
use serde_json::json;

use crate::control::Control;

impl Control {
    /// No new work for this process, and let it finish.
    pub(super) fn drain(&mut self, id: u32, inc: u32) {
        let Some(slot) = self.registry.get(id) else { return };
        let cluster = slot.spec().mode == ExecMode::Cluster;
        if slot.ipc.is_none() || !cluster {
            return self.feed(id, Event::Drained { inc });
        }
        // Closes its servers, finishes, and ends by itself.
        self.send_to(id, &json!({"cmd": "NODE_CLUSTER", "act": "disconnect"}), None);
    }
}
