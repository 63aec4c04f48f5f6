//! Steps of a reclaim, each done when the journal has it, and the end of the reclaim.

use std::path::Path;
use std::sync::mpsc;

use ostler_core::lifecycle::InstanceState;
use ostler_proto::control::LogOutcome;
use ostler_sys::process::ProcessEntry;
use ostler_sys::{ProcRef, ProcTable};

use super::{PendingStep, Reclaim, leader};
use crate::engine::{Ctx, FeatureAnswer, Work};
use crate::logs::reclaim::{
    Copied, Copier, CopierOutcome, CopyOrder, Folder, LogFindings, PathEntry, ReclaimDecision, ReclaimFailure, ReclaimRecord,
    ReclaimResult, ReclaimStage, Writers, decide, inspect_path, reclaim, recover, undo,
};
use crate::state::slots::Slot;
use crate::state::slots::processes::INC_MARK;
use crate::state::slots::trees::led_by;
use crate::state::store::{FormerLeader, Record};

impl Reclaim {
    /// Sets the next step of a file. It is done when all decisions are in the journal, and in its
    /// copy on disk. The processes that the daemon stops must be known even if the keeper is
    /// killed, too.
    pub(super) fn next_step(&mut self, ctx: &mut Ctx, id: u32, step: PendingStep) {
        self.steps.insert(id, step);
        ctx.state.state_file.write_with_next();
        ctx.outbox.effects.push(Work::Feature(Self::NAME, id.into()));
    }

    pub(super) fn take_step(&mut self, ctx: &mut Ctx, id: u32) {
        match self.steps.remove(&id) {
            Some(PendingStep::Copy(order)) => {
                if let Err(failure) = self.copy(ctx, *order) {
                    self.conclude(ctx, id, Err(failure));
                }
            }
            Some(PendingStep::Empty(copied)) => self.empty(ctx, id, *copied),
            Some(PendingStep::Cut(copied)) => self.cut(ctx, id, *copied),
            None => {}
        }
    }

    fn copy(&mut self, ctx: &mut Ctx, order: CopyOrder) -> Result<(), ReclaimFailure> {
        write_down(ctx).map_err(ReclaimFailure::Journal)?;
        self.copier(ctx).map_err(ReclaimFailure::NoThread)?.order(order);
        Ok(())
    }

    fn copier(&mut self, ctx: &Ctx) -> std::io::Result<&Copier> {
        if self.copier.is_none() {
            let (sender, reports) = mpsc::channel();
            let waker = self.waker(ctx)?;
            let copier = Copier::start(move |news| {
                // If the daemon is exiting, nothing receives the report.
                let _ = sender.send(news);
                waker.wake();
            })?;
            self.copier = Some((copier, reports));
        }
        match &self.copier {
            Some((copier, _)) => Ok(copier),
            None => Err(std::io::ErrorKind::NotFound.into()),
        }
    }

    /// Handles reports of the copying thread.
    pub(super) fn on_copier_news(&mut self, ctx: &mut Ctx) {
        let Some((_, reports)) = &self.copier else { return };
        for (id, news) in reports.try_iter().collect::<Vec<_>>() {
            match news {
                CopierOutcome::Ready(copied) if self.is_emptied_first(id, &copied) => self.begin_emptying(ctx, id, copied),
                CopierOutcome::Ready(copied) => self.ready.push((id, *copied)),
                CopierOutcome::Failed(failure) => {
                    let failure = self.put_back(id).err().unwrap_or(failure);
                    self.conclude(ctx, id, Err(failure));
                }
                CopierOutcome::GivenUp(failure) => self.conclude(ctx, id, Err(failure)),
            }
        }
    }

    /// Returns true the first time that a large file is copied, if its path allows the reclaim. The
    /// file is emptied before its writers are stopped, because that takes long.
    fn is_emptied_first(&self, id: u32, copied: &Copied) -> bool {
        let Some(record) = self.all.get(&id).filter(|record| !record.emptied && copied.is_large()) else { return false };
        let folder = self.folders.get(&id);
        let target = folder.and_then(|folder| record.within(folder)).map_or_else(|| record.target.clone(), |within| within.target);
        let there = inspect_path(Path::new(&target), record.file).0;
        let seen = LogFindings { has_name: true, is_written: true, entry: there, is_entry_written: copied.is_new_file_written };
        if record.stays { there == PathEntry::SameFile } else { decide(seen) == ReclaimDecision::Reclaim }
    }

    fn begin_emptying(&mut self, ctx: &mut Ctx, id: u32, copied: Box<Copied>) {
        let Some(record) = self.all.get_mut(&id) else { return };
        record.emptied = true;
        ctx.state.journal.push(&Record::Reclaim(Box::new(record.clone())));
        self.next_step(ctx, id, PendingStep::Empty(copied));
    }

