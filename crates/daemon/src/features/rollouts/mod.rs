//! Rollouts in progress, by app, and the past releases of each app.
//!
//! # Theory of operation
//!
//! A rollout adds a slot with role `Candidate` beside the slot that serves. Both are ordinary
//! instances for keeper, journal and state machine. When the candidate has proved itself, the roles
//! change in one step (and one journal write). It serves under the same `pm_id`; the old one is
//! `Retiring` and finishes its requests. So at every instant exactly one slot of a `pm_id` serves,
//! even if a process is killed.
//!
//! `ostler_core::rollout` decides. This module never blocks. Whenever all events were handled, it
//! checks the slots ([`advance`]) and passes its observations to the rollout as events. A new
//! daemon does the same with the contents of the journal, and so continues where the old one was
//! killed.

mod advance;
mod begin;
mod effects;
mod history;
mod report;
mod running;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use ostler_core::lifecycle::{Event, LateAction, Origin, PolicyName, Transition};
use ostler_core::rollout::RolloutEvent;
use ostler_proto::control::{self as proto, Response};

use self::begin::RolloutParams;
use self::history::Release;
use self::running::{ProcessDescription, Replica, Running};
use crate::engine::{ClientRequest, Ctx, FeatureAnswer, FeatureRequest, Key};
use crate::state::store::{Record, Role, Snapshot};

/// Rollouts in progress, and past releases.
#[derive(Debug, Default)]
pub(crate) struct Rollouts {
    running: Vec<Running>,
    /// Last releases of each app, the oldest first.
    releases: BTreeMap<String, Vec<Release>>,
    last: u32,
}

impl Rollouts {
    pub(crate) fn restore(&mut self, snapshot: &mut Snapshot) {
        let (rollouts, releases) = (std::mem::take(&mut snapshot.rollouts), std::mem::take(&mut snapshot.releases));
        self.last = rollouts.keys().copied().max().unwrap_or(0);
        self.running = rollouts.into_values().filter_map(|record| Running::restore(record, snapshot)).collect();
        for (app, list) in releases {
            let list = list.into_iter().filter_map(|record| Release::restore(record, snapshot)).collect();
            self.releases.insert(app, list);
        }
    }

    pub(crate) fn on_boot(&mut self, ctx: &mut Ctx) {
        for running in &self.running {
            ctx.state.slots.begin_replacing(&running.app);
            running.set_timer(ctx);
        }
        self.remove_lost_candidates(ctx);
        self.forget_orphan_releases(ctx);
    }

    /// Handles a deadline: the time of the canary or the longest wait for a process is over.
    pub(crate) fn on_timer(&mut self, ctx: &mut Ctx, key: u64) {
        let Some(running) = self.running.iter_mut().find(|running| u64::from(running.number) == key) else { return };
        let now_ms = ctx.now.mono_ms;
        // The check itself comes when no other work of this turn is left.
        running.check_ms = running.check_ms.filter(|at| *at > now_ms);
        let number = running.number;
        if running.rollout.deadline_ms().is_some_and(|at| at <= now_ms) {
            self.take(ctx, number, RolloutEvent::Tick);
        }
        self.set_timer(ctx, number);
    }

    pub(crate) fn on_transition(&mut self, ctx: &mut Ctx, id: u32, transition: &Transition) {
        match transition {
            Transition::ReadyTimeout(LateAction::KeepsRunning) => self.on_late(ctx, id),
            Transition::Deleted => self.forget_releases(ctx, id),
            _ => {}
        }
    }

    pub(crate) fn on_idle(&mut self, ctx: &mut Ctx) {
        let numbers: Vec<u32> = self.running.iter().map(|running| running.number).collect();
        numbers.into_iter().for_each(|number| self.advance(ctx, number));
    }

