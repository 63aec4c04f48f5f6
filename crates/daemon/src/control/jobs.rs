//! Moving jobs along.

use std::collections::{BTreeMap, VecDeque};

use ostler_core::lifecycle::{Event, ExitCause, Notice, Origin, State};
use ostler_proto::control::{Action, Failure, Progress, Response};

use super::job::{Progressed, Waited};
use super::{Control, Goal, Job, Step, Then};
use crate::engine::{Ending, Request};
use crate::slots::Slot;
use crate::store::{Role, WatchMark};

impl Control {
    /// Takes a new job. It moves with the next [`Control::advance_jobs`].
    pub(crate) fn begin(&mut self, job: Job) {
        self.ctx.is_closing |= job.then == Then::Exit;
        self.jobs.push(job);
    }

    /// An instance made a step: whoever waits for it looks. Nothing is begun here, because the step may itself be part of a job.
    pub(crate) fn look_at_jobs(&mut self, id: u32, notice: Option<&Notice>) {
        for index in 0..self.jobs.len() {
            self.look(index, id, notice);
        }
    }

    /// Whoever waits for this instance is told this.
    pub(super) fn warn_jobs(&mut self, id: u32, warning: &str) {
        for job in self.jobs.iter().filter(|job| job.waiting.contains_key(&id)) {
            self.ctx.reply(job.client, job.request, Response::Progress(Progress::Warning(warning.to_owned())));
        }
    }

    /// Begins what may be begun, ends what is done. True when that made work.
    pub(crate) fn advance_jobs(&mut self) -> bool {
        for id in std::mem::take(&mut self.unstartable) {
            if let Some(runtime) = &mut self.runtime {
                runtime.unstartable = true;
            }
            self.feed(id, Event::Delete(Origin::Policy("start".into())));
        }
        let mut index = 0;
        while index < self.jobs.len() {
            let jobs = self.jobs.len();
            self.advance(index);
            // A finished job is taken out; the next one then stands at its place.
            if self.jobs.len() == jobs {
                index += 1;
            }
        }
        !self.ctx.effects.is_empty() || !self.ctx.queue.is_empty()
    }

    fn look(&mut self, index: usize, id: u32, notice: Option<&Notice>) {
        let job = &mut self.jobs[index];
        let Some(Waited { pm_id, name, goal, hidden, .. }) = job.waiting.get(&id).cloned() else { return };
        // Down and gone is it when its hooks are, too.
        if !matches!(goal, Goal::Up { .. }) && self.ctx.commands.any_hook_of(id) {
            return;
        }
        let slot = self.ctx.slots.get(id);
        let looked = job.confirmed(id, slot, goal.look(slot, notice, self.ctx.now), self.ctx.now);
        let progress = match looked {
            Progressed::Waiting => return,
            _ if hidden => {
                job.waiting.remove(&id);
                return;
            }
            Progressed::Reached => Progress::InstanceDone { id: pm_id, name },
            // PM2 differs: it says that the app is online.
            Progressed::Late(reason) => {
                Progress::Warning(format!("[{name}]({pm_id}) {reason}; it goes on, and is online when it is ready"))
            }
            Progressed::Failed(reason) => {
                job.failed += 1;
                // A program that cannot be executed changes nothing: its entry goes again.
                let last = self.ctx.slots.get(id).and_then(|slot| slot.instance.exits.last());
                if job.fresh.contains(&id) && last.is_some_and(|exit| matches!(exit.cause, ExitCause::CouldNotStart { .. })) {
                    self.unstartable.push(id);
                }
                Progress::InstanceFailed { id: pm_id, name, reason }
            }
        };
        job.waiting.remove(&id);
        let (client, request) = (job.client, job.request);
        let failed = if let Progress::InstanceFailed { name, .. } = &progress { Some(name.clone()) } else { None };
        for progress in job.tellable(pm_id, progress) {
            self.ctx.reply(client, request, Response::Progress(progress));
        }
        failed.into_iter().for_each(|name| self.leave_dependants(index, &name));
    }

    /// An app of a request failed: those that depend on it are left as they are.
    pub(crate) fn leave_dependants(&mut self, index: usize, failed: &str) {
        for id in self.give_up_dependants(index, failed) {
            let Some(slot) = self.ctx.slots.get(id) else { continue };
            let reason = format!("was left as it is, because it depends on {failed}");
            let progress = Progress::InstanceFailed { id: slot.pm_id, name: slot.spec().name.clone(), reason };
            let job = &mut self.jobs[index];
            job.failed += 1;
            self.ctx.reply(job.client, job.request, Response::Progress(progress));
        }
    }

