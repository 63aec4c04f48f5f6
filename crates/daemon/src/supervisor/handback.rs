//! `reloadLogs`: log files that were renamed go back to their paths (`crate::logs::handback`), piped ones are opened anew.
//!
//! The copying is done by a thread; the step in which the app stands still is done here, in the loop, so that nothing is started or
//! stopped meanwhile. It waits while a process is being spawned: that one may have the new file in its hands already.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, mpsc};

use ostler_core::lifecycle::State;
use ostler_proto::control::{LogOutcome, ReloadedLog, Response};
use ostler_sys::descriptors::{Descriptor, descriptor};
use ostler_sys::tree::Entry;
use ostler_sys::{ProcRef, ProcTable};

use super::sweep::led_by;
use crate::control::Control;
use crate::engine::Answer;
use crate::logs;
use crate::logs::handback::{
    Copied, Copier, Done, Failure, FileKey, Folder, HandBack, News, Order, Rotating, Seen, Stage, There, Told, Verdict, Writers, copy_name,
    decide, follow_links, hand_back, look, recover, undo,
};
use crate::rights::Rights;
use crate::slots::Slot;
use crate::slots::processes::INC_MARK;
use crate::store::{Kin, Record};

/// Everything on its way.
#[derive(Default)]
pub(crate) struct HandBacks {
    next: u32,
    all: BTreeMap<u32, HandBack>,
    /// Copied, and waiting for the moment.
    ready: Vec<(u32, Copied)>,
    reloads: Vec<Reload>,
    copier: Option<(Copier, mpsc::Receiver<Told>)>,
    /// The folders of the logs that are rotated.
    folders: BTreeMap<u32, Arc<Folder>>,
    /// A former daemon was killed while it made copies.
    pub(crate) again: bool,
}

/// A request that waits for its hand-backs.
struct Reload {
    /// Whom to answer; none = it came by signal.
    caller: Option<(u32, u64)>,
    waiting: BTreeSet<u32>,
    logs: Vec<ReloadedLog>,
}

impl HandBacks {
    /// For a journal that is written anew.
    pub(crate) fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.all.values().map(|record| Record::HandBack(Box::new(record.clone())))
    }

    /// Puts back what the journal knows, after all of it was finished or undone.
    pub(crate) fn begin_after(&mut self, last: u32) {
        self.next = self.next.max(last);
    }
}

/// One file that apps write to.
struct Log {
    file: FileKey,
    path: String,
    /// Of its app.
    rights: Rights,
    ids: Vec<u32>,
    /// What somebody who writes to it calls it.
    name: Option<String>,
    /// Who writes to it, and as which descriptor.
    writer: Option<(i32, u32)>,
}

/// What `reloadLogs` has begun for a log.
enum Begun {
    /// Nothing is to be done.
    Nothing,
    HandBack(u32),
    /// It was deleted, and is written again.
    Carried,
}

impl Control {
    /// A thread that works on log files has something to say.
    pub(crate) fn hear_threads(&mut self) {
        let mut count = [0; 8];
        // Only clears it.
        let _ = rustix::io::read(&*self.wake, &mut count);
        self.hear_copier();
        self.hear_carrier();
    }

    /// Opens every log file anew: the daemon's own, those of apps whose lines pass through us, and those that were renamed.
    pub(crate) fn reload_logs(&mut self, caller: Option<(u32, u64)>) {
        self.ctx.log.line(format_args!("Reloading all logs..."));
        self.ctx.log.reopen();
        let mut reload = Reload { caller, waiting: BTreeSet::new(), logs: Vec::new() };
        for slot in self.ctx.slots.iter() {
            let Some(piped) = &slot.piped else { continue };
            piped.reopen();
            let paths = [&slot.files.out, &slot.files.error, &slot.files.combined];
            for path in paths.into_iter().flatten().filter(|path| !logs::is_nowhere(path.as_ref())) {
                add(&mut reload.logs, path, &[slot.pm_id], LogOutcome::Reopened);
            }
        }
        for log in self.direct_logs() {
            match self.begin_hand_back(&log) {
                Ok(Begun::Nothing) => {}
                Ok(Begun::HandBack(id)) => drop(reload.waiting.insert(id)),
                Ok(Begun::Carried) => add(&mut reload.logs, &log.path, &log.ids, LogOutcome::Reopened),
                Err(reason) => add(&mut reload.logs, &log.path, &log.ids, LogOutcome::Failed { reason }),
            }
        }
        self.handbacks.reloads.push(reload);
        self.answer_reloads();
    }

