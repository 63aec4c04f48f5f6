//! Requests that take time: `start`, `stop`, `restart`, `reload`, `delete`, `scale`, and the same
//! actions by policies.
//!
//! # Theory of operation
//!
//! A request is a [`Job`]. It has instances that come later, and instances that it waits for until
//! they reach its goal ([`ostler_core::lifecycle::goal`]). It never blocks. It checks an instance
//! after each of its steps ([`check`]). When no other work of the turn is left, it takes more
//! of its instances ([`advance`]), in their order ([`app_queue`]). Its action on an instance is an
//! event in the queue, so that is journaled before its effects. The progress of a reload comes as
//! an answer.
//!
//! One request advances at a time. Its actions are handled before the next request advances, so
//! each sees the results of the former. The journal has no requests: a waiting client is lost with
//! the daemon, and the actions on the instances are in their records.

mod advance;
mod app_queue;
mod check;
mod confirm;
mod detached;
mod failure_text;
mod job;
mod release;
mod reload;
mod resurrect;
mod scale;
mod scheduled;
mod shares;
mod start;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use ostler_core::app::instances::Leaving;
use ostler_core::lifecycle::{Event, Origin, PolicyName, Transition};
use ostler_core::logs::files::Naming;
use ostler_proto::control::{self as proto, Action, Failure, Progress, Response};
use ostler_proto::node::Message;
use ostler_proto::node::preload::FromPreload;

use self::job::{AfterJob, Job, JobStep, Requester, WaitedInstance};
use self::start::{Scope, StartRequest};
use crate::engine::{ClientRequest, Ctx, FeatureAnswer, FeatureRequest, InstanceStep};
use crate::state::slots::saved;

/// Requests in progress, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    all: Vec<Job>,
    /// Starts of apps that are being deleted, the oldest first. Each begins when the deletion is
    /// done.
    delayed: Vec<(Requester, StartRequest)>,
    /// Instances that requests added and whose program cannot be executed.
    unstartable: Vec<u32>,
    last: u64,
}

impl Jobs {
    pub(crate) fn on_client_request(&mut self, ctx: &mut Ctx, ask: ClientRequest) -> Option<ClientRequest> {
        let ClientRequest { client, id, caller, request } = ask;
        let asker = Requester { client, request: id };
        let starts = matches!(
            request,
            proto::Request::Start { .. }
                | proto::Request::Act { .. }
                | proto::Request::RunJob { .. }
                | proto::Request::Scale { .. }
                | proto::Request::Resurrect
                | proto::Request::Restore { .. }
        );
        if starts && let Err(failure) = ctx.may_start() {
            asker.answer(ctx, Response::Failed(failure));
            return None;
        }
        let job = match request {
            proto::Request::Start { apps, base_env, existing, command, confirm, named_only, as_pm2 } => {
                let (scope, naming) = if as_pm2 { (Scope::AllNamespaces, Naming::Pm2) } else { (Scope::OwnNamespace, Naming::Own) };
                let origin = caller.origin(command);
                let start = StartRequest { apps, base_env, existing, confirm, named_only, scope, naming, origin };
                if start.has_to_wait(&ctx.state.slots) {
                    self.delayed.push((asker, start));
                    self.count(ctx);
                    return None;
                }
                start::start(ctx, asker, start)
            }
            proto::Request::Act {
                action,
                targets,
                cwd,
                change,
                parallel,
                gentle,
                canary_ms,
                command,
                named_only,
                confirm,
                namespace,
                together,
            } => {
                let (targets, parallel) = (targets.into(), parallel as usize);
                let together = together && matches!(action, Action::Stop | Action::Delete);
                let job = Job::new(asker, JobStep::Act(action, change), caller.origin(command));
                let job = Job { targets, cwd, parallel, gentle, canary_ms, named_only, namespace, together, ..job };
                Ok(job.until(confirm, ctx.now.mono_ms))
            }
            proto::Request::RunJob { target, command } => scheduled::run(ctx, asker, &target, caller.origin(command)),
            proto::Request::Scale { name, cwd, to, oldest_first, confirm } => {
                let first = if oldest_first { Leaving::Oldest } else { Leaving::Newest };
                let job = scale::by_user(ctx, asker, (&name, &cwd), (to, first), caller.origin("scale"));
                job.map(|job| job.until(confirm, ctx.now.mono_ms))
            }
            proto::Request::Resurrect => resurrect::resurrect(ctx, asker),
            proto::Request::Restore { entries, sockets_of } => resurrect::restore(ctx, asker, entries, sockets_of),
            proto::Request::Signal { signal, target } => {
                let response = scale::send_signal(ctx, asker, signal, &target);
                asker.answer(ctx, response);
                return None;
            }
            proto::Request::Kill => {
                ctx.request(FeatureRequest::SaveList);
                ctx.request(FeatureRequest::End { client, id, origin: caller.origin("kill"), saves_list: false });
                return None;
            }
            request => return Some(ClientRequest { client, id, caller, request }),
        };
        self.begin_or_refuse(ctx, asker, job);
        None
    }

