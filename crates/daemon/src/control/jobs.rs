//! Moving jobs along.

use std::collections::{BTreeMap, VecDeque};

use ostler_core::lifecycle::{Event, ExitCause, Notice, Origin, State};
use ostler_proto::control::{Action, Failure, Progress, Response};

use super::job::{Progressed, Waited};
use super::{Control, Ending, Goal, Job, Step, Then};

impl Control {
    /// Takes a new job. It moves with the next [`Control::advance_jobs`].
    pub(crate) fn begin(&mut self, job: Job) {
        self.jobs.push(job);
    }

    /// An instance made a step: whoever waits for it looks. Nothing is begun here, because the step may itself be part of a job.
    pub(crate) fn look_at_jobs(&mut self, id: u32, notice: Option<&Notice>) {
        for index in 0..self.jobs.len() {
            self.look(index, id, notice);
        }
    }

    /// Begins what may be begun, ends what is done. True when that made work.
    pub(crate) fn advance_jobs(&mut self) -> bool {
        for id in std::mem::take(&mut self.unstartable) {
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
        !self.work.is_empty()
    }

    fn look(&mut self, index: usize, id: u32, notice: Option<&Notice>) {
        let job = &mut self.jobs[index];
        let Some(Waited { pm_id, name, goal }) = job.waiting.get(&id).cloned() else { return };
        let progress = match goal.look(self.registry.get(id), notice) {
            Progressed::Waiting => return,
            Progressed::Reached => Progress::InstanceDone { id: pm_id, name },
            Progressed::Failed(reason) => {
                job.failed += 1;
                // A program that cannot be executed changes nothing: its entry goes again.
                let last = self.registry.get(id).and_then(|slot| slot.instance.exits.last());
                if job.fresh.contains(&id) && last.is_some_and(|exit| matches!(exit.cause, ExitCause::CouldNotStart { .. })) {
                    self.unstartable.push(id);
                }
                Progress::InstanceFailed { id: pm_id, name, reason }
            }
        };
        job.waiting.remove(&id);
        let (client, request) = (job.client, job.request);
        self.clients.answer(client, request, Response::Progress(progress));
    }

    /// Starts what may be started, resolves the next target when one is done, ends the job when all are.
    fn advance(&mut self, index: usize) {
        loop {
            self.take_turns(index);
            let job = &mut self.jobs[index];
            if !job.waiting.is_empty() || !job.pending.is_empty() {
                return;
            }
            let target = if job.failed == 0 { job.targets.pop_front() } else { None };
            let Some(target) = target else {
                let job = self.jobs.remove(index);
                self.finish(job);
                return;
            };
            if let Err(failure) = self.resolve(index, target) {
                let job = self.jobs.remove(index);
                self.clients.answer(job.client, job.request, Response::Failed(failure));
                return;
            }
        }
    }

    fn resolve(&mut self, index: usize, target: String) -> Result<(), Failure> {
        let ids = self.select(&target, &self.jobs[index].cwd)?;
        let job = &mut self.jobs[index];
        job.touch(&ids, &self.registry);
        job.pending.extend(&ids);
        let ids = self.registry.pm_ids(&ids);
        let Step::Act(action, _) = &job.step else { return Ok(()) };
        let action = action_word(*action).to_owned();
        let progress = Progress::Selected { action, target, ids };
        let (client, request) = (job.client, job.request);
        self.clients.answer(client, request, Response::Progress(progress));
        Ok(())
    }

    /// Takes instances from `pending` as long as the rules allow.
    fn take_turns(&mut self, index: usize) {
        let mut later = VecDeque::new();
        while let Some(id) = self.jobs[index].pending.pop_front() {
            if self.may_begin(index, id) {
                self.act(index, id);
            } else {
                later.push_back(id);
            }
        }
        self.jobs[index].pending = later;
    }

    /// How many at the same time: what `--parallel` says; else a reload takes one instance of an app after the other, a restart
    /// half of an app's instances (so that the other half still serves), everything else all at once.
    fn may_begin(&self, index: usize, id: u32) -> bool {
        let job = &self.jobs[index];
        if job.parallel > 0 {
            return job.waiting.len() < job.parallel;
        }
        let Step::Act(action @ (Action::Restart | Action::Reload), _) = job.step else { return true };
        let Some(slot) = self.registry.get(id) else { return true };
        let name = &slot.spec().name;
        let same = |other: &u32| self.registry.get(*other).is_some_and(|other| other.spec().name == *name);
        let under_way = job.waiting.keys().filter(|id| same(id)).count();
        let limit = if action == Action::Reload { 1 } else { job.ids.iter().filter(|id| same(id)).count().div_ceil(2) };
        under_way < limit
    }

    fn act(&mut self, index: usize, id: u32) {
        let job = &self.jobs[index];
        let Step::Act(action, change) = &job.step else { return };
        let (action, change, origin) = (*action, change.clone(), job.origin.clone());
        let Some(slot) = self.registry.get(id) else { return };
        let after = slot.instance.inc;
        let (goal, event) = match action {
            Action::Stop => (Goal::Down, Event::Stop(origin)),
            Action::Delete => (Goal::Gone, Event::Delete(origin)),
            Action::Restart | Action::Reload => (Goal::Up { after: newest(&slot.instance.state, after) }, Event::Restart(origin)),
            Action::Reset => {
                self.feed(id, Event::Reset);
                if let Some(slot) = self.registry.get(id) {
                    let job = &self.jobs[index];
                    let progress = Progress::InstanceDone { id: slot.pm_id, name: slot.spec().name.clone() };
                    self.clients.answer(job.client, job.request, Response::Progress(progress));
                }
                return;
            }
        };
        if let Some(change) = change {
            self.change(id, &change);
        }
        if let Some(slot) = self.registry.get(id) {
            self.jobs[index].waiting.insert(id, Waited::new(slot, goal));
        }
        self.feed(id, event);
    }

    fn finish(&mut self, job: Job) {
        // What the caller is told has to be known, too, after both daemon and keeper were killed.
        self.state_file.hurry();
        let total = job.ids.len() as u32;
        let response =
            if job.failed > 0 { Response::Failed(Failure::Some { failed: job.failed, total }) } else { Response::Done { ids: job.shown } };
        self.clients.answer(job.client, job.request, response);
        if job.then == Then::Exit {
            self.ending = Some(Ending::Everything);
        }
    }

    /// Waits until these fresh instances are online.
    pub(crate) fn until_up(&self, ids: &[u32]) -> BTreeMap<u32, Waited> {
        let slots = ids.iter().filter_map(|id| self.registry.get(*id));
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
            fresh: Vec::new(),
            failed: 0,
            then: Then::Answer,
            origin,
        }
    }
}

/// A process that was asked for but does not run yet began before the request: the one after it counts.
fn newest(state: &State, inc: u32) -> u32 {
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
