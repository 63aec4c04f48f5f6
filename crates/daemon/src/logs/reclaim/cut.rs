//! Reclaim step during which all writers are stopped, and its recovery after the daemon is killed
//! in it.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

use ostler_sys::ProcRef;
use ostler_sys::fs::facts::FileFacts;
use ostler_sys::process::descriptors::has_open_for_writing;
use rustix::fs::{CWD, Mode, OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::copy::{chase, copy_on, move_bytes, open_source, remove};
use super::empty::put_back;
use super::freeze::{FreezeInput, Frozen, Writers, thaw};
use super::plan::{LONGEST_LINE, RemainingWork, cut, rest};
use super::{
    Copied, LogFindings, PathEntry, ReclaimDecision, ReclaimFailure, ReclaimRecord, ReclaimResult, ReclaimStage, Work, decide, inspect_path,
};
use crate::logs::line_times::id_of;

/// Writer of the record to the journal.
type Store<'a> = &'a mut dyn FnMut(&ReclaimRecord) -> io::Result<()>;

/// Reclaims the file after the bulk was copied. After an error the file and its writers are as
/// before, except that removed bytes must be put back ([`give_up`]). With [`ReclaimFailure::Later`]
/// the copy stays for the next attempt.
///
/// # Errors
///
/// Returns the reason of the failure, or [`ReclaimFailure::Later`].
pub(crate) fn reclaim(
    record: &mut ReclaimRecord,
    copied: &mut Copied,
    writers: &Writers<'_>,
    store: Store<'_>,
) -> Result<ReclaimResult, ReclaimFailure> {
    let mut frozen = Frozen::default();
    let result = in_the_cold(record, copied, writers, &mut frozen, store);
    let is_undone = matches!(record.stage, ReclaimStage::Copying | ReclaimStage::Freezing { .. });
    if !is_undone {
        if !matches!(result, Ok(_) | Err(ReclaimFailure::NotNamed { .. })) {
            // The file cannot be restored, so the copy holds its content.
            let _ = name(record);
        }
        record.stage = ReclaimStage::Thawing { stopped: pairs(&frozen.stopped) };
    }
    // If this write fails, the previous record is good enough: every step can be repeated, and
    // resuming a process twice does no harm.
    let _ = store(record);
    frozen.thaw();
    let stalled = frozen.since.map_or(Duration::ZERO, |since| since.elapsed());
    // A process that waits for the disk or for a processor does not stop at once.
    let is_tried_again = matches!(result, Err(ReclaimFailure::NotStopped(_))) && copied.may_try_again();
    if is_undone {
        record.stage = ReclaimStage::Copying;
        if !record.emptied && !is_tried_again {
            remove(&record.rights, &record.copy);
        }
    }
    match result {
        Err(_) if is_tried_again => Err(ReclaimFailure::Later),
        result => result.map(|(cut, renamed, work)| ReclaimResult { cut, renamed, stalled, work }),
    }
}

/// Gives up: the copy is removed, and removed bytes are put back into the file.
pub(super) fn give_up(record: &ReclaimRecord, source: &File) -> Result<(), ReclaimFailure> {
    if record.emptied {
        let back = match open_copy(record) {
            Ok(copy) => put_back(source, &copy),
            Err(error) => Err(error),
        };
        if let Err(source) = back {
            let rotated = match name(record) {
                Ok(renamed) => renamed.unwrap_or_else(|| record.rotated.clone()),
                Err(_) => record.copy.clone(),
            };
            return Err(ReclaimFailure::NotPutBack { rotated, source });
        }
    }
    remove(&record.rights, &record.copy);
    Ok(())
}

/// Gives up when only the record is left. No process is stopped.
///
/// # Errors
///
/// Returns an error if not everything is in the file again.
pub(crate) fn undo(record: &ReclaimRecord) -> Result<(), ReclaimFailure> {
    if !record.emptied {
        remove(&record.rights, &record.copy);
        return Ok(());
    }
    let open = |path: &str| open_source(&record.rights, Path::new(path), record.file);
    let source = open(record.source()).or_else(|_| open(&record.target));
    match source {
        Ok(source) => give_up(record, &source),
        Err(source) => Err(ReclaimFailure::NotPutBack { rotated: record.copy.clone(), source }),
    }
}

fn in_the_cold(
    record: &mut ReclaimRecord,
    copied: &mut Copied,
    writers: &Writers<'_>,
    frozen: &mut Frozen,
    store: Store<'_>,
) -> Result<(u64, Option<String>, Work), ReclaimFailure> {
    let mut length = copied.length;
    {
        let scene = FreezeInput { writers, file: record.file, copied };
        frozen.freeze(&scene, &mut |stopped| {
            record.stage = ReclaimStage::Freezing { stopped: pairs(stopped) };
            store(record).map_err(ReclaimFailure::Journal)?;
            // The steps before took a while. From now on it is quick.
            chase(&copied.source, &copied.copy, &mut length).map_err(ReclaimFailure::system("write", &record.copy))
        })?;
    }
    copied.length = length;
    if frozen.is_empty() && !record.stays {
        return Err(ReclaimFailure::NotWritten);
    }
    let like = judge(record, copied)?;
    copy_on(&copied.source, &copied.copy, &mut copied.length).map_err(ReclaimFailure::system("write", &record.copy))?;
    let end = copied.length;
    let freed = copied.source.metadata().map_or(0, |meta| meta.blocks() * 512);
    let work = Work { copied: end - length, freed };
    let last = last_bytes(&copied.copy, end).map_err(ReclaimFailure::system("read", &record.copy))?;
    let cut = cut(end, &last);
    // A process may have resumed a writer; its new bytes would be lost.
    let length = copied.source.metadata().map_err(ReclaimFailure::system("inspect", record.source()))?.len();
    if length != end {
        return Err(ReclaimFailure::NotStopped(frozen.stopped.first().map_or(0, |process| process.pid)));
    }
    let undo = record.stage.clone();
    record.stage = ReclaimStage::Cutting { stopped: pairs(&frozen.stopped), cut, end, like };
    if let Err(error) = store(record) {
        record.stage = undo;
        return Err(ReclaimFailure::Journal(error));
    }
    if !record.stays
        && let Err(error) = rename(record, &record.rotated, &record.target)
    {
        record.stage = undo;
        return Err(ReclaimFailure::system("rename the file to", &record.target)(error));
    }
    if record.stays
        && let Err(failure) = announce(record)
    {
        record.stage = undo;
        return Err(failure);
    }
    match finish(record, &copied.source) {
        Ok(renamed) => Ok((cut, renamed, work)),
        Err(failure) => {
            // Before the file was truncated, the step can be undone: the file at the path was
            // empty.
            let is_whole = || copied.source.metadata().is_ok_and(|meta| meta.len() >= end);
            let is_back = || record.stays || rename(record, &record.target, &record.rotated).is_ok();
            if !matches!(failure, ReclaimFailure::NotNamed { .. }) && is_whole() && is_back() {
                record.stage = undo;
            }
            Err(failure)
        }
    }
}

/// Shows followers of the log the future name of its lines before anything is removed. The file
/// gets that name for a moment, and then its own name again, as in a reclaim. All writers are
/// stopped, and if the daemon is killed in between, the next one finds the file there.
fn announce(record: &ReclaimRecord) -> Result<(), ReclaimFailure> {
    match record.rights.act(|| rename_to_free(&record.target, &record.rotated)) {
        Ok(()) => {
            rename(record, &record.rotated, &record.target).map_err(ReclaimFailure::system("rename the file back to", &record.target))
        }
        // The name was taken in the meantime. The copy gets another name, and followers must find
        // it themselves.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(ReclaimFailure::system("rename the file to", &record.rotated)(error)),
    }
}

/// Checks that nothing has changed since the reclaim began. Returns mode, user and group of the
/// empty file that waits at the path.
fn judge(record: &ReclaimRecord, copied: &Copied) -> Result<Option<(u32, u32, u32)>, ReclaimFailure> {
    let (there, meta) = inspect_path(Path::new(&record.target), record.file);
    if record.stays {
        return if there == PathEntry::SameFile { Ok(None) } else { Err(ReclaimFailure::Moved) };
    }
    let key = meta.as_ref().map(|meta| (meta.dev(), meta.ino()));
    let is_there_written = there == PathEntry::Empty
        && key.is_some_and(|key| {
            let known = copied.new_file == Some(key);
            let table = ostler_sys::ProcTable::scan();
            let unknown = |entry: &&ostler_sys::process::ProcessEntry| !known || !copied.processes.contains(&entry.process());
            let mut unknown = table.entries().iter().filter(unknown);
            (known && copied.is_new_file_written) || unknown.any(|entry| has_open_for_writing(entry.pid, key).unwrap_or(false))
        });
    let names = copied.source.metadata().map_or(0, |meta| meta.nlink());
    match decide(LogFindings { has_name: names > 0, is_written: true, entry: there, is_entry_written: is_there_written }) {
        ReclaimDecision::Reclaim => Ok(meta.map(|meta| (meta.mode() & 0o777, meta.uid(), meta.gid()))),
        ReclaimDecision::Leave => Err(ReclaimFailure::NotWritten),
        // The file was deleted since the reclaim began: the next `reloadLogs` handles that.
        ReclaimDecision::CarryOver => Err(super::plan::ReclaimObstacle::Deleted.into()),
        ReclaimDecision::Impossible(why) => Err(why.into()),
    }
}

fn last_bytes(copy: &File, end: u64) -> io::Result<Vec<u8>> {
    let mut wanted = 4096;
    loop {
        let count = end.min(wanted);
        let mut last = vec![0; usize::try_from(count).unwrap_or(0)];
        copy.read_exact_at(&mut last, end - count)?;
        // Most lines are short. A longer range is read only if it contains no newline.
        if count == end || wanted >= LONGEST_LINE as u64 || last.contains(&b'\n') {
            return Ok(last);
        }
        wanted = LONGEST_LINE as u64;
    }
}

/// Completes everything behind the first rename. It is repeatable at any point while the
/// writers are stopped.
fn finish(record: &ReclaimRecord, source: &File) -> Result<Option<String>, ReclaimFailure> {
    let ReclaimStage::Cutting { cut, end, like, .. } = record.stage else { return Ok(None) };
    let mut renamed = None;
    let copy = match open_copy(record) {
        Ok(copy) => Some(copy),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(ReclaimFailure::system("open", &record.copy)(error)),
    };
    let length = copy.as_ref().and_then(|copy| copy.metadata().ok()).map(|meta| meta.len());
    match (copy, rest(end, length)) {
        (None, _) | (_, RemainingWork::Nothing) => {}
        (Some(copy), work) => {
            if work == RemainingWork::Shorten {
                shorten(source, &copy, cut, end).map_err(ReclaimFailure::system("shorten", &record.target))?;
            }
            pass_times_on(record, source, &copy, cut);
            renamed = name(record)?;
        }
    }
    if let Some((mode, uid, gid)) = like {
        // Applies owner and mode of the new file. If the owner cannot be set, the file is still
        // usable.
        let _ = record.rights.act(|| std::os::unix::fs::fchown(source, Some(uid), Some(gid)));
        let _ = record.rights.act(|| Ok(rustix::fs::fchmod(source, Mode::from_raw_mode(mode))?));
    }
    Ok(renamed)
}

/// Gives the receive times of the lines up to the cut to the copy. Without them, the lines have no
/// exact time.
fn pass_times_on(record: &ReclaimRecord, source: &File, copy: &File, cut: u64) {
    let ids = FileFacts::of(source).and_then(|source| Ok((id_of(&source), id_of(&FileFacts::of(copy)?))));
    if let (Some(times), Ok((source, copy))) = (&record.times, ids) {
        times.content_moved(source, copy, Some(cut));
    }
}

fn rename(record: &ReclaimRecord, from: &str, to: &str) -> io::Result<()> {
    record.rights.act(|| std::fs::rename(from, to))
}

fn open_copy(record: &ReclaimRecord) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let copy = record.rights.act(|| std::fs::OpenOptions::new().read(true).write(true).custom_flags(flags).open(&record.copy))?;
    let meta = copy.metadata()?;
    // The file was ours alone; if it has another name now, it may belong to another program.
    if meta.is_file() && meta.nlink() == 1 { Ok(copy) } else { Err(Errno::STALE.into()) }
}