    /// Every file that running apps write to directly.
    fn direct_logs(&self) -> Vec<Log> {
        let mut found: Vec<Log> = Vec::new();
        let mut table = None;
        for slot in self.ctx.slots.iter() {
            let Some(leader) = leader(slot) else { continue };
            let paths = [&slot.files.error, &slot.files.out];
            for ((file, path), fd) in slot.log_files.iter().zip(paths).zip([2, 1]) {
                let (Some(file), Some(path)) = (*file, path) else { continue };
                // Most are where they were: one look at the path tells.
                if look(&follow_links(path.as_ref()), file).0 == There::Itself {
                    continue;
                }
                let index = found.iter().position(|log| log.file == file && log.path == *path).unwrap_or(found.len());
                if index == found.len() {
                    let rights = Rights::of(slot.spec());
                    found.push(Log { file, path: path.clone(), rights, ids: Vec::new(), name: None, writer: None });
                }
                let log = &mut found[index];
                if !log.ids.contains(&slot.pm_id) {
                    log.ids.push(slot.pm_id);
                }
                let writer = writer(slot, leader, file, fd, &mut table, self.ctx.keeper.pid());
                log.writer = log.writer.or_else(|| writer.as_ref().map(|(pid, _)| (*pid, fd)));
                log.name = log.name.take().or_else(|| writer.and_then(|(_, writer)| name_of(&writer, path)));
            }
        }
        found
    }

    /// What was begun; or why that cannot be.
    fn begin_hand_back(&mut self, log: &Log) -> Result<Begun, String> {
        if let Some(same) = self.handbacks.all.values().find(|record| record.file == log.file) {
            return Ok(Begun::HandBack(same.id));
        }
        let (target, rights) = log.rights.target(log.path.as_ref());
        let (there, meta) = look(&target, log.file);
        let beside = meta.map(|meta| (std::os::unix::fs::MetadataExt::dev(&meta), std::os::unix::fs::MetadataExt::ino(&meta)));
        let writes = |slot: &Slot, file| leader(slot).is_some() && slot.log_files.contains(&Some(file));
        let is_there_written = beside.is_some_and(|beside| self.ctx.slots.iter().any(|slot| writes(slot, beside)));
        match decide(Seen { has_name: log.name.is_some(), is_written: log.writer.is_some(), there, is_there_written }) {
            Verdict::Leave => return Ok(Begun::Nothing),
            Verdict::CarryOver => {
                let writer = log.writer.ok_or("nobody writes to it any more")?;
                return self.carry(log.file, &log.path, &log.rights, writer).map(|()| Begun::Carried);
            }
            Verdict::Impossible(why) => return Err(why.to_string()),
            Verdict::HandBack => {}
        }
        let no_text = || "the name of a file is no UTF-8 text".to_owned();
        let (Some(rotated), Some(text)) = (log.name.clone(), target.to_str()) else { return Err(no_text()) };
        let beside = Path::new(&rotated);
        // It may be in a folder of somebody else by now.
        let rights = if rights.are_ours() { log.rights.target(beside).1 } else { rights };
        let is_one_folder = !rights.are_ours() && beside.parent() == target.parent();
        let folder = is_one_folder.then(|| Folder::with(beside, log.file, &rights)).transpose().map_err(|error| error.to_string())?;
        let copy = copy_name(Path::new(&rotated)).and_then(|copy| Some(copy.to_str()?.to_owned())).ok_or_else(no_text)?;
        self.handbacks.next = self.handbacks.next.wrapping_add(1);
        let id = self.handbacks.next;
        let (path, target) = (log.path.clone(), text.to_owned());
        let record =
            HandBack { id, path, target, rotated, copy, file: log.file, stage: Stage::Copying, stays: false, emptied: false, rights };
        self.order_copy(record, folder.map(Arc::new)).map(Begun::HandBack)
    }

    /// Takes the content of a log that is at its path to this other name in its folder, unless something is done with it already.
    pub(crate) fn rotate(&mut self, log: Rotating) {
        if self.ctx.log_files.moving.contains(&log.file) {
            return;
        }
        let (path, target, file) = (log.path.clone(), log.target.clone(), log.file);
        if let Err(reason) = self.begin_rotation(log) {
            self.ctx.answer(Answer::Rotated { path, target, file, result: Err(reason) });
        }
    }

