//! Hooks: the commands of an app at fixed points of an instance's life, and the commands that
//! return secrets before a start.
//!
//! # Theory of operation
//!
//! The state machine requests a hook ([`Effect::Hook`]), and cancels it if it needs it no more
//! ([`Effect::CancelHook`]). The hook is requested as a command ([`FeatureRequest::Run`]) before
//! its step is in the journal, so both are in the same write. Its end is dispatched to the state
//! machine ([`Event::HookDone`]), once. A hook after a crash runs beside everything else. It delays
//! nothing, and is cancelled when the app stops.
//!
//! Before a start, two parts run one after the other: `pre_start`, then the commands that return
//! secrets ([`fetch`]).

mod fetch;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use indexmap::IndexMap;
use ostler_core::app::hooks::{Hook, OnFailure};
use ostler_core::lifecycle::command::CommandOutcome;
use ostler_core::lifecycle::{AfterStop, DesiredState, Effect, Event, ExitCause, InstanceState, ProcessEnding, SpawnFailure, Transition};

use crate::engine::{CommandReport, Ctx, FeatureAnswer, FeatureRequest, InstanceStep, SpawnExtras};
use crate::state::slots::Slot;
use crate::state::store::command::{CommandOwner, CommandSpec, Output};
use fetch::{Fetches, needs_commands};

/// Hooks that run.
#[derive(Debug, Default)]
pub(crate) struct Hooks {
    fetches: Fetches,
    /// Slots whose crash hook runs, and the process that crashed.
    crashed: BTreeMap<u32, u32>,
    /// Last lines of a command that makes a start fail, until that start has its record; by slot
    /// and incarnation.
    last_lines: BTreeMap<(u32, u32), Vec<String>>,
}

impl Hooks {
    pub(crate) fn on_boot(&mut self, ctx: &mut Ctx) {
        self.resume_hooks(ctx);
    }

    pub(crate) fn on_step(&mut self, ctx: &mut Ctx, step: &InstanceStep<'_>) {
        let id = step.id;
        match step.event {
            Event::Stop(_) | Event::Delete(_) | Event::StopGently(_) | Event::Retire(_) => self.call_off_on_crash(ctx, id),
            Event::HookDone { inc, .. } | Event::Unprepared { inc, .. } | Event::SpawnFailed { inc, .. } => {
                self.add_last_lines(ctx, id, *inc);
                ctx.state.slots.get(id).into_iter().for_each(|slot| self.fetches.drop_unless_spawned(slot, *inc));
            }
            _ => {}
        }
        for effect in step.hooks {
            match *effect {
                Effect::Hook { inc, hook } => self.begin(ctx, id, inc, hook),
                Effect::CancelHook { inc, hook } => self.call_off(ctx, id, inc, hook),
                _ => {}
            }
        }
    }

    pub(crate) fn on_transition(&mut self, ctx: &mut Ctx, id: u32, transition: &Transition) {
        if let Transition::HookFailed { hook, outcome } = transition {
            log_failure(ctx, id, *hook, outcome);
        }
    }

    pub(crate) fn on_prepare(&mut self, _ctx: &mut Ctx, id: u32, inc: u32, beside: &mut SpawnExtras) -> Result<(), SpawnFailure> {
        beside.secrets = self.fetches.take(id, inc);
        Ok(())
    }

    pub(crate) fn on_answer(&mut self, ctx: &mut Ctx, answer: &FeatureAnswer) {
        let FeatureAnswer::CommandEnded(end) = answer else { return };
        match end.owner {
            CommandOwner::Hook { slot, inc, hook } => self.ended(ctx, slot, inc, hook, &end.report),
            CommandOwner::Secret { slot, inc, ref name } => self.on_secret(ctx, slot, inc, name, &end.report),
            CommandOwner::Detached | CommandOwner::Check { .. } => {}
        }
    }