    /// Starts what may be started, resolves the next target when one is done, ends the job when all are.
    fn advance(&mut self, index: usize) {
        loop {
            self.take_turns(index);
            let job = &mut self.jobs[index];
            if !job.waiting.is_empty() || !job.pending.is_empty() || !job.rollouts.is_empty() {
                return;
            }
            if job.then == Then::Exit && job.targets.is_empty() && self.end_what_is_left(index) {
                return;
            }
            let job = &mut self.jobs[index];
            let target = if job.failed == 0 { job.targets.pop_front() } else { None };
            let Some(target) = target else {
                let job = self.jobs.remove(index);
                self.finish(job);
                return;
            };
            if let Err(failure) = self.resolve(index, target) {
                let job = self.jobs.remove(index);
                self.ctx.reply(job.client, job.request, Response::Failed(failure));
                return;
            }
        }
    }

    fn resolve(&mut self, index: usize, target: String) -> Result<(), Failure> {
        let ids = self.ctx.slots.select(&target, &self.jobs[index].cwd)?;
        let job = &mut self.jobs[index];
        job.touch(&ids, &self.ctx.slots);
        job.pending.extend(&ids);
        let mut pending = std::mem::take(&mut job.pending);
        let ordered = self.put_in_order(&self.jobs[index].step, &mut pending);
        self.jobs[index].pending = pending;
        self.jobs[index].ordered = ordered;
        let job = &self.jobs[index];
        let ids = self.ctx.slots.pm_ids(&ids);
        let Step::Act(action, _) = &job.step else { return Ok(()) };
        let action = action_word(*action).to_owned();
        let progress = Progress::Selected { action, target, ids };
        let (client, request) = (job.client, job.request);
        self.ctx.reply(client, request, Response::Progress(progress));
        Ok(())
    }

    /// Everything is deleted: what users do not see has to go, too. True when there is something to wait for.
    fn end_what_is_left(&mut self, index: usize) -> bool {
        let origin = self.jobs[index].origin.clone();
        let left: Vec<u32> = self.ctx.slots.iter().map(|slot| slot.id).collect();
        for id in &left {
            self.wait_for_end_of_hidden(index, *id, &origin);
        }
        if self.ctx.commands.any_goes_on() {
            self.ctx.request(Request::CallOffAll);
        }
        !left.is_empty() || !self.ctx.commands.is_empty()
    }

    /// A process of a reload that users do not see ends with what they do see.
    fn wait_for_end_of_hidden(&mut self, index: usize, id: u32, origin: &Origin) {
        let Some(slot) = self.ctx.slots.get(id) else { return };
        self.jobs[index].waiting.insert(id, Waited::new(slot, Goal::Gone));
        self.feed(id, Event::Delete(origin.clone()));
    }

    /// Takes instances from `pending` as long as the rules allow.
    fn take_turns(&mut self, index: usize) {
        if matches!(self.jobs[index].step, Step::Act(Action::Reload, _)) {
            return self.begin_reloads(index);
        }
        let mut turns = self.turns_of(index);
        let mut later = VecDeque::new();
        while let Some(id) = self.jobs[index].pending.pop_front() {
            let slot = self.ctx.slots.get(id);
            if self.may_begin(index, id) && !slot.is_some_and(|slot| turns.holds(slot)) {
                slot.into_iter().for_each(|slot| turns.begins(slot));
                self.act(index, id);
                let is_reset = matches!(self.jobs[index].step, Step::Act(Action::Reset, _));
                if !is_reset && self.ctx.slots.is_any_being_replaced() {
                    self.ctx.request(Request::TakenOver { id });
                }
            } else {
                slot.into_iter().for_each(|slot| turns.held(slot));
                later.push_back(id);
            }
        }
        self.jobs[index].pending = later;
    }

    /// How many at the same time: what `--parallel` says; else a restart takes half of an app's instances (so that the other half still serves), everything else all at once.
    fn may_begin(&self, index: usize, id: u32) -> bool {
        let job = &self.jobs[index];
        if job.parallel > 0 {
            return job.waiting.len() < job.parallel;
        }
        let Step::Act(Action::Restart, _) = job.step else { return true };
        let Some(slot) = self.ctx.slots.get(id) else { return true };
        let name = &slot.spec().name;
        let same = |other: &u32| self.ctx.slots.get(*other).is_some_and(|other| other.spec().name == *name);
        let under_way = job.waiting.keys().filter(|id| same(id)).count();
        under_way < job.ids.iter().filter(|id| same(id)).count().div_ceil(2)
    }

