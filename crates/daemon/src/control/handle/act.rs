//! `stop`, `restart`, `reload`, `delete`, `reset`, `scale`, `sendSignal`.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use ostler_core::app::{AppSpec, CombinedLog, EnvMap};
use ostler_core::files::without_id;
use ostler_core::instances::{Leaving, leaving};
use ostler_core::lifecycle::{Event, Origin};
use ostler_proto::control::{Action, Change, Failure, Progress, Response, ScaleTo};

use crate::control::{Control, Step};
use crate::slots::Slot;
use crate::supervisor::inherited::inherited;

impl Control {
    /// Applies changes that come with a restart.
    pub(crate) fn change(&mut self, id: u32, change: &Change) {
        let Some(slot) = self.ctx.slots.get(id) else { return };
        let (spec, vars) = (changed_spec(slot, change), changed_vars(&slot.base.vars, change));
        self.redescribe(id, spec);
        if let Some(vars) = vars {
            self.rebase(id, vars);
        }
    }

    /// Gives a slot another caller's environment.
    pub(crate) fn rebase(&mut self, id: u32, vars: ostler_core::app::EnvMap) {
        let Some(spec) = self.ctx.slots.get(id).map(|slot| Rc::clone(&slot.app.spec)) else { return };
        let (base, record) = self.ctx.slots.base(inherited(&spec, std::borrow::Cow::Owned(vars)));
        if let Some(record) = record {
            self.ctx.journal.push(&record);
        }
        if let Some(slot) = self.ctx.slots.get_mut(id) {
            slot.base = base;
            self.ctx.slots.changed(id);
        }
    }

    /// Gives a slot another description, unless it is the same.
    pub(crate) fn redescribe(&mut self, id: u32, mut spec: AppSpec) {
        spec.env.base = Arc::default();
        let Some(slot) = self.ctx.slots.get(id) else { return };
        if *slot.spec() == spec {
            return;
        }
        // It is not kept running any more; a run at its times begins anew.
        let ends = spec.is_job() && !slot.spec().is_job();
        // Instances of one app that get the same change share one description.
        let (app, record) = self.ctx.slots.shared_app(spec);
        record.iter().for_each(|record| self.ctx.journal.push(record));
        if let Some(slot) = self.ctx.slots.get_mut(id) {
            slot.describe(app, &self.ctx.settings);
            self.ctx.slots.changed(id);
            self.features.each().for_each(|feature| feature.on_described(&mut self.ctx, id));
            if ends {
                self.feed(id, Event::Stop(Origin::Policy("cron".into())));
            }
        }
    }

    pub(super) fn scale(&mut self, client: u32, id: u64, (name, cwd): (&str, &str), (to, leaving): (ScaleTo, Leaving), origin: Origin) {
        let path = std::path::Path::new(cwd).join(name);
        let ids: Vec<u32> = self
            .ctx
            .slots
            .serving()
            .filter(|slot| slot.spec().name == name || std::path::Path::new(&slot.spec().script) == path)
            .map(|slot| slot.id)
            .collect();
        let current = ids.len() as i64;
        let wanted = match to {
            ScaleTo::Exactly(count) => i64::from(count),
            ScaleTo::By(more) => (current + i64::from(more)).max(0),
        };
        let failure = match (ids.first(), wanted == current) {
            (None, _) => Some(Failure::NotFound { target: name.to_owned() }),
            (Some(_), true) => Some(Failure::NothingToDo),
            (Some(_), false) => None,
        };
        if let Some(failure) = failure {
            return self.ctx.reply(client, id, Response::Failed(failure));
        }
        self.scale_to(client, id, &ids, (u32::try_from(wanted).unwrap_or(u32::MAX), leaving), origin);
    }

