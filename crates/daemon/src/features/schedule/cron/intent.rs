//! Intents about schedules: a start arms ticks, a user's stop disarms them.

use ostler_core::cron::Ticks;
use ostler_core::lifecycle::{DesiredState, Event};

use super::Cron;
use crate::engine::Ctx;
use crate::state::store::Role;

/// Meaning of an event for the schedule of its instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScheduleIntent {
    /// The event turns the schedule on, unless the instance ignored the event.
    On,
    /// The event turns the schedule off.
    Off,
    /// The event does not affect the schedule.
    Same,
}

impl ScheduleIntent {
    pub(super) fn of(event: &Event) -> Self {
        match event {
            Event::Start(_) | Event::Restart(_) => Self::On,
            Event::Stop(origin) | Event::StopGently(origin) if origin.is_user() => Self::Off,
            Event::Delete(_) | Event::Retire(_) => Self::Off,
            _ => Self::Same,
        }
    }
}

impl Cron {
    /// Follows a step of an instance that has a schedule, or had one.
    pub(super) fn follow(&mut self, ctx: &mut Ctx, id: u32, intent: ScheduleIntent) {
        let Some(slot) = ctx.state.slots.get(id) else { return };
        match intent {
            ScheduleIntent::On if slot.durable.instance.wanted == DesiredState::Up => self.arm(ctx, id),
            ScheduleIntent::Off => self.disarm(ctx, id),
            ScheduleIntent::On | ScheduleIntent::Same => {}
        }
        Self::begin_queued(ctx, id);
        Self::follow_limit(ctx, id);
    }

    /// Arms the ticks of this slot, if it has any.
    pub(super) fn arm(&mut self, ctx: &mut Ctx, id: u32) {
        let Some(slot) = ctx.state.slots.get_mut(id) else { return };
        if slot.spec().cron.is_none() || (!slot.durable.ticks.arm() && slot.durable.ticks.next_ms.is_some()) {
            return;
        }
        let (pm_id, is_seen) = (slot.durable.pm_id, slot.durable.role == Role::Serving);
        self.mark_stale();
        ctx.state.slots.changed(id);
        if is_seen {
            ctx.io.log.line(format_args!("[PM2][WORKER] Registering a cron job on: {pm_id}"));
        }
    }

    /// Restores the schedule of a saved slot. If the list has no schedule (PM2's list), the start
    /// turns it on. A service was just started, so only a job may have missed a tick.
    pub(super) fn resume(&mut self, ctx: &mut Ctx, id: u32, saved: Option<Ticks>) {
        let Some(slot) = ctx.state.slots.get_mut(id) else { return };
        if slot.spec().cron.is_some() {
            let saved = saved.unwrap_or_default();
            slot.durable.ticks = if slot.spec().is_job() { saved } else { Ticks { next_ms: None, ..saved } };
            self.mark_stale();
            ctx.state.slots.changed(id);
        }
    }

    /// Disarms the ticks of this slot.
    fn disarm(&mut self, ctx: &mut Ctx, id: u32) {
        let Some(slot) = ctx.state.slots.get_mut(id) else { return };
        if !slot.durable.ticks.disarm() {
            return;
        }
        let (pm_id, is_seen) = (slot.durable.pm_id, slot.durable.role == Role::Serving);
        self.mark_stale();
        ctx.state.slots.changed(id);
        if is_seen {
            ctx.io.log.line(format_args!("[PM2] Deregistering a cron job on: {pm_id}"));
        }
    }
}
