//! Start of a command: from an order to a process.

use ostler_core::lifecycle::command::CommandOutcome;

use super::{Capture, Command, CommandOwner, CommandSpec, CommandStage, Commands, Ctx, Leader, Output, key};
use crate::engine::{ChildRequest, Work};
use crate::state::slots::unique_id;

impl Commands {
    /// Begins a command, unless its owner has one already.
    pub(super) fn begin(&mut self, ctx: &mut Ctx, owner: CommandOwner, spec: CommandSpec) {
        if self.all.values().any(|command| command.owner == owner) {
            return;
        }
        let number = self.next_number();
        let command = Command {
            owner,
            mark: format!("errand:{}", unique_id()),
            deadline_ms: ctx.now.mono_ms.saturating_add(spec.timeout_ms),
            stage: CommandStage::Journaled,
            verdict: None,
            capture: None,
            group: None,
            log_start: (0, 0),
            spec,
        };
        ctx.state.journal.push(&command.record(number));
        ctx.state.commands.add(number, command.owner.clone(), &command.spec, &command.mark);
        self.all.insert(number, command);
        ctx.outbox.effects.push(Work::Feature(Self::NAME, number.into()));
    }

    /// Sends the order to the keeper, because the journal has the command now.
    pub(super) fn send(&mut self, ctx: &mut Ctx, number: u32) {
        let Some(command) = self.all.get_mut(&number) else { return };
        if command.stage != CommandStage::Journaled {
            return;
        }
        if let Some(verdict) = command.verdict.clone() {
            return self.complete(ctx, number, verdict);
        }
        let mut out = None;
        if command.spec.output == Output::Captured {
            match Capture::open(number, &ctx.io.reactor) {
                Ok((capture, writer)) => (command.capture, out) = (Some(capture), Some(writer)),
                Err(errno) => return self.not_spawned(ctx, number, "create a pipe", errno.raw_os_error()),
            }
        }
        let child = ChildRequest { key: key(number), spec: command.spec.clone(), mark: command.mark.clone(), out };
        ctx.outbox.children.push(child);
    }

    /// Records that the order was sent. The journal gets the start of its lines, and its cgroup.
    pub(super) fn sent(&mut self, ctx: &mut Ctx, number: u32, group: Option<&str>, log_start: (u64, u64)) {
        let Some(command) = self.all.get_mut(&number) else { return };
        (command.stage, command.group, command.log_start) = (CommandStage::Sent, group.map(Into::into), log_start);
        ctx.state.journal.push(&command.record(number));
        self.changed(ctx, number);
    }

    /// Handles that the keeper has started the command.
    pub(super) fn spawned(&mut self, ctx: &mut Ctx, number: u32, leader: Leader) {
        let Some(command) = self.all.get_mut(&number).filter(|command| command.stage == CommandStage::Sent) else { return };
        command.stage = CommandStage::Runs(leader);
        ctx.state.journal.push(&command.record(number));
        let is_called_off = command.verdict.is_some();
        self.changed(ctx, number);
        if is_called_off {
            self.kill(ctx, number);
        }
    }

    /// Handles that the command could not be started.
    pub(super) fn not_spawned(&mut self, ctx: &mut Ctx, number: u32, step: &str, errno: i32) {
        let Some(command) = self.all.get(&number) else { return };
        let verdict = command.verdict.clone();
        let program = command.spec.command.argv.first().cloned().unwrap_or_default();
        let step = match step {
            "exec" => match ostler_sys::process::exec::explain(program.as_ref(), errno) {
                Some(reason) => format!("exec {program} ({reason})"),
                None => format!("exec {program}"),
            },
            step => step.to_owned(),
        };
        self.complete(ctx, number, verdict.unwrap_or_else(|| CommandOutcome::CouldNotStart(describe_error(&step, errno))));
    }
}

/// Returns the step and its error as text.
fn describe_error(step: &str, errno: i32) -> String {
    if errno == 0 { step.to_owned() } else { format!("{step}: {}", std::io::Error::from_raw_os_error(errno)) }
}
