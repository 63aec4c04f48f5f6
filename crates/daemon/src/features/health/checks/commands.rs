//! Checks by command: a command of the app that runs from time to time, never twice at the same
//! time. Its exit code is the answer.

use ostler_core::health::{Check, CheckMethod, ProbeVerdict};
use ostler_core::lifecycle::command::{Command, CommandOutcome};

use super::{COMMANDS, HealthChecks};
use crate::engine::{Ctx, FeatureRequest};
use crate::platform::probe::ProbeOutcome;
use crate::state::store::command::{CommandOwner, CommandSpec, Output};

/// Command of a check, and whether it runs now.
#[derive(Debug)]
pub(super) struct CommandCheck {
    command: Command,
    timeout_ms: u64,
    pub(super) running: Option<CommandOwner>,
}

impl CommandCheck {
    /// Returns the check by command; `None` for other probes.
    pub(super) fn of(check: &Check) -> Option<Self> {
        let CheckMethod::Command(argv) = &check.method else { return None };
        Some(Self { command: Command { argv: argv.clone() }, timeout_ms: check.timeout_ms.max(1), running: None })
    }
}

impl HealthChecks {
    /// Runs a command that is due.
    pub(super) fn run_command(&mut self, ctx: &mut Ctx, key: u32) {
        let Some(slot) = self.questions.get(&key).map(|question| question.id) else { return };
        let Some(inc) = self.watched.get(&slot).map(|watched| watched.inc) else { return };
        let Some(check) = self.commands.get_mut(&key) else { return };
        let spec = CommandSpec {
            slot,
            command: check.command.clone(),
            vars: indexmap::IndexMap::new(),
            timeout_ms: check.timeout_ms,
            output: Output::Nowhere,
        };
        let owner = CommandOwner::Check { slot, inc, key };
        check.running = Some(owner.clone());
        ctx.request(FeatureRequest::Run { owner, spec: Box::new(spec) });
    }

    /// Handles the end of a command, when none of its processes is left.
    pub(super) fn on_command_ended(&mut self, ctx: &mut Ctx, slot: u32, inc: u32, key: u32, outcome: &CommandOutcome) {
        let asks = self.questions.get(&key).is_some_and(|question| question.id == slot);
        let runs = self.watched.get(&slot).is_some_and(|watched| watched.inc == inc);
        // Otherwise the result belongs to a former process or a former daemon.
        let Some(check) = self.commands.get_mut(&key).filter(|_| asks && runs) else { return };
        check.running = None;
        let in_words = || format!("command `{}` {outcome}", check.command);
        let answer = match ProbeVerdict::of_command(outcome) {
            Some(ProbeVerdict::Good) => ProbeOutcome::Good,
            Some(ProbeVerdict::Bad) => ProbeOutcome::Bad(in_words()),
            Some(ProbeVerdict::Broken) => ProbeOutcome::Broken(in_words()),
            None => {
                let again_ms = ctx.now.mono_ms.saturating_add(check.timeout_ms);
                return ctx.outbox.timers.set(Self::timer(COMMANDS, key), Some(again_ms));
            }
        };
        self.take_answer(ctx, key, answer);
    }
}
