//! Implements the protocol of `lifecycle`'s documentation in small operations, so that the daemon
//! can die between any two.

use std::collections::VecDeque;

use super::rng::Rng;
use super::world::{Child, ForgottenExit, HookRun, KeeperOrder, KeeperReport, World};
use crate::app::hooks::Hook;
use crate::lifecycle::command::CommandOutcome as HookOutcome;
use crate::lifecycle::{Effect, Event, ExitReport, Instance, InstanceState, Policy, Recovered, SpawnFailure};
use crate::time::Now;

/// Cause of a journal write.
#[derive(Clone, Debug)]
pub(super) enum WriteCause {
    /// A command.
    Command(Event),
    /// Any other event.
    Event,
}

/// One step of an instance that has to be journaled.
#[derive(Debug)]
pub(super) struct JournaledStep {
    pub(super) slot: usize,
    pub(super) cause: WriteCause,
    /// The instance after the step, if another step of it follows in the same write.
    pub(super) after: Option<Instance>,
    /// Hooks that the step requests, and hooks that it cancels.
    pub(super) hooks: Vec<(u32, Hook)>,
    pub(super) cancels: Vec<(u32, Hook)>,
    /// Hook whose end caused the step.
    pub(super) ended_hook: Option<(u32, Hook)>,
}

/// One indivisible operation of the daemon.
#[derive(Debug)]
enum Op {
    Journal(Vec<JournaledStep>),
    Ack(usize, u32),
    /// Remove the handover that an app announced from its channel.
    TakeHandover(usize, u32),
    Perform(usize, Effect),
}

/// Result of one operation, for observers.
#[derive(Debug)]
pub(super) enum Outcome {
    /// No operation was left.
    Idle,
    /// Internal operation of the daemon.
    Internal,
    /// All of these steps have to be journaled in one write.
    Write(Vec<JournaledStep>),
}

/// Memory of the daemon. All of it is lost when the daemon dies.
#[derive(Debug)]
pub(super) struct Daemon {
    pub(super) instances: Vec<Option<Instance>>,
    ops: VecDeque<Op>,
    /// Steps that share the next journal write, and the acks and effects that follow it.
    batch: Vec<JournaledStep>,
    acks: Vec<(usize, u32)>,
    effects: Vec<(usize, Effect)>,
    /// Findings that a fresh daemon has not handled yet, and the exited children that only need an
    /// ack.
    findings: VecDeque<(usize, Recovered, Vec<u32>)>,
    /// Sweeps that have not been answered.
    sweeps: Vec<(usize, u32)>,
    /// Processes that got a drain request and have not answered yet.
    drains: Vec<(usize, u32)>,
    /// Processes whose handover was read but is still in their channel, because it is not journaled
    /// yet.
    in_channel: Vec<(usize, u32)>,
    /// Hooks whose end was seen but is not journaled yet.
    ended_hooks: Vec<(usize, u32, Hook)>,
    /// Whether the keeper is lost; the daemon starts a new one after the current work.
    keeper_lost: bool,
}

impl Daemon {
    /// Boots a fresh daemon from the journal.
    pub(super) fn boot(journal: &[Option<Instance>], world: &mut World, rng: &mut Rng, forgotten: &mut Vec<ForgottenExit>) -> Self {
        let mut daemon = Self {
            instances: journal.to_vec(),
            ops: VecDeque::new(),
            batch: Vec::new(),
            acks: Vec::new(),
            effects: Vec::new(),
            findings: VecDeque::new(),
            sweeps: Vec::new(),
            drains: Vec::new(),
            in_channel: Vec::new(),
            ended_hooks: Vec::new(),
            keeper_lost: false,
        };
        // The keeper reads the old link to its end before it sends its inventory.
        while !world.keeper_is_idle() {
            forgotten.extend(world.keeper_turn(rng));
        }
        if world.keeper_is_new {
            world.channels_are_lost();
        }
        daemon.take_inventory(world);
        daemon
    }

    fn take_inventory(&mut self, world: &mut World) {
        self.findings.clear();
        // Exits in the inventory are not reported again.
        world.reports.clear();
        if std::mem::take(&mut world.keeper_is_new) {
            for (slot, instance) in self.instances.iter().enumerate() {
                let Some(instance) = instance.as_ref() else { continue };
                if instance.pid().is_some() || matches!(instance.state, InstanceState::Spawning { .. }) {
                    world.adopt(slot, instance.inc, instance.pid());
                }
            }
        }
        for (slot, children) in world.children.iter().enumerate() {
            let held: Vec<_> = children.iter().filter(|child| child.held).collect();
            let newest = held.iter().max_by_key(|child| child.inc);
            let found = match newest.map(|child| (child.inc, child.watched, child.watched_ending())) {
                Some((inc, pid, None)) => Recovered::Alive { inc, pid },
                Some((inc, pid, Some((ending, oom)))) => Recovered::Ended { inc, pid, exit: ExitReport { ending, oom } },
                None => Recovered::Nothing,
            };
            let newest = newest.map(|child| child.inc);
            let is_older = |child: &&&Child| Some(child.inc) != newest && !child.is_alive(child.watched);
            let older = held.iter().filter(is_older).map(|child| child.inc).collect();
            self.findings.push_back((slot, found, older));
        }
    }