    /// From these instances of one app to so many.
    pub(crate) fn scale_to(&mut self, client: u32, id: u64, ids: &[u32], (wanted, first): (u32, Leaving), origin: Origin) {
        let current = ids.len() as u32;
        if wanted < current {
            let mut job = self.action_job(client, id, Action::Delete, Vec::new(), origin);
            let instances: Vec<(u32, u32)> =
                ids.iter().filter_map(|id| self.ctx.slots.get(*id)).map(|slot| (slot.id, slot.index)).collect();
            job.pending = leaving(&instances, (current - wanted) as usize, first).into();
            let ids: Vec<u32> = job.pending.iter().copied().collect();
            job.touch(&ids, &self.ctx.slots);
            // Those that stay serve meanwhile, and those that go finish what they have.
            job.gentle = true;
            job.told_in_order = Some(BTreeMap::new());
            return self.begin(job);
        }
        let Some(model) = ids.first().and_then(|id| self.ctx.slots.get(*id)) else { return };
        let (app, base) = (Rc::clone(&model.app), Rc::clone(&model.base));
        let mut job = self.action_job(client, id, Action::Restart, Vec::new(), origin.clone());
        job.step = Step::Start;
        let mut added = Vec::new();
        for _ in current..wanted {
            added.push(self.ctx.slots.add(&app, &base, self.ctx.now, &self.ctx.settings));
        }
        job.touch(&added, &self.ctx.slots);
        // A job is put on its schedule, not started.
        let (jobs, up): (Vec<u32>, Vec<u32>) = if app.spec.is_job() { (added, Vec::new()) } else { (Vec::new(), added) };
        jobs.into_iter().for_each(|id| self.features.cron.arm(&mut self.ctx, id));
        job.waiting = self.until_up(&up);
        let job_ids = job.shown.clone();
        self.jobs.push(job);
        self.ctx.reply(client, id, Response::Progress(Progress::Launched { name: app.spec.name.clone(), ids: job_ids }));
        for id in up {
            self.feed(id, Event::Start(origin.clone()));
        }
    }

    pub(super) fn send_signal(&mut self, client: u32, id: u64, signal: i32, target: &str) -> Response {
        let ids = match self.select(target, "") {
            Ok(ids) => ids,
            Err(failure) => return Response::Failed(failure),
        };
        let mut sent = Vec::new();
        for slot in ids.iter().filter_map(|id| self.ctx.slots.get(*id)) {
            if slot.instance.pid().is_some() {
                self.ctx.keeper.kill(slot.key(slot.instance.inc), signal, false);
                sent.push(slot.pm_id);
                let progress = Progress::InstanceDone { id: slot.pm_id, name: slot.spec().name.clone() };
                self.ctx.replies.push((client, id, Response::Progress(progress)));
            }
        }
        if sent.is_empty() {
            return Response::Failed(Failure::Other(format!("{target} is not running")));
        }
        Response::Done { ids: sent }
    }
}

/// A description with the changes applied.
pub(crate) fn changed_spec(slot: &Slot, change: &Change) -> AppSpec {
    let mut spec = new_spec(slot, change).unwrap_or(slot.spec()).clone();
    if let Some(name) = change.attributes.get("name").and_then(|name| name.as_str()).filter(|name| *name != spec.name) {
        keep_files(&mut spec, slot);
        spec.name = name.to_owned();
    }
    if let Some(profile) = &change.profile {
        spec.env.profile = Some(profile.clone());
    }
    spec.env.vars.extend(change.vars.iter().map(|(name, value)| (name.clone(), value.clone())));
    if let Some(args) = &change.args {
        spec.args.clone_from(args);
    }
    spec
}

/// As PM2: an app with another name goes on writing the files that it has. Whoever reads them need not know.
fn keep_files(spec: &mut AppSpec, slot: &Slot) {
    let logs = &mut spec.logs;
    let unnumbered = |path: &str| without_id(path, ".log", slot.pm_id);
    logs.out_file = logs.out_file.take().or_else(|| slot.files.out.as_deref().map(unnumbered));
    logs.error_file = logs.error_file.take().or_else(|| slot.files.error.as_deref().map(unnumbered));
    if logs.log_file == Some(CombinedLog::Default) {
        logs.log_file = slot.files.combined.as_deref().map(unnumbered).map(CombinedLog::Path);
    }
    spec.pid_file = spec.pid_file.take().or_else(|| Some(without_id(&slot.files.pid, ".pid", slot.pm_id)));
}

/// The complete new description of an instance, if the change has one: its own, else that of its name.
pub(super) fn new_spec<'a>(slot: &Slot, change: &'a Change) -> Option<&'a AppSpec> {
    match change.spec_of.get(&slot.pm_id) {
        Some(index) => change.specs.get(*index),
        None => change.specs.iter().find(|new| new.name == slot.spec().name),
    }
}

/// A caller's environment with another one merged into it; none if nothing changes.
pub(crate) fn changed_vars(vars: &EnvMap, change: &Change) -> Option<EnvMap> {
    Some(laid_over(vars, change.env.as_ref()?))
}

/// Variables with others on top.
pub(crate) fn laid_over(vars: &EnvMap, more: &EnvMap) -> EnvMap {
    let mut all = vars.clone();
    all.extend(more.iter().map(|(name, value)| (name.clone(), value.clone())));
    all
}
