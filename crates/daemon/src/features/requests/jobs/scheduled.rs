//! Jobs, which run at their times: the effect of a start on them, and a run by hand.

use ostler_core::cron::{OnTick, RunOn};
use ostler_core::lifecycle::goal::Goal;
use ostler_core::lifecycle::{DesiredState, Event, Origin};
use ostler_proto::control::{Failure, Progress};

use super::job::{Job, JobStep, Requester, WaitedInstance};
use crate::engine::{Ctx, FeatureRequest, new_spec};
use crate::state::slots::Slots;

impl Job {
    /// Puts a job on its schedule by a start, restart or reload, with its new description. This
    /// does not run it, because a deployment at noon should not run the nightly backup. A present
    /// run continues. Returns false for apps that are no jobs.
    pub(super) fn put_on_schedule(&self, ctx: &mut Ctx, id: u32) -> bool {
        let Some(slot) = ctx.state.slots.get(id).filter(|slot| slot.durable.instance.wanted != DesiredState::Gone) else { return false };
        let (name, pm_id, was_job) = (slot.spec().name.clone(), slot.durable.pm_id, slot.spec().is_job());
        let change = if let JobStep::Act(_, change) = &self.step { change.as_deref() } else { None };
        let release = self.releases.get(slot.spec().key());
        let by_change = || new_spec(slot, change?);
        let next = release.map(|release| &release.spec).or_else(by_change);
        if !next.map_or(was_job, ostler_core::app::AppSpec::is_job) {
            return false;
        }
        if let Some(release) = release {
            if let Some(vars) = release.env.replacement_env(&slot.base().vars) {
                ctx.rebase(id, vars);
            }
            ctx.redescribe(id, release.spec.clone());
        } else if let Some(change) = change {
            ctx.change(id, change);
        }
        ctx.request(FeatureRequest::Schedule { id, saved: None });
        self.asker.send(ctx, Progress::InstanceDone { id: pm_id, name, late: None });
        true
    }
}

/// Runs jobs now, by the rules of a tick.
///
/// # Errors
/// Returns an error if a selected app may not run, or is no job.
pub(super) fn run(ctx: &mut Ctx, asker: Requester, target: &str, origin: Origin) -> Result<Job, Failure> {
    let runs = runs_of(&ctx.state.slots, target)?;
    let mut job = Job::new(asker, JobStep::Start, origin);
    let ids: Vec<u32> = runs.iter().map(|(id, _)| *id).collect();
    job.touch(&ids, &ctx.state.slots);
    for (id, on_tick) in runs {
        let event = match on_tick {
            OnTick::Start => Event::Start(job.origin.clone()),
            OnTick::Restart => Event::Restart(job.origin.clone()),
            OnTick::Queue => {
                ctx.state.slots.queue_run(id);
                continue;
            }
            OnTick::Skip => continue,
        };
        let Some(slot) = ctx.state.slots.get(id) else { continue };
        job.waiting.insert(id, WaitedInstance::new(slot, Goal::newer_than(&slot.durable.instance)));
        ctx.event(id, event);
    }
    Ok(job)
}

/// Returns the events for the slots, all of which are jobs that may run now.
fn runs_of(slots: &Slots, target: &str) -> Result<Vec<(u32, OnTick)>, Failure> {
    let mut runs = Vec::new();
    for id in slots.select(target, "")? {
        let Some(slot) = slots.get(id) else { continue };
        let name = &slot.spec().name;
        let Some(cron) = slot.spec().cron.as_ref().filter(|cron| cron.job.is_some()) else {
            return Err(Failure::Other(format!("{name} is not a job: it has no `job` in its configuration")));
        };
        if cron.run_on == RunOn::One && slots.of_app(slot.spec().key()).first() != Some(&id) {
            continue;
        }
        match cron.on_tick(&slot.durable.instance) {
            OnTick::Skip => return Err(Failure::Other(format!("{name} is already running, and `overlap` is \"skip\""))),
            on_tick => runs.push((id, on_tick)),
        }
    }
    Ok(runs)
}