    fn act(&mut self, index: usize, id: u32) {
        let job = &self.jobs[index];
        let Step::Act(action, change) = &job.step else { return };
        let (action, change, origin, gentle) = (*action, change.clone(), job.origin.clone(), job.gentle);
        if matches!(action, Action::Restart | Action::Reload) && self.put_on_schedule(index, id, change.as_deref()) {
            return;
        }
        let gentle = gentle || self.ctx.slots.others_serve(id, &self.jobs[index].ids, self.ctx.now.mono_ms);
        let Some(slot) = self.ctx.slots.get(id) else { return };
        let after = slot.instance.inc;
        let (goal, event) = match action {
            Action::Stop if gentle => (Goal::Down, Event::StopGently(origin.clone())),
            Action::Stop => (Goal::Down, Event::Stop(origin.clone())),
            Action::Delete if gentle => (Goal::Gone, Event::Retire(origin.clone())),
            Action::Delete => (Goal::Gone, Event::Delete(origin.clone())),
            Action::Restart | Action::Reload => (Goal::Up { after: newest(&slot.instance.state, after) }, Event::Restart(origin.clone())),
            Action::Reset => {
                self.feed(id, Event::Reset);
                if let Some(slot) = self.ctx.slots.get(id) {
                    let job = &self.jobs[index];
                    let progress = Progress::InstanceDone { id: slot.pm_id, name: slot.spec().name.clone() };
                    self.ctx.reply(job.client, job.request, Response::Progress(progress));
                }
                return;
            }
        };
        if let Some(change) = change {
            self.ctx.change(id, &change);
        }
        if action == Action::Stop
            && let Some(slot) = self.ctx.slots.get_mut(id)
        {
            // No changed file starts what a user stopped.
            slot.watch = WatchMark { stopped: true, changed: false };
        }
        if let Some(slot) = self.ctx.slots.get(id) {
            let pm_id = slot.pm_id;
            self.jobs[index].waiting.insert(id, Waited::new(slot, goal));
            if matches!(action, Action::Stop | Action::Delete) && !gentle {
                let hidden = |other: &&Slot| other.pm_id == pm_id && other.role != Role::Serving;
                let others: Vec<u32> = self.ctx.slots.iter().filter(hidden).map(|slot| slot.id).collect();
                others.into_iter().for_each(|other| self.wait_for_end_of_hidden(index, other, &origin));
            }
        }
        self.feed(id, event);
    }

    fn finish(&mut self, job: Job) {
        // What the caller is told has to be known, too, after both daemon and keeper were killed.
        self.ctx.state_file.hurry();
        let total = job.ids.len() as u32;
        let response = match (job.failed, job.refused.is_empty()) {
            (0, _) => Response::Done { ids: job.shown },
            (_, false) => Response::Failed(Failure::Rollout(job.refused)),
            (failed, true) => Response::Failed(Failure::Some { failed, total }),
        };
        self.ctx.reply(job.client, job.request, response);
        if job.then == Then::Exit {
            self.ctx.ending = Some(Ending::Everything);
        }
    }

    /// A policy wants what a user might: nobody waits for the answer.
    pub(crate) fn act_by_policy(&mut self, action: Action, ids: Vec<u32>, origin: Origin) {
        let mut job = self.action_job(0, 0, action, Vec::new(), origin);
        job.touch(&ids, &self.ctx.slots);
        job.pending.extend(ids);
        self.begin(job);
    }

    /// Waits until these fresh instances are online.
    pub(crate) fn until_up(&self, ids: &[u32]) -> BTreeMap<u32, Waited> {
        let slots = ids.iter().filter_map(|id| self.ctx.slots.get(*id));
        slots.map(|slot| (slot.id, Waited::new(slot, Goal::Up { after: 0 }))).collect()
    }

    /// A job of an action on these targets.
    pub(crate) fn action_job(&self, client: u32, request: u64, action: Action, targets: Vec<String>, origin: Origin) -> Job {
        Job {
            client,
            request,
            step: Step::Act(action, None),
            targets: targets.into(),
            cwd: String::new(),
            parallel: 0,
            pending: VecDeque::new(),
            waiting: BTreeMap::new(),
            ids: Vec::new(),
            shown: Vec::new(),
            rollouts: Vec::new(),
            refused: Vec::new(),
            releases: BTreeMap::new(),
            gentle: false,
            told_in_order: None,
            canary_ms: None,
            confirm: None,
            fresh: Vec::new(),
            ordered: false,
            told: 0,
            failed: 0,
            then: Then::Answer,
            origin,
        }
    }
}

/// A process that was asked for but does not run yet began before the request: the one after it counts.
pub(crate) fn newest(state: &State, inc: u32) -> u32 {
    match state {
        State::Spawning { inc: coming, .. } => inc.max(*coming),
        _ => inc,
    }
}

/// PM2's name of an action.
pub(super) fn action_word(action: Action) -> &'static str {
    match action {
        Action::Stop => "stopProcessId",
        Action::Restart => "restartProcessId",
        Action::Reload => "reloadProcessId",
        Action::Delete => "deleteProcessId",
        Action::Reset => "resetMetaProcessId",
    }
}