    fn empty(&mut self, ctx: &mut Ctx, id: u32, copied: Copied) {
        match (write_down(ctx), &self.copier) {
            (Ok(()), Some((copier, _))) => copier.empty(copied),
            // This does no harm: nothing was removed that would have to be put back.
            _ => {
                self.ready.push((id, copied));
                ctx.outbox.timers.set(Self::MOMENT, Some(ctx.now.mono_ms));
            }
        }
    }

    /// Puts back the removed part of a file, if any.
    fn put_back(&self, id: u32) -> Result<(), ReclaimFailure> {
        let Some(record) = self.all.get(&id).filter(|record| record.emptied) else { return Ok(()) };
        let folder = self.folders.get(&id);
        undo(&folder.and_then(|folder| record.within(folder)).unwrap_or_else(|| record.clone()))
    }

    /// Reclaims a ready copy. If a process is just being spawned, the copy waits for another turn.
    fn cut(&mut self, ctx: &mut Ctx, id: u32, mut copied: Copied) {
        let is_spawning = |slot: &Slot| matches!(slot.durable.instance.state, InstanceState::Spawning { .. });
        if ctx.state.slots.iter().any(is_spawning) || ctx.state.commands.is_spawning() {
            return self.ready.push((id, copied));
        }
        if ctx.state.state_file.needs_rewrite() && ctx.state.state_file.deadline_ms().is_some() {
            // Only a complete copy on disk can take the next records. It is written at the end of
            // this turn.
            ctx.state.state_file.hurry();
            ctx.outbox.timers.set(Self::MOMENT, Some(ctx.now.mono_ms));
            return self.ready.push((id, copied));
        }
        let Some(mut record) = self.all.get(&id).cloned() else { return };
        let result = self.reclaim_file(ctx, &mut record, &mut copied);
        self.end_or_go_on(ctx, record, copied, result);
    }

    /// Completes a reclaim or continues it. Another attempt, or the return of a removed part, keeps
    /// the thread busy for a while.
    fn end_or_go_on(&mut self, ctx: &mut Ctx, record: ReclaimRecord, copied: Copied, result: Result<ReclaimResult, ReclaimFailure>) {
        let is_to_put_back = record.emptied && !matches!(record.stage, ReclaimStage::Thawing { .. });
        let (failure, copier) = match (result, &self.copier) {
            (Err(failure), Some((copier, _))) if is_to_put_back || matches!(failure, ReclaimFailure::Later) => (failure, copier),
            (result, _) => return self.conclude(ctx, record.id, result),
        };
        match failure {
            ReclaimFailure::Later => copier.retry(copied, record.emptied),
            failure => {
                let within = self.folders.get(&record.id).and_then(|folder| record.within(folder));
                copier.give_up(within.unwrap_or_else(|| record.clone()), copied, failure);
            }
        }
        ctx.state.journal.push(&Record::Reclaim(Box::new(record.clone())));
        self.all.insert(record.id, record);
    }

    fn reclaim_file(&mut self, ctx: &mut Ctx, record: &mut ReclaimRecord, copied: &mut Copied) -> Result<ReclaimResult, ReclaimFailure> {
        // All decisions of this turn are journaled first.
        write_down(ctx).map_err(ReclaimFailure::Journal)?;
        let writing = || ctx.state.slots.iter().filter(|slot| slot.durable.log_files.contains(&Some(record.file)));
        let leaders: Vec<(ProcRef, Vec<FormerLeader>, String)> = writing()
            .filter_map(|slot| Some((leader(slot)?, slot.durable.former_leaders.clone(), slot.durable.unique_id.clone())))
            .collect();
        let commands: Vec<(ProcRef, String)> = writing().flat_map(|slot| ctx.state.commands.writers_of(slot.durable.id)).collect();
        let keeper = ctx.io.keeper.pid();
        let trees = move |table: &ProcTable| -> Vec<ProcessEntry> {
            let apps = leaders.iter().flat_map(|(leader, former, unique_id)| led_by(*leader, former, table, unique_id, keeper));
            let commands = commands.iter().flat_map(|(leader, mark)| table.tree(*leader, INC_MARK, mark.as_bytes(), keeper));
            apps.chain(commands).collect()
        };
        let writers = Writers { trees: &trees, never: [keeper, std::process::id().cast_signed()] };
        let folder = self.folders.get(&record.id).cloned();
        let mut within = folder.as_ref().and_then(|folder| record.within(folder)).unwrap_or_else(|| record.clone());
        let files = ctx.state.log_files.open.clone();
        let quiet = files.while_quiet(record.file, || {
            reclaim(&mut within, copied, &writers, &mut |within| {
                record.stage = within.stage.clone();
                self.all.insert(record.id, record.clone());
                ctx.state.journal.push(&Record::Reclaim(Box::new(record.clone())));
                write_down(ctx)
            })
        });
        record.stage = within.stage.clone();
        match quiet {
            Some(result) => result,
            None => {
                if !record.emptied {
                    undo(&within)?;
                }
                Err(ReclaimFailure::Busy)
            }
        }
    }