    fn begin_rotation(&mut self, log: Rotating) -> Result<(), String> {
        let no_text = || "the name of a file is no UTF-8 text".to_owned();
        let target = log.target.to_str().ok_or_else(no_text)?.to_owned();
        let rotated = log.target.with_file_name(&log.rotated);
        let copy = copy_name(&rotated).and_then(|copy| Some(copy.to_str()?.to_owned())).ok_or_else(no_text)?;
        let rotated = rotated.to_str().ok_or_else(no_text)?.to_owned();
        self.handbacks.next = self.handbacks.next.wrapping_add(1);
        let id = self.handbacks.next;
        let record = HandBack {
            id,
            path: log.path,
            target,
            rotated,
            copy,
            file: log.file,
            stage: Stage::Copying,
            stays: true,
            emptied: false,
            rights: log.rights,
        };
        self.order_copy(record, Some(Arc::new(log.folder))).map(drop)
    }

    fn order_copy(&mut self, record: HandBack, folder: Option<Arc<Folder>>) -> Result<u32, String> {
        let id = record.id;
        let within = folder.as_ref().and_then(|folder| record.within(folder)).unwrap_or_else(|| record.clone());
        let source = within.source().to_owned();
        let HandBack { copy, target, file, rights, .. } = within;
        let order = Order { id, source, copy, target, file, folder: folder.clone(), rights };
        self.ctx.journal.push(&Record::HandBack(Box::new(record.clone())));
        self.ctx.log_files.moving.insert(file);
        self.handbacks.all.insert(id, record);
        // The copy must never be there without a record of it.
        let written = self.write_down().map_err(|error| format!("cannot write the journal: {error}"));
        let ordered = written.and_then(|()| self.copier().map_err(|error| format!("cannot start a thread: {error}")));
        if let Err(reason) = ordered.map(|copier| copier.order(order)) {
            self.handbacks.all.remove(&id);
            self.ctx.log_files.moving.remove(&file);
            self.ctx.journal.push(&Record::HandedBack { id });
            return Err(reason);
        }
        self.handbacks.folders.extend(folder.map(|folder| (id, folder)));
        Ok(id)
    }

    fn copier(&mut self) -> std::io::Result<&Copier> {
        if self.handbacks.copier.is_none() {
            let (sender, told) = mpsc::channel();
            let wake = Arc::clone(&self.wake);
            let copier = Copier::start(move |news| {
                // Nobody listens any more when the daemon ends.
                let _ = sender.send(news);
                let _ = rustix::io::write(&*wake, &1_u64.to_ne_bytes());
            })?;
            self.handbacks.copier = Some((copier, told));
        }
        match &self.handbacks.copier {
            Some((copier, _)) => Ok(copier),
            None => Err(std::io::ErrorKind::NotFound.into()),
        }
    }

    /// The copying thread may have something to say.
    pub(crate) fn hear_copier(&mut self) {
        let Some((_, told)) = &self.handbacks.copier else { return };
        for (id, news) in told.try_iter().collect::<Vec<_>>() {
            match news {
                News::Ready(copied) => {
                    if let Some(copied) = self.begin_emptying(id, *copied) {
                        self.handbacks.ready.push((id, copied));
                    }
                }
                News::Failed(failure) => {
                    let failure = self.put_back(id).err().unwrap_or(failure);
                    self.conclude(id, Err(failure));
                }
                News::GivenUp(failure) => self.conclude(id, Err(failure)),
            }
        }
    }

    /// The first time that a large file is copied, and nothing is in the way: it is emptied before its writers stand still, because that
    /// takes long. Gives back what is ready as it is.
    fn begin_emptying(&mut self, id: u32, copied: Copied) -> Option<Copied> {
        let Some(record) = self.handbacks.all.get(&id).filter(|record| !record.emptied && copied.is_large()) else { return Some(copied) };
        let folder = self.handbacks.folders.get(&id);
        let target = folder.and_then(|folder| record.within(folder)).map_or_else(|| record.target.clone(), |within| within.target);
        let there = look(Path::new(&target), record.file).0;
        let seen = Seen { has_name: true, is_written: true, there, is_there_written: copied.is_beside_written };
        let is_free = if record.stays { there == There::Itself } else { decide(seen) == Verdict::HandBack };
        if !is_free {
            return Some(copied);
        }
        let record = HandBack { emptied: true, ..record.clone() };
        self.ctx.journal.push(&Record::HandBack(Box::new(record.clone())));
        self.handbacks.all.insert(id, record);
        if let (Ok(()), Some((copier, _))) = (self.write_down(), &self.handbacks.copier) {
            copier.empty(copied);
            return None;
        }
        // Harmless: nothing is missing that would have to be put back.
        Some(copied)
    }

