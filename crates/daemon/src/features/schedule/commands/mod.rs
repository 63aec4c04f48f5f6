//! Commands: bounded programs that run for an instance (hooks, health checks, values of secrets).
//!
//! # Theory of operation
//!
//! [`FeatureRequest::Run`] journals the command, and the keeper starts it. It has the app's user,
//! directory and environment, and its own session, process group, cgroup and mark. It ends by
//! itself, at its timeout, or when it is cancelled. Then all processes that it started are killed.
//! When none is left, its owner gets the report ([`FeatureAnswer::CommandEnded`]), once. The report
//! and the end of the command's record are one journal write. The keeper forgets the exit after it.
//!
//! If the daemon dies in between, the next one continues. If the keeper does not know a command, it
//! was never started, and is started now. If the keeper knows it, it still runs or has exited. If
//! daemon and keeper were both killed, the commands that still run are watched, and the others are
//! [`CommandOutcome::Lost`]. A command with captured output is not continued, because its first
//! lines died with the former daemon. It is killed and its owner gets `Lost`.
//!
//! An incarnation is never 0, so a key with 0 in its incarnation field belongs to a command.

mod capture;
mod end;
mod recover;
mod start;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;

use ostler_core::lifecycle::command::CommandOutcome;
use ostler_keeper::Child;
use ostler_sys::ProcRef;

use crate::engine::{ChildEvent, CommandEnd, CommandReport, Ctx, FeatureAnswer, FeatureRequest};
use crate::state::slots::commands::Progress;
use crate::state::slots::processes::Leaders;
use crate::state::store::command::{CommandOwner, CommandRecord, CommandSpec, Leader, Output};
use crate::state::store::{Record, Snapshot};
use capture::Capture;

/// Command in progress.
#[derive(Debug)]
struct Command {
    owner: CommandOwner,
    spec: CommandSpec,
    /// Value of the environment variable that identifies its processes.
    mark: String,
    /// Time at which it is killed.
    deadline_ms: u64,
    stage: CommandStage,
    /// Outcome that the daemon decided before the command exited. It is being killed for that.
    verdict: Option<CommandOutcome>,
    capture: Option<Capture>,
    /// Folder of its cgroup.
    group: Option<Box<str>>,
    /// Sizes of the app's error and output log at its start.
    log_start: (u64, u64),
}

/// Stage of a command.
#[derive(Clone, Copy, Debug, PartialEq)]
enum CommandStage {
    /// The command is only in the journal.
    Journaled,
    /// The order was sent to the keeper, which has not answered.
    Sent,
    /// The command runs.
    Runs(Leader),
    /// Its main process has exited, or gets SIGKILL. Processes that it started are searched until
    /// none is left.
    Ending {
        leader: Leader,
        /// Whether the main process has exited.
        exited: bool,
        /// Time of the next search.
        due_ms: u64,
    },
    /// None of its processes is left, and its owner is about to get the report.
    Done { leader: Option<Leader> },
}

/// Commands in progress, by number.
#[derive(Debug, Default)]
pub(crate) struct Commands {
    all: BTreeMap<u32, Command>,
    last: u32,
}

impl Commands {
    pub(crate) const NAME: &str = "commands";

    fn next_number(&mut self) -> u32 {
        loop {
            self.last = self.last.wrapping_add(1);
            if !self.all.contains_key(&self.last) {
                return self.last;
            }
        }
    }

    /// Returns the numbers of the commands that match.
    fn of(&self, is_one: impl Fn(&Command) -> bool) -> Vec<u32> {
        self.all.iter().filter(|(_, command)| is_one(command)).map(|(number, _)| *number).collect()
    }

    /// Updates timer and context after a command has made progress or was cancelled.
    fn changed(&self, ctx: &mut Ctx, number: u32) {
        let command = self.all.get(&number);
        ctx.outbox.timers.set((Self::NAME, number.into()), command.and_then(Command::due_ms));
        let Some((command, under_way)) = command.zip(ctx.state.commands.get_mut(number)) else { return };
        under_way.owner.clone_from(&command.owner);
        under_way.progress = command.progress();
        under_way.is_called_off = command.verdict.is_some();
    }

    /// Forgets a command. Its owner has the report, whose effects are in the same write of the
    /// journal.
    fn forget(&mut self, ctx: &mut Ctx, number: u32) {
        if self.all.remove(&number).is_some() {
            ctx.state.journal.push(&Record::CommandOver { number });
            ctx.state.commands.remove(number);
        }
    }
}

