//! Checks of a request after each step of an instance that it waits for.

use ostler_core::lifecycle::goal::{self, Failure, Goal};
use ostler_core::lifecycle::{ExitCause, ExitRecord, Transition};
use ostler_core::time::Now;
use ostler_proto::control::{Action, Progress};

use super::failure_text;
use super::job::{Job, JobStep};
use crate::engine::Ctx;
use crate::state::slots::Slot;

/// Result of the wait for an instance, in words that follow its name.
enum WaitResult {
    Goal,
    /// It takes long and continues.
    Late(String),
    Failure(String),
}

impl Job {
    /// Checks whether a step of an instance completes the wait. Returns true if the program of an
    /// instance that the request added cannot be executed.
    pub(super) fn check(&mut self, ctx: &mut Ctx, id: u32, transition: Option<&Transition>) -> bool {
        let Some(goal) = self.waiting.get(&id).map(|waited| waited.goal) else { return false };
        // The instance counts as stopped or gone only when its hooks have ended, too.
        if !matches!(goal, Goal::Up { .. }) && ctx.state.commands.has_hook(id) {
            return false;
        }
        let slot = ctx.state.slots.get(id);
        let progress = goal.judge(slot.map(|slot| &slot.durable.instance), transition);
        let came_to = self.result_of(id, slot, progress, ctx.now);
        ctx.outbox.timers.set((super::Jobs::NAME, self.number), self.waiting.values().filter_map(|waited| waited.up_until_ms).min());
        let Some(came_to) = came_to else { return false };
        let is_unstartable = self.fresh.contains(&id) && slot.is_some_and(cannot_be_executed);
        self.send_end(ctx, id, came_to) && is_unstartable
    }

    /// Returns the result, unless it is not known yet: a process that is online may still need its
    /// confirmation.
    fn result_of(&mut self, id: u32, slot: Option<&Slot>, progress: goal::Progress<'_>, now: Now) -> Option<WaitResult> {
        if let (Some(confirm), Some(slot), Some(waited)) = (self.confirm, slot, self.waiting.get_mut(&id)) {
            waited.exited |= waited.up_until_ms.is_some() && matches!(progress, goal::Progress::Failed(_));
            if waited.exited {
                waited.up_until_ms = None;
                return (!slot.live.seeks_port_holder).then(|| confirm.judge(slot).map_or(WaitResult::Goal, WaitResult::Failure));
            }
            if progress == goal::Progress::Reached {
                waited.up_until_ms = confirm.until_ms(slot, now.mono_ms);
                if waited.up_until_ms.is_some() {
                    return None;
                }
            }
        }
        match progress {
            goal::Progress::Waiting => None,
            goal::Progress::Reached => Some(WaitResult::Goal),
            goal::Progress::Late => Some(WaitResult::Late(slot.map(|slot| slot.still_starting(now)).unwrap_or_default())),
            goal::Progress::Failed(Failure::Ended(exit) | Failure::EndedEarly(exit))
                if slot.is_some_and(|slot| self.was_started(slot, exit)) =>
            {
                Some(WaitResult::Goal)
            }
            goal::Progress::Failed(failure) => Some(WaitResult::Failure(failure_text::of(failure, slot))),
        }
    }

    /// Returns true if a process that exited before it was ready counts as started. In PM2 the wait
    /// for `ready` ends with the process, and the command succeeds.
    fn was_started(&self, slot: &Slot, exit: &ExitRecord) -> bool {
        let is_reload = matches!(self.step, JobStep::Act(Action::Reload, _));
        let is_own = matches!(exit.cause, ExitCause::Itself | ExitCause::OutOfMemory);
        let may_exit = self.confirm.is_none_or(|confirm| !confirm.early_exit_fails);
        is_own && may_exit && !is_reload && slot.spec().ready.accept_timeout
    }

    /// Reports the end of the wait for an instance. Returns true if it failed.
    fn send_end(&mut self, ctx: &mut Ctx, id: u32, came_to: WaitResult) -> bool {
        let Some(waited) = self.waiting.remove(&id).filter(|waited| !waited.hidden) else { return false };
        let (pm_id, name, key) = (waited.pm_id, waited.name, waited.app);
        let (progress, failed) = match came_to {
            WaitResult::Failure(reason) => (Progress::InstanceFailed { id: pm_id, name: name.clone(), reason }, Some(name)),
            // PM2 differs: it reports that the app is online.
            WaitResult::Late(reason) => (Progress::InstanceDone { id: pm_id, name, late: Some(reason) }, None),
            WaitResult::Goal => (Progress::InstanceDone { id: pm_id, name, late: None }, None),
        };
        self.failed += u32::from(failed.is_some());
        for progress in self.sendable(pm_id, progress) {
            self.asker.send(ctx, progress);
        }
        if let Some(name) = &failed {
            self.leave_dependants(ctx, name);
            self.leave_other_instances(ctx, (name, &key));
        }
        failed.is_some()
    }

    /// Leaves the remaining instances of an app unchanged, because a new process of the app did not
    /// stay up.
    fn leave_other_instances(&mut self, ctx: &mut Ctx, (name, key): (&str, &str)) {
        let is_watched_restart =
            self.confirm.is_some_and(|confirm| confirm.watches) && matches!(self.step, JobStep::Act(Action::Restart, _));
        if !is_watched_restart {
            return;
        }
        let same = |id: &u32| ctx.state.slots.get(*id).is_some_and(|slot| slot.spec().key() == key);
        let (left, pending): (Vec<u32>, Vec<u32>) = self.pending.iter().copied().partition(same);
        self.pending = pending.into();
        for id in ctx.state.slots.pm_ids(&left) {
            self.failed += 1;
            let reason = "was left unchanged, because the new process of another instance failed".into();
            self.asker.send(ctx, Progress::InstanceFailed { id, name: name.to_owned(), reason });
        }
    }

    /// Leaves the apps unchanged that depend on the failed app.
    pub(super) fn leave_dependants(&mut self, ctx: &mut Ctx, failed: &str) {
        for id in self.give_up_dependants(&ctx.state.slots, failed) {
            let Some(slot) = ctx.state.slots.get(id) else { continue };
            let reason = format!("was left unchanged, because it depends on {failed}");
            let progress = Progress::InstanceFailed { id: slot.durable.pm_id, name: slot.spec().name.clone(), reason };
            self.failed += 1;
            self.asker.send(ctx, progress);
        }
    }
}

/// Returns true for a program that cannot be executed. That changes nothing, so its entry is
/// removed again.
fn cannot_be_executed(slot: &Slot) -> bool {
    slot.durable.instance.exits.last().is_some_and(|exit| matches!(exit.cause, ExitCause::CouldNotStart { .. }))
}