    /// What was taken from a file goes back into it, if anything was.
    fn put_back(&self, id: u32) -> Result<(), Failure> {
        let Some(record) = self.handbacks.all.get(&id).filter(|record| record.emptied) else { return Ok(()) };
        let folder = self.handbacks.folders.get(&id);
        undo(&folder.and_then(|folder| record.within(folder)).unwrap_or_else(|| record.clone()))
    }

    /// Hands back what is ready, unless a process is just being spawned.
    /// True if it did.
    pub(crate) fn hand_back_ready(&mut self) -> bool {
        let is_spawning = |slot: &crate::slots::Slot| matches!(slot.instance.state, State::Spawning { .. });
        if self.handbacks.ready.is_empty() || self.ctx.slots.iter().any(is_spawning) || self.ctx.commands.is_spawning() {
            return false;
        }
        for (id, mut copied) in std::mem::take(&mut self.handbacks.ready) {
            let Some(mut record) = self.handbacks.all.get(&id).cloned() else { continue };
            let result = self.hand_back(&mut record, &mut copied);
            self.end_or_go_on(record, copied, result);
        }
        true
    }

    /// Another try, and what was taken from a file and is not where it belongs, keep the thread busy for a while.
    fn end_or_go_on(&mut self, record: HandBack, copied: Copied, result: Result<Done, Failure>) {
        let is_to_put_back = record.emptied && !matches!(record.stage, Stage::Thawing { .. });
        let (failure, copier) = match (result, &self.handbacks.copier) {
            (Err(failure), Some((copier, _))) if is_to_put_back || matches!(failure, Failure::Later) => (failure, copier),
            (result, _) => return self.conclude(record.id, result),
        };
        match failure {
            Failure::Later => copier.again(copied, record.emptied),
            failure => {
                let within = self.handbacks.folders.get(&record.id).and_then(|folder| record.within(folder));
                copier.give_up(within.unwrap_or_else(|| record.clone()), copied, failure);
            }
        }
        self.ctx.journal.push(&Record::HandBack(Box::new(record.clone())));
        self.handbacks.all.insert(record.id, record);
    }

    fn hand_back(&mut self, record: &mut HandBack, copied: &mut Copied) -> Result<Done, Failure> {
        // Whatever was decided in this turn is in the journal before.
        self.write_down().map_err(Failure::Journal)?;
        let writing = || self.ctx.slots.iter().filter(|slot| slot.log_files.contains(&Some(record.file)));
        let leaders: Vec<(ProcRef, Vec<Kin>, String)> =
            writing().filter_map(|slot| Some((leader(slot)?, slot.kin.clone(), slot.unique_id.clone()))).collect();
        let commands: Vec<(ProcRef, String)> = writing().flat_map(|slot| self.ctx.commands.writers_of(slot.id)).collect();
        let keeper = self.ctx.keeper.pid();
        let trees = move |table: &ProcTable| -> Vec<Entry> {
            let apps = leaders.iter().flat_map(|(leader, kin, unique_id)| led_by(*leader, kin, table, unique_id, keeper));
            let commands = commands.iter().flat_map(|(leader, mark)| table.tree(*leader, INC_MARK, mark.as_bytes(), keeper));
            apps.chain(commands).collect()
        };
        let writers = Writers { trees: &trees, never: [keeper, std::process::id().cast_signed()] };
        let folder = self.handbacks.folders.get(&record.id).cloned();
        let mut within = folder.as_ref().and_then(|folder| record.within(folder)).unwrap_or_else(|| record.clone());
        let files = self.ctx.log_files.open.clone();
        let quiet = files.while_quiet(record.file, || {
            hand_back(&mut within, copied, &writers, &mut |within| {
                record.stage = within.stage.clone();
                self.handbacks.all.insert(record.id, record.clone());
                self.ctx.journal.push(&Record::HandBack(Box::new(record.clone())));
                self.write_down()
            })
        });
        record.stage = within.stage.clone();
        match quiet {
            Some(result) => result,
            None => {
                if !record.emptied {
                    undo(&within)?;
                }
                Err(Failure::Busy)
            }
        }
    }

    /// The journal, and its copy on disk: whoever is stopped by us must be known even when the keeper is killed, too.
    fn write_down(&mut self) -> std::io::Result<()> {
        let bytes = self.ctx.journal.flush().1?;
        if !bytes.is_empty() {
            self.ctx.state_file.append(&bytes, self.ctx.now.mono_ms);
            self.write_state_file();
        }
        Ok(())
    }