    pub(crate) fn on_request(&mut self, ctx: &mut Ctx, request: FeatureRequest) -> Option<FeatureRequest> {
        let job = match request {
            FeatureRequest::Act { action, ids, origin } => Some(Job::of(Requester::NOBODY, action, ids, &ctx.state.slots, origin)),
            FeatureRequest::Scale { ids, to, origin } => scale::scale(ctx, Requester::NOBODY, &ids, (to, Leaving::Newest), origin),
            FeatureRequest::ReloadTo { client, id, app, release, origin } => {
                Some(reload::to_release(ctx, Requester { client, request: id }, app, *release, origin))
            }
            FeatureRequest::End { client, id, origin, saves_list } => end(ctx, Requester { client, request: id }, origin, saves_list),
            other => return Some(other),
        };
        job.into_iter().for_each(|job| self.begin(ctx, job));
        None
    }

    pub(crate) fn on_answer(&mut self, ctx: &mut Ctx, answer: &FeatureAnswer) {
        match answer {
            FeatureAnswer::Rollout { ticket, news } => {
                if let Some(job) = self.all.iter_mut().find(|job| job.rollouts.contains(ticket)) {
                    job.on_rollout_news(ctx, *ticket, news);
                }
            }
            // A request may wait until nothing of the slot is left.
            FeatureAnswer::CommandEnded(end) => end.slot.into_iter().for_each(|id| self.check_jobs(ctx, id, None)),
            // The last lines of an exit are complete.
            FeatureAnswer::LastLines { id, .. } => self.check_jobs(ctx, *id, None),
            FeatureAnswer::Cut { id, warning, .. } => {
                for job in self.all.iter().filter(|job| job.waiting.contains_key(id)) {
                    job.asker.send(ctx, Progress::Warning(warning.clone()));
                }
            }
            _ => {}
        }
    }

    pub(crate) fn on_step(&mut self, ctx: &mut Ctx, step: &InstanceStep<'_>) {
        self.check_jobs(ctx, step.id, None);
    }

    pub(crate) fn on_transition(&mut self, ctx: &mut Ctx, id: u32, transition: &Transition) {
        self.check_jobs(ctx, id, Some(transition));
    }

    pub(crate) fn on_forgotten(&mut self, ctx: &mut Ctx, id: u32) {
        self.check_jobs(ctx, id, None);
    }

    /// Handles the report of our preload that the script was run.
    pub(crate) fn on_message(&mut self, ctx: &mut Ctx, id: u32, _inc: u32, message: &Message) {
        let Message::Internal(message) = message else { return };
        let Some(slot) = ctx.state.slots.get_mut(id).filter(|slot| slot.durable.preloaded) else { return };
        if FromPreload::of(message) == Some(FromPreload::Runs) {
            slot.live.script_runs = true;
            self.check_jobs(ctx, id, None);
        }
    }

