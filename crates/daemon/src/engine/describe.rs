//! Descriptions and environments of instances: new instances, and changes of existing ones. Nothing
//! is started here.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use ostler_core::app::{AppSpec, CombinedLog, EnvMap};
use ostler_core::lifecycle::{Event, Origin, PolicyName};
use ostler_core::logs::files::{Naming, without_id};
use ostler_core::watch::WatchSpec;
use ostler_proto::control::Change;
use serde_json::Value;

use super::{Ctx, FeatureRequest, Input};
use crate::state::slots::inherited::inherited;
use crate::state::slots::{Slot, file_names};

impl Ctx {
    /// Adds instances; nothing is started yet.
    pub(crate) fn add_instances(&mut self, mut spec: AppSpec, base_env: &EnvMap, count: u32, naming: Naming) -> (String, Vec<u32>) {
        let own_base = std::mem::take(&mut spec.env.base);
        let vars = if own_base.is_empty() { Cow::Borrowed(base_env) } else { Cow::Borrowed(&*own_base) };
        let (base, record) = self.state.slots.base(inherited(&spec, vars));
        if let Some(record) = record {
            self.state.journal.push(&record);
        }
        spec.qualified = self.state.slots.qualified(&spec);
        let name = spec.name.clone();
        let stem = file_names::new_stem(&self.state.slots, &spec, naming, &self.io.settings);
        let (app, record) = self.state.slots.app(spec);
        self.state.journal.push(&record);
        let ids: Vec<u32> = (0..count).map(|_| self.state.slots.add(&app, &base, stem.as_deref(), self.now, &self.io.settings)).collect();
        if !app.spec.autostart {
            // The first start of a job is a tick of its schedule.
            ids.iter().for_each(|id| self.request(FeatureRequest::Schedule { id: *id, saved: None }));
        }
        (name, ids)
    }

    /// Applies changes that come with a restart.
    pub(crate) fn change(&mut self, id: u32, change: &Change) {
        let Some(slot) = self.state.slots.get(id) else { return };
        let (spec, vars) = (changed_spec(slot, change), changed_vars(&slot.base().vars, change));
        self.redescribe(id, spec);
        if let Some(vars) = vars {
            self.rebase(id, vars);
        }
    }

    /// Replaces the environment of a slot by another caller's.
    pub(crate) fn rebase(&mut self, id: u32, vars: EnvMap) {
        let Some(spec) = self.state.slots.get(id).map(|slot| Rc::clone(&slot.app().spec)) else { return };
        let (base, record) = self.state.slots.base(inherited(&spec, Cow::Owned(vars)));
        if let Some(record) = record {
            self.state.journal.push(&record);
        }
        if let Some(slot) = self.state.slots.get_mut(id) {
            slot.rebase(base);
            self.state.slots.changed(id);
        }
    }

    /// Replaces the description of a slot, unless the new one is the same.
    pub(crate) fn redescribe(&mut self, id: u32, mut spec: AppSpec) {
        spec.env.base = Arc::default();
        let Some(slot) = self.state.slots.get(id) else { return };
        spec.qualified.clone_from(&slot.spec().qualified);
        if *slot.spec() == spec {
            return;
        }
        // A job becomes an app that runs all the time, or the other way round: its schedule
        // restarts.
        let ends = spec.is_job() && !slot.spec().is_job();
        let shorter_base = spec.env.hides_any(&slot.base().vars).then(|| (*slot.base().vars).clone());
        // Instances of one app that get the same change share one description.
        let (app, record) = self.state.slots.shared_app(spec);
        record.iter().for_each(|record| self.state.journal.push(record));
        if let Some(slot) = self.state.slots.get_mut(id) {
            slot.describe(app, &self.io.settings);
            self.state.slots.changed(id);
            self.outbox.queue.push_back(Input::Described(id));
            if ends {
                self.event(id, Event::Stop(Origin::policy(PolicyName::Cron)));
            }
        }
        if let Some(vars) = shorter_base {
            self.rebase(id, vars);
        }
    }
}

/// Returns a description with the changes applied.
pub(crate) fn changed_spec(slot: &Slot, change: &Change) -> AppSpec {
    let mut spec = new_spec(slot, change).unwrap_or(slot.spec()).clone();
    spec.qualified.clone_from(&slot.spec().qualified);
    if let Some(name) = change.attributes.get("name").and_then(|name| name.as_str()).filter(|name| *name != spec.name) {
        keep_files(&mut spec, slot);
        spec.name = name.to_owned();
    }
    match (&change.profile, &change.env) {
        (Some(profile), _) => spec.env.profile = Some(profile.clone()),
        // As in PM2, the variables of the shell replace those of the file.
        (None, Some(caller)) => spec.env.update(caller),
        (None, None) => {}
    }
    if change.attributes.get("watch") == Some(&Value::Bool(false)) {
        unwatch(&mut spec);
    }
    spec.env.vars.extend(change.vars.iter().map(|(name, value)| (name.clone(), value.clone())));
    if let Some(args) = &change.args {
        spec.args.clone_from(args);
    }
    spec
}

/// Switches watching off, also for later starts.
fn unwatch(spec: &mut AppSpec) {
    spec.note_option("watch");
    spec.given.open_mut().insert("watch".into(), false.into());
    let watch = WatchSpec { on: false, ..(*spec.watch).clone() };
    spec.watch = watch.into();
}

/// Keeps the log files of an app that gets another name, as PM2 does. Readers of the files are not
/// affected.
fn keep_files(spec: &mut AppSpec, slot: &Slot) {
    let logs = &mut spec.logs;
    let unnumbered = |path: &str| without_id(path, ".log", slot.durable.pm_id);
    logs.out_file = logs.out_file.take().or_else(|| slot.live.files.out.as_deref().map(unnumbered));
    logs.error_file = logs.error_file.take().or_else(|| slot.live.files.error.as_deref().map(unnumbered));
    if logs.log_file == Some(CombinedLog::Default) {
        logs.log_file = slot.live.files.combined.as_deref().map(unnumbered).map(CombinedLog::Path);
    }
    spec.pid_file = spec.pid_file.take().or_else(|| Some(without_id(&slot.live.files.pid, ".pid", slot.durable.pm_id)));
}

/// Returns the complete new description of an instance, if the change has one: the instance's own,
/// or that of its name.
pub(crate) fn new_spec<'a>(slot: &Slot, change: &'a Change) -> Option<&'a AppSpec> {
    match change.spec_of.get(&slot.durable.pm_id) {
        Some(index) => change.specs.get(*index),
        None => change.specs.iter().find(|new| new.name == slot.spec().name),
    }
}

/// Merges another environment into a caller's environment. Returns `None` if nothing changes.
pub(crate) fn changed_vars(vars: &EnvMap, change: &Change) -> Option<EnvMap> {
    Some(overlaid(vars, change.env.as_ref()?))
}

/// Returns variables with others laid on top.
pub(crate) fn overlaid(vars: &EnvMap, more: &EnvMap) -> EnvMap {
    let mut all = vars.clone();
    all.extend(more.iter().map(|(name, value)| (name.clone(), value.clone())));
    all
}
