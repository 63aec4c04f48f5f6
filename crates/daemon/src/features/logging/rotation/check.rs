//! Checks of sizes and schedules.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ostler_core::logs::rotate::{Rule, pace};
use ostler_sys::fs::inotify::WatchFlags;

use super::Rotation;
use super::retention::{CheckedLog, RetentionJob};
use crate::engine::Ctx;
use crate::logs::LogTargets;
use crate::logs::reclaim::{FileKey, PathEntry, inspect_path};
use crate::platform::reactor::Source;
use crate::platform::rights::Rights;
use crate::state::slots::Slot;
use crate::state::store::Record;

/// Free space below which rotated files are removed, unless a setting replaces it: the smaller of a
/// size and a share of the disk.
const MIN_FREE: (u64, u64) = (256 << 20, 50);

/// Folder with logs.
#[derive(Debug, Default)]
pub(super) struct Folder {
    /// Boot clock of the next check; `None` = the folder is watched.
    pub(super) due_ms: Option<u64>,
    last_ms: u64,
    /// Shortest time between two checks.
    pace_ms: u64,
    /// Lower bound of the pace. It is short when writing begins, so that a short burst is soon
    /// over, and grows while writing continues.
    step_ms: u64,
    sizes: BTreeMap<FileKey, u64>,
}

/// First lower bound.
const SHORTEST_MS: u64 = 1000;
/// Key of the watches of folders.
const FIRED: u64 = 0;

impl Folder {
    fn new(now_ms: u64) -> Self {
        Self { last_ms: now_ms, pace_ms: SHORTEST_MS, step_ms: SHORTEST_MS, ..Self::default() }
    }

    /// Handles a write in the folder.
    fn written(&mut self, now_ms: u64) {
        if now_ms > self.last_ms + self.pace_ms {
            self.step_ms = SHORTEST_MS;
        }
        self.due_ms = Some(now_ms.max(self.last_ms + self.pace_ms));
    }

    /// Schedules a check of the sizes soon, regardless of the pace.
    pub(super) fn hurry(&mut self) {
        self.pace_ms = 0;
        self.due_ms = self.due_ms.map(|_| 0);
    }
}

/// Log that can be rotated.
#[derive(Clone, Debug)]
pub(super) struct RotatableLog {
    pub(super) path: String,
    pub(super) target: PathBuf,
    pub(super) file: FileKey,
    pub(super) size: u64,
    /// Whether an app writes the file itself.
    pub(super) direct: bool,
    pub(super) app: String,
    /// User that the app runs as, if that is not the daemon's user.
    pub(super) uid: Option<u32>,
    /// Rights for its access.
    pub(super) rights: Rights,
    pub(super) rule: Rule,
}

impl Rotation {
    /// Handles the start of a process that writes to its logs. Returns true if the next check may
    /// have changed.
    pub(super) fn follow(&mut self, ctx: &mut Ctx, id: u32) -> bool {
        let Some(slot) = ctx.state.slots.get(id) else { return false };
        let mut is_new = slot.spec().log_rotate.schedule.is_some() || self.wanted.rotate.schedule.is_some();
        self.schedule_changed |= is_new;
        let folders: Vec<PathBuf> = folders(slot).collect();
        for folder in folders {
            if !self.folders.contains_key(&folder) {
                self.folders.insert(folder.clone(), Folder::new(ctx.now.mono_ms));
                self.arm(ctx, &folder);
                // The folder was not watched before, so earlier writes need one check.
                if let Some(known) = self.folders.get_mut(&folder) {
                    known.due_ms = known.due_ms.or(Some(ctx.now.mono_ms + SHORTEST_MS));
                }
                is_new = true;
            }
        }
        is_new
    }

    /// Starts the checks in a new daemon.
    pub(super) fn begin(&mut self, ctx: &mut Ctx) {
        self.read_settings(ctx);
        let ids: Vec<u32> = ctx.state.slots.iter().map(|slot| slot.durable.id).collect();
        for id in ids {
            self.follow(ctx, id);
        }
        let now_ms = ctx.now.mono_ms;
        for folder in self.folders.values_mut() {
            folder.due_ms = Some(now_ms + SHORTEST_MS);
        }
        self.schedule_changed = true;
        self.leftovers = ctx.state.slots.iter().next().is_some();
    }

