//! Retention: the thread that compresses rotated files and removes surplus ones. It lives only
//! while it has work.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};

use flate2::Compression;
use flate2::write::GzEncoder;
use ostler_core::logs::rotate::keep::{RotatedFile, for_room, surplus};
use ostler_core::logs::rotate::name::is_rotated;
use ostler_core::logs::rotate::{RotateSpec, Rule};
use ostler_sys::fs::facts::FileFacts;
use rustix::fs::{Mode, OFlags};

use super::Rotation;
use crate::engine::Ctx;
use crate::logs::line_times::{TimesFolder, id_of};
use crate::logs::reclaim::{FileKey, Folder, rename_to_free};
use crate::platform::reactor::{Reactor, Source};
use crate::platform::rights::Rights;
use crate::platform::threads;
use crate::platform::waker::Waker;

/// Stack of the thread, which holds the tables of the compressor. Untouched pages cost nothing, and
/// the stack is freed when the thread exits.
const STACK: usize = 4 << 20;
/// Key of the thread's waker.
pub(super) const READY: u64 = 1;
/// Niceness of the thread: the lowest priority.
const NICENESS: i32 = 19;

/// Log whose rotated files are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CheckedLog {
    pub(super) target: PathBuf,
    /// File whose folder contains the log.
    pub(super) file: FileKey,
    /// Rights for its access.
    pub(super) rights: Rights,
}

/// Job for the thread.
#[derive(Clone, Debug)]
pub(super) enum RetentionJob {
    /// Compress rotated files, and remove files beyond the app's limits.
    Keep(Rule),
    /// Remove files until this many bytes are free.
    Room(u64),
}

#[derive(Debug)]
struct Task {
    groups: Vec<Group>,
    /// Logs of all apps, which are never mistaken for old files.
    live: BTreeSet<PathBuf>,
}

/// Logs of one app, or those in one folder.
#[derive(Debug)]
struct Group {
    logs: Vec<CheckedLog>,
    job: RetentionJob,
    /// Formats of dates in names.
    dates: Vec<String>,
}

/// Report of the thread.
#[derive(Debug)]
enum RetentionReport {
    /// A line for the log.
    Removed(String),
    /// A failure: the file, and the reason.
    Failed(String, String),
    /// A task is done.
    Done,
}

/// Channel to the thread.
#[derive(Debug)]
pub(super) struct Retention {
    /// Waker of the daemon.
    waker: Arc<Waker>,
    tasks: mpsc::Sender<Task>,
    news: mpsc::Receiver<RetentionReport>,
    waiting: usize,
}

impl Rotation {
    /// Orders a check of the rotated files of these logs.
    pub(super) fn order_retention(&mut self, ctx: &mut Ctx, groups: impl IntoIterator<Item = (Vec<CheckedLog>, RetentionJob)>) {
        let live = self.live_logs(ctx, None).into_iter().map(|live| live.target).collect();
        let usual = RotateSpec::default().rule();
        let mut group = |(logs, job): (Vec<CheckedLog>, RetentionJob)| {
            let rule = match &job {
                RetentionJob::Keep(rule) => Some(rule),
                RetentionJob::Room(_) => usual.as_ref(),
            };
            let dates = rule.map_or_else(Vec::new, |rule| self.dates(rule, ctx.now.wall_ms));
            Group { logs, job, dates }
        };
        let task = Task { groups: groups.into_iter().map(&mut group).collect(), live };
        if task.groups.is_empty() {
            return;
        }
        if self.care.is_none() {
            match Retention::start(&ctx.io.reactor, TimesFolder::of_home(&ctx.io.settings.home)) {
                Ok(care) => self.care = Some(care),
                Err(error) => {
                    return ctx
                        .io
                        .log
                        .error_once("care", format_args!("rotated logs are not compressed or deleted: cannot start a thread: {error}"));
                }
            }
        }
        if let Some(care) = &mut self.care
            && care.tasks.send(task).is_ok()
        {
            care.waiting += 1;
        }
    }

    /// Handles reports of the thread.
    pub(super) fn on_retention_report(&mut self, ctx: &mut Ctx) {
        let Some(care) = &mut self.care else { return };
        care.waker.clear();
        let news: Vec<RetentionReport> = care.news.try_iter().collect();
        care.waiting = care.waiting.saturating_sub(news.iter().filter(|news| matches!(news, RetentionReport::Done)).count());
        if care.waiting == 0
            && let Some(care) = self.care.take()
        {
            ctx.io.reactor.remove(&*care.waker);
        }
        for news in news {
            match news {
                RetentionReport::Removed(line) => ctx.io.log.line(format_args!("{line}")),
                RetentionReport::Failed(about, problem) => {
                    if self.is_news(&about, &problem) {
                        ctx.io.log.error(format_args!("\"{about}\": {problem}"));
                    }
                }
                RetentionReport::Done => {}
            }
        }
    }
}