    /// It is over, in one way or the other.
    fn conclude(&mut self, id: u32, result: Result<Done, Failure>) {
        let Some(record) = self.handbacks.all.remove(&id) else { return };
        self.ctx.log_files.moving.remove(&record.file);
        let folder = self.handbacks.folders.remove(&id);
        self.ctx.journal.push(&Record::HandedBack { id });
        if self.handbacks.all.is_empty() {
            self.handbacks.copier = None;
        }
        let mut ids = Vec::new();
        for slot in self.ctx.slots.iter_mut().filter(|slot| slot.log_files.contains(&Some(record.file))) {
            ids.push(slot.id);
            if let Ok(done) = &result {
                let [error, out] = slot.log_files.map(|file| if file == Some(record.file) { done.cut } else { 0 });
                slot.log_start = (slot.log_start.0.saturating_sub(error), slot.log_start.1.saturating_sub(out));
            }
        }
        ids.iter().for_each(|id| self.ctx.slots.changed(*id));
        let plain = |text: String| folder.as_ref().map_or_else(|| text.clone(), |folder| folder.plain(&text));
        if record.stays {
            let renamed = result.map(|done| done.renamed.map(plain)).map_err(|failure| plain(failure.to_string()));
            let result = renamed.map(|renamed| renamed.unwrap_or(record.rotated));
            return self.ctx.answer(Answer::Rotated { path: record.path, target: record.target.into(), file: record.file, result });
        }
        let outcome = match result {
            Ok(done) => {
                self.ctx.log.line(format_args!("\"{}\" is written again, its old lines are in \"{}\"", record.path, record.rotated));
                let stalled_us = u64::try_from(done.stalled.as_micros()).unwrap_or(u64::MAX);
                Some(LogOutcome::HandedBack { rotated: record.rotated, bytes: done.cut, stalled_us })
            }
            Err(Failure::NotWritten) => None,
            Err(failure) => Some(LogOutcome::Failed { reason: plain(failure.to_string()) }),
        };
        for reload in &mut self.handbacks.reloads {
            if reload.waiting.remove(&id)
                && let Some(outcome) = &outcome
            {
                add(&mut reload.logs, &record.path, &ids, outcome.clone());
            }
        }
        self.answer_reloads();
    }

    fn answer_reloads(&mut self) {
        let (done, waiting) = std::mem::take(&mut self.handbacks.reloads).into_iter().partition(|reload| reload.waiting.is_empty());
        self.handbacks.reloads = waiting;
        let done: Vec<Reload> = done;
        for reload in done {
            for log in &reload.logs {
                if let LogOutcome::Failed { reason } = &log.outcome {
                    self.ctx.log.error(format_args!("\"{}\" cannot be opened anew: {reason}", log.path));
                }
            }
            if let Some((client, request)) = reload.caller {
                self.ctx.reply(client, request, Response::LogsReloaded(reload.logs));
            }
        }
    }

    /// Before anything else a daemon does: what its predecessor began is finished or undone, and nobody stands still.
    pub(crate) fn recover_hand_backs(&mut self, records: BTreeMap<u32, HandBack>) {
        for (id, record) in records {
            self.handbacks.begin_after(id);
            match recover_within(&record) {
                Ok(true) if record.stays => self.ctx.answer(Answer::RotationUndone),
                Ok(false) if record.stays => {}
                Ok(undone) => self.handbacks.again |= undone,
                Err(failure) if record.stays => self.ctx.log.error(format_args!("\"{}\" cannot be rotated: {failure}", record.path)),
                Err(failure) => self.ctx.log.error(format_args!("\"{}\" cannot be opened anew: {failure}", record.path)),
            }
            self.ctx.journal.push(&Record::HandedBack { id });
        }
    }

    /// What was undone is done after all.
    pub(crate) fn hand_back_again(&mut self) {
        if std::mem::take(&mut self.handbacks.again) {
            self.reload_logs(None);
        }
    }

    /// Another daemon goes on: from now on the files are its own.
    pub(crate) fn leave_hand_backs(&mut self) {
        self.leave_carries();
        if let Some((copier, _)) = &self.handbacks.copier {
            copier.shut();
        }
    }