    pub(crate) fn on_forgotten(&mut self, _ctx: &mut Ctx, id: u32) {
        self.fetches.forget(id);
        self.crashed.remove(&id);
        self.last_lines.retain(|(of, _), _| *of != id);
    }
}

impl Hooks {
    pub(crate) const NAME: &str = "hooks";

    /// Starts a hook that the state machine requests.
    fn begin(&mut self, ctx: &mut Ctx, id: u32, inc: u32, hook: Hook) {
        let Some(slot) = ctx.state.slots.get(id) else { return };
        let Some(described) = slot.spec().hooks.get(hook) else {
            // The start only needs the secrets, or another description came in between.
            return self.done(ctx, id, inc, hook, CommandOutcome::Code(0));
        };
        let spec = CommandSpec {
            slot: id,
            command: described.command.clone(),
            vars: variables(slot, inc, hook),
            timeout_ms: described.timeout_ms(),
            output: Output::Logs,
        };
        if hook == Hook::OnCrash {
            if self.crashed.contains_key(&id) {
                let (name, pm_id) = (&slot.spec().name, slot.durable.pm_id);
                return ctx
                    .io
                    .log
                    .error(format_args!("App [{name}:{pm_id}] {hook} of the previous crash is still running: not started again"));
            }
            self.crashed.insert(id, inc);
        }
        ctx.request(FeatureRequest::Run { owner: CommandOwner::Hook { slot: id, inc, hook }, spec: Box::new(spec) });
    }

    /// Cancels a hook that the state machine no longer needs. Its end is dispatched all the same.
    fn call_off(&mut self, ctx: &mut Ctx, id: u32, inc: u32, hook: Hook) {
        if hook == Hook::PreStart && self.call_off_fetch(ctx, id, inc) {
            return;
        }
        ctx.request(FeatureRequest::CallOff(CommandOwner::Hook { slot: id, inc, hook }));
    }

    /// Cancels the crash hook of an app that stops.
    fn call_off_on_crash(&mut self, ctx: &mut Ctx, id: u32) {
        if let Some(inc) = self.crashed.get(&id) {
            ctx.request(FeatureRequest::CallOff(CommandOwner::Hook { slot: id, inc: *inc, hook: Hook::OnCrash }));
        }
    }

    /// Handles the end of a hook.
    fn ended(&mut self, ctx: &mut Ctx, id: u32, inc: u32, hook: Hook, report: &CommandReport) {
        if hook == Hook::OnCrash {
            self.crashed.remove(&id);
            return log_failure(ctx, id, hook, &report.outcome);
        }
        self.keep_last_lines(id, inc, &report.last_lines);
        self.done(ctx, id, inc, hook, report.outcome.clone());
    }

    /// Dispatches the end to the state machine, unless the secrets of the same start come first.
    fn done(&mut self, ctx: &mut Ctx, id: u32, inc: u32, hook: Hook, outcome: CommandOutcome) {
        let slot = ctx.state.slots.get(id);
        let policy = slot.and_then(|slot| slot.live.policy.hooks.pre_start);
        let goes_on = outcome.is_success() || outcome != CommandOutcome::Cancelled && policy == Some(OnFailure::Continue);
        if hook == Hook::PreStart && goes_on && slot.is_some_and(needs_commands) {
            log_failure(ctx, id, hook, &outcome);
            self.fetch(ctx, id, inc);
        } else {
            ctx.event(id, Event::HookDone { inc, hook, outcome });
        }
    }

    /// Keeps lines for the record of a start that will fail with the next step of this slot.
    fn keep_last_lines(&mut self, id: u32, inc: u32, last_lines: &[String]) {
        if !last_lines.is_empty() {
            self.last_lines.insert((id, inc), last_lines.to_vec());
        }
    }

