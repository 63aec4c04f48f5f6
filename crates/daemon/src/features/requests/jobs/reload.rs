//! Reloads as part of a request. They are requested app by app, and continue when their results
//! arrive.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use ostler_core::app::{AppSpec, EnvMap};
use ostler_core::lifecycle::{Event, Origin};
use ostler_core::logs::files::Naming;
use ostler_proto::control::{Action, Progress, RolloutReport, RolloutState};

use super::job::{Job, JobStep, Requester};
use super::release::{NewEnv, NewRelease};
use crate::engine::{Ctx, FeatureRequest, Replacement, RolloutNews, RolloutRequest, changed_spec, changed_vars};
use crate::state::slots::inherited::inherited;

/// Most apps of a request that are reloaded at the same time, if their processes run beside the old
/// ones.
const BESIDE_AT_ONCE: usize = 4;
/// Most apps of a request that are reloaded at the same time, if they are restarted in place.
const IN_PLACE_AT_ONCE: usize = 256;

/// Returns a job that replaces all instances of an app by this release.
pub(super) fn to_release(ctx: &Ctx, asker: Requester, app: String, (spec, vars): (AppSpec, EnvMap), origin: Origin) -> Job {
    let mut job = Job::of(asker, Action::Reload, ctx.state.slots.of_app(&app), &ctx.state.slots, origin);
    job.releases.insert(app, NewRelease { spec, env: NewEnv::Exactly(vars), more: 0 });
    job
}

impl Job {
    /// Begins reloads. Apps that depend on each other follow one after the other; others are
    /// reloaded at the same time.
    pub(super) fn begin_reloads(&mut self, ctx: &mut Ctx) {
        while let Some(&first) = self.pending.front()
            && self.rollouts.len() < self.reloads_at_once(ctx, first)
        {
            let Some(name) = ctx.state.slots.get(first).map(|slot| slot.spec().key().to_owned()) else {
                self.pending.pop_front();
                continue;
            };
            if self.put_on_schedule(ctx, first) {
                self.pending.pop_front();
                continue;
            }
            let same = |id: &u32| ctx.state.slots.get(*id).is_some_and(|slot| slot.spec().key() == name);
            let (ids, later): (Vec<u32>, Vec<u32>) = self.pending.iter().copied().partition(same);
            self.pending = later.into();
            self.begin_reload(ctx, name, ids);
        }
    }

    /// Returns the number of apps that may be reloaded at the same time if this instance's app is
    /// next. An app that starts new processes beside the old ones needs memory for both.
    fn reloads_at_once(&self, ctx: &Ctx, id: u32) -> usize {
        match ctx.state.slots.get(id) {
            _ if self.ordered => 1,
            Some(slot) if slot.shares_its_ports() => BESIDE_AT_ONCE,
            _ => IN_PLACE_AT_ONCE,
        }
    }

    fn begin_reload(&mut self, ctx: &mut Ctx, app: String, ids: Vec<u32>) {
        let mut replacements: Vec<Replacement> = Vec::new();
        for id in ids {
            let replacement = self.replacement(ctx, id, replacements.last());
            replacements.extend(replacement);
        }
        let ticket = ctx.ticket();
        self.rollouts.push(ticket);
        let (parallel, canary_ms) = (u32::try_from(self.parallel).unwrap_or(u32::MAX), self.canary_ms);
        let (origin, watches) = (self.origin.clone(), self.confirm.is_some_and(|confirm| confirm.watches));
        ctx.request(FeatureRequest::Rollout(Box::new(RolloutRequest { ticket, app, replacements, parallel, canary_ms, watches, origin })));
    }

