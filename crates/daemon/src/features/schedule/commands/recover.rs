//! Recovery of commands that a former daemon began, or that were requested from a former keeper.

use std::collections::BTreeMap;

use ostler_core::lifecycle::command::CommandOutcome;
use ostler_keeper::Child;
use ostler_sys::ProcRef;

use super::{Command, CommandRecord, CommandStage, Commands, Ctx, Leader, Leaders, Output, key, number_of};
use crate::engine::Work;

impl Commands {
    /// Restores commands from the journal. Their state is found out next.
    pub(super) fn remember(&mut self, records: BTreeMap<u32, CommandRecord>) {
        for (number, record) in records {
            let CommandRecord { owner, spec, mark, deadline_ms, leader, verdict, group, log_start, .. } = record;
            let stage = leader.map_or(CommandStage::Journaled, CommandStage::Runs);
            let command = Command { owner, spec, mark, deadline_ms, stage, verdict, capture: None, group, log_start };
            self.last = self.last.max(number);
            self.all.insert(number, command);
        }
    }

    /// Compares the commands with the keeper's processes.
    pub(super) fn recover(&mut self, ctx: &mut Ctx, children: &[Child], leaders: &mut Leaders) {
        for (number, command) in &self.all {
            ctx.state.commands.add(*number, command.owner.clone(), &command.spec, &command.mark);
        }
        let mut found: BTreeMap<u32, &Child> = BTreeMap::new();
        for child in children {
            let Some(number) = number_of(child.key) else { continue };
            found.insert(number, child);
            if !self.all.contains_key(&number) {
                match child.ended {
                    Some(_) => ctx.outbox.effects.push(Work::Ack(child.key)),
                    // The journal may be wrong, so a running process is never killed for that.
                    None => ctx.io.log.error(format_args!("process {} belongs to an unknown command and is left alone", child.pid)),
                }
            }
        }
        for number in self.of(|_| true) {
            match found.get(&number) {
                Some(child) => self.found(ctx, number, child),
                // The order never reached the keeper, or it failed and the answer is lost. Or that
                // keeper was killed, too.
                None => self.adopt(ctx, number, leaders),
            }
        }
    }

    fn found(&mut self, ctx: &mut Ctx, number: u32, child: &Child) {
        let Some(command) = self.all.get_mut(&number) else { return };
        command.stage = CommandStage::Runs(Leader { pid: child.pid, start_ticks: child.start_ticks });
        let (begun_to_kill, is_captured) = (command.verdict.is_some(), command.spec.output == Output::Captured);
        if is_captured {
            command.verdict = Some(CommandOutcome::Lost);
        }
        self.changed(ctx, number);
        match child.ended {
            Some(ended) => self.exited(ctx, number, ended.ending),
            None if begun_to_kill || is_captured => self.kill(ctx, number),
            None => {}
        }
    }

    fn not_found(&mut self, ctx: &mut Ctx, number: u32) {
        let Some(command) = self.all.get_mut(&number) else { return };
        match command.stage {
            CommandStage::Journaled | CommandStage::Sent => {
                command.stage = CommandStage::Journaled;
                // The next order opens it again.
                command.capture = None;
                ctx.outbox.effects.push(Work::Feature(Self::NAME, number.into()));
                self.changed(ctx, number);
            }
            // The command ran under a keeper that was killed, too.
            CommandStage::Runs(_) | CommandStage::Ending { .. } => self.exited(ctx, number, ostler_sys::WaitStatus::Unknown),
            CommandStage::Done { .. } => {}
        }
    }

    /// Adopts a command that still runs after daemon and keeper were killed. The new keeper watches
    /// it.
    fn adopt(&mut self, ctx: &mut Ctx, number: u32, leaders: &mut Leaders) {
        match self.survivor(number, leaders) {
            Some(process) => {
                ctx.io.keeper.adopt(key(number), process);
                self.found(ctx, number, &Child { key: key(number), pid: process.pid, start_ticks: process.start_ticks, ended: None });
            }
            None => self.not_found(ctx, number),
        }
    }

    /// Returns the processes that a new keeper has to watch, after the former was killed.
    pub(super) fn surviving(&self, leaders: &mut Leaders) -> Vec<(u64, ProcRef)> {
        self.all.keys().filter_map(|number| Some((key(*number), self.survivor(*number, leaders)?))).collect()
    }

    /// Continues with a new keeper, which watches these processes. Orders that the old keeper did
    /// not carry out are repeated.
    pub(super) fn resume_with_keeper(&mut self, ctx: &mut Ctx, survivors: &[(u64, ProcRef)]) {
        for number in self.of(|_| true) {
            match survivors.iter().find(|(survivor, _)| *survivor == key(number)) {
                Some((_, process)) => self.spawned(ctx, number, Leader { pid: process.pid, start_ticks: process.start_ticks }),
                None => self.not_found(ctx, number),
            }
        }
    }

    fn survivor(&self, number: u32, leaders: &mut Leaders) -> Option<ProcRef> {
        let command = self.all.get(&number)?;
        let process = match command.stage {
            CommandStage::Runs(leader) | CommandStage::Ending { leader, exited: false, .. } => leader.process(),
            CommandStage::Journaled | CommandStage::Sent => leaders.find(&command.mark)?,
            CommandStage::Ending { exited: true, .. } | CommandStage::Done { .. } => return None,
        };
        process.exists().then_some(process)
    }
}