    /// Completes the waits for confirmations that are due: processes that are online by now count
    /// as running.
    pub(crate) fn on_timer(&mut self, ctx: &mut Ctx, key: u64) {
        let Some(job) = self.all.iter().find(|job| job.number == key) else { return };
        let is_due = |waited: &WaitedInstance| waited.up_until_ms.is_some_and(|at_ms| at_ms <= ctx.now.mono_ms);
        let up: Vec<u32> = job.waiting.iter().filter(|(_, waited)| is_due(waited)).map(|(id, _)| *id).collect();
        up.into_iter().for_each(|id| self.check_jobs(ctx, id, None));
    }

    pub(crate) fn on_idle(&mut self, ctx: &mut Ctx) {
        for id in std::mem::take(&mut self.unstartable) {
            ctx.answer(FeatureAnswer::Unstartable);
            ctx.event(id, Event::Delete(Origin::policy(PolicyName::Start)));
        }
        self.advance(ctx);
        self.begin_delayed_starts(ctx);
        ctx.state.pending_starts =
            if ctx.state.waiting.is_empty() { BTreeSet::new() } else { self.all.iter().flat_map(Job::later_starts).collect() };
    }
}

impl Jobs {
    pub(crate) const NAME: &str = "jobs";

    fn begin_or_refuse(&mut self, ctx: &mut Ctx, asker: Requester, job: Result<Job, Failure>) {
        match job {
            Ok(job) => self.begin(ctx, job),
            Err(failure) => asker.answer(ctx, Response::Failed(failure)),
        }
    }

    /// Begins the starts that no longer have to wait.
    fn begin_delayed_starts(&mut self, ctx: &mut Ctx) {
        while ctx.is_idle()
            && let Some(at) = self.delayed.iter().position(|(_, start)| !start.has_to_wait(&ctx.state.slots))
        {
            let (asker, start) = self.delayed.remove(at);
            let job = ctx.may_start().and_then(|()| start::start(ctx, asker, start));
            self.begin_or_refuse(ctx, asker, job);
            self.count(ctx);
            self.advance(ctx);
        }
    }

    fn count(&self, ctx: &mut Ctx) {
        ctx.state.open_requests = self.all.len() + self.delayed.len();
    }

    /// Adds a new request. It advances when no other work of the turn is left.
    fn begin(&mut self, ctx: &mut Ctx, mut job: Job) {
        ctx.outbox.shutdown.is_closing |= job.then == AfterJob::Exit;
        self.last += 1;
        job.number = self.last;
        self.all.push(job);
        self.count(ctx);
    }

    /// Lets the requests that wait for an instance check it after a step or a report. Nothing is
    /// started here.
    fn check_jobs(&mut self, ctx: &mut Ctx, id: u32, transition: Option<&Transition>) {
        for job in &mut self.all {
            if job.check(ctx, id, transition) {
                self.unstartable.push(id);
            }
        }
    }

    /// Starts the instances that may start, and completes finished requests, while the queue is
    /// empty.
    fn advance(&mut self, ctx: &mut Ctx) {
        let mut index = 0;
        while ctx.is_idle()
            && let Some(job) = self.all.get_mut(index)
        {
            if job.advance(ctx) {
                ctx.outbox.timers.set((Self::NAME, job.number), None);
                self.all.remove(index);
                self.count(ctx);
            } else {
                index += 1;
            }
        }
    }
}

/// Stops everything. Returns `None` if the shutdown is in progress and no client requests it.
fn end(ctx: &mut Ctx, asker: Requester, origin: Origin, saves_list: bool) -> Option<Job> {
    if ctx.outbox.shutdown.is_closing && asker.client == Requester::NOBODY.client {
        return None;
    }
    if saves_list
        && !ctx.state.slots.nothing_to_save()
        && let Err(error) =
            saved::write(&ctx.state.slots, &ctx.io.settings, &ctx.io.settings.paths.dump, Some(&ctx.io.settings.paths.dump_backup))
    {
        ctx.io.log.error(format_args!("{error}"));
    }
    let mut job = Job::new(asker, JobStep::Act(Action::Delete, None), origin);
    // Modules are stopped together with the hidden processes.
    if !ctx.state.slots.nothing_to_save() {
        job.targets.push_back("all".to_owned());
    }
    job.then = AfterJob::Exit;
    Some(job)
}
