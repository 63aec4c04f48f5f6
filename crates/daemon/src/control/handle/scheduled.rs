//! Jobs, which run at their times: what a start means for them, and a run by hand.

use ostler_core::cron::{OnTick, RunOn};
use ostler_core::lifecycle::{Event, Origin};
use ostler_proto::control::{Action, Change, Failure, Progress, Response};

use crate::control::job::Waited;
use crate::control::jobs::newest;
use crate::control::{Control, Goal, Job, Step};
use crate::engine::{Request, new_spec};

impl Control {
    /// A start, restart or reload puts a job on its schedule, with its new description. It does not run it: who deploys at noon does not
    /// want the nightly backup, and what runs goes on. False for everything that is no job.
    pub(crate) fn put_on_schedule(&mut self, index: usize, id: u32, change: Option<&Change>) -> bool {
        let Some(slot) = self.ctx.slots.get(id) else { return false };
        let (name, pm_id, was_job) = (slot.spec().name.clone(), slot.pm_id, slot.spec().is_job());
        let release = self.jobs[index].releases.get(&name).cloned();
        let by_change = || new_spec(slot, change?);
        let next = release.as_ref().map(|release| &release.spec).or_else(by_change);
        if !next.map_or(was_job, ostler_core::app::AppSpec::is_job) {
            return false;
        }
        if let Some(release) = release {
            let vars = self.ctx.slots.get(id).and_then(|slot| release.env.instead_of(&slot.base.vars));
            if let Some(vars) = vars {
                self.ctx.rebase(id, vars);
            }
            self.ctx.redescribe(id, release.spec);
        } else if let Some(change) = change {
            self.ctx.change(id, change);
        }
        self.ctx.request(Request::Schedule { id, saved: None });
        let job = &self.jobs[index];
        self.ctx.reply(job.client, job.request, Response::Progress(Progress::InstanceDone { id: pm_id, name }));
        true
    }

    /// Runs jobs now, by the rules of a tick.
    pub(super) fn run_job(&mut self, client: u32, id: u64, target: &str, origin: &Origin) {
        let runs = match self.runs_of(target) {
            Ok(runs) => runs,
            Err(failure) => return self.ctx.reply(client, id, Response::Failed(failure)),
        };
        let mut job = self.action_job(client, id, Action::Restart, Vec::new(), origin.clone());
        let ids: Vec<u32> = runs.iter().map(|(id, _)| *id).collect();
        job.touch(&ids, &self.ctx.slots);
        for (id, on_tick) in &runs {
            if let (OnTick::Start | OnTick::Restart, Some(slot)) = (on_tick, self.ctx.slots.get(*id)) {
                let goal = Goal::Up { after: newest(&slot.instance.state, slot.instance.inc) };
                job.waiting.insert(*id, Waited::new(slot, goal));
            }
        }
        self.begin(Job { step: Step::Start, ..job });
        for (id, on_tick) in runs {
            match on_tick {
                OnTick::Start => self.feed(id, Event::Start(origin.clone())),
                OnTick::Restart => self.feed(id, Event::Restart(origin.clone())),
                OnTick::Queue => self.ctx.slots.queue_run(id),
                OnTick::Skip => {}
            }
        }
    }

    /// What is to be done to which slots; all of them jobs that may run now.
    fn runs_of(&self, target: &str) -> Result<Vec<(u32, OnTick)>, Failure> {
        let mut runs = Vec::new();
        for id in self.ctx.slots.select(target, "")? {
            let Some(slot) = self.ctx.slots.get(id) else { continue };
            let name = &slot.spec().name;
            let Some(cron) = slot.spec().cron.as_ref().filter(|cron| cron.job.is_some()) else {
                return Err(Failure::Other(format!("{name} is not a job: it has no `job` in its description")));
            };
            if cron.run_on == RunOn::One && self.ctx.slots.named(name).first() != Some(&id) {
                continue;
            }
            match cron.on_tick(&slot.instance) {
                OnTick::Skip => return Err(Failure::Other(format!("{name} runs already, and `overlap` is \"skip\""))),
                on_tick => runs.push((id, on_tick)),
            }
        }
        Ok(runs)
    }
}
