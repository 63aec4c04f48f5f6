//! Effects of a rollout. They are applied to the slots and journaled in one step.

use ostler_core::lifecycle::{self, InstanceState};
use ostler_core::rollout::RolloutEffect;
use ostler_proto::control::Progress;
use ostler_proto::event::{EventCause, EventKind};

use super::begin::may_overlap;
use super::{Rollouts, Running};
use crate::engine::{Ctx, DaemonState, Io};
use crate::state::slots::Slots;
use crate::state::store::Role;

/// Message about a process that no second process can run beside.
const IN_PLACE: &str = "restarts with a short gap, because the app opens its own port; with `listen` or in cluster mode no request is lost";

impl Rollouts {
    /// Performs the decisions, and journals all of them.
    pub(super) fn perform(&mut self, ctx: &mut Ctx, number: u32, effects: Vec<RolloutEffect>) {
        let Some(running) = self.get_mut(number) else { return };
        for effect in effects {
            match effect {
                RolloutEffect::Launch(index) => running.launch(ctx, index, false),
                RolloutEffect::LaunchOld(index) => running.launch(ctx, index, true),
                RolloutEffect::Promote(index) => running.promote(ctx, index),
                RolloutEffect::Discard(index) => running.discard(ctx, index),
            }
        }
        ctx.state.journal.push(&running.record());
    }
}

impl Running {
    fn launch(&mut self, ctx: &mut Ctx, index: usize, old: bool) {
        let origin = self.origin.clone();
        // An instance that was still starting when the rollout began may serve by now. It then
        // serves until its successor does.
        if !old && self.replicas.get(index).is_some_and(|replica| may_overlap(&ctx.state.slots, replica)) {
            self.rollout.replicas.get_mut(index).into_iter().for_each(|progress| progress.in_place = false);
        }
        let in_place = self.is_in_place(index);
        let Some(replica) = self.replicas.get_mut(index) else { return };
        let parts = if old { replica.old.clone() } else { replica.new.clone() };
        let serving = replica.serving;
        if in_place {
            let Some(slot) = ctx.state.slots.get_mut(serving) else { return };
            // A process that was requested earlier but does not run yet does not count.
            replica.after = slot.durable.instance.inc;
            slot.rebase(parts.base);
            slot.describe(parts.app, &ctx.io.settings);
            let runs = matches!(slot.durable.instance.state, InstanceState::Running { .. });
            ctx.state.slots.changed(serving);
            if runs {
                self.send_step(ctx, index, IN_PLACE);
            }
            return ctx.event(serving, lifecycle::Event::Restart(origin));
        }
        replica.candidate = ctx.state.slots.add_candidate(serving, &parts.app, &parts.base, ctx.now, &ctx.io.settings);
        if let Some(id) = replica.candidate {
            inherit_restarts(&mut ctx.state.slots, serving, id);
            ctx.event(id, lifecycle::Event::Start(origin));
        }
        self.send_step(ctx, index, if old { "starts the old release again" } else { "starts the new release beside the old one" });
    }

    /// Promotes a candidate in one step and one journal write: it serves, and the old process
    /// retires.
    fn promote(&mut self, ctx: &mut Ctx, index: usize) {
        let origin = self.origin.clone();
        let Some(replica) = self.replicas.get_mut(index) else { return };
        let Some(new) = replica.candidate.take() else { return };
        let old = std::mem::replace(&mut replica.serving, new);
        replica.going = Some(old);
        change_roles(ctx, old, new, !origin.is_user());
        let Some(slot) = ctx.state.slots.get(new) else { return };
        replica.after = slot.durable.instance.inc;
        let (pid, pm_id, name) = (slot.durable.instance.pid(), slot.durable.pm_id, slot.spec().name.clone());
        ctx.serves(new);
        ctx.io.log.line(format_args!("App [{name}:{pm_id}] the new process serves; the old process finishes its requests"));
        ctx.emit(new, EventKind::Replaced { pid: pid.unwrap_or(0) }, EventCause::from(&origin));
        ctx.event(old, lifecycle::Event::Retire(origin));
        self.send_step(ctx, index, "is ready; the old process finishes its requests");
    }

    fn discard(&mut self, ctx: &mut Ctx, index: usize) {
        let Some(id) = self.replicas.get_mut(index).and_then(|replica| replica.candidate.take()) else { return };
        // If a user has it deleted already, that may be urgent. Otherwise it may finish, because it
        // may have clients.
        if ctx.state.slots.get(id).is_some_and(|slot| slot.durable.instance.wanted != lifecycle::DesiredState::Gone) {
            ctx.event(id, lifecycle::Event::Retire(self.origin.clone()));
        }
    }

    /// Reports a step of one replica to the waiting caller.
    fn send_step(&self, ctx: &mut Ctx, index: usize, step: &str) {
        if let Some(replica) = self.replicas.get(index) {
            let (id, name, step) = (replica.pm_id, self.app.clone(), step.to_owned());
            let is_notable = step == IN_PLACE;
            self.send(&mut ctx.outbox.queue, Progress::Rollout { id, name, step, is_notable });
        }
    }
}

/// Gives a candidate the restart count of the instance, including this restart. Its process gets it
/// in `restart_time`.
fn inherit_restarts(slots: &mut Slots, serving: u32, candidate: u32) {
    let restarts = slots.get(serving).map_or(0, |slot| slot.durable.instance.counters.restarts);
    if let Some(slot) = slots.get_mut(candidate) {
        slot.durable.instance.counters.restarts = restarts.saturating_add(1);
    }
}

/// Swaps the roles: the new process serves, the old one retires. The history of the instance
/// continues with the new one.
fn change_roles(ctx: &mut Ctx, old: u32, new: u32, by_policy: bool) {
    let Ctx { state: DaemonState { slots, .. }, io: Io { settings, .. }, now, .. } = ctx;
    let Some(former) = slots.get_mut(old) else { return };
    former.durable.role = Role::Retiring;
    former.live.pid_file_written = false;
    former.settle_policy(settings);
    let (counters, exits, notes) =
        (former.durable.instance.counters.clone(), former.durable.instance.exits.clone(), former.durable.observations.clone());
    let Some(slot) = slots.get_mut(new) else { return };
    slot.durable.role = Role::Serving;
    slot.settle_policy(settings);
    slot.durable.instance.counters.restarts = counters.restarts.saturating_add(1);
    slot.durable.instance.counters.created = Some(*now);
    slot.durable.instance.counters.recent.clone_from(&counters.recent);
    slot.durable.instance.counters.follow_start_ups(&counters);
    if by_policy {
        slot.durable.instance.spend_restart(&slot.live.policy, *now);
    }
    slot.durable.observations = notes;
    slot.durable.instance.exits.splice(0..0, exits);
    let surplus = slot.durable.instance.exits.len().saturating_sub(slot.live.policy.exits_kept);
    slot.durable.instance.exits.drain(..surplus);
    slots.changed(old);
    slots.changed(new);
}