    /// Adds the command's lines to the record of a start that failed.
    fn add_last_lines(&mut self, ctx: &mut Ctx, id: u32, inc: u32) {
        let Some(last_lines) = self.last_lines.remove(&(id, inc)) else { return };
        let Some(slot) = ctx.state.slots.get_mut(id) else { return };
        let is_its = |cause: &ExitCause| matches!(cause, ExitCause::NotStarted { .. });
        if let Some(record) = slot.durable.instance.exits.last_mut().filter(|record| record.inc == inc && is_its(&record.cause)) {
            record.last_lines = last_lines;
            ctx.state.slots.changed(id);
        }
    }

    /// Continues after a restart of the daemon. An instance must not wait for a hook that does not
    /// run.
    fn resume_hooks(&mut self, ctx: &mut Ctx) {
        let crashed = ctx.state.commands.iter().filter_map(|command| match command.owner {
            CommandOwner::Hook { slot, inc, hook: Hook::OnCrash } => Some((slot, inc)),
            _ => None,
        });
        self.crashed.extend(crashed);
        let waiting: Vec<(u32, u32, Hook)> = ctx
            .state
            .slots
            .iter()
            .filter_map(|slot| slot.durable.instance.hook().map(|(inc, hook)| (slot.durable.id, inc, hook)))
            .collect();
        for (id, inc, hook) in waiting {
            if ctx.state.commands.has(&CommandOwner::Hook { slot: id, inc, hook }) {
                continue;
            }
            if hook == Hook::PreStart && self.was_at_secrets(ctx, id, inc) {
                self.fetch(ctx, id, inc);
            } else {
                ctx.event(id, Event::HookDone { inc, hook, outcome: CommandOutcome::Lost });
            }
        }
    }
}

/// Logs one line for a hook that failed.
fn log_failure(ctx: &mut Ctx, id: u32, hook: Hook, outcome: &CommandOutcome) {
    if outcome.is_success() || *outcome == CommandOutcome::Cancelled {
        return;
    }
    let Some(slot) = ctx.state.slots.get(id) else { return };
    let (name, pm_id) = (&slot.spec().name, slot.durable.pm_id);
    ctx.io.log.error(format_args!("App [{name}:{pm_id}] {hook} {outcome}"));
}

/// Returns the variables of a hook about the instance that it runs for.
fn variables(slot: &Slot, inc: u32, hook: Hook) -> IndexMap<String, String> {
    let instance = &slot.durable.instance;
    let mut vars = IndexMap::new();
    let mut set = |name: &str, value: String| drop(vars.insert(format!("OSTLER_{name}"), value));
    set("HOOK", hook.name().into());
    set("APP", slot.spec().name.clone());
    set("ID", slot.durable.pm_id.to_string());
    set("INSTANCE", slot.durable.index.to_string());
    set("RESTARTS", instance.counters.restarts.to_string());
    if let Some(pid) = instance.pid() {
        set("PID", pid.to_string());
    }
    if matches!(hook, Hook::PostStop | Hook::OnCrash)
        && let Some(exit) = instance.exits.last().filter(|exit| exit.inc == inc)
    {
        match exit.ending {
            ProcessEnding::Code(code) => set("EXIT_CODE", code.to_string()),
            ProcessEnding::Signal { signal, .. } => set("EXIT_SIGNAL", ostler_sys::process::signal::name(signal)),
            ProcessEnding::Unknown | ProcessEnding::SpawnFailed { .. } => {}
        }
        set("NEXT", next_state(slot).into());
    }
    vars
}

/// Returns the word for the next state after its process has exited.
fn next_state(slot: &Slot) -> &'static str {
    let next = match slot.durable.instance.state {
        InstanceState::Stopping { next, .. } | InstanceState::Clearing { next, .. } => next,
        InstanceState::Errored => return "errored",
        _ => AfterStop::default(),
    };
    match (next, slot.durable.instance.wanted) {
        (AfterStop::GiveUp { .. }, _) => "errored",
        (_, DesiredState::Up) => "restart",
        (_, DesiredState::Down) => "stopped",
        (_, DesiredState::Gone) => "deleted",
    }
}