impl Command {
    fn record(&self, number: u32) -> Record<'static> {
        Record::Command(Box::new(CommandRecord {
            number,
            owner: self.owner.clone(),
            spec: self.spec.clone(),
            mark: self.mark.clone(),
            deadline_ms: self.deadline_ms,
            leader: self.leader(),
            verdict: self.verdict.clone(),
            group: self.group.clone(),
            log_start: self.log_start,
        }))
    }

    fn leader(&self) -> Option<Leader> {
        match self.stage {
            CommandStage::Journaled | CommandStage::Sent => None,
            CommandStage::Runs(leader) | CommandStage::Ending { leader, .. } => Some(leader),
            CommandStage::Done { leader } => leader,
        }
    }

    fn due_ms(&self) -> Option<u64> {
        match self.stage {
            CommandStage::Journaled | CommandStage::Done { .. } => None,
            // The keeper's answer comes in any case, and the command is killed then.
            CommandStage::Sent if self.verdict.is_some() => None,
            CommandStage::Sent | CommandStage::Runs(_) => Some(self.deadline_ms),
            CommandStage::Ending { due_ms, .. } => Some(due_ms),
        }
    }

    fn progress(&self) -> Progress {
        match self.stage {
            CommandStage::Journaled => Progress::Requested,
            CommandStage::Sent => Progress::Spawning,
            CommandStage::Runs(leader) => Progress::Runs(leader.process()),
            CommandStage::Ending { .. } | CommandStage::Done { .. } => Progress::Ending,
        }
    }
}

impl Commands {
    pub(crate) fn on_request(&mut self, ctx: &mut Ctx, request: FeatureRequest) -> Option<FeatureRequest> {
        match request {
            FeatureRequest::Run { owner, spec } => self.begin(ctx, owner, *spec),
            FeatureRequest::CallOff(owner) => self.call_off(ctx, owner),
            FeatureRequest::CallOffAll => {
                self.of(|_| true).into_iter().for_each(|number| self.decide(ctx, number, CommandOutcome::Cancelled))
            }
            other => return Some(other),
        }
        None
    }

    pub(crate) fn on_effect(&mut self, ctx: &mut Ctx, key: u64) {
        if let Ok(number) = u32::try_from(key) {
            self.send(ctx, number);
        }
    }

    pub(crate) fn on_child(&mut self, ctx: &mut Ctx, key: u64, event: ChildEvent<'_>) -> bool {
        let Some(number) = number_of(key) else { return false };
        match event {
            ChildEvent::Requested { group, log_start } => self.sent(ctx, number, group, log_start),
            ChildEvent::Spawned { pid, start_ticks } => self.spawned(ctx, number, Leader { pid, start_ticks }),
            ChildEvent::NotSpawned { step, errno } => self.not_spawned(ctx, number, step, errno),
            ChildEvent::Exited(ending) => self.exited(ctx, number, ending),
        }
        true
    }

    pub(crate) fn on_ready(&mut self, ctx: &mut Ctx, key: u64, _writable: bool) {
        if let Ok(number) = u32::try_from(key) {
            self.wrote(ctx, number);
        }
    }

    pub(crate) fn on_timer(&mut self, ctx: &mut Ctx, key: u64) {
        if let Ok(number) = u32::try_from(key) {
            self.due(ctx, number);
        }
    }

    pub(crate) fn on_answer(&mut self, ctx: &mut Ctx, answer: &FeatureAnswer) {
        if let FeatureAnswer::CommandEnded(end) = answer
            && let Some(number) = end.number
        {
            self.forget(ctx, number);
        }
    }

    pub(crate) fn on_forgotten(&mut self, ctx: &mut Ctx, id: u32) {
        self.end_all_of(ctx, id);
    }

    pub(crate) fn on_inventory(&mut self, ctx: &mut Ctx, children: &[Child], leaders: &mut Leaders) {
        self.recover(ctx, children, leaders);
    }

    pub(crate) fn survivors(&mut self, leaders: &mut Leaders) -> Vec<(u64, ProcRef)> {
        self.surviving(leaders)
    }

    pub(crate) fn on_new_keeper(&mut self, ctx: &mut Ctx, survivors: &[(u64, ProcRef)]) {
        self.resume_with_keeper(ctx, survivors);
    }

    pub(crate) fn records(&self) -> Vec<Record<'_>> {
        self.all.iter().map(|(number, command)| command.record(*number)).collect()
    }

    pub(crate) fn restore(&mut self, snapshot: &mut Snapshot) {
        self.remember(std::mem::take(&mut snapshot.commands));
    }
}

/// Returns the keeper's key of a command.
fn key(number: u32) -> u64 {
    u64::from(number) << 32
}

/// Returns the command that the keeper's key belongs to, if the key is not an instance's.
fn number_of(key: u64) -> Option<u32> {
    (!crate::state::slots::is_of_instance(key)).then_some((key >> 32) as u32)
}
