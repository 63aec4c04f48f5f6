//! Advance of a request: the choice of the next instances, the action on them, and the end of the
//! request.

use std::collections::VecDeque;

use ostler_core::lifecycle::goal::Goal;
use ostler_core::lifecycle::{Event, Origin};
use ostler_proto::control::{Action, Failure, Progress, Response};

use super::app_queue::put_in_order;
use super::job::{AfterJob, DetachState, Job, JobStep, WaitedInstance, action_name};
use super::shares::StartLimit;
use crate::engine::{Ctx, FeatureRequest, ShutdownKind};
use crate::state::slots::{Slot, Slots};
use crate::state::store::Role;

/// Returns true for an instance that only its name or id starts, if the target is neither.
fn needs_own_name(slots: &Slots, id: u32, target: &str) -> bool {
    let is_named = |slot: &Slot| slot.spec().name == target || slot.durable.pm_id.to_string() == target;
    slots.get(id).is_some_and(|slot| slot.is_unstarted() && !is_named(slot))
}

impl Job {
    /// Starts the instances that may start, and resolves the next target when one is done. Returns
    /// true when all are done and the client has its answer.
    pub(super) fn advance(&mut self, ctx: &mut Ctx) -> bool {
        if self.detaching != DetachState::Attached {
            self.detach(ctx);
        }
        if self.together {
            self.together = false;
            self.unresolved = self.resolve_all(ctx).err();
        }
        loop {
            self.start_pending(ctx);
            if !self.waiting.is_empty() || !self.pending.is_empty() || !self.rollouts.is_empty() {
                return false;
            }
            if self.then == AfterJob::Exit && self.targets.is_empty() && self.delete_hidden(ctx) {
                return false;
            }
            let target = if self.failed == 0 { self.targets.pop_front() } else { None };
            let Some(target) = target else {
                self.finish(ctx);
                return true;
            };
            if let Err(failure) = self.resolve(ctx, target) {
                self.asker.answer(ctx, Response::Failed(failure));
                return true;
            }
        }
    }

    pub(super) fn resolve(&mut self, ctx: &mut Ctx, target: String) -> Result<(), Failure> {
        let ids = ctx.state.slots.select_in(self.namespace.as_deref(), &target, &self.cwd)?;
        self.touch(&ids, &ctx.state.slots);
        let starts = self.named_only && matches!(self.step, JobStep::Act(Action::Restart | Action::Reload, _));
        let is_left = |id: &&u32| starts && needs_own_name(&ctx.state.slots, **id, &target);
        self.pending.extend(ids.iter().filter(|id| !is_left(id)));
        self.ordered = put_in_order(&ctx.state.slots, &self.step, &mut self.pending);
        if let JobStep::Act(action, _) = self.step {
            self.send_selected(ctx, action, target, &ids);
        }
        Ok(())
    }

    /// Reports the instances that a target, or the name of an app, selects.
    pub(super) fn send_selected(&self, ctx: &mut Ctx, action: Action, target: String, ids: &[u32]) {
        let ids = ctx.state.slots.pm_ids(ids);
        self.asker.send(ctx, Progress::Selected { action: action_name(action).to_owned(), target, ids });
    }

    /// Deletes processes that users do not see when everything is deleted. Returns true if there is
    /// something to wait for.
    fn delete_hidden(&mut self, ctx: &mut Ctx) -> bool {
        let left: Vec<u32> = ctx.state.slots.iter().map(|slot| slot.durable.id).collect();
        for id in &left {
            self.wait_for_end_of_hidden(ctx, *id);
        }
        if ctx.state.commands.has_running() {
            ctx.request(FeatureRequest::CallOffAll);
        }
        !left.is_empty() || !ctx.state.commands.is_empty()
    }

    /// Waits for the hidden process of a reload, which stops together with the visible one.
    fn wait_for_end_of_hidden(&mut self, ctx: &mut Ctx, id: u32) {
        let Some(slot) = ctx.state.slots.get(id) else { return };
        self.waiting.insert(id, WaitedInstance::new(slot, Goal::Gone));
        ctx.event(id, Event::Delete(self.origin.clone()));
    }