/// Truncates the file to its open line, and the copy by that line.
fn shorten(source: &File, copy: &File, cut: u64, end: u64) -> io::Result<()> {
    let meta = source.metadata()?;
    // The file is longer than the copied part only if a writer was resumed while there was no
    // daemon. Those bytes stay, behind the open line.
    let more = meta.len().saturating_sub(end);
    let moved = move_bytes(copy, cut, source, 0, end - cut).and_then(|()| move_bytes(source, end, source, end - cut, more));
    // Without room even for that, the line is torn but complete: its beginning stays in the copy.
    let keep = if moved.is_ok() { end - cut + more } else { 0 };
    if moved.is_err() && more > 0 {
        return moved;
    }
    source.set_len(keep)?;
    if moved.is_ok() {
        copy.set_len(cut)?;
    }
    if let Ok(modified) = meta.modified() {
        // The last line was written at that time. Programs that delete by age rely on it.
        let _ = copy.set_modified(modified);
    }
    Ok(())
}

/// Gives the copy its name without replacing another file. If the name is taken, the copy gets
/// another name, which is reported.
fn name(record: &ReclaimRecord) -> Result<Option<String>, ReclaimFailure> {
    let fail = |source| ReclaimFailure::NotNamed { copy: record.copy.clone(), rotated: record.rotated.clone(), source };
    match record.rights.act(|| rename_to_free(&record.copy, &record.rotated)) {
        Ok(()) => return Ok(None),
        Err(error) if record.stays && error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(fail(error)),
    }
    record.rights.act(|| rename_to_similar(&record.copy, &record.rotated)).map(Some).map_err(fail)
}

