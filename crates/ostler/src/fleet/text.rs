//! Lines of text, each prefixed with its host.

use super::connect::{HostEvent, HostListener};
use super::host_states::{HostStates, HostUpdate};
use crate::render::Out;

/// Receiver of text.
pub(super) struct TextReceiver<'a, 'b> {
    /// State of the hosts.
    pub host_states: HostStates<'a>,
    /// Output.
    pub out: &'b mut Out,
}

impl HostListener for TextReceiver<'_, '_> {
    fn on_event(&mut self, host: usize, event: HostEvent) {
        if let HostUpdate::Line(line) = self.host_states.take(self.out, host, event) {
            let prefix = self.host_states.prefix(host, self.out.paint());
            self.out.data(prefix.as_bytes());
            self.out.data(&line);
            if line.last() != Some(&b'\n') {
                self.out.data(b"\n");
            }
            self.out.flush();
        }
    }

    fn is_over(&self) -> bool {
        self.out.is_closed()
    }
}
