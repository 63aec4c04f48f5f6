//! `start`, and its effect on apps that exist already.

use std::collections::{BTreeMap, BTreeSet};

use ostler_core::app::select::{Namesake, share_out};
use ostler_core::app::{AppSpec, EnvMap};
use ostler_core::lifecycle::{DesiredState, Event, Origin};
use ostler_core::logs::files::Naming;
use ostler_proto::control::{Action, Confirm, Existing, Failure, Progress};

use super::app_queue;
use super::job::{Job, JobStep, Requester};
use super::release::{NewEnv, NewRelease};
use crate::engine::{Ctx, overlaid};
use crate::state::slots::{Slot, Slots, file_names};

/// Request to start apps.
#[derive(Debug)]
pub(super) struct StartRequest {
    pub apps: Vec<AppSpec>,
    /// Environment of the client.
    pub base_env: EnvMap,
    pub existing: Existing,
    /// Confirmation that the client waits for.
    pub confirm: Option<Confirm>,
    /// Whether instances that never ran wait for a command that names them.
    pub named_only: bool,
    pub scope: Scope,
    /// File names of new apps.
    pub naming: Naming,
    pub origin: Origin,
}

/// Whether apps of the same name in two namespaces are one app, as in PM2, or two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    AllNamespaces,
    OwnNamespace,
}

impl Scope {
    /// Returns true if a start of one app also concerns the other.
    fn is_same(self, one: &AppSpec, other: &AppSpec) -> bool {
        one.name == other.name && (self == Self::AllNamespaces || one.namespace == other.namespace)
    }
}

impl StartRequest {
    /// Returns true if all instances of one of its apps are being deleted. If the start began now,
    /// it would take them for running ones.
    pub(super) fn has_to_wait(&self, slots: &Slots) -> bool {
        let is_leaving = |app: &AppSpec| {
            let mut same = slots.serving().filter(|slot| self.scope.is_same(slot.spec(), app)).peekable();
            same.peek().is_some() && same.all(|slot| slot.durable.instance.wanted == DesiredState::Gone)
        };
        self.apps.iter().any(is_leaving)
    }
}

/// Returns the instances of an app that are not being deleted.
fn staying<'a>(slots: &'a Slots, spec: &'a AppSpec, scope: Scope) -> impl Iterator<Item = &'a Slot> {
    slots.serving().filter(move |slot| scope.is_same(slot.spec(), spec) && slot.durable.instance.wanted != DesiredState::Gone)
}

/// Plan for one app of the request.
enum AppPlan {
    /// Instances to add.
    Add(u32),
    /// These exist and are started again.
    Restart(Vec<u32>),
}

/// Start in progress.
struct PendingStart {
    job: Job,
    base_env: EnvMap,
    /// Whether it comes from a config file.
    by_file: bool,
    scope: Scope,
    /// One app of each name that several apps of the request have.
    shared: Vec<AppSpec>,
    /// Instances that start now.
    fresh: Vec<u32>,
    /// File names of new apps.
    naming: Naming,
}

/// Adds the missing apps, and starts the others again.
///
/// # Errors
/// Returns an error if the request as a whole cannot be carried out. Nothing was started then.
pub(super) fn start(ctx: &mut Ctx, asker: Requester, start: StartRequest) -> Result<Job, Failure> {
    let StartRequest { apps, base_env, existing, confirm, named_only, scope, naming, origin } = start;
    app_queue::check(&ctx.state.slots, &apps)?;
    let planned = |spec: AppSpec| plan(&ctx.state.slots, &spec, &existing, scope).map(|plan| (spec, plan));
    let mut plans: Vec<(AppSpec, AppPlan)> = apps.into_iter().map(planned).collect::<Result<_, Failure>>()?;
    let shared = share_out_names(&ctx.state.slots, &mut plans, scope);
    let by_file = !matches!(existing, Existing::PlainScript { .. });
    if by_file {
        send_missing(ctx, asker, &plans);
        send_namesakes(ctx, asker, &plans, scope);
    }
    let mut job = Job::new(asker, JobStep::Act(Action::Restart, None), origin).until(confirm, ctx.now.mono_ms);
    if let Existing::Reload { parallel, canary_ms } = existing {
        job.step = JobStep::Act(Action::Reload, None);
        (job.parallel, job.canary_ms) = (parallel as usize, canary_ms);
    }
    job.named_only = named_only && by_file;
    let mut starting = PendingStart { job, base_env, by_file, scope, shared, fresh: Vec::new(), naming };
    for (spec, plan) in plans {
        send_before(ctx, asker, &spec);
        starting.carry_out(ctx, spec, plan);
    }
    Ok(starting.begin(ctx))
}