    fn arm(&mut self, ctx: &mut Ctx, folder: &Path) {
        let events = WatchFlags::MODIFY | WatchFlags::DELETE_SELF | WatchFlags::ONLYDIR;
        let armed = self.watch.arm(folder, events, folder.to_owned(), (&ctx.io.reactor, Source::Feature(Self::NAME, FIRED)));
        let check_ms = self.wanted.check_ms;
        let Some(known) = self.folders.get_mut(folder) else { return };
        match armed {
            Ok(()) => known.due_ms = None,
            // Without a watch of the kernel, the folder is checked by time.
            Err(error) => {
                known.due_ms = Some(ctx.now.mono_ms + check_ms);
                if error.kind() != std::io::ErrorKind::NotFound {
                    ctx.io.log.error_once(
                        "log folders",
                        format_args!(
                            "cannot watch \"{}\": {error}; checking its files every {} s instead",
                            folder.display(),
                            check_ms / 1000
                        ),
                    );
                }
            }
        }
    }

    /// Handles writes in watched folders.
    pub(super) fn on_written(&mut self, now_ms: u64) {
        for path in self.watch.fired() {
            if let Some(folder) = self.folders.get_mut(&path) {
                folder.written(now_ms);
            }
        }
    }

    /// Does the checks that are due.
    pub(super) fn run_due_checks(&mut self, ctx: &mut Ctx) {
        let now_ms = ctx.now.mono_ms;
        let due = |folder: &Folder| folder.due_ms.is_some_and(|at| at <= now_ms);
        let folders: Vec<PathBuf> = self.folders.iter().filter(|(_, folder)| due(folder)).map(|(path, _)| path.clone()).collect();
        if !folders.is_empty() {
            self.read_settings(ctx);
        }
        for folder in folders {
            self.check_folder(ctx, &folder);
        }
        if self.schedule_changed || self.schedule_due_ms.is_some_and(|at| at <= now_ms) {
            self.check_schedules(ctx);
        }
    }

    fn check_folder(&mut self, ctx: &mut Ctx, path: &Path) {
        let now_ms = ctx.now.mono_ms;
        let logs = self.live_logs(ctx, Some(path));
        if !ctx.state.slots.iter().any(|slot| folders(slot).any(|folder| folder == path)) {
            self.folders.remove(path);
            return;
        }
        if path.is_dir() {
            self.reported.remove(path.to_string_lossy().as_ref());
        } else {
            self.on_folder_removed(ctx, path);
        }
        let check_ms = self.wanted.check_ms;
        let Some(folder) = self.folders.get_mut(path) else { return };
        let within_ms = now_ms.saturating_sub(folder.last_ms);
        let mut pace_ms = folder.step_ms.min(check_ms);
        folder.step_ms = folder.step_ms.saturating_mul(2).min(check_ms.max(SHORTEST_MS));
        let mut large = Vec::new();
        let before = std::mem::take(&mut folder.sizes);
        for live in &logs {
            let grown = before.get(&live.file).map(|size| (live.size.saturating_sub(*size), within_ms));
            pace_ms = pace_ms.min(pace::next_check_ms(live.size, live.rule.max_size, grown, check_ms));
            folder.sizes.insert(live.file, live.size);
            if live.size >= live.rule.max_size {
                large.push(live.clone());
                folder.sizes.insert(live.file, 0);
            }
        }
        (folder.last_ms, folder.pace_ms) = (now_ms, pace_ms);
        for live in &large {
            self.rotate(ctx, live);
        }
        if let Some(live) = logs.first() {
            self.make_room(ctx, &live.target);
        }
        self.arm(ctx, path);
    }

    /// Returns the logs of all apps, or those in one folder, each file once.
    pub(super) fn live_logs(&self, ctx: &Ctx, folder: Option<&Path>) -> Vec<RotatableLog> {
        let mut found: Vec<RotatableLog> = Vec::new();
        for slot in ctx.state.slots.iter() {
            let Some(rule) = self.wanted.rule_of(slot.spec()) else { continue };
            for (path, file) in slot.logs() {
                // The daemon itself writes the file at the path of a carried log.
                let is_carried = file.is_some_and(|file| ctx.state.log_files.carried.contains(&file));
                let (file, direct) = (file.filter(|_| !is_carried), slot.writes_directly() && !is_carried);
                let own = Rights::of(slot.spec());
                let (target, rights) = own.target(path.as_ref());
                if folder.is_some_and(|folder| target.parent() != Some(folder)) {
                    continue;
                }
                let Some((file, size)) = present(&target, file) else { continue };
                match found.iter_mut().find(|live| live.file == file) {
                    // If at least one app writes the file itself, it counts as direct.
                    Some(same) => {
                        same.direct |= direct;
                        if same.rights.is_daemon_user() {
                            same.rights = rights;
                        }
                    }
                    None => found.push(RotatableLog {
                        path: path.clone(),
                        target,
                        file,
                        size,
                        direct,
                        app: slot.spec().name.clone(),
                        uid: own.user().map(|user| user.uid),
                        rights,
                        rule: rule.clone(),
                    }),
                }
            }
        }
        found
    }

