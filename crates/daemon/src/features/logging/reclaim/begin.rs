//! Beginning of a reclaim: finds the files that are not at their paths, and decides how each can be
//! reclaimed.

use std::path::Path;
use std::sync::Arc;

use ostler_sys::process::descriptors::{Descriptor, descriptor};
use ostler_sys::{ProcRef, ProcTable};

use super::{PendingStep, Reclaim, leader};
use crate::engine::{Ctx, FeatureAnswer};
use crate::logs::line_times::TimesFolder;
use crate::logs::reclaim::{
    CopyOrder, FileKey, Folder, LogFindings, PathEntry, ReclaimDecision, ReclaimRecord, ReclaimStage, Rotating, copy_name, decide,
    inspect_path,
};
use crate::platform::rights::{Rights, follow_links};
use crate::state::slots::Slot;
use crate::state::slots::trees::led_by;
use crate::state::store::Record;

/// File that apps write to.
pub(super) struct WrittenLog {
    file: FileKey,
    pub path: String,
    /// Rights of the app that owns the log.
    rights: Rights,
    pub ids: Vec<u32>,
    /// Present path of the file, as a process that writes to it sees it.
    name: Option<String>,
    /// Process that writes to the file, and its descriptor.
    writer: Option<(i32, u32)>,
}

/// Names of a log that is copied, as in [`ReclaimRecord`].
struct LogNames {
    path: String,
    target: String,
    rotated: String,
}

/// Result of beginning the reclaim of a log.
pub(super) enum BeginOutcome {
    /// There is nothing to do.
    Nothing,
    Reclaim(u32),
    /// The log is carried over: it was deleted, and there is a new file at the path.
    Carried,
}

/// Returns the files that running apps write to directly, and that are not at their paths.
pub(super) fn direct_logs(ctx: &Ctx) -> Vec<WrittenLog> {
    let mut found: Vec<WrittenLog> = Vec::new();
    let mut table = None;
    for slot in ctx.state.slots.iter() {
        let Some(leader) = leader(slot) else { continue };
        let paths = [&slot.live.files.error, &slot.live.files.out];
        for ((file, path), fd) in slot.durable.log_files.iter().zip(paths).zip([2, 1]) {
            let (Some(file), Some(path)) = (*file, path) else { continue };
            // Most files are still at their path, which one check shows.
            if inspect_path(&follow_links(path.as_ref()), file).0 == PathEntry::SameFile {
                continue;
            }
            let index = found.iter().position(|log| log.file == file && log.path == *path).unwrap_or(found.len());
            if index == found.len() {
                let rights = Rights::of(slot.spec());
                found.push(WrittenLog { file, path: path.clone(), rights, ids: Vec::new(), name: None, writer: None });
            }
            let log = &mut found[index];
            if !log.ids.contains(&slot.durable.pm_id) {
                log.ids.push(slot.durable.pm_id);
            }
            let writer = writer(slot, leader, (file, fd), &mut table, ctx.io.keeper.pid());
            log.writer = log.writer.or_else(|| writer.as_ref().map(|(pid, _)| (*pid, fd)));
            log.name = log.name.take().or_else(|| writer.and_then(|(_, writer)| name_of(&writer, path)));
        }
    }
    found
}

fn no_text() -> String {
    "the name of a file is not UTF-8".to_owned()
}

impl Reclaim {
    /// Begins what is possible, or returns the reason why nothing is.
    pub(super) fn begin_reclaim(&mut self, ctx: &mut Ctx, log: &WrittenLog) -> Result<BeginOutcome, String> {
        if let Some(same) = self.all.values().find(|record| record.file == log.file) {
            return Ok(BeginOutcome::Reclaim(same.id));
        }
        let (target, rights) = log.rights.target(log.path.as_ref());
        let (there, meta) = inspect_path(&target, log.file);
        let new_file = meta.map(|meta| (std::os::unix::fs::MetadataExt::dev(&meta), std::os::unix::fs::MetadataExt::ino(&meta)));
        let writes = |slot: &Slot, file| leader(slot).is_some() && slot.durable.log_files.contains(&Some(file));
        let is_there_written = new_file.is_some_and(|beside| ctx.state.slots.iter().any(|slot| writes(slot, beside)));
        match decide(LogFindings {
            has_name: log.name.is_some(),
            is_written: log.writer.is_some(),
            entry: there,
            is_entry_written: is_there_written,
        }) {
            ReclaimDecision::Leave => return Ok(BeginOutcome::Nothing),
            ReclaimDecision::CarryOver => {
                let writer = log.writer.ok_or("no process writes to it any more")?;
                return self.carry(ctx, log.file, (&log.path, &log.rights), writer).map(|()| BeginOutcome::Carried);
            }
            ReclaimDecision::Impossible(why) => return Err(why.to_string()),
            ReclaimDecision::Reclaim => {}
        }
        let (Some(rotated), Some(text)) = (log.name.clone(), target.to_str()) else { return Err(no_text()) };
        let rotated_path = Path::new(&rotated);
        // The file may be in another user's folder by now.
        let rights = if rights.is_daemon_user() { log.rights.target(rotated_path).1 } else { rights };
        let is_one_folder = !rights.is_daemon_user() && rotated_path.parent() == target.parent();
        let folder = is_one_folder.then(|| Folder::with(rotated_path, log.file, &rights)).transpose().map_err(|error| error.to_string())?;
        let names = LogNames { path: log.path.clone(), target: text.to_owned(), rotated };
        let id = self.begin_copy(ctx, names, log.file, false, rights, folder)?;
        Ok(BeginOutcome::Reclaim(id))
    }