    pub(crate) fn on_request(&mut self, ctx: &mut Ctx, request: FeatureRequest) -> Option<FeatureRequest> {
        match request {
            FeatureRequest::Rollout(wanted) => self.begin_for_user(ctx, *wanted),
            FeatureRequest::Replace { app, ids, canary_ms, origin, what } => {
                let wanted = RolloutParams { app, parallel: 0, canary_ms, watches: false, origin, ticket: None };
                self.begin_by_policy(ctx, wanted, &ids, what);
            }
            FeatureRequest::TakenOver { ids } => self.on_taken_over(ctx, &ids),
            other => return Some(other),
        }
        None
    }

    pub(crate) fn on_client_request(&mut self, ctx: &mut Ctx, ask: ClientRequest) -> Option<ClientRequest> {
        let ClientRequest { client, id, caller, request } = ask;
        match request {
            proto::Request::Rollouts { app } => {
                let key = app.as_deref().map(|word| ctx.state.slots.key_of(word).ok().flatten().unwrap_or(word).to_owned());
                ctx.reply(client, id, Response::Rollouts(self.reports(key.as_deref())));
            }
            proto::Request::Undo { app, to, command } => match self.release_for_user(ctx, &app, to) {
                Ok((app, release)) => {
                    let (release, origin) = (Box::new(release), caller.origin(command));
                    ctx.request(FeatureRequest::ReloadTo { client, id, app, release, origin });
                }
                Err(failure) => ctx.reply(client, id, Response::Failed(failure)),
            },
            request => return Some(ClientRequest { client, id, caller, request }),
        }
        None
    }

    pub(crate) fn on_answer(&mut self, ctx: &mut Ctx, answer: &FeatureAnswer) {
        match answer {
            FeatureAnswer::LastLines { id, lines } => self.on_last_lines(ctx, *id, lines),
            FeatureAnswer::Cut { id, requests, warning } => self.on_cut(ctx, *id, *requests, warning),
            _ => {}
        }
    }

    /// Records in the order in which they must be read.
    pub(crate) fn records(&self) -> Vec<Record<'_>> {
        let replicas = self.running.iter().flat_map(|running| &running.replicas).flat_map(|replica| [&replica.old, &replica.new]);
        let parts = replicas.chain(self.releases.values().flatten().map(|release| &release.parts));
        let running = self.running.iter().map(Running::record);
        let releases = self.releases.iter().map(|(app, list)| history::record(app, list));
        parts.flat_map(ProcessDescription::records).chain(running).chain(releases).collect()
    }
}

impl Rollouts {
    pub(crate) const NAME: &str = "rollouts";

    /// Returns the index of a rollout. Rollouts are in the order in which they began.
    fn index(&self, number: u32) -> Option<usize> {
        self.running.binary_search_by_key(&number, |running| running.number).ok()
    }

    fn get(&self, number: u32) -> Option<&Running> {
        self.running.get(self.index(number)?)
    }

    fn get_mut(&mut self, number: u32) -> Option<&mut Running> {
        let index = self.index(number)?;
        self.running.get_mut(index)
    }

    fn set_timer(&self, ctx: &mut Ctx, number: u32) {
        match self.get(number) {
            Some(running) => running.set_timer(ctx),
            None => ctx.outbox.timers.set(key(number), None),
        }
    }

    /// Removes candidates that belong to no rollout after a restart of the daemon.
    fn remove_lost_candidates(&self, ctx: &mut Ctx) {
        let known = |id: u32| self.running.iter().flat_map(|running| &running.replicas).any(|replica| replica.candidate == Some(id));
        let lost: Vec<u32> = ctx
            .state
            .slots
            .iter()
            .filter(|slot| slot.durable.role == Role::Candidate && !known(slot.durable.id))
            .map(|slot| slot.durable.id)
            .collect();
        lost.into_iter().for_each(|id| ctx.event(id, Event::Retire(Origin::policy(PolicyName::Reload))));
    }
}

/// Returns the key of a rollout's deadline.
fn key(number: u32) -> Key {
    (Rollouts::NAME, u64::from(number))
}