    /// Completes a reclaim with any result.
    fn conclude(&mut self, ctx: &mut Ctx, id: u32, result: Result<ReclaimResult, ReclaimFailure>) {
        let Some(record) = self.all.remove(&id) else { return };
        ctx.state.log_files.moving.remove(&record.file);
        let folder = self.folders.remove(&id);
        ctx.state.journal.push(&Record::ReclaimOver { id });
        if self.all.is_empty() {
            self.copier = None;
        }
        let ids = move_log_starts(ctx, &record, result.as_ref().ok());
        let plain = |text: String| folder.as_ref().map_or_else(|| text.clone(), |folder| folder.plain(&text));
        if record.stays {
            let renamed = result.map(|done| done.renamed.map(plain)).map_err(|failure| plain(failure.to_string()));
            let result = renamed.map(|renamed| renamed.unwrap_or(record.rotated));
            return ctx.answer(FeatureAnswer::Rotated { path: record.path, target: record.target.into(), file: record.file, result });
        }
        let outcome = match result {
            Ok(done) => {
                ctx.io.log.line(format_args!("apps write to \"{}\" again; its old lines are in \"{}\"", record.path, record.rotated));
                ctx.answer(FeatureAnswer::LogRestarted { path: record.path.clone() });
                let stalled_us = u64::try_from(done.stalled.as_micros()).unwrap_or(u64::MAX);
                Some(LogOutcome::Reclaimed { rotated: record.rotated, bytes: done.cut, stalled_us })
            }
            Err(ReclaimFailure::NotWritten) => None,
            Err(failure) => Some(LogOutcome::Failed { reason: plain(failure.to_string()) }),
        };
        self.on_reclaim_over(ctx, (id, &record.path), &ids, outcome.as_ref());
    }
}

/// The start of the last lines of its writers moves by the part that the file has lost. Returns the
/// numbers of the writers.
fn move_log_starts(ctx: &mut Ctx, record: &ReclaimRecord, done: Option<&ReclaimResult>) -> Vec<u32> {
    let mut ids = Vec::new();
    for slot in ctx.state.slots.iter_mut().filter(|slot| slot.durable.log_files.contains(&Some(record.file))) {
        ids.push(slot.durable.id);
        if let Some(done) = done {
            let [error, out] = slot.durable.log_files.map(|file| if file == Some(record.file) { done.cut } else { 0 });
            slot.durable.log_start = (slot.durable.log_start.0.saturating_sub(error), slot.durable.log_start.1.saturating_sub(out));
        }
    }
    ids.iter().for_each(|id| ctx.state.slots.changed(*id));
    ids
}

/// Writes the journal, and its copy on disk if that copy has all earlier records.
fn write_down(ctx: &mut Ctx) -> std::io::Result<()> {
    let bytes = ctx.state.journal.flush().1?;
    if !bytes.is_empty() {
        ctx.state.state_file.append(&bytes, ctx.now.mono_ms);
        if !ctx.state.state_file.needs_rewrite()
            && let Err(error) = ctx.state.state_file.flush()
        {
            ctx.io.log.error_once("state", format_args!("{error} (apps are not affected; state is kept by the keeper)"));
        }
    }
    Ok(())
}

/// Finishes or undoes a reclaim; a rotation stays within the folder of its log. Even if that fails,
/// no process stays stopped. Returns true if it was undone.
pub(super) fn recover_within(record: &ReclaimRecord) -> Result<bool, ReclaimFailure> {
    // In the middle of a reclaim the file may have its other name.
    let with = |path: &String| Folder::with(path.as_ref(), record.file, &record.rights).ok();
    let is_one_folder = || Path::new(&record.target).parent() == Path::new(&record.rotated).parent();
    let folder = if record.stays || (!record.rights.is_daemon_user() && is_one_folder()) {
        with(&record.target).or_else(|| with(&record.rotated))
    } else {
        None
    };
    match folder.as_ref().and_then(|folder| record.within(folder)) {
        Some(within) => recover(&within),
        // The file or the folder was moved. All lines are in one of the two files.
        None if record.stays => {
            let undone = recover(&ReclaimRecord { stage: record.stage.as_undone(), copy: String::new(), emptied: false, ..record.clone() });
            let gone = || ReclaimFailure::NotPutBack { rotated: record.copy.clone(), source: std::io::ErrorKind::NotFound.into() };
            if record.emptied { Err(gone()) } else { undone }
        }
        None => recover(record),
    }
}