    pub(super) fn keeper_dies(&mut self) {
        self.keeper_lost = true;
    }

    /// Returns true if commands are accepted: the state is restored, and no operation is half done.
    pub(super) fn is_open(&self) -> bool {
        self.ops.is_empty() && self.findings.is_empty() && !self.keeper_lost
    }

    /// Performs the next operation.
    pub(super) fn turn(&mut self, policies: &[Policy], world: &mut World, rng: &mut Rng) -> Outcome {
        if let Some(op) = self.ops.pop_front() {
            return self.perform(op, world);
        }
        if !self.batch.is_empty() && (self.keeper_lost || !self.in_channel.is_empty() || rng.percent(70)) {
            self.close_batch();
            return Outcome::Internal;
        }
        let ended = match self.findings.front() {
            Some((slot, Recovered::Ended { .. }, _)) if !self.keeper_lost => Some(*slot),
            _ => None,
        };
        if (self.keeper_lost || ended.is_some())
            && let Some((slot, event)) = self.next_handover(world, ended)
        {
            self.dispatch(slot, policies, event, WriteCause::Event, None, world.now);
            return Outcome::Internal;
        }
        if std::mem::take(&mut self.keeper_lost) {
            self.take_inventory(world);
            world.some_exit_during_adoption(rng);
            while self.take_finding(policies, world.now) {}
            return Outcome::Internal;
        }
        if self.take_finding(policies, world.now) {
            return Outcome::Internal;
        }
        if let Some((slot, event, ended)) = self.next_event(world, rng) {
            self.dispatch(slot, policies, event, WriteCause::Event, ended, world.now);
            return Outcome::Internal;
        }
        if self.batch.is_empty() && self.acks.is_empty() {
            return Outcome::Idle;
        }
        self.close_batch();
        Outcome::Internal
    }

    fn take_finding(&mut self, policies: &[Policy], now: u64) -> bool {
        let Some((slot, found, older)) = self.findings.pop_front() else { return false };
        self.acks.extend(older.into_iter().map(|inc| (slot, inc)));
        let ended = match found {
            Recovered::Ended { inc, pid, .. } => (!self.is_former(slot, inc, pid)).then_some(inc),
            Recovered::Alive { .. } | Recovered::Nothing => None,
        };
        self.dispatch(slot, policies, Event::Recovered(found), WriteCause::Event, ended, now);
        true
    }

    /// Closes the batch: one journal write for all steps, then the acks, then the effects.
    fn close_batch(&mut self) {
        if !self.batch.is_empty() {
            self.ops.push_back(Op::Journal(std::mem::take(&mut self.batch)));
        }
        self.ops.extend(self.in_channel.iter().map(|&(slot, inc)| Op::TakeHandover(slot, inc)));
        self.ops.extend(self.acks.drain(..).map(|(slot, inc)| Op::Ack(slot, inc)));
        self.ops.extend(self.effects.drain(..).map(|(slot, effect)| Op::Perform(slot, effect)));
    }

