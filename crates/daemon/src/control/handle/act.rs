//! `stop`, `restart`, `reload`, `delete`, `reset`, `scale`, `sendSignal`.

use std::collections::BTreeMap;
use std::rc::Rc;

use ostler_core::instances::{Leaving, leaving};
use ostler_core::lifecycle::{Event, Origin};
use ostler_proto::control::{Action, Failure, Progress, Response, ScaleTo};

use crate::control::{Control, Step};
use crate::engine::Request;

impl Control {
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
        jobs.into_iter().for_each(|id| self.ctx.request(Request::Schedule { id, saved: None }));
        job.waiting = self.until_up(&up);
        let job_ids = job.shown.clone();
        self.jobs.push(job);
        self.ctx.reply(client, id, Response::Progress(Progress::Launched { name: app.spec.name.clone(), ids: job_ids }));
        for id in up {
            self.feed(id, Event::Start(origin.clone()));
        }
    }

    pub(super) fn send_signal(&mut self, client: u32, id: u64, signal: i32, target: &str) -> Response {
        let ids = match self.ctx.slots.select(target, "") {
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
