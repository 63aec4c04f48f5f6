//! `start`, and what it does with apps that exist already.

use std::collections::BTreeSet;

use ostler_core::app::{AppSpec, EnvMap};
use ostler_core::lifecycle::{Event, Origin, State};
use ostler_core::select::{Namesake, share_out};
use ostler_proto::control::{Action, Confirm, Existing, Failure, Progress, Response};

use crate::control::confirm::Confirming;
use crate::control::{Control, NewEnv, NewRelease, jobs};
use crate::engine::laid_over;
use crate::slots::Slot;

/// What becomes of one app of the request.
enum Plan {
    /// Instances to add.
    Add(u32),
    /// These exist and are to be started anew.
    Again(Vec<u32>),
}

/// Who asks for a start, and what has to be seen of it.
pub(super) struct Asked {
    pub origin: Origin,
    pub confirm: Option<Confirm>,
}

impl Control {
    pub(super) fn start(&mut self, client: u32, id: u64, apps: Vec<AppSpec>, base_env: EnvMap, existing: &Existing, asked: Asked) {
        let Asked { origin, confirm } = asked;
        if let Err(failure) = self.check_order(&apps) {
            return self.ctx.reply(client, id, Response::Failed(failure));
        }
        let mut plans = Vec::new();
        for spec in apps {
            match self.plan(&spec, existing) {
                Ok(plan) => plans.push((spec, plan)),
                Err(failure) => return self.ctx.reply(client, id, Response::Failed(failure)),
            }
        }
        let shared = self.share_out_names(&mut plans);
        let missing: Vec<String> =
            plans.iter().filter(|(_, plan)| matches!(plan, Plan::Add(_))).map(|(spec, _)| spec.name.clone()).collect();
        let by_file = !matches!(existing, Existing::PlainScript { .. });
        if by_file && !missing.is_empty() {
            self.ctx.reply(client, id, Response::Progress(Progress::NotRunning { names: missing }));
        }
        let action = if matches!(existing, Existing::Reload { .. }) { Action::Reload } else { Action::Restart };
        let mut job = self.action_job(client, id, action, Vec::new(), origin.clone());
        job.confirm = confirm.map(|confirm| Confirming::new(confirm, self.ctx.now.mono_ms));
        if let Existing::Reload { parallel, canary_ms } = existing {
            (job.parallel, job.canary_ms) = (*parallel as usize, *canary_ms);
        }
        let mut fresh = Vec::new();
        for (spec, plan) in plans {
            for line in self.ctx.groups.limits_in_vain(&spec, self.ctx.keeper.pid()) {
                self.ctx.reply(client, id, Response::Progress(Progress::Warning(line)));
            }
            if spec.ready.wait_ready {
                self.ctx.reply(client, id, Response::Progress(Progress::WaitingReady { name: spec.name.clone() }));
            }
            match plan {
                Plan::Add(count) => {
                    let (name, ids) = self.ctx.add_instances(spec, &base_env, count);
                    let up = ids.iter().copied().filter(|id| self.ctx.slots.get(*id).is_some_and(|slot| slot.spec().autostart));
                    fresh.extend(up);
                    job.touch(&ids, &self.ctx.slots);
                    let ids = self.ctx.slots.pm_ids(&ids);
                    self.ctx.reply(client, id, Response::Progress(Progress::Launched { name, ids }));
                }
                Plan::Again(ids) => {
                    let more = self.missing_instances(&spec, &ids);
                    if action == Action::Reload && shared.contains(&spec.name) {
                        let line = format!(
                            "several apps are named {}: they are reloaded as they are, `restart` brings what the file says now",
                            spec.name
                        );
                        self.ctx.reply(client, id, Response::Progress(Progress::Warning(line)));
                        self.tell_selected(client, id, action, &spec.name, &ids);
                        job.touch(&ids, &self.ctx.slots);
                        job.pending.extend(ids);
                        continue;
                    }
                    if action == Action::Reload {
                        // As PM2: the caller's variables reach a running app only where its file sets none.
                        let env = if spec.env.vars.is_empty() { NewEnv::Over(base_env.clone()) } else { NewEnv::Same };
                        self.tell_selected(client, id, action, &spec.name, &ids);
                        job.touch(&ids, &self.ctx.slots);
                        job.pending.extend(ids);
                        job.releases.insert(spec.name.clone(), NewRelease { spec, env, more });
                        continue;
                    }
                    for &slot in &ids {
                        // As PM2: the caller's variables reach a running app only where its file sets none.
                        if by_file && spec.env.vars.is_empty() {
                            self.rebase_merged(slot, &base_env);
                        }
                        self.ctx.redescribe(slot, spec.clone());
                    }
                    self.tell_selected(client, id, action, &spec.name, &ids);
                    job.touch(&ids, &self.ctx.slots);
                    job.pending.extend(ids);
                    if more > 0 {
                        let is_job = spec.is_job();
                        let (name, ids) = self.ctx.add_instances(spec, &base_env, more);
                        fresh.extend(ids.iter().filter(|_| !is_job));
                        job.touch(&ids, &self.ctx.slots);
                        let ids = self.ctx.slots.pm_ids(&ids);
                        self.ctx.reply(client, id, Response::Progress(Progress::Launched { name, ids }));
                    }
                }
            }
        }
        job.ordered = self.put_in_order(&job.step, &mut job.pending);
        job.waiting = self.until_up(&fresh);
        job.fresh.clone_from(&fresh);
        self.begin(job);
        for id in fresh {
            self.feed(id, Event::Start(origin.clone()));
        }
    }

