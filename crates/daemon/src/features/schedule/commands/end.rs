//! End of a command: its exit, its timeout, and the processes that it started.

use std::path::Path;

use ostler_core::lifecycle::command::CommandOutcome;
use ostler_sys::process::ProcessEntry;
use ostler_sys::process::signal::KILL;
use ostler_sys::{ProcRef, ProcTable, SecretBytes, cgroup};

use super::{
    Command, CommandEnd, CommandOwner, CommandReport, CommandStage, Commands, Ctx, FeatureAnswer, FeatureRequest, Output, PathBuf, key,
};
use crate::engine::Work;
use crate::state::slots::processes::INC_MARK;

/// Time until the next check after SIGKILL, because a process may have forked while it was being
/// killed.
const LOOK_AGAIN_MS: u64 = 20;

impl Commands {
    /// Cancels a command. It is killed, and its owner gets [`CommandOutcome::Cancelled`] when none
    /// of its processes is left.
    pub(super) fn call_off(&mut self, ctx: &mut Ctx, owner: CommandOwner) {
        let found = self.of(|command| command.owner == owner);
        if found.is_empty() {
            let report = CommandReport { outcome: CommandOutcome::Cancelled, output: SecretBytes::default(), last_lines: Vec::new() };
            ctx.answer(FeatureAnswer::CommandEnded(Box::new(CommandEnd { number: None, slot: None, owner, report })));
        }
        found.into_iter().for_each(|number| self.decide(ctx, number, CommandOutcome::Cancelled));
    }

    /// Kills all commands of a slot that is gone, whose number may be used again. No report is
    /// sent.
    pub(super) fn end_all_of(&mut self, ctx: &mut Ctx, slot: u32) {
        for number in self.of(|command| command.spec.slot == slot) {
            if let Some(command) = self.all.get_mut(&number) {
                command.owner = CommandOwner::Detached;
                // This includes commands that are being killed. The next daemon must not take one
                // for the command of another instance with that number.
                ctx.state.journal.push(&command.record(number));
            }
            self.changed(ctx, number);
            self.decide(ctx, number, CommandOutcome::Cancelled);
        }
    }

    /// Does the work that is due for a command.
    pub(super) fn due(&mut self, ctx: &mut Ctx, number: u32) {
        let Some(command) = self.all.get(&number) else { return };
        match command.stage {
            CommandStage::Ending { .. } => self.sweep(ctx, number),
            CommandStage::Sent | CommandStage::Runs(_) => self.decide(ctx, number, CommandOutcome::TimedOut(command.spec.timeout_ms)),
            CommandStage::Journaled | CommandStage::Done { .. } => {}
        }
    }

    /// Decides to kill a command for this reason. The first reason counts.
    pub(super) fn decide(&mut self, ctx: &mut Ctx, number: u32, verdict: CommandOutcome) {
        let Some(command) = self.all.get_mut(&number) else { return };
        if command.verdict.is_some() || matches!(command.stage, CommandStage::Ending { .. } | CommandStage::Done { .. }) {
            return;
        }
        command.verdict = Some(verdict);
        ctx.state.journal.push(&command.record(number));
        let runs = matches!(command.stage, CommandStage::Runs(_));
        self.changed(ctx, number);
        // If the keeper has not answered the order, the command is killed with the answer. An order
        // that was not sent is dropped.
        if runs {
            self.kill(ctx, number);
        }
    }

    /// Sends SIGKILL to all its processes.
    pub(super) fn kill(&mut self, ctx: &mut Ctx, number: u32) {
        let Some(command) = self.all.get_mut(&number) else { return };
        let CommandStage::Runs(leader) = command.stage else { return };
        command.stage = CommandStage::Ending { leader, exited: false, due_ms: ctx.now.mono_ms };
        ctx.io.keeper.kill(key(number), KILL, true);
        self.sweep(ctx, number);
    }

    /// Handles the exit of its main process.
    pub(super) fn exited(&mut self, ctx: &mut Ctx, number: u32, ending: ostler_sys::WaitStatus) {
        let Some(command) = self.all.get_mut(&number) else {
            // A former daemon reported the exit, and died before it acknowledged it to the keeper.
            return ctx.outbox.effects.push(Work::Ack(key(number)));
        };
        let (CommandStage::Runs(leader) | CommandStage::Ending { leader, .. }) = command.stage else { return };
        command.stage = CommandStage::Ending { leader, exited: true, due_ms: ctx.now.mono_ms };
        command.verdict.get_or_insert(match ending {
            ostler_sys::WaitStatus::Code(code) => CommandOutcome::Code(code),
            ostler_sys::WaitStatus::Signal { signal, .. } => CommandOutcome::Signal(signal),
            ostler_sys::WaitStatus::Unknown => CommandOutcome::Lost,
        });
        self.sweep(ctx, number);
    }

