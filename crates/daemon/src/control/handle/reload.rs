//! Reloads as part of a request, and `rollout undo`.

use ostler_core::lifecycle::{Event, Origin};
use ostler_proto::control::{Action, Failure, Progress, Response, RolloutReport, RolloutState};

use crate::control::{Control, Job, Step};
use crate::engine::{changed_spec, changed_vars};
use crate::rollouts::{NewRelease, Wish};
use crate::slots::Slot;

impl Control {
    /// One app after the other: the next one begins when the one before is over.
    pub(crate) fn begin_reloads(&mut self, index: usize) {
        while self.jobs[index].rollouts.is_empty()
            && let Some(&first) = self.jobs[index].pending.front()
        {
            let Some(name) = self.ctx.slots.get(first).map(|slot| slot.spec().name.clone()) else {
                self.jobs[index].pending.pop_front();
                continue;
            };
            let Step::Act(_, change) = &self.jobs[index].step else { return };
            let change = change.clone();
            if self.put_on_schedule(index, first, change.as_deref()) {
                self.jobs[index].pending.pop_front();
                continue;
            }
            let same = |id: &u32| self.ctx.slots.get(*id).is_some_and(|slot| slot.spec().name == name);
            let (ids, later): (Vec<u32>, Vec<u32>) = self.jobs[index].pending.iter().copied().partition(same);
            self.jobs[index].pending = later.into();
            self.begin_reload(index, &name, ids);
        }
    }

    fn begin_reload(&mut self, index: usize, name: &str, ids: Vec<u32>) {
        let job = &self.jobs[index];
        let Step::Act(_, change) = &job.step else { return };
        let (change, release) = (change.clone(), job.releases.get(name).cloned());
        let wish = Wish {
            ids: ids.clone(),
            describe: Box::new(move |slot: &Slot| match (&release, &change) {
                (Some(NewRelease { spec, env, .. }), _) => (spec.clone(), env.instead_of(&slot.base.vars)),
                (None, Some(change)) => (changed_spec(slot, change), changed_vars(&slot.base.vars, change)),
                (None, None) => (slot.spec().clone(), None),
            }),
            parallel: u32::try_from(job.parallel).unwrap_or(u32::MAX),
            canary_ms: job.canary_ms,
            origin: job.origin.clone(),
            mends: false,
        };
        // It has something to tell from its first moment on.
        let number = self.rollouts.next_number();
        self.jobs[index].rollouts.push(number);
        match self.begin_rollout(name, number, &wish) {
            Ok(()) => {}
            Err(reason) => {
                let job = &mut self.jobs[index];
                job.rollouts.clear();
                job.failed += ids.len() as u32;
                let (client, request) = (job.client, job.request);
                for id in self.ctx.slots.pm_ids(&ids) {
                    let failed = Progress::InstanceFailed { id, name: name.to_owned(), reason: reason.clone() };
                    self.ctx.reply(client, request, Response::Progress(failed));
                }
            }
        }
    }

    /// News of a reload for whoever waits for it.
    pub(crate) fn tell_rollout(&mut self, number: u32, progress: Progress) {
        if let Some(job) = self.jobs.iter().find(|job| job.rollouts.contains(&number)) {
            self.ctx.reply(job.client, job.request, Response::Progress(progress));
        }
    }

    /// A reload is over: its job goes on.
    pub(crate) fn rollout_is_over(&mut self, number: u32, report: RolloutReport) {
        let Some(index) = self.jobs.iter().position(|job| job.rollouts.contains(&number)) else { return };
        let job = &mut self.jobs[index];
        job.rollouts.retain(|other| *other != number);
        let (client, request) = (job.client, job.request);
        for place in &report.places {
            let (id, name) = (place.id, report.app.clone());
            let fault = report.fault.as_ref().filter(|fault| fault.id == id);
            let progress = match (place.state.as_str(), fault) {
                (_, Some(fault)) => Progress::InstanceFailed { id, name, reason: fault.reason.clone() },
                ("left", None) => Progress::InstanceFailed { id, name, reason: "was taken over by another command".into() },
                _ => continue,
            };
            job.failed += u32::from(matches!(progress, Progress::InstanceFailed { .. }));
            self.ctx.reply(client, request, Response::Progress(progress));
        }
        if report.state == RolloutState::Done {
            let more = self.jobs[index].releases.get(&report.app).filter(|release| release.more > 0).cloned();
            if let Some(NewRelease { spec, more, .. }) = more {
                self.add_to_reloaded(index, &report.app, spec, more);
            }
        } else {
            self.leave_dependants(index, &report.app);
            self.jobs[index].failed = self.jobs[index].failed.max(1);
            self.jobs[index].refused.push(report);
        }
    }

    /// The new release has more instances than the old one had.
    fn add_to_reloaded(&mut self, index: usize, name: &str, spec: ostler_core::app::AppSpec, more: u32) {
        let model = self.ctx.slots.named(name).first().and_then(|id| self.ctx.slots.get(*id)).map(|slot| std::rc::Rc::clone(&slot.base));
        let Some(base) = model else { return };
        let (name, ids) = self.ctx.add_instances(spec, &base.vars, more);
        let waiting = self.until_up(&ids);
        let job = &mut self.jobs[index];
        job.touch(&ids, &self.ctx.slots);
        job.waiting.extend(waiting);
        let (client, request, origin) = (job.client, job.request, job.origin.clone());
        let shown = self.ctx.slots.pm_ids(&ids);
        self.ctx.reply(client, request, Response::Progress(Progress::Launched { name, ids: shown }));
        for id in ids {
            self.feed(id, Event::Start(origin.clone()));
        }
    }

    /// Back to an earlier release, in the way of a reload.
    pub(super) fn undo(&mut self, client: u32, id: u64, app: &str, to: Option<u32>, origin: Origin) {
        let ids = self.ctx.slots.named(app);
        if ids.is_empty() {
            return self.ctx.reply(client, id, Response::Failed(Failure::NotFound { target: app.to_owned() }));
        }
        let release = match self.release_to_undo(app, to) {
            Ok(release) => release,
            Err(reason) => return self.ctx.reply(client, id, Response::Failed(Failure::Other(reason))),
        };
        let mut job = self.action_job(client, id, Action::Reload, Vec::new(), origin);
        job.touch(&ids, &self.ctx.slots);
        job.pending.extend(ids);
        job.releases.insert(app.to_owned(), release);
        self.begin(Job { step: Step::Act(Action::Reload, None), ..job });
    }
}