impl Retention {
    fn start(reactor: &Reactor, times: TimesFolder) -> io::Result<Self> {
        let waker = Arc::new(Waker::new()?);
        let back = Arc::clone(&waker);
        let (tasks, received) = mpsc::channel::<Task>();
        let (sender, news) = mpsc::channel();
        threads::spawn("log-care".into(), STACK, move || {
            // This affects only this thread: on Linux each thread has its own niceness.
            let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS);
            while let Some(task) = threads::receive(&received) {
                let mut report = |news| drop(sender.send(news));
                let done = threads::catch(|| task.groups.iter().for_each(|group| perform(group, &task.live, &times, &mut report)));
                if done.is_err() {
                    report(RetentionReport::Failed("rotated logs".into(), "a bug in the retention of rotated logs".into()));
                }
                report(RetentionReport::Done);
                back.wake();
            }
        })?;
        reactor.add(&*waker, Source::Feature(Rotation::NAME, READY))?;
        Ok(Self { waker, tasks, news, waiting: 0 })
    }
}

/// Rotated file, and its folder.
struct RotatedEntry {
    folder: usize,
    name: String,
    old: RotatedFile,
}

/// Log, its name, and its user.
struct LogRef<'a> {
    log: usize,
    name: &'a str,
    uid: u32,
}

type ReportFn<'a> = &'a mut dyn FnMut(RetentionReport);

