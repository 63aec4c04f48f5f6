//! Log rotation.
//!
//! # Theory of operation
//!
//! *When.* Each folder with logs of our apps has a watch that fires once: the first write after it was set wakes us, and it is set again only
//! after the sizes were looked at, some seconds later (`ostler_core::rotate::pace`). So an app that writes costs two wake-ups per look, and
//! apps that do not write cost nothing. Schedules are one deadline of the loop.
//!
//! *How.* A file that an app writes itself goes the way of `crate::logs::handback`: its content is copied beside it, its writers stand still for
//! the last of it. A file that our log writers write is renamed between two lines ([`crate::logs::OpenFiles::move_away`]).
//!
//! *Afterwards* a thread ([`care`]) compresses and removes what is too much. All it does is found again by looking at the folder, so whatever
//! a killed daemon left is put right with the next rotation, or when the next daemon begins.

mod begin;
mod care;
mod check;
mod own;
mod settings;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use jiff::tz::TimeZone;
use ostler_core::rotate::settings::Rotation as Wanted;

use crate::store::Record;

/// Everything about rotation.
#[derive(Default)]
pub(crate) struct Rotation {
    /// What the settings of the home say.
    wanted: Wanted,
    watch: watch::Watch,
    /// Folders that hold logs.
    folders: BTreeMap<PathBuf, check::Folder>,
    /// Wall clock until which schedules were looked at; none = there never was one.
    until_ms: Option<u64>,
    /// Boot clock at which the next one is due.
    schedule_due_ms: Option<u64>,
    /// Somebody's schedule may have changed.
    schedule_changed: bool,
    care: Option<care::Care>,
    /// Apps of which a log was rotated in this turn: their old files are looked at.
    rotated: BTreeSet<String>,
    /// A former daemon may have left something half done.
    leftovers: bool,
    /// What was told of a file or folder and need not be told again.
    told: BTreeMap<String, String>,
    /// A former daemon was killed while it rotated.
    again: bool,
    zones: BTreeMap<String, TimeZone>,
    /// Folders without room, where that was told.
    full: BTreeSet<PathBuf>,
}

impl Rotation {
    /// When the clock has something to say.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        let folders = self.folders.values().filter_map(|folder| folder.due_ms).min();
        let changed = self.schedule_changed.then_some(0);
        [folders, self.schedule_due_ms, changed].into_iter().flatten().min()
    }

    /// For a journal that is written anew.
    pub(crate) fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.until_ms.map(|wall_ms| Record::RotatedUntil { wall_ms }).into_iter()
    }

    /// What the journal knows.
    pub(crate) fn restore(&mut self, until_ms: Option<u64>) {
        self.until_ms = until_ms;
    }

    /// A rotation of a former daemon was finished, or undone.
    pub(crate) fn begin_again(&mut self, undone: bool) {
        self.again |= undone;
    }

    /// Tells something about a file, unless that is what was told last. True = tell it.
    fn is_news(&mut self, about: &str, text: &str) -> bool {
        self.told.insert(about.to_owned(), text.to_owned()).as_deref() != Some(text)
    }

    /// The zone of this name; the system's if there is none.
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