/// Reports the apps of a config file that do not exist yet.
fn send_missing(ctx: &mut Ctx, asker: Requester, plans: &[(AppSpec, AppPlan)]) {
    let missing = plans.iter().filter(|(_, plan)| matches!(plan, AppPlan::Add(_)));
    let names: Vec<String> = missing.map(|(spec, _)| spec.name.clone()).collect();
    if !names.is_empty() {
        asker.send(ctx, Progress::NotRunning { names });
    }
}

/// Warns of apps that exist in another namespace. PM2 takes them over; otherwise they keep running.
fn send_namesakes(ctx: &mut Ctx, asker: Requester, plans: &[(AppSpec, AppPlan)], scope: Scope) {
    for (spec, _) in plans {
        let is_other = |slot: &&Slot| {
            slot.spec().name == spec.name
                && slot.spec().namespace != spec.namespace
                && !plans.iter().any(|(planned, _)| Scope::OwnNamespace.is_same(planned, slot.spec()))
        };
        let Some(other) = ctx.state.slots.serving().find(is_other).map(Slot::spec) else { continue };
        let AppSpec { name, namespace, .. } = spec;
        let old = &other.namespace;
        let line = match scope {
            Scope::AllNamespaces => format!("{name} moves from namespace {old} to {namespace} and keeps its script and folder"),
            // The namespaces are two environments on one machine. If both are from one file, its
            // namespace may only have been edited.
            Scope::OwnNamespace if other.config_file.is_some() && other.config_file == spec.config_file => {
                format!("{name} of the same file keeps running in namespace {old}; `ostler delete {name} --namespace {old}` removes it")
            }
            Scope::OwnNamespace => continue,
        };
        asker.send(ctx, Progress::Warning(line));
    }
}

/// Sends notes about an app before it is started.
fn send_before(ctx: &mut Ctx, asker: Requester, spec: &AppSpec) {
    for line in ctx.state.groups.limits_in_vain(spec, ctx.io.keeper.pid()) {
        asker.send(ctx, Progress::Warning(line));
    }
    if spec.ready.wait_ready {
        asker.send(ctx, Progress::WaitingReady { name: spec.name.clone() });
    }
}

impl PendingStart {
    fn carry_out(&mut self, ctx: &mut Ctx, spec: AppSpec, plan: AppPlan) {
        match plan {
            AppPlan::Add(count) => {
                let ids = self.add(ctx, spec, count);
                let autostarts = |id: &u32| ctx.state.slots.get(*id).is_some_and(|slot| slot.spec().autostart);
                self.fresh.extend(ids.into_iter().filter(autostarts));
            }
            AppPlan::Restart(ids) => {
                let ids = self.without_unstarted(ctx, &spec, ids);
                match self.job.step {
                    _ if ids.is_empty() => {}
                    JobStep::Act(Action::Reload, _) => self.reload(ctx, spec, ids),
                    _ => self.restart(ctx, spec, ids),
                }
            }
        }
    }

