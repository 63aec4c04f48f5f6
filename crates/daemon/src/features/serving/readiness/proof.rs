//! Proof that a process is ready, and the signals that prove it.

use ostler_core::lifecycle::{Event, InstanceState};
use ostler_core::serving::ReadyBy;
use ostler_proto::node::Message;
use serde_json::Value;

use super::Readiness;
use crate::engine::Ctx;
use crate::state::store::Role;

/// Readiness signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
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
    /// The line is in the log.
    Log,
    /// The process has run long enough.
    Uptime,
}

impl Signal {
    /// Returns the signal of a message, if any.
    pub(super) fn of(ctx: &Ctx, id: u32, message: &Message) -> Option<Self> {
        match message {
            Message::Ready => Some(Self::Message),
            Message::Internal(message) => {
                let is = |key, word| message.get(key).and_then(Value::as_str) == Some(word);
                let is_workers = || ctx.state.slots.get(id).is_some_and(|slot| slot.spec().has_workers());
                (is("cmd", "NODE_CLUSTER") && is("act", "listening") && is_workers()).then_some(Self::Listening)
            }
            _ => None,
        }
    }

    /// Returns true if it proves the condition that the app declares.
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

impl Readiness {
    /// Handles a signal of incarnation `inc` of a slot.
    pub(super) fn take_signal(&mut self, ctx: &mut Ctx, id: u32, inc: u32, signal: Signal) {
        let Some(slot) = ctx.state.slots.get_mut(id) else { return };
        if !slot.live.proof.as_ref().is_some_and(|proof| signal.proves(proof)) {
            return;
        }
        let since = match slot.durable.instance.state {
            InstanceState::Spawning { inc: coming, since, ready: false, .. } | InstanceState::Starting { inc: coming, since, .. }
                if coming == inc =>
            {
                since
            }
            // It was ready already, or the signal no longer matters.
            _ => return,
        };
        if self.proved.insert(id, inc) == Some(inc) {
            return;
        }
        // The uptime is no measure of the time to get ready, and a listening process has recorded
        // that time already.
        if !matches!(signal, Signal::Uptime | Signal::Listening) {
            slot.durable.instance.counters.note_start_up(ctx.now.mono_ms.saturating_sub(since.mono_ms));
        }
        ctx.event(id, Event::Ready { inc });
    }

    /// Handles the first listening socket of a cluster worker. The time until then is recorded. Its
    /// successor in a reload has to listen, too.
    pub(super) fn begins_to_listen(&mut self, ctx: &mut Ctx, id: u32) {
        let Some(slot) = ctx.state.slots.get_mut(id) else { return };
        let pm_id = slot.durable.pm_id;
        if let Some(start) =
            slot.durable.instance.counters.last_start.filter(|_| matches!(slot.live.proof.as_deref(), None | Some(ReadyBy::Listening)))
        {
            slot.durable.instance.counters.note_start_up(ctx.now.mono_ms.saturating_sub(start.mono_ms));
        }
        if slot.durable.role != Role::Serving {
            return;
        }
        let waits = |other: &&crate::state::slots::Slot| other.durable.pm_id == pm_id && other.durable.by_running_ms.is_some();
        let successors: Vec<u32> = ctx.state.slots.iter().filter(waits).map(|slot| slot.durable.id).collect();
        for successor in successors {
            self.stop_checks(ctx, successor);
            let Some(slot) = ctx.state.slots.get_mut(successor) else { continue };
            slot.durable.by_running_ms = None;
            slot.settle_policy(&ctx.io.settings);
            let (inc, listens) = (slot.durable.instance.inc, !slot.never_listened());
            ctx.state.slots.changed(successor);
            self.follow(ctx, successor);
            if listens {
                self.take_signal(ctx, successor, inc, Signal::Listening);
            }
        }
    }
}
