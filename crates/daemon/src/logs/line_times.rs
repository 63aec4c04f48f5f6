//! Indexes of receive times on disk, and the thread that writes them.
//!
//! # Theory of operation
//!
//! `ostler_core::logs::line_times` explains an index and decides about its entries. Each log has an
//! index file in a folder of the home that only the daemon's user can enter. Its name is the
//! identity of the log file, so a rename of the log needs no change here. When the content of a log
//! moves to another file (rotation of a log that its app writes, compression), the index is renamed
//! in the same step.
//!
//! The disk may be slow or hang, so a thread of low priority writes ([`Recorder`]). It lives only
//! while logs grow. If a write fails, an entry is missing and one interval is longer.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use ostler_core::home::home_paths::HomePaths;
use ostler_core::logs::line_times::growth::{IndexChange, Sighting, change};
use ostler_core::logs::line_times::thin::{MOST_ENTRIES, thinned};
use ostler_core::logs::line_times::{ENTRY_BYTES, Entry, FileId, cut, decode};
use ostler_sys::fs::facts::FileFacts;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::platform::rights::Rights;
use crate::platform::threads;

/// Stack of the thread.
const STACK: usize = 128 << 10;
/// Niceness of the thread: the lowest priority.
const NICENESS: i32 = 19;
/// Suffix of an index that is being rewritten.
const REWRITTEN: &str = ".new";
/// Age from which an index without a log is removed, ms. A younger one may belong to a log that was
/// created, or compressed, after the search.
const ORPHAN_AGE_MS: u64 = 60_000;

/// Bytes of an entry, as a position in a file.
const STEP: u64 = ENTRY_BYTES as u64;

/// Returns the identity of a file.
pub(crate) fn id_of(facts: &FileFacts) -> FileId {
    FileId { dev: facts.dev, ino: facts.ino, born_ns: facts.born_ns }
}

/// Folder of the indexes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct TimesFolder(PathBuf);

impl TimesFolder {
    pub(crate) fn of_home(home: &Path) -> Self {
        Self(HomePaths::line_times(home))
    }

    fn index(&self, file: FileId) -> PathBuf {
        self.0.join(file.index_name())
    }

    /// Adds a measurement of a log to its index.
    ///
    /// # Errors
    /// Returns the system's error.
    pub(crate) fn record(&self, file: FileId, seen: &Sighting) -> io::Result<()> {
        let path = self.index(file);
        let index = self.open(&path)?;
        let last = last_entry(&index)?;
        let IndexChange { resets, added } = change(last, seen);
        if resets {
            threads::point();
            index.set_len(0)?;
        }
        let bytes: Vec<u8> = added.iter().flat_map(|entry| entry.encode()).collect();
        threads::point();
        let room = threads::room(bytes.len())?;
        (&index).write_all(&bytes[..room])?;
        if index.metadata()?.len() >= MOST_ENTRIES as u64 * STEP {
            self.thin(&path)?;
        }
        Ok(())
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        let flags = OFlags::NOFOLLOW.bits().cast_signed();
        let open = || OpenOptions::new().read(true).append(true).create(true).mode(0o600).custom_flags(flags).open(path);
        match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                DirBuilder::new().mode(0o700).create(&self.0)?;
                open()
            }
            opened => opened,
        }
    }

    /// Removes old entries. The index is replaced as a whole, so readers always find one.
    fn thin(&self, path: &Path) -> io::Result<()> {
        let kept = thinned(&decode(&std::fs::read(path)?));
        let bytes: Vec<u8> = kept.iter().flat_map(|entry| entry.encode()).collect();
        let mut name = path.as_os_str().to_owned();
        name.push(REWRITTEN);
        let new = PathBuf::from(name);
        let written = std::fs::remove_file(&new).or_else(ignore_missing).and_then(|()| {
            threads::point();
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?.write_all(&bytes)
        });
        threads::point();
        let replaced = written.and_then(|()| std::fs::rename(&new, path));
        if replaced.is_err() {
            let _ = std::fs::remove_file(&new);
        }
        replaced
    }

    /// Passes the index of a file on to the file that has its content now: all of it, or up to this
    /// length. Nothing happens if the first one has no index.
    pub(crate) fn content_moved(&self, from: FileId, to: FileId, length: Option<u64>) {
        threads::point();
        if from != to && std::fs::rename(self.index(from), self.index(to)).is_err() {
            // An index of content that is elsewhere would be wrong.
            return self.removed(from);
        }
        if let Some(length) = length
            && self.cut(to, length).is_err()
        {
            self.removed(to);
        }
    }

    /// Removes what the index has beyond this length.
    fn cut(&self, file: FileId, length: u64) -> io::Result<()> {
        let index = match OpenOptions::new().read(true).write(true).open(self.index(file)) {
            Ok(index) => index,
            Err(error) => return ignore_missing(error),
        };
        if last_entry(&index)?.is_none_or(|last| last.length <= length) {
            return Ok(());
        }
        let mut all = Vec::new();
        (&index).read_to_end(&mut all)?;
        let kept: Vec<u8> = cut(&decode(&all), length).iter().flat_map(|entry| entry.encode()).collect();
        threads::point();
        index.write_all_at(&kept, 0)?;
        index.set_len(kept.len() as u64)
    }

    /// Removes the index of a file that was removed.
    pub(crate) fn removed(&self, file: FileId) {
        let _ = std::fs::remove_file(self.index(file));
    }

    /// Removes the indexes of files that exist no more.
    ///
    /// # Errors
    /// Returns an error if a folder cannot be read. Nothing is removed then.
    fn sweep(&self, logs: &[(PathBuf, Rights)], now_ms: u64) -> io::Result<()> {
        let Ok(indexes) = std::fs::read_dir(&self.0) else { return Ok(()) };
        let present = index_names(logs)?;
        // A rename changes this time, too.
        let changed_ms = |meta: std::fs::Metadata| u64::try_from(meta.ctime()).unwrap_or(0).saturating_mul(1000);
        for entry in indexes.flatten() {
            let is_known = entry.file_name().to_str().is_some_and(|name| present.contains(name));
            if !is_known && entry.metadata().is_ok_and(|meta| changed_ms(meta) + ORPHAN_AGE_MS < now_ms) {
                threads::point();
                let _ = std::fs::remove_file(entry.path());
            }
        }
        Ok(())
    }
}