    /// Returns the replacement of an instance. It shares equal parts with the one before it.
    fn replacement(&self, ctx: &mut Ctx, id: u32, before: Option<&Replacement>) -> Option<Replacement> {
        let slot = ctx.state.slots.get(id)?;
        let JobStep::Act(_, change) = &self.step else { return None };
        let (mut spec, vars) = match (self.releases.get(slot.spec().key()), change) {
            (Some(NewRelease { spec, env, .. }), _) => (spec.clone(), env.replacement_env(&slot.base().vars)),
            (None, Some(change)) => (changed_spec(slot, change), changed_vars(&slot.base().vars, change)),
            (None, None) => return Some(Replacement { id, app: Rc::clone(slot.app()), base: Rc::clone(slot.base()) }),
        };
        spec.env.base = Arc::default();
        spec.qualified.clone_from(&slot.spec().qualified);
        let present = Rc::clone(slot.base());
        let vars = vars.or_else(|| spec.env.hides_any(&present.vars).then(|| (*present.vars).clone()));
        let app = match before.filter(|before| *before.app.spec == spec) {
            Some(before) => Rc::clone(&before.app),
            None => ctx.state.slots.shared_app(spec).0,
        };
        let base = match vars.map(|vars| inherited(&app.spec, Cow::Owned(vars))) {
            None => present,
            Some(vars) => match before.filter(|before| before.base.vars.iter().eq(vars.iter())) {
                Some(before) => Rc::clone(&before.base),
                None => ctx.state.slots.base(vars).0,
            },
        };
        Some(Replacement { id, app, base })
    }

    /// Handles news of a reload of this request.
    pub(super) fn on_rollout_news(&mut self, ctx: &mut Ctx, ticket: u64, news: &RolloutNews) {
        match news {
            RolloutNews::Progress(progress) => self.asker.send(ctx, progress.clone()),
            RolloutNews::Refused { app: name, ids, reason } => {
                self.rollouts.retain(|other| *other != ticket);
                self.failed += ids.len() as u32;
                for &id in ids {
                    self.asker.send(ctx, Progress::InstanceFailed { id, name: name.clone(), reason: reason.clone() });
                }
            }
            RolloutNews::Ended(report) => {
                self.rollouts.retain(|other| *other != ticket);
                self.on_rollout_end(ctx, (**report).clone());
            }
        }
    }

    /// Continues after a reload.
    fn on_rollout_end(&mut self, ctx: &mut Ctx, report: RolloutReport) {
        for replica in &report.replicas {
            let (id, name) = (replica.id, report.app.clone());
            let fault = report.fault.as_ref().filter(|fault| fault.id == id);
            let reason = match (replica.state.as_str(), fault) {
                (_, Some(fault)) => fault.reason.clone(),
                ("left", None) => "was taken over by another command".into(),
                _ => continue,
            };
            self.failed += 1;
            self.asker.send(ctx, Progress::InstanceFailed { id, name, reason });
        }
        if report.state != RolloutState::Done {
            let slot = ctx.state.slots.serving().find(|slot| slot.spec().key() == report.app);
            let name = slot.map_or_else(|| report.app.clone(), |slot| slot.spec().name.clone());
            self.leave_dependants(ctx, &name);
            self.failed = self.failed.max(1);
            self.refused.push(report);
            return;
        }
        let more = self.releases.get(&report.app).filter(|release| release.more > 0).cloned();
        if let Some(NewRelease { spec, more, .. }) = more {
            self.add_to_reloaded(ctx, &report.app, spec, more);
        }
    }

    /// Adds instances, because the new release has more than the old one.
    fn add_to_reloaded(&mut self, ctx: &mut Ctx, name: &str, spec: AppSpec, more: u32) {
        let model = ctx.state.slots.of_app(name).first().and_then(|id| ctx.state.slots.get(*id)).map(|slot| Rc::clone(slot.base()));
        let Some(base) = model else { return };
        let (name, ids) = ctx.add_instances(spec, &base.vars, more, Naming::Own);
        self.touch(&ids, &ctx.state.slots);
        self.wait_until_up(&ids, &ctx.state.slots);
        let shown = ctx.state.slots.pm_ids(&ids);
        self.asker.send(ctx, Progress::Launched { name, ids: shown });
        ids.into_iter().for_each(|id| ctx.event(id, Event::Start(self.origin.clone())));
    }
}
