//! What a request makes of a step of an instance that it waits for.

use ostler_core::lifecycle::{ExitCause, Notice};
use ostler_core::time::Now;
use ostler_proto::control::Progress;

use super::goal::{Goal, Progressed};
use super::job::Job;
use crate::engine::Ctx;
use crate::slots::Slot;

impl Job {
    /// An instance made a step: the request looks whether that is what it waits for. True when the program of an instance that it added
    /// cannot be executed.
    pub(super) fn look(&mut self, ctx: &mut Ctx, id: u32, notice: Option<&Notice>) -> bool {
        let Some(goal) = self.waiting.get(&id).map(|waited| waited.goal) else { return false };
        // It counts as stopped or gone when its hooks have ended, too.
        if !matches!(goal, Goal::Up { .. }) && ctx.commands.any_hook_of(id) {
            return false;
        }
        let slot = ctx.slots.get(id);
        let looked = self.confirmed(id, slot, goal.look(slot, notice, ctx.now), ctx.now);
        if looked == Progressed::Waiting {
            return false;
        }
        let is_unstartable = self.fresh.contains(&id) && slot.is_some_and(cannot_be_executed);
        self.came_to(ctx, id, looked) && is_unstartable
    }

    /// Looks at a process that is to be confirmed: what it has come to, unless that is not known yet.
    fn confirmed(&mut self, id: u32, slot: Option<&Slot>, looked: Progressed, now: Now) -> Progressed {
        let (Some(confirm), Some(slot), Some(waited)) = (self.confirm, slot, self.waiting.get_mut(&id)) else { return looked };
        match looked {
            Progressed::Reached if confirm.waits_for(slot, now.mono_ms) => {
                waited.is_up = true;
                Progressed::Waiting
            }
            Progressed::Failed(_) if waited.is_up => confirm.judge(slot),
            other => other,
        }
    }

    /// Nobody waits for it any more: tells what it has come to. True when it failed.
    fn came_to(&mut self, ctx: &mut Ctx, id: u32, looked: Progressed) -> bool {
        let Some(waited) = self.waiting.remove(&id).filter(|waited| !waited.hidden) else { return false };
        let (pm_id, name) = (waited.pm_id, waited.name);
        let (progress, failed) = match looked {
            Progressed::Failed(reason) => (Progress::InstanceFailed { id: pm_id, name: name.clone(), reason }, Some(name)),
            // PM2 differs: it says that the app is online.
            Progressed::Late(reason) => {
                (Progress::Warning(format!("[{name}]({pm_id}) {reason}; it goes on, and is online when it is ready")), None)
            }
            Progressed::Reached | Progressed::Waiting => (Progress::InstanceDone { id: pm_id, name }, None),
        };
        self.failed += u32::from(failed.is_some());
        for progress in self.tellable(pm_id, progress) {
            self.asker.tell(ctx, progress);
        }
        if let Some(name) = &failed {
            self.leave_dependants(ctx, name);
        }
        failed.is_some()
    }

    /// An app of a request failed: those that depend on it are left as they are.
    pub(super) fn leave_dependants(&mut self, ctx: &mut Ctx, failed: &str) {
        for id in self.give_up_dependants(&ctx.slots, failed) {
            let Some(slot) = ctx.slots.get(id) else { continue };
            let reason = format!("was left as it is, because it depends on {failed}");
            let progress = Progress::InstanceFailed { id: slot.pm_id, name: slot.spec().name.clone(), reason };
            self.failed += 1;
            self.asker.tell(ctx, progress);
        }
    }
}

/// A program that cannot be executed changes nothing: its entry goes again.
fn cannot_be_executed(slot: &Slot) -> bool {
    slot.instance.exits.last().is_some_and(|exit| matches!(exit.cause, ExitCause::CouldNotStart { .. }))
}
