//! What a process has to prove before it counts as ready, and the signs of it.

use ostler_core::lifecycle::Event;
use ostler_core::serving::ReadyBy;

use crate::control::Control;

/// A sign of readiness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    /// The message `ready` on the IPC channel.
    Message,
    /// A cluster worker listens.
    Listening,
    /// `READY=1` by sd_notify.
    Notify,
    /// A newline on its descriptor.
    Newline,
    /// A probe was answered.
    Answer,
    /// The line is in its log.
    Log,
    /// It ran long enough.
    Uptime,
}

impl Sign {
    /// Does it prove what is asked for?
    fn proves(self, proof: &ReadyBy) -> bool {
        match proof {
            ReadyBy::Message => matches!(self, Self::Message | Self::Notify),
            ReadyBy::Listening => self == Self::Listening,
            ReadyBy::Notify => self == Self::Notify,
            ReadyBy::Descriptor(_) => self == Self::Newline,
            ReadyBy::Tcp { .. } | ReadyBy::Http(_) => self == Self::Answer,
            ReadyBy::Log(_) => self == Self::Log,
            ReadyBy::Uptime { .. } => self == Self::Uptime,
        }
    }
}

impl Control {
    /// A sign came from incarnation `inc` of a slot.
    pub(crate) fn told_ready(&mut self, id: u32, inc: u32, sign: Sign) {
        let Some(slot) = self.registry.get(id) else { return };
        if slot.proof.as_ref().is_some_and(|proof| sign.proves(proof)) {
            self.feed(id, Event::Ready { inc });
        }
    }
}
