//! Dispatch of events, and their effects.

use ostler_core::lifecycle::{Effect, Event, InstanceState, Scope, SpawnFailure};
use ostler_keeper::ToKeeper;
use ostler_sys::process::signal::KILL;

use crate::control::Control;
use crate::engine::{FeatureRequest, InstanceStep, SpawnExtras, Work, hooks, spawns, transitions};
use crate::logs::Outputs;
use crate::platform::users::account;
use crate::state::slots::Slot;

impl Control {
    /// Dispatches one event to an instance. The next [`Control::settle`] journals and performs its
    /// decisions.
    pub(crate) fn dispatch_event(&mut self, id: u32, event: Event) {
        let _at = crate::platform::incident::working_on(id);
        let Some(slot) = self.ctx.state.slots.get_mut(id) else { return };
        let before = slot.durable.instance.status();
        let effects = slot.durable.instance.step(&slot.live.policy, event.clone(), self.ctx.now);
        let transitions = transitions(&effects);
        let gone = slot.durable.instance.state == InstanceState::Gone;
        self.ctx.state.slots.changed(id);
        let (hooks, spawns) = (hooks(&effects), spawns(&effects));
        for effect in effects {
            if !matches!(effect, Effect::Hook { .. } | Effect::CancelHook { .. }) {
                self.ctx.outbox.effects.push(Work::Effect(id, effect));
            }
        }
        if gone {
            self.ctx.outbox.effects.push(Work::Effect(id, Effect::Notify(ostler_core::lifecycle::Transition::Deleted)));
        }
        let step = InstanceStep { id, event: &event, before, transitions: &transitions, hooks: &hooks, spawns };
        self.features.on_step(&mut self.ctx, &step);
    }

    /// Performs one effect. Returns true if the keeper is to start a process now. The caller then
    /// sends the keeper the message, and calls
    /// `on_spawn` afterwards.
    pub(crate) fn perform(&mut self, id: u32, effect: Effect) -> bool {
        let _at = crate::platform::incident::working_on(id);
        match effect {
            Effect::Spawn { inc } => match self.spawn(id, inc) {
                Ok(requested) => return requested,
                Err(failure) => {
                    let failure = self.ctx.io.fds.explain(failure);
                    // The prepared resources are no longer needed.
                    self.features.on_process_gone(&mut self.ctx, id, inc);
                    self.ctx.event(id, Event::SpawnFailed { inc, failure });
                }
            },
            Effect::Follow { inc, pid } => {
                if self.ctx.state.slots.get(id).is_some_and(|slot| slot.durable.instance.pid() == Some(pid)) {
                    self.features.on_follow(&mut self.ctx, id, inc);
                }
            }
            Effect::Signal { inc, signal, scope } => self.signal(id, inc, signal, scope),
            Effect::Drain { inc } => {
                if !self.features.on_drain(&mut self.ctx, id, inc) {
                    self.ctx.request(FeatureRequest::FinishRequests { id, inc });
                }
            }
            Effect::ShutdownMessage { inc, fallback_signal, scope } => {
                let Some(slot) = self.ctx.state.slots.get_mut(id) else { return false };
                let sent = slot.live.ipc.as_mut().is_some_and(|ipc| ipc.send_message(&self.ctx.io.reactor, &"shutdown".into(), None));
                if !sent {
                    self.signal(id, inc, fallback_signal, scope);
                }
            }
            // Requested together with the step itself.
            Effect::Hook { .. } | Effect::CancelHook { .. } => {}
            Effect::Sweep { inc, kill, signal } => self.ctx.request(FeatureRequest::Sweep { id, inc, signal: (!kill).then_some(signal) }),
            Effect::Notify(transition) => {
                self.features.on_transition(&mut self.ctx, id, &transition);
                if matches!(transition, ostler_core::lifecycle::Transition::Deleted) {
                    self.forget(id);
                }
            }
        }
        false
    }

    /// Signals the processes of an instance. The keeper signals the main process and its group,
    /// because it knows which pids are still its children. Processes outside the group are found in
    /// the process table, and signalled by a descriptor that cannot mean another process.
    fn signal(&mut self, id: u32, inc: u32, signal: i32, scope: Scope) {
        let Some(slot) = self.ctx.state.slots.get(id) else { return };
        let key = slot.key(inc);
        let was_seen = match scope {
            Scope::Leader => {
                self.ctx.io.keeper.kill(key, signal, false);
                false
            }
            Scope::Tree => {
                let outside = self.ctx.outside_group(id);
                for process in outside.processes {
                    // The process may have exited in the meantime.
                    let _ = process.signal(signal);
                }
                if signal == KILL {
                    self.ctx.state.slots.get_mut(id).into_iter().for_each(Slot::kill_group);
                }
                self.ctx.io.keeper.kill(key, signal, outside.leads_group);
                outside.main_was_seen
            }
        };
        if !was_seen {
            self.ctx.check_vanished(id);
        }
    }

    /// Requests a process. Returns false if there is nothing left to start.
    fn spawn(&mut self, id: u32, inc: u32) -> Result<bool, SpawnFailure> {
        if !self.ctx.io.fds.has_room() {
            return Err(self.ctx.io.fds.refusal());
        }
        let Some(slot) = self.ctx.state.slots.get(id) else { return Ok(false) };
        let mut extras = SpawnExtras { account: account(slot.spec())?, ..SpawnExtras::default() };
        self.features.on_prepare(&mut self.ctx, id, inc, &mut extras)?;
        let Some(outputs) = extras.outputs.take() else { return Ok(false) };
        let (log_start, log_files) = (outputs.sizes, outputs.files);
        let Some(slot) = self.ctx.state.slots.get(id) else { return Ok(false) };
        let prepared = super::spawn::prepare(slot, inc, outputs, extras, &self.ctx.io.settings)?;
        self.features.on_birth(&mut self.ctx, id);
        let Some(slot) = self.ctx.state.slots.get_mut(id) else { return Ok(false) };
        let had_former_leaders = !std::mem::take(&mut slot.durable.former_leaders).is_empty();
        slot.durable.log_start = log_start;
        slot.durable.log_files = log_files;
        slot.live.script_runs = false;
        slot.live.node = prepared.node.and_then(|(program, user)| self.ctx.io.node_versions.query(&program, user));
        slot.live.cpu = crate::platform::sample::CpuHistory::default();
        let is_new_sandbox = slot.durable.learned.sandbox != prepared.sandbox;
        if is_new_sandbox {
            slot.durable.learned.sandbox = prepared.sandbox;
        }
        slot.live.spawned_ms = Some(self.ctx.now.mono_ms);
        if had_former_leaders || is_new_sandbox {
            self.ctx.state.slots.changed(id);
        }
        self.ctx.io.keeper.send_with(ToKeeper::Spawn(prepared.request), prepared.fds);
        Ok(true)
    }

    /// Returns standard output and error for a command that runs beside a slot's process.
    pub(crate) fn command_outputs(&mut self, id: u32) -> Result<Option<Outputs>, SpawnFailure> {
        let mut extras = SpawnExtras::default();
        self.features.on_prepare_command(&mut self.ctx, id, &mut extras)?;
        Ok(extras.outputs)
    }

    /// Removes a deleted instance from the tables.
    fn forget(&mut self, id: u32) {
        if self.ctx.state.slots.remove(id).is_none() {
            return;
        }
        // Ids are reused when the list is empty, so nothing of this instance may remain.
        self.features.on_forgotten(&mut self.ctx, id);
        self.ctx.state.complaints.forget(id);
    }
}