    /// Rotates the logs that are due by their schedule, and computes the next time.
    fn check_schedules(&mut self, ctx: &mut Ctx) {
        self.schedule_changed = false;
        self.schedule_due_ms = None;
        let now = ctx.now;
        let until_ms = self.until_ms.unwrap_or(now.wall_ms).min(now.wall_ms);
        let (mut due, mut next) = (Vec::new(), None::<u64>);
        for live in self.live_logs(ctx, None) {
            let Some(schedule) = &live.rule.schedule else { continue };
            let zone = self.zone(live.rule.tz.as_deref());
            let from_now = schedule.next_after_ms(now.wall_ms, &zone);
            next = [next, from_now].into_iter().flatten().min();
            if schedule.next_after_ms(until_ms, &zone).is_some_and(|at| at <= now.wall_ms) && live.size > 0 {
                due.push(live);
            }
        }
        for live in &due {
            self.rotate(ctx, live);
        }
        let Some(next) = next else { return };
        // If the machine was suspended or the clock jumps, one more check comes then.
        self.schedule_due_ms = Some(now.mono_ms + (next - now.wall_ms));
        if self.until_ms.is_none() || !due.is_empty() || now.wall_ms.saturating_sub(until_ms) > 0 {
            self.until_ms = Some(now.wall_ms);
            ctx.state.journal.push(&Record::RotatedUntil { wall_ms: now.wall_ms });
        }
    }

    /// Removes the oldest rotated files on a disk that is nearly full.
    pub(super) fn make_room(&mut self, ctx: &mut Ctx, target: &Path) {
        let Some(folder) = target.parent() else { return };
        let Ok(stat) = rustix::fs::statvfs(folder) else { return };
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        let all = stat.f_blocks.saturating_mul(stat.f_frsize);
        let wanted = self.wanted.min_free.unwrap_or_else(|| MIN_FREE.0.min(all / MIN_FREE.1));
        if free >= wanted {
            self.full.remove(folder);
            return;
        }
        if self.full.insert(folder.to_owned()) {
            ctx.io.log.error(format_args!(
                "the disk of \"{}\" has {} MB left: deleting rotated logs, the oldest first, until {} MB are free",
                folder.display(),
                free >> 20,
                wanted >> 20
            ));
        }
        let logs = self.live_logs(ctx, None).into_iter().filter(|live| live.target.parent() == Some(folder));
        let logs = logs.map(|live| CheckedLog { target: live.target, file: live.file, rights: live.rights }).collect();
        self.order_retention(ctx, [(logs, RetentionJob::Room(wanted))]);
    }

    fn on_folder_removed(&mut self, ctx: &mut Ctx, path: &Path) {
        let of = ctx.state.slots.iter().filter(|slot| folders(slot).any(|folder| folder == path)).map(|slot| Rights::of(slot.spec()));
        // If several users have logs here, the rights of a user other than the daemon's apply.
        let rights = of.reduce(|one, other| if one.is_daemon_user() { other } else { one }).unwrap_or_default();
        let places = LogTargets { home: &ctx.io.settings.home, rights: &rights, stdout: None, stderr: None };
        let made = places.make(path);
        let mut unwritten = Vec::new();
        for slot in ctx.state.slots.iter().filter(|slot| folders(slot).any(|folder| folder == path)) {
            match &slot.live.piped {
                Some(piped) => piped.reopen(),
                None if slot.durable.instance.pid().is_some() => unwritten.push(format!("{}:{}", slot.spec().name, slot.durable.pm_id)),
                None => {}
            }
        }
        let text = match (made, unwritten.is_empty()) {
            (Err(error), _) => format!("was removed and cannot be recreated: {error}"),
            (Ok(()), true) => "was removed and is recreated".to_owned(),
            (Ok(()), false) => {
                format!("was removed and is recreated; {} write to their removed files until their restart", unwritten.join(", "))
            }
        };
        if self.is_news(&path.to_string_lossy(), &text) {
            ctx.io.log.error(format_args!("the log folder \"{}\" {text}", path.display()));
        }
    }
}

/// Returns the folders that contain the logs; a link may lead to another folder.
fn folders(slot: &Slot) -> impl Iterator<Item = PathBuf> {
    slot.logs().filter_map(|(path, _)| Some(Rights::of(slot.spec()).target(path.as_ref()).0.parent()?.to_owned()))
}

/// Returns the file at this path, if it is a plain file and, if one is given, the wanted one.
fn present(target: &Path, wanted: Option<FileKey>) -> Option<(FileKey, u64)> {
    if let Some(file) = wanted {
        let (there, meta) = inspect_path(target, file);
        return meta.filter(|_| there == PathEntry::SameFile).map(|meta| (file, meta.len()));
    }
    let meta = std::fs::symlink_metadata(target).ok().filter(std::fs::Metadata::is_file)?;
    Some(((meta.dev(), meta.ino()), meta.len()))
}