    /// Takes instances from `pending`, as many as the rules allow.
    pub(super) fn start_pending(&mut self, ctx: &mut Ctx) {
        if matches!(self.step, JobStep::Act(Action::Reload, _)) {
            return self.begin_reloads(ctx);
        }
        if self.pending.is_empty() {
            return;
        }
        let (begin, later) = self.chosen(&ctx.state.slots);
        self.pending = later;
        let others: Vec<(u32, u32)> = ctx
            .state
            .slots
            .iter()
            .filter(|slot| slot.durable.role != Role::Serving)
            .map(|slot| (slot.durable.pm_id, slot.durable.id))
            .collect();
        begin.iter().for_each(|id| self.act(ctx, *id, &others));
        let is_reset = matches!(self.step, JobStep::Act(Action::Reset, _));
        if !begin.is_empty() && !is_reset && ctx.state.slots.is_any_being_replaced() {
            // This includes instances that come later, so that no rollout touches them until then.
            let ids = begin.iter().chain(&self.pending).copied().collect();
            ctx.request(FeatureRequest::TakenOver { ids });
        }
    }

    /// Returns the instances that are next, and those that have to wait.
    fn chosen(&self, slots: &Slots) -> (Vec<u32>, VecDeque<u32>) {
        let (mut turns, mut shares) = (self.app_queue(slots), StartLimit::of(self, slots));
        let (mut begin, mut later) = (Vec::new(), VecDeque::new());
        for &id in &self.pending {
            let slot = slots.get(id);
            if !shares.has(slot) || slot.is_some_and(|slot| turns.holds(slot)) {
                slot.into_iter().for_each(|slot| turns.held(slot));
                later.push_back(id);
                continue;
            }
            if let Some(slot) = slot {
                turns.begins(slot);
                shares.take(slot);
            }
            begin.push(id);
        }
        (begin, later)
    }

    /// Acts on an instance. `others`: hidden processes, by the number that users know.
    fn act(&mut self, ctx: &mut Ctx, id: u32, others: &[(u32, u32)]) {
        let JobStep::Act(action, change) = &self.step else { return };
        let action = *action;
        if matches!(action, Action::Restart | Action::Reload) && self.put_on_schedule(ctx, id) {
            return;
        }
        if action == Action::Reset {
            return self.reset(ctx, id);
        }
        let gentle = self.gentle || ctx.state.slots.others_serve(id, &self.ids, ctx.now.mono_ms);
        if let Some(change) = change {
            ctx.change(id, change);
        }
        let Some(slot) = ctx.state.slots.get_mut(id) else { return };
        let (goal, event) = asked_of(slot, action, gentle, self.origin.clone());
        let pm_id = slot.durable.pm_id;
        self.waiting.insert(id, WaitedInstance::new(slot, goal));
        if matches!(action, Action::Stop | Action::Delete) && !gentle {
            let same = others.iter().filter(|(of, _)| *of == pm_id);
            same.for_each(|(_, other)| self.wait_for_end_of_hidden(ctx, *other));
        }
        ctx.event(id, event);
    }

    /// Sets counters to zero, which completes at once.
    fn reset(&self, ctx: &mut Ctx, id: u32) {
        ctx.event(id, Event::Reset);
        if let Some(slot) = ctx.state.slots.get(id) {
            let progress = Progress::InstanceDone { id: slot.durable.pm_id, name: slot.spec().name.clone(), late: None };
            self.asker.send(ctx, progress);
        }
    }

    /// Returns the answer for the present state.
    pub(super) fn response(&mut self) -> Response {
        let (failed, total) = (self.failed + self.lost, self.ids.len() as u32 + self.lost);
        let refused = std::mem::take(&mut self.refused);
        match (failed, refused.is_empty()) {
            (0, _) => Response::Done { ids: std::mem::take(&mut self.shown) },
            (_, false) => Response::Failed(Failure::Rollout(refused)),
            (failed, true) => Response::Failed(Failure::Some { failed, total }),
        }
    }

    fn finish(&mut self, ctx: &mut Ctx) {
        // The client's result must survive the death of both daemon and keeper.
        ctx.state.state_file.hurry();
        ctx.state.state_file.write_with_next();
        let response = match self.unresolved.take() {
            Some(failure) => Response::Failed(failure),
            None => self.response(),
        };
        self.asker.answer(ctx, response);
        if self.then == AfterJob::Exit {
            ctx.outbox.shutdown.ending = Some(ShutdownKind::Everything);
        }
    }
}

/// Returns the goal of an action for an instance, and its event.
fn asked_of(slot: &Slot, action: Action, gentle: bool, origin: Origin) -> (Goal, Event) {
    match action {
        Action::Stop if gentle => (Goal::Down, Event::StopGently(origin)),
        Action::Stop => (Goal::Down, Event::Stop(origin)),
        Action::Delete if gentle => (Goal::Gone, Event::Retire(origin)),
        Action::Delete => (Goal::Gone, Event::Delete(origin)),
        Action::Restart | Action::Reload | Action::Reset => (Goal::newer_than(&slot.durable.instance), Event::Restart(origin)),
    }
}
