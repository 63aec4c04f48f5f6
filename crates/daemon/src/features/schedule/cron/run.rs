//! Actions at a tick.

use std::collections::BTreeMap;

use ostler_core::cron::{OnTick, RunOn, Tick};
use ostler_core::lifecycle::{Event, InstanceState, Origin, PolicyName};
use ostler_proto::event::{EventCause, EventKind};

use super::{Cron, limit_of};
use crate::engine::{Ctx, FeatureRequest};
use crate::state::slots::{Slot, Slots};
use crate::state::store::Role;

/// Returns the origin in the records of the app.
fn origin() -> Origin {
    Origin::policy(PolicyName::Cron)
}

impl Cron {
    /// Runs the ticks that are due.
    pub(super) fn run_ticks(&mut self, ctx: &mut Ctx, due: Vec<(u32, Tick)>) {
        let mut restarts: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        self.has_run |= !due.is_empty();
        for (id, tick) in due {
            let Some(slot) = ctx.state.slots.get(id).filter(|slot| slot.durable.role == Role::Serving) else { continue };
            let Some(cron) = slot.spec().cron.clone() else { continue };
            let (name, pm_id) = (slot.spec().name.clone(), slot.durable.pm_id);
            if cron.run_on == RunOn::One && !is_first(&ctx.state.slots, slot) {
                continue;
            }
            let what = if cron.job.is_some() { "job" } else { "cron restart" };
            let pattern = &cron.pattern;
            if tick.missed {
                let late_s = ctx.now.wall_ms.saturating_sub(tick.due_ms) / 1000;
                ctx.io.log.line(format_args!("App [{name}:{pm_id}] {what} ({pattern}) was missed {late_s} s ago and is skipped"));
                ctx.emit(id, EventKind::RunMissed { due_ms: tick.due_ms }, EventCause::policy(PolicyName::Cron, None));
                continue;
            }
            match cron.on_tick(&slot.durable.instance) {
                OnTick::Start => {
                    ctx.io.log.line(format_args!("App [{name}:{pm_id}] {what} ({pattern})"));
                    ctx.event(id, Event::Start(origin()));
                }
                OnTick::Restart => {
                    ctx.io.log.line(format_args!("App [{name}:{pm_id}] {what} ({pattern})"));
                    restarts.entry(slot.spec().key().to_owned()).or_default().push(id);
                }
                OnTick::Queue => {
                    ctx.io.log.line(format_args!("App [{name}:{pm_id}] {what} ({pattern}) starts when the current run ends"));
                    ctx.state.slots.queue_run(id);
                }
                OnTick::Skip => {
                    ctx.io.log.line(format_args!("App [{name}:{pm_id}] {what} ({pattern}) is skipped: the previous run is still active"));
                }
            }
        }
        for (app, ids) in restarts {
            restart(ctx, app, ids);
        }
    }

    /// Starts the run that waited for the end of another.
    pub(super) fn begin_queued(ctx: &mut Ctx, id: u32) {
        let Some(slot) = ctx.state.slots.get_mut(id) else { return };
        if slot.durable.ticks.queued && matches!(slot.durable.instance.state, InstanceState::Stopped | InstanceState::Errored) {
            slot.durable.ticks.queued = false;
            ctx.state.slots.changed(id);
            ctx.event(id, Event::Start(origin()));
        }
    }

    /// Sets or clears the time limit of an attempt, after each step of its job.
    pub(super) fn follow_limit(ctx: &mut Ctx, id: u32) {
        let limit = ctx.state.slots.get(id).and_then(|slot| {
            let timeout_ms = slot.spec().cron.as_ref()?.job.as_ref()?.timeout_ms?;
            match slot.durable.instance.state {
                InstanceState::Starting { since, .. } | InstanceState::Completing { since, .. } | InstanceState::Running { since, .. } => {
                    Some(since.mono_ms.saturating_add(timeout_ms))
                }
                _ => None,
            }
        });
        ctx.outbox.timers.set(limit_of(id), limit);
    }
}

/// Returns true for the instance with the lowest number of its app.
fn is_first(slots: &Slots, slot: &Slot) -> bool {
    let lower =
        |other: &Slot| other.spec().key() == slot.spec().key() && other.durable.ticks.armed && other.durable.pm_id < slot.durable.pm_id;
    !slots.serving().any(lower)
}

/// Restarts an app. If two of its processes can share its ports, it is reloaded without a gap.
/// Otherwise it is restarted, as in PM2.
fn restart(ctx: &mut Ctx, app: String, ids: Vec<u32>) {
    let gently = |id: &u32| ctx.state.slots.get(*id).is_some_and(|slot| !slot.spec().is_job() && slot.shares_its_ports());
    if ids.iter().all(gently) {
        ctx.request(FeatureRequest::Replace { app, ids, canary_ms: None, origin: origin(), what: "cron restart" });
    } else {
        ids.into_iter().for_each(|id| ctx.event(id, Event::Restart(origin())));
    }
}

/// Stops an attempt that has used up its time.
pub(super) fn overrun(ctx: &mut Ctx, id: u32) {
    let Some(slot) = ctx.state.slots.get(id) else { return };
    let (name, pm_id) = (slot.spec().name.clone(), slot.durable.pm_id);
    ctx.io.log.error(format_args!("App [{name}:{pm_id}] job takes longer than its timeout, stopping it"));
    ctx.event(id, Event::Fail(Origin::policy(PolicyName::Timeout)));
}