    /// Rotates a log that is at its path. Its content gets this other name in the same folder,
    /// unless the file is being moved already.
    pub(super) fn rotate(&mut self, ctx: &mut Ctx, log: Rotating) {
        if ctx.state.log_files.moving.contains(&log.file) {
            return;
        }
        let (path, target, file) = (log.path.clone(), log.target.clone(), log.file);
        if let Err(reason) = self.begin_rotation(ctx, log) {
            ctx.answer(FeatureAnswer::Rotated { path, target, file, result: Err(reason) });
        }
    }

    fn begin_rotation(&mut self, ctx: &mut Ctx, log: Rotating) -> Result<(), String> {
        let target = log.target.to_str().ok_or_else(no_text)?.to_owned();
        let rotated = log.target.with_file_name(&log.rotated).to_str().ok_or_else(no_text)?.to_owned();
        let names = LogNames { path: log.path, target, rotated };
        self.begin_copy(ctx, names, log.file, true, log.rights, Some(log.folder)).map(drop)
    }

    /// Orders the copy of a log. `stays`: the log is at its path. Returns the number of the record.
    fn begin_copy(
        &mut self,
        ctx: &mut Ctx,
        names: LogNames,
        file: FileKey,
        stays: bool,
        rights: Rights,
        folder: Option<Folder>,
    ) -> Result<u32, String> {
        let LogNames { path, target, rotated } = names;
        let copy = copy_name(Path::new(&rotated)).and_then(|copy| Some(copy.to_str()?.to_owned())).ok_or_else(no_text)?;
        let (id, stage) = (self.next_number(), ReclaimStage::Copying);
        let times = Some(TimesFolder::of_home(&ctx.io.settings.home));
        let record = ReclaimRecord { id, path, target, rotated, copy, file, stage, stays, emptied: false, rights, times };
        self.order_copy(ctx, record, folder.map(Arc::new));
        Ok(id)
    }

    fn next_number(&mut self) -> u32 {
        self.next = self.next.wrapping_add(1);
        self.next
    }

    /// Orders the copy when its record is written, because a copy must never exist without a
    /// record.
    fn order_copy(&mut self, ctx: &mut Ctx, record: ReclaimRecord, folder: Option<Arc<Folder>>) {
        let id = record.id;
        let within = folder.as_ref().and_then(|folder| record.within(folder)).unwrap_or_else(|| record.clone());
        let source = within.source().to_owned();
        let ReclaimRecord { copy, target, file, rights, .. } = within;
        let order = CopyOrder { id, source, copy, target, file, folder: folder.clone(), rights };
        ctx.state.journal.push(&Record::Reclaim(Box::new(record.clone())));
        ctx.state.log_files.moving.insert(file);
        self.all.insert(id, record);
        self.folders.extend(folder.map(|folder| (id, folder)));
        self.next_step(ctx, id, PendingStep::Copy(Box::new(order)));
    }
}

/// Returns a process in the tree that still has the file open as that stream.
fn writer(
    slot: &Slot,
    leader: ProcRef,
    (file, fd): (FileKey, u32),
    table: &mut Option<ProcTable>,
    keeper: i32,
) -> Option<(i32, Descriptor)> {
    let of = |pid| descriptor(pid, fd).filter(|found| found.key == file && found.writes && found.appends).map(|found| (pid, found));
    of(leader.pid).filter(|_| leader.exists()).or_else(|| {
        let table = table.get_or_insert_with(ProcTable::scan);
        led_by(leader, &slot.durable.former_leaders, table, &slot.durable.unique_id, keeper).iter().find_map(|member| of(member.pid))
    })
}

/// Returns the present name of the file, from its writer's descriptor or from the folder of its
/// log.
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
