//! Log rotation.
//!
//! # Theory of operation
//!
//! *When.* Each folder with logs of our apps has a watch that fires once. The first write after it
//! was set wakes the daemon. The watch is set again only after the sizes were checked, some seconds
//! later (`ostler_core::logs::rotate::pace`). An app that writes thus costs two wake-ups per check,
//! and apps that do not write cost nothing. Schedules are one deadline of the event loop.
//!
//! *How.* A file that an app writes itself is rotated by `crate::logs::reclaim`: its content is
//! copied beside it, and its writers are stopped for the last part. A file that our log writers
//! write is renamed between two lines ([`crate::logs::OpenFiles::move_away`]).
//!
//! *Afterwards* a thread ([`retention`]) compresses rotated files and removes surplus ones. It
//! finds all of its work in the folder again. Work that a killed daemon left is thus completed with
//! the next rotation, or when the next daemon starts.

mod begin;
mod check;
mod daemon_log;
mod retention;
mod settings;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use ostler_core::logs::rotate::settings::RotationSettings as Wanted;

use crate::engine::{Ctx, FeatureAnswer, Key};
use crate::logs::reclaim::FileKey;
use crate::platform::one_shot_watch::OneShotWatches;
use crate::state::store::{Record, Snapshot};

/// State of the rotation.
#[derive(Debug, Default)]
pub(crate) struct Rotation {
    /// Version of the last settings that were read.
    settings_version: u64,
    /// Settings of the home.
    wanted: Wanted,
    /// Folders that are watched now.
    watch: OneShotWatches<PathBuf>,
    /// Folders that hold logs.
    folders: BTreeMap<PathBuf, check::Folder>,
    /// Wall clock until which schedules were checked; `None` = they never were.
    until_ms: Option<u64>,
    /// Boot clock of the next schedule.
    schedule_due_ms: Option<u64>,
    /// Whether a schedule may have changed.
    schedule_changed: bool,
    care: Option<retention::Retention>,
    /// Apps whose logs were rotated in this turn. Their old files are checked.
    rotated: BTreeSet<String>,
    /// Whether a former daemon may have left unfinished work.
    leftovers: bool,
    /// Last report about a file or folder, which is not repeated.
    reported: BTreeMap<String, String>,
    zones: BTreeMap<String, TimeZone>,
    /// Full disks' folders that were reported.
    full: BTreeSet<PathBuf>,
}

impl Rotation {
    pub(crate) fn restore(&mut self, snapshot: &mut Snapshot) {
        self.until_ms = snapshot.rotated_until;
    }

    /// Starts to check the logs of apps that a former daemon started, and completes its unfinished
    /// work.
    pub(crate) fn on_boot(&mut self, ctx: &mut Ctx) {
        self.begin(ctx);
        self.set_timer(ctx);
    }

    pub(crate) fn on_spawn(&mut self, ctx: &mut Ctx, id: u32) {
        if self.follow(ctx, id) {
            self.set_timer(ctx);
        }
    }

    pub(crate) fn on_settings(&mut self, ctx: &mut Ctx) {
        self.read_settings(ctx);
        self.set_timer(ctx);
    }

    /// Handles the deadline: a folder is to be checked, or a schedule is due.
    pub(crate) fn on_timer(&mut self, ctx: &mut Ctx, _key: u64) {
        self.run_due_checks(ctx);
        self.set_timer(ctx);
    }

    pub(crate) fn on_ready(&mut self, ctx: &mut Ctx, key: u64, _writable: bool) {
        if key == retention::READY {
            self.on_retention_report(ctx);
        } else {
            self.on_written(ctx.now.mono_ms);
        }
        self.set_timer(ctx);
    }

    pub(crate) fn on_answer(&mut self, ctx: &mut Ctx, answer: &FeatureAnswer) {
        match answer {
            FeatureAnswer::Rotated { path, target, file, result } => self.on_rotated(ctx, (path, target, *file), result),
            // A former daemon was killed while it rotated.
            FeatureAnswer::RotationUndone => self.folders.values_mut().for_each(|folder| folder.due_ms = Some(ctx.now.mono_ms)),
            _ => return,
        }
        self.set_timer(ctx);
    }

    pub(crate) fn on_settled(&mut self, ctx: &mut Ctx) {
        self.finish_rotations(ctx);
    }

    pub(crate) fn records(&self) -> Vec<Record<'_>> {
        self.until_ms.map(|wall_ms| Record::RotatedUntil { wall_ms }).into_iter().collect()
    }
}

impl Rotation {
    pub(crate) const NAME: &str = "rotation";
    /// Timer of the one deadline, that of the next folder or schedule.
    const LOOK: Key = (Self::NAME, 0);

    fn set_timer(&self, ctx: &mut Ctx) {
        let folders = self.folders.values().filter_map(|folder| folder.due_ms).min();
        let changed = self.schedule_changed.then_some(0);
        ctx.outbox.timers.set(Self::LOOK, [folders, self.schedule_due_ms, changed].into_iter().flatten().min());
    }

    /// Handles the end of a requested rotation. On success the result is the name of the old lines'
    /// file.
    fn on_rotated(&mut self, ctx: &mut Ctx, (path, target, file): (&str, &Path, FileKey), result: &Result<String, String>) {
        match result {
            Ok(rotated) => {
                let writers = ctx.state.slots.iter().filter(|slot| slot.durable.log_files.contains(&Some(file)));
                let apps: Vec<String> = writers.map(|slot| slot.spec().name.clone()).collect();
                self.is_rotated(ctx, path, apps, rotated);
            }
            Err(reason) => {
                self.not_rotated(ctx, path, reason);
                self.make_room(ctx, target);
            }
        }
    }

    /// Returns true if this text about a file differs from the last report.
    fn is_news(&mut self, about: &str, text: &str) -> bool {
        self.reported.insert(about.to_owned(), text.to_owned()).as_deref() != Some(text)
    }

    /// Returns the time zone of this name, or the system's time zone.
    fn zone(&mut self, name: Option<&str>) -> TimeZone {
        let name = name.unwrap_or_default();
        if let Some(zone) = self.zones.get(name) {
            return zone.clone();
        }
        let zone = if name.is_empty() { TimeZone::system() } else { TimeZone::get(name).unwrap_or_else(|_| TimeZone::system()) };
        self.zones.insert(name.to_owned(), zone.clone());
        zone
    }
}