    /// Returns the instances to start again. Instances with `autostart: false` that never ran only
    /// get their new description, and wait for a command that names them.
    fn without_unstarted(&mut self, ctx: &mut Ctx, spec: &AppSpec, ids: Vec<u32>) -> Vec<u32> {
        let is_left = |id: &u32| self.job.named_only && !spec.autostart && ctx.state.slots.get(*id).is_some_and(Slot::is_unstarted);
        let (left, ids): (Vec<u32>, Vec<u32>) = ids.into_iter().partition(is_left);
        self.job.touch(&left, &ctx.state.slots);
        for id in left {
            if takes_callers(spec) {
                rebase_merged(ctx, id, callers_env(&self.base_env, spec));
            }
            ctx.redescribe(id, spec.clone());
        }
        ids
    }

    /// Adds new instances, which are not started yet.
    fn add(&mut self, ctx: &mut Ctx, spec: AppSpec, count: u32) -> Vec<u32> {
        let (name, added) = ctx.add_instances(spec, &self.base_env, count, self.naming);
        self.job.touch(&added, &ctx.state.slots);
        if let Some(line) = added.first().and_then(|id| file_names::shares_files(&ctx.state.slots, *id)) {
            self.job.asker.send(ctx, Progress::Warning(line));
        }
        let ids = ctx.state.slots.pm_ids(&added);
        self.job.asker.send(ctx, Progress::Launched { name, ids });
        added
    }

    fn reload(&mut self, ctx: &mut Ctx, spec: AppSpec, ids: Vec<u32>) {
        if self.shared.iter().any(|one| self.scope.is_same(one, &spec)) {
            let line =
                format!("several apps are named {}: they are reloaded unchanged; `restart` applies the changes of the file", spec.name);
            self.job.asker.send(ctx, Progress::Warning(line));
            return self.queue_existing(ctx, Action::Reload, spec.name, ids);
        }
        let env = if takes_callers(&spec) { NewEnv::Over(callers_env(&self.base_env, &spec).clone()) } else { NewEnv::Same };
        let more = missing_instances(&ctx.state.slots, &spec, &ids);
        let keys: BTreeSet<String> =
            ids.iter().filter_map(|id| ctx.state.slots.get(*id)).map(|slot| slot.spec().key().to_owned()).collect();
        self.queue_existing(ctx, Action::Reload, spec.name.clone(), ids);
        for key in keys {
            self.job.releases.insert(key, NewRelease { spec: spec.clone(), env: env.clone(), more });
        }
    }

    fn restart(&mut self, ctx: &mut Ctx, spec: AppSpec, ids: Vec<u32>) {
        let more = missing_instances(&ctx.state.slots, &spec, &ids);
        for &id in &ids {
            if self.by_file && takes_callers(&spec) {
                rebase_merged(ctx, id, callers_env(&self.base_env, &spec));
            }
            ctx.redescribe(id, spec.clone());
        }
        self.queue_existing(ctx, Action::Restart, spec.name.clone(), ids);
        if more > 0 {
            let is_job = spec.is_job();
            let added = self.add(ctx, spec, more);
            self.fresh.extend(added.iter().filter(|_| !is_job));
        }
    }

    /// Queues existing instances, which are started again in their order.
    fn queue_existing(&mut self, ctx: &mut Ctx, action: Action, target: String, ids: Vec<u32>) {
        self.job.send_selected(ctx, action, target, &ids);
        self.job.touch(&ids, &ctx.state.slots);
        self.job.pending.extend(ids);
    }

    fn begin(self, ctx: &mut Ctx) -> Job {
        let Self { mut job, fresh, .. } = self;
        job.ordered = app_queue::put_in_order(&ctx.state.slots, &job.step, &mut job.pending);
        job.wait_until_up(&fresh, &ctx.state.slots);
        for &id in &fresh {
            ctx.event(id, Event::Start(job.origin.clone()));
        }
        job.fresh = fresh;
        job
    }
}