    /// Takes the next event. Messages come before ticks.
    fn next_event(&mut self, world: &mut World, rng: &mut Rng) -> Option<(usize, Event, Option<u32>)> {
        // Links and channels are different descriptors, so either may be read first. But all
        // earlier messages come before an exit.
        let is_end = matches!(world.reports.front(), Some(KeeperReport::Exited { .. }));
        if (is_end || rng.percent(50))
            && let Some((slot, event)) = self.next_handover(world, None)
        {
            return Some((slot, event, None));
        }
        if rng.percent(50)
            && let Some(found) = next_ready(world)
        {
            return Some(found);
        }
        while let Some(report) = world.reports.pop_front() {
            return Some(match report {
                KeeperReport::Spawned { slot, inc, pid } => (slot, Event::Spawned { inc, pid }, None),
                KeeperReport::SpawnFailed { slot, inc } => {
                    let failure = SpawnFailure { step: String::new(), errno: 2 };
                    (slot, Event::SpawnFailed { inc, failure }, None)
                }
                KeeperReport::Exited { slot, inc, pid, .. } if self.is_former(slot, inc, pid) => continue,
                KeeperReport::Exited { slot, inc, ending, oom, .. } => {
                    (slot, Event::Exited { inc, exit: ExitReport { ending, oom } }, Some(inc))
                }
            });
        }
        if let Some((slot, event)) = self.next_handover(world, None) {
            return Some((slot, event, None));
        }
        if let Some(found) = next_ready(world) {
            return Some(found);
        }
        let gone = self.sweeps.iter().position(|&(slot, inc)| world.child(slot, inc).is_none_or(|child| !child.tree_alive()));
        if let Some(at) = gone {
            let (slot, inc) = self.sweeps.swap_remove(at);
            return Some((slot, Event::TreeGone { inc }, None));
        }
        if let Some(found) = self.next_hook(world, rng) {
            return Some(found);
        }
        if let Some(found) = self.next_release(world, rng) {
            return Some(found);
        }
        if !self.drains.is_empty() && rng.percent(30) {
            let (slot, inc) = self.drains.swap_remove(0);
            return Some((slot, Event::Drained { inc }, None));
        }
        // A tick escalates, so the actions before it must be complete: it shares no write with
        // earlier steps.
        if !self.batch.is_empty() {
            return None;
        }
        let due = |instance: &Option<Instance>| instance.as_ref().and_then(Instance::deadline_ms).is_some_and(|due| due <= world.now);
        self.instances.iter().position(due).map(|slot| (slot, Event::Tick, None))
    }

    fn is_former(&self, slot: usize, inc: u32, pid: i32) -> bool {
        self.instances[slot].as_ref().is_some_and(|instance| instance.is_former(inc, pid))
    }

    /// Takes a handover that an app announced. If it changes the state, it stays in the channel
    /// until it is journaled.
    fn next_handover(&mut self, world: &mut World, only: Option<usize>) -> Option<(usize, Event)> {
        for (slot, children) in world.children.iter_mut().enumerate().filter(|(slot, _)| only.is_none_or(|only| *slot == only)) {
            let Some(child) = children.last_mut() else { continue };
            while let Some(pid) = child.untaken() {
                if self.in_channel.contains(&(slot, child.inc)) {
                    break;
                }
                let runs = |instance: &&Instance| instance.inc == child.inc && child.is_alive(pid) && instance.pid() != Some(pid);
                let may = |instance: &&Instance| instance.pid().is_some() || matches!(instance.state, InstanceState::Spawning { .. });
                if self.instances[slot].as_ref().filter(runs).is_some_and(|instance| may(&instance)) {
                    self.in_channel.push((slot, child.inc));
                    return Some((slot, Event::Followed { inc: child.inc, pid }));
                }
                child.taken += 1;
            }
        }
        None
    }

    /// Takes the end of a hook.
    fn next_hook(&mut self, world: &World, rng: &mut Rng) -> Option<(usize, Event, Option<u32>)> {
        let is_told = |told: &[(usize, u32, Hook)], run: &HookRun| told.contains(&(run.slot, run.inc, run.hook));
        let run = world.hook_runs.iter().find(|run| !is_told(&self.ended_hooks, run) && rng.percent(50))?;
        let outcome = world.hook_ends(run, rng)?;
        self.ended_hooks.push((run.slot, run.inc, run.hook));
        let inc = run.inc;
        let event = match outcome {
            // The hook succeeded, but something else that the start needs was unavailable.
            HookOutcome::CouldNotStart(why) if run.hook == Hook::PreStart => Event::Unprepared { inc, reason: why },
            outcome => Event::HookDone { inc, hook: run.hook, outcome },
        };
        Some((run.slot, event, None))
    }

    /// Takes the answer that the dependencies of an instance are met or will not be.
    fn next_release(&self, world: &World, rng: &mut Rng) -> Option<(usize, Event, Option<u32>)> {
        let waits = |instance: &Option<Instance>| matches!(instance, Some(Instance { state: InstanceState::Waiting { .. }, .. }));
        let slot = self.instances.iter().position(waits).filter(|_| rng.percent(10))?;
        let met = rng.percent(world.tendency[slot].is_met);
        (met || rng.percent(5)).then(|| (slot, if met { Event::Released } else { Event::Unmet(String::new()) }, None))
    }

    /// Takes a command of a user or a policy.
    pub(super) fn command(&mut self, slot: usize, policies: &[Policy], event: Event, now: u64) {
        if self.instances[slot].is_none() {
            if !matches!(event, Event::Start(_)) {
                return;
            }
            self.instances[slot] = Some(Instance::new(Now::at(now)));
        }
        self.dispatch(slot, policies, event.clone(), WriteCause::Command(event), None, now);
    }

