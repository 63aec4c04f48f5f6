//! Reloads as part of a request, and `rollout undo`.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use ostler_core::lifecycle::{Event, Origin};
use ostler_proto::control::{Action, Failure, Progress, Response, RolloutReport, RolloutState};

use crate::control::{Control, Job, NewEnv, NewRelease, Step};
use crate::engine::{Replacement, Request, RolloutNews, RolloutRequest, changed_spec, changed_vars};
use crate::slots::inherited::inherited;

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
        let mut replacements: Vec<Replacement> = Vec::new();
        for id in ids {
            let replacement = self.replacement(index, id, replacements.last());
            replacements.extend(replacement);
        }
        let ticket = self.ctx.ticket();
        let job = &mut self.jobs[index];
        job.rollouts.push(ticket);
        let (parallel, canary_ms) = (u32::try_from(job.parallel).unwrap_or(u32::MAX), job.canary_ms);
        let (app, origin) = (name.to_owned(), job.origin.clone());
        self.ctx.request(Request::Rollout(Box::new(RolloutRequest { ticket, app, replacements, parallel, canary_ms, origin })));
    }

    /// What becomes of an instance. It shares what is the same with the one before it.
    fn replacement(&mut self, index: usize, id: u32, before: Option<&Replacement>) -> Option<Replacement> {
        let slot = self.ctx.slots.get(id)?;
        let job = &self.jobs[index];
        let Step::Act(_, change) = &job.step else { return None };
        let (mut spec, vars) = match (job.releases.get(&slot.spec().name), change) {
            (Some(NewRelease { spec, env, .. }), _) => (spec.clone(), env.instead_of(&slot.base.vars)),
            (None, Some(change)) => (changed_spec(slot, change), changed_vars(&slot.base.vars, change)),
            (None, None) => return Some(Replacement { id, app: Rc::clone(&slot.app), base: Rc::clone(&slot.base) }),
        };
        spec.env.base = Arc::default();
        let present = Rc::clone(&slot.base);
        let app = match before.filter(|before| *before.app.spec == spec) {
            Some(before) => Rc::clone(&before.app),
            None => self.ctx.slots.shared_app(spec).0,
        };
        let base = match vars.map(|vars| inherited(&app.spec, Cow::Owned(vars))) {
            None => present,
            Some(vars) => match before.filter(|before| before.base.vars.iter().eq(vars.iter())) {
                Some(before) => Rc::clone(&before.base),
                None => self.ctx.slots.base(vars).0,
            },
        };
        Some(Replacement { id, app, base })
    }

    /// News of a reload for whoever waits for it.
    pub(crate) fn rollout_news(&mut self, ticket: u64, news: &RolloutNews) {
        let Some(index) = self.jobs.iter().position(|job| job.rollouts.contains(&ticket)) else { return };
        let job = &mut self.jobs[index];
        let (client, request) = (job.client, job.request);
        match news {
            RolloutNews::Progress(progress) => self.ctx.reply(client, request, Response::Progress(progress.clone())),
            RolloutNews::Refused { app: name, ids, reason } => {
                job.rollouts.retain(|other| *other != ticket);
                job.failed += ids.len() as u32;
                for &id in ids {
                    let failed = Progress::InstanceFailed { id, name: name.clone(), reason: reason.clone() };
                    self.ctx.reply(client, request, Response::Progress(failed));
                }
            }
            RolloutNews::Ended(report) => self.rollout_is_over(index, ticket, (**report).clone()),
        }
    }

    /// A reload is over: its job goes on.
    fn rollout_is_over(&mut self, index: usize, ticket: u64, report: RolloutReport) {
        let job = &mut self.jobs[index];
        job.rollouts.retain(|other| *other != ticket);
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
        let release = match self.features.rollouts.release_to_undo(app, to) {
            Ok((spec, vars)) => NewRelease { spec, env: NewEnv::Exactly(vars), more: 0 },
            Err(reason) => return self.ctx.reply(client, id, Response::Failed(Failure::Other(reason))),
        };
        let mut job = self.action_job(client, id, Action::Reload, Vec::new(), origin);
        job.touch(&ids, &self.ctx.slots);
        job.pending.extend(ids);
        job.releases.insert(app.to_owned(), release);
        self.begin(Job { step: Step::Act(Action::Reload, None), ..job });
    }
}