fn ignore_missing(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Returns the last entry, after the removal of an incomplete end: a torn write, or zeros after a
/// power failure.
fn last_entry(index: &File) -> io::Result<Option<Entry>> {
    let length = index.metadata()?.len();
    let mut bytes = [0; ENTRY_BYTES];
    let is_whole = length > 0 && length.is_multiple_of(STEP);
    if is_whole {
        index.read_exact_at(&mut bytes, length - STEP)?;
    }
    match Entry::decode(&bytes) {
        _ if length == 0 => Ok(None),
        Some(last) if is_whole => Ok(Some(last)),
        _ => {
            let mut all = vec![0; usize::try_from(length).unwrap_or(0)];
            index.read_exact_at(&mut all, 0)?;
            let valid = decode(&all);
            index.set_len(valid.len() as u64 * STEP)?;
            Ok(valid.last().copied())
        }
    }
}

/// Returns the names of the indexes of all files in the folders of these logs.
fn index_names(logs: &[(PathBuf, Rights)]) -> io::Result<BTreeSet<String>> {
    let mut folders: Vec<(PathBuf, Rights)> = Vec::new();
    for (log, rights) in logs {
        let (target, rights) = rights.target(log);
        let Some(folder) = target.parent() else { continue };
        if !folders.iter().any(|known| known.0 == folder && known.1 == rights) {
            folders.push((folder.to_owned(), rights));
        }
    }
    let mut names = BTreeSet::new();
    for (folder, rights) in folders {
        let ids = rights.act(|| ids_in(&folder));
        match ids {
            Ok(ids) => names.extend(ids.into_iter().map(|id| id.index_name())),
            // The logs are gone with their folder.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(names)
}

fn ids_in(folder: &Path) -> io::Result<Vec<FileId>> {
    let mut ids = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        // A file may be removed in between.
        ids.extend(FileFacts::at(&entry?.path()).ok().filter(|facts| facts.is_file).map(|facts| id_of(&facts)));
    }
    Ok(ids)
}

/// Order for the thread.
#[derive(Debug)]
pub(crate) enum TimesOrder {
    /// Add these looks to the indexes of their files.
    Record(Vec<(FileId, Sighting)>),
    /// Remove indexes without a file. The files are in the folders of these logs, which are
    /// accessed with these rights.
    Sweep(Vec<(PathBuf, Rights)>),
}

/// Handle of the thread. The thread ends when this is dropped and the orders are done.
#[derive(Debug)]
pub(crate) struct Recorder {
    orders: mpsc::Sender<TimesOrder>,
    running: RunningRecorder,
}

/// Proof that a thread may still run: this channel is closed when the thread has ended.
#[derive(Debug)]
pub(crate) struct RunningRecorder(mpsc::Receiver<()>);

impl Recorder {
    /// Starts the thread. It waits for the former one, because entries must be in order. `failed`
    /// gets each failure.
    ///
    /// # Errors
    /// Returns an error if the system has no more threads.
    pub(crate) fn start(
        folder: TimesFolder,
        former: Option<RunningRecorder>,
        failed: impl Fn(String) + Send + 'static,
    ) -> io::Result<Self> {
        let (orders, received) = mpsc::channel();
        let (runs, running) = mpsc::channel();
        threads::spawn("log-times".into(), STACK, move || {
            let _runs = runs;
            former.and_then(|former| threads::receive(&former.0));
            // This affects only this thread: on Linux each thread has its own niceness.
            let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS);
            while let Some(order) = threads::receive(&received) {
                match threads::catch(|| perform(&folder, order)) {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => failed(error.to_string()),
                    Err(_) => failed("a bug in the record of receive times".into()),
                }
            }
        })?;
        Ok(Self { orders, running: RunningRecorder(running) })
    }

    /// Ends the thread when its orders are done.
    pub(crate) fn end(self) -> RunningRecorder {
        self.running
    }

    pub(crate) fn order(&self, order: TimesOrder) {
        // The thread lives as long as this sender.
        let _ = self.orders.send(order);
    }
}

fn perform(folder: &TimesFolder, order: TimesOrder) -> io::Result<()> {
    match order {
        // A failure for one log must not cost the entries of the others.
        TimesOrder::Record(seen) => seen.iter().map(|(file, seen)| folder.record(*file, seen)).fold(Ok(()), Result::and),
        TimesOrder::Sweep(logs) => folder.sweep(&logs, ostler_sys::now().wall_ms),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::logs::testing::Folder;

    const LOG: FileId = FileId { dev: 1, ino: 2, born_ns: 3 };

    fn seen(length: u64, at_ms: u64) -> Sighting {
        Sighting { length, modified_ms: at_ms, now_ms: at_ms, before: None, is_new: false }
    }

    fn entries(times: &TimesFolder, file: FileId) -> Vec<(u64, u64)> {
        let bytes = std::fs::read(times.index(file)).unwrap_or_default();
        decode(&bytes).iter().map(|entry| (entry.length, entry.at_ms)).collect()
    }

    #[test]
    fn looks_are_recorded_in_a_private_folder() {
        let folder = Folder::new("times-record");
        let times = TimesFolder::of_home(folder.path());
        for (length, at_ms) in [(0, 1000), (10, 2000), (10, 2500), (30, 4000)] {
            times.record(LOG, &seen(length, at_ms)).unwrap();
        }
        assert_eq!(entries(&times, LOG), [(0, 1000), (10, 2000), (30, 4000)]);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&times.0), mode(&times.index(LOG))), (0o700, 0o600));
        // The log was emptied.
        times.record(LOG, &seen(5, 5000)).unwrap();
        assert_eq!(entries(&times, LOG), [(5, 5000)]);
    }

    #[test]
    fn damaged_end_is_removed_before_the_next_entry() {
        let folder = Folder::new("times-torn");
        let times = TimesFolder::of_home(folder.path());
        for damage in [&[9, 9, 9][..], &[0; 16], &[0; 35]] {
            times.removed(LOG);
            times.record(LOG, &seen(10, 2000)).unwrap();
            OpenOptions::new().append(true).open(times.index(LOG)).unwrap().write_all(damage).unwrap();
            times.record(LOG, &seen(20, 3000)).unwrap();
            assert_eq!(entries(&times, LOG), [(10, 2000), (20, 3000)], "{damage:?}");
        }
    }

    #[test]
    fn long_index_is_thinned() {
        let folder = Folder::new("times-thin");
        let times = TimesFolder::of_home(folder.path());
        times.record(LOG, &seen(0, 1000)).unwrap();
        let all: Vec<u8> = (0..MOST_ENTRIES as u64).flat_map(|at| Entry { length: at, at_ms: (at + 1) * 1000 }.encode()).collect();
        std::fs::write(times.index(LOG), &all).unwrap();
        let newest_ms = (MOST_ENTRIES as u64 + 1) * 1000;
        times.record(LOG, &seen(MOST_ENTRIES as u64, newest_ms)).unwrap();
        let kept = entries(&times, LOG);
        assert!(kept.len() <= MOST_ENTRIES / 2 && kept[0] == (0, 1000) && kept.last() == Some(&(MOST_ENTRIES as u64, newest_ms)));
        assert_eq!(std::fs::read_dir(&times.0).unwrap().count(), 1);
    }

    #[test]
    fn index_follows_the_content() {
        let folder = Folder::new("times-moved");
        let times = TimesFolder::of_home(folder.path());
        let other = FileId { ino: 7, ..LOG };
        times.record(LOG, &seen(10, 2000)).unwrap();
        times.record(LOG, &seen(25, 4000)).unwrap();
        // The step is repeated after a crash.
        for _ in 0..2 {
            times.content_moved(LOG, other, Some(20));
            assert_eq!((entries(&times, LOG), entries(&times, other)), (vec![], vec![(10, 2000), (20, 4000)]));
        }
        times.removed(other);
        assert_eq!(std::fs::read_dir(&times.0).unwrap().count(), 0);
    }

    #[test]
    fn indexes_of_removed_files_are_swept() {
        let folder = Folder::new("times-sweep");
        let times = TimesFolder::of_home(folder.path());
        let log = folder.path().join("logs/a.log");
        std::fs::create_dir_all(log.parent().unwrap()).unwrap();
        std::fs::write(&log, "x\n").unwrap();
        let file = id_of(&FileFacts::at(&log).unwrap());
        [file, LOG].into_iter().for_each(|id| times.record(id, &seen(2, 2000)).unwrap());
        let logs = [(log.clone(), Rights::default()), (folder.path().join("missing/b.log"), Rights::default())];
        let left = || (entries(&times, file).len(), entries(&times, LOG).len());
        let now_ms = ostler_sys::now().wall_ms;
        times.sweep(&logs, now_ms).unwrap();
        assert_eq!(left(), (1, 1), "it is young");
        times.sweep(&logs, now_ms + 2 * ORPHAN_AGE_MS).unwrap();
        assert_eq!(left(), (1, 0));
        // If a folder cannot be read, nothing is removed.
        std::fs::remove_dir_all(log.parent().unwrap()).unwrap();
        std::fs::write(log.parent().unwrap(), "a file").unwrap();
        assert!(times.sweep(&logs, now_ms + 2 * ORPHAN_AGE_MS).is_err() && left() == (1, 0));
    }

    #[test]
    fn failure_is_reported_and_changes_nothing_else() {
        let folder = Folder::new("times-failure");
        std::fs::write(folder.path().join("line-times"), "in the way").unwrap();
        let (sender, reports) = mpsc::channel();
        let recorder = Recorder::start(TimesFolder::of_home(folder.path()), None, move |why| drop(sender.send(why))).unwrap();
        recorder.order(TimesOrder::Record(vec![(LOG, seen(1, 1000)), (LOG, seen(2, 2000))]));
        assert!(reports.recv().unwrap().contains("ot a directory"));
        std::fs::remove_file(folder.path().join("line-times")).unwrap();
        recorder.order(TimesOrder::Record(vec![(LOG, seen(3, 3000))]));
        drop(recorder);
        assert!(reports.recv().is_err(), "the thread has ended");
        assert_eq!(entries(&TimesFolder::of_home(folder.path()), LOG), [(3, 3000)]);
    }

    #[test]
    fn orders_of_two_threads_are_done_in_order() {
        let folder = Folder::new("times-order");
        let times = TimesFolder::of_home(folder.path());
        let mut former = None;
        for round in 1..50 {
            let recorder = Recorder::start(times.clone(), former.take(), |why| panic!("{why}")).unwrap();
            recorder.order(TimesOrder::Record(vec![(LOG, seen(round * 10, round * 1000))]));
            former = Some(recorder.end());
        }
        former.and_then(|former| former.0.recv().ok());
        let expected: Vec<(u64, u64)> = (1..50).map(|round| (round * 10, round * 1000)).collect();
        assert_eq!(entries(&times, LOG), expected);
    }
}