    /// The daemon ends for good: copies under way are not needed.
    pub(crate) fn abandon_hand_backs(&mut self) {
        self.leave_carries();
        if let Some((copier, _)) = self.handbacks.copier.take() {
            copier.shut();
        }
        self.ctx.log_files.moving.clear();
        for (id, record) in std::mem::take(&mut self.handbacks.all) {
            // Nothing was stopped yet: that is done within one turn of the loop.
            let _ = recover_within(&record);
            self.ctx.journal.push(&Record::HandedBack { id });
        }
        self.handbacks.ready.clear();
    }

    /// A process that was spawned by a daemon which did not live to write down which files it gave to it. Only files that are where they
    /// should be are believed to be its logs.
    pub(crate) fn recognise_logs(&mut self, id: u32, pid: i32) {
        let Some(slot) = self.ctx.slots.get_mut(id) else { return };
        if logs::needs_pipe(&slot.spec().logs) {
            return;
        }
        let believe = |path: &Option<String>, fd| {
            let file = descriptor(pid, fd).filter(|found| found.appends).map(|found| found.key)?;
            (look(&follow_links(path.as_deref()?.as_ref()), file).0 == There::Itself).then_some(file)
        };
        slot.log_files = [believe(&slot.files.error, 2), believe(&slot.files.out, 1)];
    }
}

/// Finishes or undoes; a rotation without leaving the folder of its log. Whatever is wrong with that, nobody stands still.
fn recover_within(record: &HandBack) -> Result<bool, Failure> {
    // In the midst of it the file may have its other name.
    let with = |path: &String| Folder::with(path.as_ref(), record.file, &record.rights).ok();
    let is_one_folder = || Path::new(&record.target).parent() == Path::new(&record.rotated).parent();
    let folder = if record.stays || (!record.rights.are_ours() && is_one_folder()) {
        with(&record.target).or_else(|| with(&record.rotated))
    } else {
        None
    };
    match folder.as_ref().and_then(|folder| record.within(folder)) {
        Some(within) => recover(&within),
        // Somebody has moved the file, or the folder. Everything is in one of the two files.
        None if record.stays => {
            let undone = recover(&HandBack { stage: record.stage.as_undone(), copy: String::new(), emptied: false, ..record.clone() });
            let gone = || Failure::NotPutBack { rotated: record.copy.clone(), source: std::io::ErrorKind::NotFound.into() };
            if record.emptied { Err(gone()) } else { undone }
        }
        None => recover(record),
    }
}

/// The running main process.
pub(super) fn leader(slot: &Slot) -> Option<ProcRef> {
    Some(ProcRef { pid: slot.instance.pid()?, start_ticks: slot.start_ticks })
}

/// Somebody in the tree who still has the file as that stream.
fn writer(slot: &Slot, leader: ProcRef, file: FileKey, fd: u32, table: &mut Option<ProcTable>, keeper: i32) -> Option<(i32, Descriptor)> {
    let of = |pid| descriptor(pid, fd).filter(|found| found.key == file && found.writes && found.appends).map(|found| (pid, found));
    of(leader.pid).filter(|_| leader.exists()).or_else(|| {
        let table = table.get_or_insert_with(ProcTable::scan);
        led_by(leader, &slot.kin, table, &slot.unique_id, keeper).iter().find_map(|member| of(member.pid))
    })
}

/// What the file is called now: as its writer's descriptor says, or as something in the folder of its log is.
fn name_of(writer: &Descriptor, path: &str) -> Option<String> {
    use std::os::unix::fs::{DirEntryExt, MetadataExt};
    let is_it = |path: &Path| std::fs::symlink_metadata(path).is_ok_and(|meta| (meta.dev(), meta.ino()) == writer.key);
    let by_writer = writer.path.as_deref().filter(|path| is_it(path)).map(Path::to_owned);
    let in_folder = || {
        let entries = std::fs::read_dir(follow_links(path.as_ref()).parent()?).ok()?;
        entries.flatten().filter(|entry| entry.ino() == writer.key.1).map(|entry| entry.path()).find(|path| is_it(path))
    };
    by_writer.or_else(in_folder)?.into_os_string().into_string().ok()
}

/// One line per log, however many instances write to it.
fn add(logs: &mut Vec<ReloadedLog>, path: &str, ids: &[u32], outcome: LogOutcome) {
    match logs.iter_mut().find(|log| log.path == path && log.outcome == outcome) {
        Some(log) => ids.iter().filter(|id| !log.ids.contains(id)).copied().collect::<Vec<_>>().into_iter().for_each(|id| log.ids.push(id)),
        None => logs.push(ReloadedLog { path: path.to_owned(), ids: ids.to_vec(), outcome }),
    }
}