    fn dispatch(&mut self, slot: usize, policies: &[Policy], event: Event, cause: WriteCause, ended: Option<u32>, now: u64) {
        self.acks.extend(ended.map(|inc| (slot, inc)));
        let Some(instance) = &mut self.instances[slot] else { return };
        if let Some(earlier) = self.batch.iter_mut().rev().find(|step| step.slot == slot) {
            earlier.after = Some(instance.clone());
        }
        let finished_hook = match &event {
            Event::HookDone { inc, hook, .. } => Some((*inc, *hook)),
            Event::Unprepared { inc, .. } => Some((*inc, Hook::PreStart)),
            _ => None,
        };
        let effects = instance.step(&policies[slot], event, Now::at(now));
        let (mut hooks, mut cancels) = (Vec::new(), Vec::new());
        for effect in effects {
            match effect {
                Effect::Hook { inc, hook } => hooks.push((inc, hook)),
                Effect::CancelHook { inc, hook } => cancels.push((inc, hook)),
                effect => self.effects.push((slot, effect)),
            }
        }
        self.batch.push(JournaledStep { slot, cause, after: None, hooks, cancels, ended_hook: finished_hook });
    }

    fn perform(&mut self, op: Op, world: &mut World) -> Outcome {
        let order = match op {
            Op::Journal(steps) => return Outcome::Write(steps),
            Op::Ack(slot, inc) => KeeperOrder::Ack { slot, inc },
            Op::TakeHandover(slot, inc) => {
                self.in_channel.retain(|taken| *taken != (slot, inc));
                world.child(slot, inc).into_iter().for_each(|child| child.taken += 1);
                return Outcome::Internal;
            }
            Op::Perform(slot, effect) => match effect {
                Effect::Spawn { inc } => KeeperOrder::Spawn { slot, inc },
                Effect::Follow { inc, pid } => KeeperOrder::Follow { slot, inc, pid },
                Effect::Signal { inc, signal, scope } => KeeperOrder::Signal { slot, inc, signal, scope },
                Effect::ShutdownMessage { inc, fallback_signal, scope } => {
                    KeeperOrder::Signal { slot, inc, signal: fallback_signal, scope }
                }
                Effect::Sweep { inc, kill, signal } => {
                    world.sweep(slot, inc, if kill { 9 } else { signal });
                    if !self.sweeps.contains(&(slot, inc)) {
                        self.sweeps.push((slot, inc));
                    }
                    return Outcome::Internal;
                }
                Effect::Drain { inc } => {
                    self.drains.push((slot, inc));
                    return Outcome::Internal;
                }
                Effect::Hook { .. } | Effect::CancelHook { .. } | Effect::Notify(_) => return Outcome::Internal,
            },
        };
        // A message to a dead keeper is lost.
        if !self.keeper_lost {
            world.order(order);
        }
        Outcome::Internal
    }

    /// Returns an instance that waits for the end of a tree or hook without a sweep or run for it.
    pub(super) fn stuck_slot(&self, world: &World) -> Option<usize> {
        let nobody_runs = |slot, inc, hook| !world.hook_runs.iter().any(|run| run.is(slot, inc, hook));
        let in_vain = |(slot, instance): (usize, &Option<Instance>)| match instance.as_ref()?.state {
            InstanceState::Stopping { inc, leader_gone: true, .. } if !self.sweeps.contains(&(slot, inc)) => Some(slot),
            _ => instance.as_ref()?.hook().is_some_and(|(inc, hook)| nobody_runs(slot, inc, hook)).then_some(slot),
        };
        self.instances.iter().enumerate().find_map(in_vain)
    }

    /// Records that the end of a hook is journaled.
    pub(super) fn hook_is_recorded(&mut self, slot: usize, inc: u32, hook: Hook) {
        self.ended_hooks.retain(|told| *told != (slot, inc, hook));
    }

    /// Forgets an instance whose end was journaled.
    pub(super) fn drop_if_gone(&mut self, slot: usize) {
        if self.instances[slot].as_ref().is_some_and(|instance| matches!(instance.state, InstanceState::Gone)) {
            self.instances[slot] = None;
        }
    }
}

fn next_ready(world: &mut World) -> Option<(usize, Event, Option<u32>)> {
    for (slot, children) in world.children.iter_mut().enumerate() {
        // The channel is read to its end even if the app is already gone; the message is then a
        // late event.
        if let Some(child) = children.iter_mut().rev().take(2).find(|child| child.ready_at.is_some() && !child.ready_read) {
            child.ready_read = true;
            return Some((slot, Event::Ready { inc: child.inc }, None));
        }
    }
    None
}