    /// Apps of the request that share a name share the present instances of that name; gives these names.
    /// PM2 differs: it acts on all of them for each, and starts all of them again.
    fn share_out_names(&self, plans: &mut [(AppSpec, Plan)]) -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        let shared: BTreeSet<String> =
            plans.iter().filter(|(spec, _)| !seen.insert(&spec.name)).map(|(spec, _)| spec.name.clone()).collect();
        for name in &shared {
            let present: Vec<&Slot> = self.ctx.slots.serving().filter(|slot| slot.spec().name == *name).collect();
            let specs: Vec<&AppSpec> = plans.iter().map(|(spec, _)| spec).filter(|spec| spec.name == *name).collect();
            let namesake = |spec: &AppSpec| (spec.namespace.clone(), spec.script.clone(), spec.instances);
            let (apps, slots): (Vec<_>, Vec<_>) =
                (specs.into_iter().map(namesake).collect(), present.iter().map(|slot| namesake(slot.spec())).collect());
            let belongs = share_out(&namesakes(&apps), &namesakes(&slots));
            for (index, (spec, plan)) in plans.iter_mut().filter(|(spec, _)| spec.name == *name).enumerate() {
                let own: Vec<u32> = present.iter().zip(&belongs).filter(|(_, app)| **app == index).map(|(slot, _)| slot.id).collect();
                *plan = if own.is_empty() { Plan::Add(spec.instances) } else { Plan::Again(own) };
            }
        }
        shared
    }

    fn tell_selected(&mut self, client: u32, id: u64, action: Action, target: &str, ids: &[u32]) {
        let action = jobs::action_word(action).to_owned();
        let selected = Progress::Selected { action, target: target.to_owned(), ids: self.ctx.slots.pm_ids(ids) };
        self.ctx.reply(client, id, Response::Progress(selected));
    }

    fn plan(&self, spec: &AppSpec, existing: &Existing) -> Result<Plan, Failure> {
        let named = self.ctx.slots.named(&spec.name);
        let plan = match existing {
            Existing::PlainScript { force } => {
                let same = named.iter().filter_map(|id| self.ctx.slots.get(*id)).rfind(|slot| slot.spec().script == spec.script);
                match same {
                    Some(_) if *force => Plan::Add(spec.instances),
                    Some(slot) if is_down(&slot.instance.state) => Plan::Again(named),
                    Some(_) => return Err(Failure::AlreadyLaunched),
                    None => Plan::Add(spec.instances),
                }
            }
            Existing::Restart | Existing::Reload { .. } if named.is_empty() => Plan::Add(spec.instances),
            Existing::Restart | Existing::Reload { .. } => Plan::Again(named),
        };
        Ok(plan)
    }

    /// How many instances an edited file asks for beyond those that exist. The file's number counts only when it was changed: what
    /// `scale` did stays. (Fewer is left to `scale` and `delete`: a restart never removes anything.)
    fn missing_instances(&self, spec: &AppSpec, ids: &[u32]) -> u32 {
        let before = ids.first().and_then(|id| self.ctx.slots.get(*id)).map_or(spec.instances, |slot| slot.spec().instances);
        if before == spec.instances { 0 } else { spec.instances.saturating_sub(ids.len() as u32) }
    }

    fn rebase_merged(&mut self, id: u32, env: &EnvMap) {
        let Some(slot) = self.ctx.slots.get(id) else { return };
        let vars = laid_over(&slot.base.vars, env);
        if vars != *slot.base.vars {
            self.ctx.rebase(id, vars);
        }
    }
}

fn namesakes(of: &[(String, String, u32)]) -> Vec<Namesake<'_>> {
    of.iter().map(|(namespace, script, instances)| Namesake { namespace, script, instances: *instances }).collect()
}

fn is_down(state: &State) -> bool {
    match state {
        State::Stopped
        | State::Leaving { .. }
        | State::Draining { .. }
        | State::Stopping { .. }
        | State::Clearing { .. }
        | State::Errored
        | State::Gone => true,
        State::Waiting { .. }
        | State::Preparing { .. }
        | State::Spawning { .. }
        | State::Starting { .. }
        | State::Completing { .. }
        | State::Running { .. }
        | State::Backoff { .. } => false,
    }
}
