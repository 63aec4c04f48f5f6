//! Looks at logs that grow.

use std::path::Path;

use ostler_core::logs::line_times::growth::Sighting;
use ostler_core::logs::line_times::{Entry, FileId};
use ostler_sys::fs::facts::FileFacts;
use ostler_sys::fs::inotify::WatchFlags;

use super::{LOOK_MS, LineTimes, LogRef, Resting, UNWATCHED_MS};
use crate::engine::Ctx;
use crate::logs::line_times::id_of;
use crate::logs::reclaim::FileKey;
use crate::platform::rights::Rights;

/// Events of a resting log: a write, and everything that puts another file at its path.
const OF_LOG: WatchFlags =
    WatchFlags::MODIFY.union(WatchFlags::ATTRIB).union(WatchFlags::MOVE_SELF).union(WatchFlags::DELETE_SELF).union(WatchFlags::DONT_FOLLOW);
/// Events of the folder of a lost log.
const OF_FOLDER: WatchFlags =
    WatchFlags::CREATE.union(WatchFlags::MOVED_TO).union(WatchFlags::MOVE_SELF).union(WatchFlags::DELETE_SELF).union(WatchFlags::ONLYDIR);

/// Log that grows, or may grow.
#[derive(Debug)]
pub(super) struct Growing {
    pub log: LogRef,
    rights: Rights,
    /// File that the process writes itself. Another file at the path is not its log.
    pub wanted: Option<FileKey>,
    file: Option<FileId>,
    /// Length at the last look, and the time of that look.
    before: Option<Entry>,
    /// Length up to which the index is complete, if that is known.
    recorded: Option<u64>,
    /// True if the content is new since `before`.
    is_new: bool,
    /// Boot clock of the next look.
    pub next_ms: u64,
}

impl Growing {
    pub(super) fn new(log: LogRef, rights: Rights, wanted: Option<FileKey>, before: Option<Entry>) -> Self {
        let recorded = before.map(|before| before.length);
        Self { log, rights, wanted, file: None, before, recorded, is_new: false, next_ms: 0 }
    }

    /// Continues after a rest: the file with this inode had this length when its watch was armed.
    /// `before` is a moment at which it still had it.
    pub(super) fn was_resting(&mut self, ino: u64, length: u64, before: Option<Entry>) {
        self.file = Some(FileId { dev: 0, ino, born_ns: 0 });
        (self.before, self.recorded) = (before, Some(length));
    }

    /// Notes that all content from before this moment is elsewhere.
    pub(super) fn is_new_since(&mut self, before: Entry) {
        (self.before, self.recorded, self.is_new) = (Some(before), None, true);
    }

    /// Returns the facts about the log, if it is at its path.
    fn facts(&self, target: &Path) -> Option<FileFacts> {
        let facts = FileFacts::at(target).ok().filter(|facts| facts.is_file)?;
        self.wanted.is_none_or(|wanted| wanted == (facts.dev, facts.ino)).then_some(facts)
    }

    /// Takes a look into account. Returns what to record; none if the log has not changed.
    fn see(&mut self, facts: &FileFacts, now_ms: u64) -> Option<Sighting> {
        if self.file.is_some_and(|file| file.ino != facts.ino) {
            self.is_replaced(facts);
        }
        self.file = Some(id_of(facts));
        let length = facts.length;
        // A daemon that has not seen the log yet records an empty one when it grows.
        let is_known = !self.is_new && self.recorded.map_or(length == 0, |recorded| recorded == length);
        let is_shorter = self.recorded.is_some_and(|recorded| length < recorded);
        let at = Entry { length, at_ms: now_ms };
        let before = self.before.replace(at);
        self.recorded = Some(length);
        let is_new = std::mem::take(&mut self.is_new);
        let sighting = Sighting { length, modified_ms: facts.modified_ms, now_ms, before, is_new: is_new || is_shorter };
        (!is_known).then_some(sighting)
    }

    /// Handles another file at the path. If it was created since the last look, everything in it is
    /// newer.
    fn is_replaced(&mut self, facts: &FileFacts) {
        let born_ms = facts.born_ns / 1_000_000;
        let is_young = |before: &Entry| born_ms + LOOK_MS >= before.at_ms;
        self.before = self.before.filter(is_young).map(|before| Entry { length: 0, at_ms: before.at_ms.min(born_ms) });
        (self.recorded, self.is_new) = (None, true);
    }
}

impl LineTimes {
    /// Looks at all logs whose next look is due.
    pub(super) fn look_at_all(&mut self, ctx: &mut Ctx) {
        let now_ms = ctx.now.mono_ms;
        for (target, mut log) in std::mem::take(&mut self.growing) {
            let is_due = log.next_ms <= now_ms;
            if !(is_due && !self.look_at(ctx, &target, &mut log) && self.rest(ctx, &target, &mut log)) {
                self.growing.insert(target, log);
            }
        }
    }

    /// Looks at a log. Returns true if it has grown.
    pub(super) fn look_at(&mut self, ctx: &mut Ctx, target: &Path, log: &mut Growing) -> bool {
        // A log that began to grow a moment ago joins the next common look.
        log.next_ms = ctx.now.mono_ms + LOOK_MS / 2;
        let Some(facts) = log.facts(target) else { return false };
        let seen = log.see(&facts, ctx.now.wall_ms);
        self.seen.extend(seen.map(|seen| (id_of(&facts), seen)));
        seen.is_some()
    }

    /// Lets a log rest that has not grown. Returns false if it cannot rest.
    fn rest(&mut self, ctx: &mut Ctx, target: &Path, log: &mut Growing) -> bool {
        let now = log.facts(target);
        let (path, events, file) = match (&now, target.parent()) {
            (Some(facts), _) => (target, OF_LOG, Some((facts.ino, facts.length))),
            (None, Some(folder)) => (folder, OF_FOLDER, None),
            (None, None) => return true,
        };
        let rest = Resting { log: log.log, file };
        let rights = log.rights.clone();
        if !matches!(rights.act(|| Ok(self.arm(ctx, path, events, rest))), Ok(true)) {
            log.next_ms = ctx.now.mono_ms + UNWATCHED_MS;
            return false;
        }
        // A write, or a file that appeared, before the watch was armed does not fire it.
        let is_same = log.facts(target).map(|facts| (facts.ino, facts.length)) == file;
        if !is_same {
            self.watches.disarm(|other| *other == rest);
        }
        is_same
    }
}