    /// Kills the remaining processes. If none is left, the command is over.
    fn sweep(&mut self, ctx: &mut Ctx, number: u32) {
        let Some(command) = self.all.get_mut(&number) else { return };
        let CommandStage::Ending { leader, exited, .. } = command.stage else { return };
        if exited && has_left_nothing(command, leader.process(), ctx) {
            return self.swept(ctx, number);
        }
        let group = command.group.as_deref().map(Path::new);
        if let Some(group) = group {
            // Processes that this does not kill are killed one by one.
            let _ = cgroup::kill(group);
        }
        let left = family(ctx, leader.process(), &command.mark, group);
        for process in &left {
            // It may have exited by itself since the table was read.
            let _ = process.signal(KILL);
        }
        if exited && left.is_empty() {
            return self.swept(ctx, number);
        }
        command.stage = CommandStage::Ending { leader, exited, due_ms: ctx.now.mono_ms + LOOK_AGAIN_MS };
        self.changed(ctx, number);
    }

    /// Handles that none of its processes is left.
    fn swept(&mut self, ctx: &mut Ctx, number: u32) {
        let verdict = self.all.get(&number).and_then(|command| command.verdict.clone()).unwrap_or(CommandOutcome::Lost);
        self.complete(ctx, number, verdict);
        ctx.outbox.effects.push(Work::Ack(key(number)));
    }

    /// Completes a command, whose owner gets the report. Until then its journal record stays
    /// unchanged. If the daemon is killed now, the next daemon sends the report.
    pub(super) fn complete(&mut self, ctx: &mut Ctx, number: u32, outcome: CommandOutcome) {
        let Some(command) = self.all.get_mut(&number) else { return };
        command.stage = CommandStage::Done { leader: command.leader() };
        if let Some(group) = command.group.take() {
            ctx.state.groups.remove(PathBuf::from(String::from(group)));
        }
        let output = command.capture.take().map_or_else(SecretBytes::default, |capture| capture.finish(&ctx.io.reactor));
        let is_idle = outcome.is_success() || outcome == CommandOutcome::Cancelled || command.spec.output == Output::Nowhere;
        let slot = command.spec.slot;
        let last_lines = match ctx.state.slots.get(slot).filter(|_| !is_idle) {
            Some(slot) => slot.last_lines_from(command.log_start),
            None => Vec::new(),
        };
        let report = CommandReport { outcome, output, last_lines };
        let owner = command.owner.clone();
        self.changed(ctx, number);
        ctx.answer(FeatureAnswer::CommandEnded(Box::new(CommandEnd { number: Some(number), slot: Some(slot), owner, report })));
    }
}

/// Returns true if the command has exited, and no search of all processes for its leftovers is
/// needed.
fn has_left_nothing(command: &Command, leader: ProcRef, ctx: &mut Ctx) -> bool {
    if !has_left_nothing_in_its_group(leader.pid) {
        return false;
    }
    match command.group.as_deref() {
        Some(group) => !cgroup::is_populated(Path::new(group)),
        None if command.spec.output == Output::Logs => false,
        // Without cgroups the process table has to be read. For the many probes that happens a
        // moment later, once for all.
        None => {
            ctx.request(FeatureRequest::EndLeftovers { leader, mark: command.mark.clone() });
            true
        }
    }
}

/// Returns the running processes that it started, by its mark and by its cgroup.
fn family(ctx: &Ctx, leader: ProcRef, mark: &str, group: Option<&Path>) -> Vec<ProcRef> {
    let table = ProcTable::scan().knowing(ctx.own_children());
    let mut family: Vec<ProcRef> =
        table.tree(leader, INC_MARK, mark.as_bytes(), ctx.io.keeper.pid()).iter().map(ProcessEntry::process).collect();
    let members = group.map(|group| table.in_cgroup(group)).unwrap_or_default();
    family.extend(members.iter().map(ProcessEntry::process).filter(|member| !family.contains(member)).collect::<Vec<_>>());
    family
}

/// Returns true if the process group that it led is empty.
fn has_left_nothing_in_its_group(pid: i32) -> bool {
    ostler_sys::process::is_group_empty(pid)
}
