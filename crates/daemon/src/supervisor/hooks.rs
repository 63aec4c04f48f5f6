//! Hooks: the commands of an app at the turns of an instance's life. The state machine says when; they are run as errands.

use indexmap::IndexMap;
use ostler_core::errand::Outcome;
use ostler_core::hooks::{Hook, OnFailure};
use ostler_core::lifecycle::{AfterStop, Ending, Event, ExitCause, State, Wanted};

use crate::control::Control;
use crate::errands::{ErrandSpec, Output, Owner, Report};
use crate::slots::Slot;

impl Control {
    /// The state machine asks for a hook: it is noted in the same journal write as the step that asks.
    pub(super) fn begin_hook(&mut self, id: u32, inc: u32, hook: Hook) {
        let Some(slot) = self.ctx.slots.get(id) else { return };
        let name = &slot.spec().name;
        let Some(spec) = slot.spec().hooks.get(hook) else {
            // Its turn is for something else only, or another description came in between.
            return self.hook_done(id, inc, hook, Outcome::Code(0));
        };
        let errand = ErrandSpec {
            slot: id,
            command: spec.command.clone(),
            vars: variables(slot, inc, hook),
            timeout_ms: spec.timeout_ms(),
            output: Output::Logs,
        };
        if hook == Hook::OnCrash && !self.errands.of(|owner| owner.is_hook_of(id, hook)).is_empty() {
            let pm_id = slot.pm_id;
            return self.ctx.log.error(format_args!("App [{name}:{pm_id}] {hook} of the crash before still runs: not run again"));
        }
        self.start_errand(Owner::Hook { slot: id, inc, hook }, errand);
    }

    /// The state machine has no more use for a hook. Its end is told all the same.
    pub(super) fn call_off_hook(&mut self, id: u32, inc: u32, hook: Hook) {
        let is_part = |owner: &Owner| hook == Hook::PreStart && owner.secret_of(id, inc).is_some();
        let running = self.errands.of(|owner| *owner == Owner::Hook { slot: id, inc, hook } || is_part(owner));
        if running.is_empty() {
            self.feed(id, Event::HookDone { inc, hook, outcome: Outcome::Cancelled });
        }
        running.into_iter().for_each(|number| self.cancel_errand(number));
    }

    /// The app is to end: what runs only beside it ends with it.
    pub(super) fn call_off_on_crash(&mut self, id: u32) {
        for number in self.errands.of(|owner| owner.is_hook_of(id, Hook::OnCrash)) {
            self.cancel_errand(number);
        }
    }

    /// A hook has ended.
    pub(crate) fn told_hook(&mut self, id: u32, inc: u32, hook: Hook, report: Report) {
        let Report { outcome, last_lines, .. } = report;
        if hook == Hook::OnCrash {
            return self.log_hook(id, hook, &outcome);
        }
        self.hook_done(id, inc, hook, outcome);
        self.add_last_lines(id, inc, last_lines);
    }

    /// The state machine is told, unless what belongs to the same turn comes first.
    fn hook_done(&mut self, id: u32, inc: u32, hook: Hook, outcome: Outcome) {
        let policy = self.ctx.slots.get(id).and_then(|slot| slot.policy.hooks.pre_start);
        let goes_on = outcome.is_success() || outcome != Outcome::Cancelled && policy == Some(OnFailure::Continue);
        if hook == Hook::PreStart && goes_on && self.needs_commands(id) {
            self.log_hook(id, hook, &outcome);
            self.fetch_secrets(id, inc);
        } else {
            self.feed(id, Event::HookDone { inc, hook, outcome });
        }
    }

    /// To the record of a start that failed: what was written meanwhile.
    pub(crate) fn add_last_lines(&mut self, id: u32, inc: u32, last_lines: Vec<String>) {
        let Some(slot) = self.ctx.slots.get_mut(id) else { return };
        let is_its = |cause: &ExitCause| matches!(cause, ExitCause::NotStarted { .. });
        if let Some(record) = slot.instance.exits.last_mut().filter(|record| record.inc == inc && is_its(&record.cause)) {
            record.last_lines = last_lines;
            self.ctx.slots.changed(id);
        }
    }

    /// One line for a hook that did not do what it was there for.
    pub(super) fn log_hook(&mut self, id: u32, hook: Hook, outcome: &Outcome) {
        if outcome.is_success() || *outcome == Outcome::Cancelled {
            return;
        }
        let Some(slot) = self.ctx.slots.get(id) else { return };
        let (name, pm_id) = (&slot.spec().name, slot.pm_id);
        self.ctx.log.error(format_args!("App [{name}:{pm_id}] {hook} {outcome}"));
    }

    /// After a restart of the daemon: nobody waits for a hook that is not there.
    pub(crate) fn answer_for_lost_hooks(&mut self) {
        let waiting: Vec<(u32, u32, Hook)> =
            self.ctx.slots.iter().filter_map(|slot| slot.instance.hook().map(|(inc, hook)| (slot.id, inc, hook))).collect();
        for (id, inc, hook) in waiting {
            if !self.errands.of(|owner| *owner == Owner::Hook { slot: id, inc, hook }).is_empty() {
                continue;
            }
            if hook == Hook::PreStart && self.was_at_secrets(id, inc) {
                self.fetch_secrets(id, inc);
            } else {
                self.feed(id, Event::HookDone { inc, hook, outcome: Outcome::Lost });
            }
        }
    }
}

/// What a hook is told about the instance that it runs for.
fn variables(slot: &Slot, inc: u32, hook: Hook) -> IndexMap<String, String> {
    let instance = &slot.instance;
    let mut vars = IndexMap::new();
    let mut set = |name: &str, value: String| drop(vars.insert(format!("OSTLER_{name}"), value));
    set("HOOK", hook.name().into());
    set("APP", slot.spec().name.clone());
    set("ID", slot.pm_id.to_string());
    set("INSTANCE", slot.index.to_string());
    set("RESTARTS", instance.counters.restarts.to_string());
    if let Some(pid) = instance.pid() {
        set("PID", pid.to_string());
    }
    if matches!(hook, Hook::PostStop | Hook::OnCrash)
        && let Some(exit) = instance.exits.last().filter(|exit| exit.inc == inc)
    {
        match exit.ending {
            Ending::Code(code) => set("EXIT_CODE", code.to_string()),
            Ending::Signal { signal, .. } => set("EXIT_SIGNAL", ostler_sys::signal::name(signal)),
            Ending::Unknown | Ending::SpawnFailed { .. } => {}
        }
        set("NEXT", coming(slot).into());
    }
    vars
}

/// What comes after the end of its process.
fn coming(slot: &Slot) -> &'static str {
    let next = match slot.instance.state {
        State::Stopping { next, .. } | State::Clearing { next, .. } => next,
        State::Errored => return "errored",
        _ => AfterStop::default(),
    };
    match (next, slot.instance.wanted) {
        (AfterStop::GiveUp { .. }, _) => "errored",
        (_, Wanted::Up) => "restart",
        (_, Wanted::Down) => "stopped",
        (_, Wanted::Gone) => "deleted",
    }
}