/// Gives a file a free name like this one. Returns that name.
pub(super) fn rename_to_similar(from: &str, name: &str) -> io::Result<String> {
    for number in 1..MOST_NAMES {
        let other = similar_name(name, number);
        match rename_to_free(from, &other) {
            Ok(()) => return Ok(other),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Most names that are tried.
const MOST_NAMES: u32 = 100;

/// Returns the name beside a rotated one: `x__date.log` → `x__date-1.log`.
fn similar_name(rotated: &str, number: u32) -> String {
    let name = rotated.rfind('/').map_or(0, |slash| slash + 1);
    match rotated[name..].rfind('.').filter(|dot| *dot > 0) {
        Some(dot) => format!("{}-{number}{}", &rotated[..name + dot], &rotated[name + dot..]),
        None => format!("{rotated}-{number}"),
    }
}

/// Renames a file unless the new name is taken.
///
/// # Errors
///
/// Returns `AlreadyExists`, or the system's error.
pub(crate) fn rename_to_free(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    let (from, to) = (from.as_ref(), to.as_ref());
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Not every file system supports this flag.
        Err(Errno::INVAL) if to.symlink_metadata().is_ok() => Err(io::ErrorKind::AlreadyExists.into()),
        Err(Errno::INVAL) => std::fs::rename(from, to),
        other => other.map_err(io::Error::from),
    }
}

/// Completes or undoes the step of a killed daemon, and resumes stopped processes. Returns true if
/// it was undone and should be retried.
///
/// # Errors
///
/// Returns an error if the recovery is blocked; stopped processes are resumed nevertheless.
pub(crate) fn recover(record: &ReclaimRecord) -> Result<bool, ReclaimFailure> {
    let (stopped, result) = match &record.stage {
        ReclaimStage::Copying => (&[][..], Ok(true)),
        ReclaimStage::Freezing { stopped } => (&stopped[..], Ok(true)),
        ReclaimStage::Thawing { stopped } => (&stopped[..], Ok(false)),
        ReclaimStage::Cutting { stopped, .. } => (&stopped[..], complete(record).map(|()| false)),
    };
    let stopped: Vec<ProcRef> = stopped.iter().map(|&(pid, start_ticks)| ProcRef { pid, start_ticks }).collect();
    thaw(&stopped);
    if matches!(result, Ok(true)) {
        undo(record)?;
    }
    result
}

fn complete(record: &ReclaimRecord) -> Result<(), ReclaimFailure> {
    let open = |path: &str| open_source(&record.rights, Path::new(path), record.file);
    let source = match open(&record.rotated) {
        Ok(source) => {
            rename(record, &record.rotated, &record.target).map_err(ReclaimFailure::system("rename the file to", &record.target))?;
            source
        }
        Err(_) => open(&record.target).map_err(ReclaimFailure::system("find", &record.target))?,
    };
    finish(record, &source).map(drop)
}

fn pairs(processes: &[ProcRef]) -> Vec<(i32, u64)> {
    processes.iter().map(|process| (process.pid, process.start_ticks)).collect()
}