fn perform(task: &Group, live: &BTreeSet<PathBuf>, times: &TimesFolder, report: ReportFn<'_>) {
    let mut folders: Vec<Folder> = Vec::new();
    let mut names: Vec<Vec<String>> = Vec::new();
    let mut found: Vec<RotatedEntry> = Vec::new();
    let mut live_bytes = 0;
    for (log, kept) in task.logs.iter().enumerate() {
        let Some(name) = kept.target.file_name().and_then(|name| name.to_str()) else { continue };
        let at = match folders.iter().position(|folder| Some(folder.path()) == kept.target.parent() && *folder.rights() == kept.rights) {
            Some(at) => at,
            // If the log was moved or removed since, this folder needs no work.
            None => match Folder::with(&kept.target, kept.file, &kept.rights) {
                Ok(folder) => {
                    names.push(folder.names().unwrap_or_default().into_iter().filter(|name| name.contains("__")).collect());
                    folders.push(folder);
                    folders.len() - 1
                }
                Err(_) => continue,
            },
        };
        let Some(meta) = std::fs::symlink_metadata(folders[at].inside(name)).ok().filter(std::fs::Metadata::is_file) else { continue };
        live_bytes += meta.len();
        let of = LogRef { log, name, uid: meta.uid() };
        let mut files = rotated_of(&of, &task.dates, live, (at, &folders[at]), &names[at]);
        if let RetentionJob::Keep(rule) = &task.job
            && rule.compress
        {
            for file in &mut files {
                compress(&folders[at], file, times, report);
            }
        }
        found.append(&mut files);
    }
    let olds: Vec<RotatedFile> = found.iter().map(|found| found.old.clone()).collect();
    let gone = match &task.job {
        RetentionJob::Keep(rule) => surplus(&olds, rule, live_bytes),
        RetentionJob::Room(wanted) => {
            let free = folders.first().and_then(|folder| folder.room().ok()).map_or(u64::MAX, |(free, _)| free);
            for_room(&olds, wanted.saturating_sub(free))
        }
    };
    for index in gone {
        let RotatedEntry { folder, name, .. } = &found[index];
        let folder = &folders[*folder];
        let shown = folder.path().join(name);
        let file = FileFacts::at(folder.inside(name).as_ref());
        threads::point();
        match folder.rights().act(|| std::fs::remove_file(folder.inside(name))) {
            // The line has the words of pm2-logrotate.
            Ok(()) => {
                file.into_iter().for_each(|file| times.removed(id_of(&file)));
                report(RetentionReport::Removed(format!("\"{}\" has been deleted", shown.display())));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => report(RetentionReport::Failed(shown.display().to_string(), format!("cannot be deleted: {error}"))),
        }
    }
}

/// Returns the rotated files of one log. Only plain files of the app's user or the daemon's user
/// count.
fn rotated_of(
    of: &LogRef<'_>,
    dates: &[String],
    live: &BTreeSet<PathBuf>,
    (at, folder): (usize, &Folder),
    names: &[String],
) -> Vec<RotatedEntry> {
    let LogRef { log, name: file, uid } = *of;
    let own = rustix::process::geteuid().as_raw();
    let mut found = Vec::new();
    for name in names {
        if let Some(of) = name.strip_prefix('.').and_then(|name| name.strip_suffix(".gz.ostler")) {
            // A daemon was killed while it compressed this file. No other thread compresses now.
            if is_rotated(file, of, dates) {
                let _ = folder.rights().act(|| std::fs::remove_file(folder.inside(name)));
            }
            continue;
        }
        if !is_rotated(file, name, dates) || live.contains(&folder.path().join(name)) {
            continue;
        }
        let Ok(meta) = std::fs::symlink_metadata(folder.inside(name)) else { continue };
        if !meta.is_file() || (meta.uid() != uid && meta.uid() != own) {
            continue;
        }
        let modified_ms = u64::try_from(meta.mtime().saturating_mul(1000) + meta.mtime_nsec() / 1_000_000).unwrap_or(0);
        found.push(RotatedEntry {
            folder: at,
            old: RotatedFile { log, name: name.clone(), bytes: meta.len(), modified_ms },
            name: name.clone(),
        });
    }
    found
}

/// Replaces a file by its compressed form. At every moment the file exists in one form or the
/// other.
fn compress(folder: &Folder, file: &mut RotatedEntry, times: &TimesFolder, report: ReportFn<'_>) {
    if file.name.ends_with(".gz") {
        return;
    }
    let hidden = format!(".{}.gz.ostler", file.name);
    let name = format!("{}.gz", file.name);
    let write = || {
        let bytes = write_compressed(folder, &file.name, &hidden)?;
        threads::point();
        match rename_to_free(folder.inside(&hidden), folder.inside(&name)) {
            Ok(()) => folder.sync(),
            // A daemon completed this form, and was killed before it removed the original.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => std::fs::remove_file(folder.inside(&hidden))?,
            Err(error) => return Err(error),
        }
        Ok(bytes)
    };
    let facts = |name: &str| FileFacts::at(folder.inside(name).as_ref());
    let result = folder.rights().act(write).and_then(|bytes| {
        // The index belongs to the daemon, so the app's rights do not apply to it.
        if let (Ok(plain), Ok(compressed)) = (facts(&file.name), facts(&name)) {
            times.content_moved(id_of(&plain), id_of(&compressed), None);
        }
        threads::point();
        folder.rights().act(|| std::fs::remove_file(folder.inside(&file.name)))?;
        Ok(bytes)
    });
    match result {
        Ok(bytes) => {
            file.old.bytes = bytes;
            file.old.name.clone_from(&name);
            file.name = name;
        }
        Err(error) => {
            let _ = folder.rights().act(|| std::fs::remove_file(folder.inside(&hidden)));
            let shown = folder.path().join(&file.name).display().to_string();
            report(RetentionReport::Failed(shown, format!("cannot be compressed: {error}")));
        }
    }
}

fn write_compressed(folder: &Folder, name: &str, hidden: &str) -> io::Result<u64> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut source = OpenOptions::new().read(true).custom_flags(flags).open(folder.inside(name))?;
    let meta = source.metadata()?;
    if !meta.is_file() || meta.nlink() != 1 {
        return Err(io::Error::other("it is not a regular file with a single hard link"));
    }
    let target = OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(flags).open(folder.inside(hidden))?;
    let mut encoder = GzEncoder::new(target, Compression::default());
    copy_gently(&mut source, &mut encoder)?;
    let target = encoder.finish()?;
    let own = target.metadata()?;
    if (own.uid(), own.gid()) != (meta.uid(), meta.gid()) {
        std::os::unix::fs::fchown(&target, Some(meta.uid()), Some(meta.gid()))?;
    }
    rustix::fs::fchmod(&target, Mode::from_raw_mode(meta.mode() & 0o777))?;
    if let Ok(modified) = meta.modified() {
        let _ = target.set_modified(modified);
    }
    target.sync_all()?;
    Ok(target.metadata()?.len())
}

/// Copies without evicting other files from the page cache.
fn copy_gently(source: &mut File, into: &mut impl Write) -> io::Result<()> {
    use std::io::Read;
    let mut buffer = vec![0; 128 << 10];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                threads::point();
                // A disk of the simulation may be full.
                threads::room(count)?;
                into.write_all(&buffer[..count])?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let _ = rustix::fs::fadvise(&*source, 0, None, rustix::fs::Advice::DontNeed);
    Ok(())
}
