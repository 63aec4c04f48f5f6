//! Checks by command: a command of the app, run from time to time, never twice at the same time. Its exit code is the answer.

use ostler_core::care::{Ask, Check};
use ostler_core::errand::{Command, Outcome};

use crate::control::Control;
use crate::engine::Request;
use crate::probe::Answer;
use crate::store::command::{CommandSpec, Output, Owner};

/// When the next run is due, and the one that runs.
#[derive(Debug)]
pub(super) struct CommandCheck {
    pub(super) command: Command,
    pub(super) timeout_ms: u64,
    /// None while it runs.
    pub(super) due_ms: Option<u64>,
    pub(super) running: Option<Owner>,
}

impl CommandCheck {
    /// None for a question that is no command.
    pub(super) fn of(check: &Check, first_ms: u64) -> Option<Self> {
        let Ask::Command(argv) = &check.ask else { return None };
        let command = Command { argv: argv.clone() };
        Some(Self { command, timeout_ms: check.timeout_ms.max(1), due_ms: Some(first_ms), running: None })
    }
}

impl Control {
    /// Runs the commands whose time has come.
    pub(super) fn tick_commands(&mut self, now_ms: u64) {
        if self.care.commands.is_empty() {
            return;
        }
        let due = |check: &CommandCheck| check.due_ms.is_some_and(|due| due <= now_ms);
        let due: Vec<u32> = self.care.commands.iter().filter(|(_, check)| due(check)).map(|(key, _)| *key).collect();
        for key in due {
            let Some(slot) = self.care.questions.get(&key).map(|question| question.id) else { continue };
            let Some(inc) = self.care.watched.get(&slot).map(|watched| watched.inc) else { continue };
            let Some(check) = self.care.commands.get_mut(&key) else { continue };
            check.due_ms = None;
            let spec = CommandSpec {
                slot,
                command: check.command.clone(),
                vars: indexmap::IndexMap::new(),
                timeout_ms: check.timeout_ms,
                output: Output::Nowhere,
            };
            let owner = Owner::Check { slot, inc, key };
            check.running = Some(owner.clone());
            self.ctx.request(Request::Run { owner, spec: Box::new(spec) });
        }
    }

    /// A command has ended, and nothing of it is left.
    pub(crate) fn told_check(&mut self, slot: u32, inc: u32, key: u32, outcome: &Outcome) {
        let asks = self.care.questions.get(&key).is_some_and(|question| question.id == slot);
        let runs = self.care.watched.get(&slot).is_some_and(|watched| watched.inc == inc);
        // Of a process, or of a daemon, that is no more.
        let Some(check) = self.care.commands.get_mut(&key).filter(|_| asks && runs) else { return };
        check.running = None;
        let answer = match outcome {
            Outcome::Code(0) => Answer::Good,
            // Says nothing about the app.
            Outcome::Cancelled | Outcome::Lost => {
                check.due_ms = Some(self.ctx.now.mono_ms.saturating_add(check.timeout_ms));
                return;
            }
            failed => Answer::Bad(format!("command `{}` {failed}", check.command)),
        };
        self.take_check(key, answer, self.ctx.now.mono_ms);
    }
}
