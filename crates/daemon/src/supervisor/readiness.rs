//! What a process has to prove before it counts as ready, and the signs of it.

use ostler_core::lifecycle::{Event, State};
use ostler_core::serving::ReadyBy;

use crate::control::Control;
use crate::slots::Slot;
use crate::store::Role;

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
        let Some(slot) = self.ctx.slots.get_mut(id) else { return };
        if !slot.proof.as_ref().is_some_and(|proof| sign.proves(proof)) {
            return;
        }
        let coming = match slot.instance.state {
            State::Spawning { inc: coming, since, ready: false, .. } | State::Starting { inc: coming, since, .. } => Some((coming, since)),
            _ => None,
        };
        // What ran long enough says nothing about how long it takes; what listens has told so already.
        let tells = !matches!(sign, Sign::Uptime | Sign::Listening);
        if let Some((_, since)) = coming.filter(|(coming, _)| *coming == inc && tells) {
            slot.instance.counters.note_start_up(self.ctx.now.mono_ms.saturating_sub(since.mono_ms));
        }
        self.feed(id, Event::Ready { inc });
    }

    /// A cluster worker begins to listen: how long that took is known, and its successor in a reload has to listen, too.
    pub(crate) fn begins_to_listen(&mut self, id: u32) {
        let Some(slot) = self.ctx.slots.get_mut(id) else { return };
        let pm_id = slot.pm_id;
        if let Some(start) = slot.instance.counters.last_start.filter(|_| matches!(slot.proof.as_deref(), None | Some(ReadyBy::Listening)))
        {
            slot.instance.counters.note_start_up(self.ctx.now.mono_ms.saturating_sub(start.mono_ms));
        }
        if slot.role != Role::Serving {
            return;
        }
        let waits = |other: &&Slot| other.pm_id == pm_id && other.by_running_ms.is_some();
        let successors: Vec<u32> = self.ctx.slots.iter().filter(waits).map(|slot| slot.id).collect();
        for successor in successors {
            self.look_no_more(successor);
            let Some(slot) = self.ctx.slots.get_mut(successor) else { continue };
            slot.by_running_ms = None;
            slot.settle_policy(&self.ctx.settings);
            let (inc, listens) = (slot.instance.inc, !slot.worker.never_listened());
            self.ctx.slots.changed(successor);
            self.follow_signs(successor);
            if listens {
                self.told_ready(successor, inc, Sign::Listening);
            }
        }
    }
}