/// Distributes the present instances of a name among the apps of the request that have it. Returns
/// one app of each such name. PM2 differs: it acts on all of them for each app, and starts all of
/// them again.
fn share_out_names(slots: &Slots, plans: &mut [(AppSpec, AppPlan)], scope: Scope) -> Vec<AppSpec> {
    let group = |spec: &AppSpec| (spec.name.clone(), (scope == Scope::OwnNamespace).then(|| spec.namespace.clone()));
    let mut seen = BTreeSet::new();
    let doubled = plans.iter().filter(|(spec, _)| !seen.insert(group(spec)));
    let shared: BTreeMap<_, AppSpec> = doubled.map(|(spec, _)| (group(spec), spec.clone())).collect();
    for one in shared.values() {
        let present: Vec<&Slot> = staying(slots, one, scope).collect();
        let specs: Vec<&AppSpec> = plans.iter().map(|(spec, _)| spec).filter(|spec| scope.is_same(spec, one)).collect();
        let namesake = |spec: &AppSpec| (spec.namespace.clone(), spec.script.clone(), spec.instances);
        let (apps, found): (Vec<_>, Vec<_>) =
            (specs.into_iter().map(namesake).collect(), present.iter().map(|slot| namesake(slot.spec())).collect());
        let belongs = share_out(&namesakes(&apps), &namesakes(&found));
        for (index, (spec, plan)) in plans.iter_mut().filter(|(spec, _)| scope.is_same(spec, one)).enumerate() {
            let own: Vec<u32> = present.iter().zip(&belongs).filter(|(_, app)| **app == index).map(|(slot, _)| slot.durable.id).collect();
            *plan = if own.is_empty() { AppPlan::Add(spec.instances) } else { AppPlan::Restart(own) };
        }
    }
    shared.into_values().collect()
}

fn plan(slots: &Slots, spec: &AppSpec, existing: &Existing, scope: Scope) -> Result<AppPlan, Failure> {
    let named: Vec<u32> = staying(slots, spec, scope).map(|slot| slot.durable.id).collect();
    let plan = match existing {
        Existing::PlainScript { force } => {
            let same = named.iter().filter_map(|id| slots.get(*id)).rfind(|slot| slot.spec().script == spec.script);
            match same {
                Some(_) if *force => AppPlan::Add(spec.instances),
                Some(slot) if slot.durable.instance.state.is_down() => AppPlan::Restart(named),
                Some(_) => return Err(Failure::AlreadyLaunched),
                None => AppPlan::Add(spec.instances),
            }
        }
        Existing::Restart | Existing::Reload { .. } if named.is_empty() => AppPlan::Add(spec.instances),
        Existing::Restart | Existing::Reload { .. } => AppPlan::Restart(named),
    };
    Ok(plan)
}

/// Returns the number of instances that an edited file requests beyond the existing ones. The
/// file's number counts only if it was changed, so the result of `scale` stays. (`scale` and
/// `delete` reduce the number: a restart never removes anything.)
fn missing_instances(slots: &Slots, spec: &AppSpec, ids: &[u32]) -> u32 {
    let before = ids.first().and_then(|id| slots.get(*id)).map_or(spec.instances, |slot| slot.spec().instances);
    if before == spec.instances { 0 } else { spec.instances.saturating_sub(ids.len() as u32) }
}

/// Returns true if the caller's variables reach a running app: as in PM2, only if its file sets
/// none.
fn takes_callers(spec: &AppSpec) -> bool {
    let chosen = spec.env.profile.as_ref().and_then(|name| spec.env.profiles.get(name));
    spec.env.vars.is_empty() && chosen.is_none_or(EnvMap::is_empty)
}

/// Returns the caller's variables for this app: its own selection, or those that are sent once for
/// all apps.
fn callers_env<'a>(shared: &'a EnvMap, spec: &'a AppSpec) -> &'a EnvMap {
    if spec.env.base.is_empty() { shared } else { &spec.env.base }
}

fn rebase_merged(ctx: &mut Ctx, id: u32, env: &EnvMap) {
    let Some(slot) = ctx.state.slots.get(id) else { return };
    let vars = overlaid(&slot.base().vars, env);
    if vars != *slot.base().vars {
        ctx.rebase(id, vars);
    }
}

fn namesakes(of: &[(String, String, u32)]) -> Vec<Namesake<'_>> {
    of.iter().map(|(namespace, script, instances)| Namesake { namespace, script, instances: *instances }).collect()
}
