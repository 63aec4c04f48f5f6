//! Receive times of log lines: measures logs while they grow, and records their lengths.
//!
//! # Theory of operation
//!
//! A log is in one of three states.
//!
//! *Resting.* The file has a watch that fires once ([`Resting`]). A log that does not grow costs
//! nothing. A log that starts to grow costs one wake-up. That wake-up proves that nothing was
//! written before it, so the first line after a rest has an exact time.
//!
//! *Growing.* The daemon measures the length about once per second ([`growing`]). When it finds no
//! growth, the log rests again.
//!
//! *Lost.* Another file, or none, is at the path: the log was moved or removed. Its folder has a
//! watch that fires once when an entry appears in it.
//!
//! A thread writes the lengths to disk (`crate::logs::line_times`). There is one more source of
//! times: the file system records the last change of a file. It is exact even for lines that were
//! written while no daemon ran.
//!
//! Nothing here is needed to run an app. All failures are logged once and otherwise ignored.

mod growing;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as MapEntry;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use ostler_core::lifecycle::Transition;
use ostler_core::logs::line_times::growth::Sighting;
use ostler_core::logs::line_times::{Entry, FileId};
use ostler_core::time::Now;
use ostler_sys::fs::inotify::WatchFlags;

use crate::engine::{Ctx, FeatureAnswer, Key};
use crate::logs;
use crate::logs::line_times::{Recorder, RunningRecorder, TimesFolder, TimesOrder};
use crate::logs::reclaim::FileKey;
use crate::platform::one_shot_watch::OneShotWatches;
use crate::platform::reactor::Source;
use crate::platform::rights::Rights;
use crate::platform::waker::Waker;
use crate::state::slots::log_files::LOGS;
use growing::Growing;

/// Time between two measurements of a growing log, ms.
const LOOK_MS: u64 = 1000;
/// Time until the first measurement of the logs of a new process, ms. Users read them at once, but
/// the start of many apps comes first.
const FIRST_MS: u64 = 200;
/// Time between two measurements of a log that cannot be watched, ms.
const UNWATCHED_MS: u64 = 30_000;
/// Time between two searches for indexes without a log, ms.
const SWEEP_MS: u64 = 86_400_000;
/// Longest time until the daemon handles an event for which it slept, ms.
const LATEST_MS: u64 = 1000;

/// Keys of descriptors: the watches, and the waker of the thread.
const FIRED: u64 = 0;
const FAILED: u64 = 1;

/// Log of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LogRef {
    id: u32,
    /// See [`crate::state::slots::Slot::log`].
    place: u8,
}

/// Log that has a watch. It is small, because most logs of many apps rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Resting {
    log: LogRef,
    /// Inode and length when the watch was armed; `None` = the log is lost, and the watch is on its
    /// folder.
    file: Option<(u64, u64)>,
}

/// Log that is measured soon, with a moment at which it had a known length.
#[derive(Clone, Copy, Debug)]
struct Fresh {
    log: LogRef,
    before: Option<Entry>,
}

/// State of all logs.
#[derive(Debug, Default)]
pub(crate) struct LineTimes {
    watches: OneShotWatches<Resting>,
    /// Logs that grow, by their paths without links.
    growing: BTreeMap<PathBuf, Growing>,
    fresh: Vec<Fresh>,
    /// Looks of this turn, for the thread.
    seen: Vec<(FileId, Sighting)>,
    recorder: Option<Recorder>,
    /// Thread that may still work on its last orders.
    former: Option<RunningRecorder>,
    /// Waker of the event loop for the thread, and the failures that the thread reports.
    waker: Option<Arc<Waker>>,
    failures: Option<mpsc::Receiver<String>>,
    /// Boot clock of the last search for indexes without a log.
    swept_ms: Option<u64>,
    /// Instant of the turn before this one.
    last_turn: Option<Now>,
    /// Watches that fired in this turn.
    fired: Vec<Resting>,
    /// Whether the daemon was stopped by a signal, so that its watches say nothing about time.
    was_stopped: bool,
}

impl LineTimes {
    /// Looks at all logs at once, because they may have grown while no daemon ran.
    pub(crate) fn on_boot(&mut self, ctx: &mut Ctx) {
        let logs = ctx.state.slots.iter().flat_map(|slot| LOGS.map(|place| LogRef { id: slot.durable.id, place }));
        self.fresh.extend(logs.map(|log| Fresh { log, before: None }));
        if !self.fresh.is_empty() {
            ctx.outbox.timers.set(Self::LOOK, Some(ctx.now.mono_ms));
        }
    }

    /// Begins to measure the logs of a process. It was requested just now, so its logs have the
    /// lengths at which they were opened.
    pub(crate) fn on_spawn(&mut self, ctx: &mut Ctx, id: u32) {
        self.separate_output(ctx, id);
        let Some(slot) = ctx.state.slots.get(id) else { return };
        let (error, out) = slot.durable.log_start;
        let known = self.fresh.len();
        for (place, length) in LOGS.zip([Some(error), Some(out), None]) {
            let log = LogRef { id, place };
            let Some((path, file)) = slot.log(place) else { continue };
            // Only a file that the process writes itself is known to be the same as before.
            let is_its = |rest: &Resting| rest.log == log && rest.file.zip(file).is_some_and(|((ino, _), file)| file.1 == ino);
            if !self.watches.keys().any(is_its) {
                self.watches.disarm(|rest| rest.log == log);
                let length = length.unwrap_or_else(|| logs::length(path.as_ref()));
                self.fresh.push(Fresh { log, before: Some(Entry { length, at_ms: ctx.now.wall_ms }) });
            }
        }
        if self.fresh.len() > known {
            ctx.outbox.timers.set_sooner(Self::LOOK, ctx.now.mono_ms + FIRST_MS);
        }
    }

    pub(crate) fn on_ready(&mut self, ctx: &mut Ctx, key: u64, _writable: bool) {
        match key {
            FAILED => self.on_failures(ctx),
            _ => self.fired.append(&mut self.watches.fired()),
        }
    }

    /// Notes that the daemon was stopped by a signal.
    pub(crate) fn on_continued(&mut self, _ctx: &mut Ctx) {
        self.was_stopped = true;
    }

    /// Handles watches that fired, after all events of the turn are known.
    pub(crate) fn on_turn(&mut self, ctx: &mut Ctx) {
        let woken_ms = self.woken_ms(ctx);
        for rest in std::mem::take(&mut self.fired) {
            self.wake(ctx, rest, woken_ms);
        }
        self.was_stopped = false;
        self.last_turn = Some(ctx.now);
        self.send(ctx);
    }

    pub(crate) fn on_timer(&mut self, ctx: &mut Ctx, _key: u64) {
        for fresh in std::mem::take(&mut self.fresh) {
            let _ = self.begin(ctx, fresh.log, fresh.before);
        }
        self.look_at_all(ctx);
        self.send(ctx);
        if self.growing.is_empty() {
            // The thread ends when it has written everything.
            self.former = self.recorder.take().map(Recorder::end).or(self.former.take());
            self.watches.shrink();
        } else {
            let next_ms = self.growing.values().map(|log| log.next_ms).min().unwrap_or(0);
            ctx.outbox.timers.set(Self::LOOK, Some(next_ms.max(ctx.now.mono_ms + LOOK_MS)));
        }
    }

    /// Handles logs that ostler emptied or rotated: their content is new from now on, whatever
    /// their length is at the next look.
    pub(crate) fn on_answer(&mut self, ctx: &mut Ctx, answer: &FeatureAnswer) {
        if let FeatureAnswer::Rotated { path, result: Ok(_), .. } | FeatureAnswer::LogRestarted { path } = answer {
            self.restart(ctx, path);
            self.send(ctx);
        }
    }

    /// Forgets the logs of a deleted instance. If another one shares a log, it is responsible from
    /// now on.
    pub(crate) fn on_transition(&mut self, ctx: &mut Ctx, id: u32, transition: &Transition) {
        if matches!(transition, Transition::Deleted) {
            self.forget(ctx, id);
        }
    }
}

impl LineTimes {
    pub(crate) const NAME: &str = "line_times";
    /// Timer of the next look.
    const LOOK: Key = (Self::NAME, 0);

    fn set_timer(ctx: &mut Ctx) {
        ctx.outbox.timers.set_sooner(Self::LOOK, ctx.now.mono_ms + LOOK_MS);
    }

    /// Returns the earliest wall-clock time at which a watch that is reported now can have fired.
    /// `None` = unknown.
    fn woken_ms(&self, ctx: &Ctx) -> Option<u64> {
        if self.was_stopped {
            return None;
        }
        let waited_ms = u64::try_from(ctx.io.reactor.waited().as_millis()).unwrap_or(u64::MAX);
        let ago_ms = match waited_ms {
            // The event was there before the wait began, but not when the last turn began.
            0 => ctx.now.mono_ms.saturating_sub(self.last_turn?.mono_ms),
            waited_ms => waited_ms.min(LATEST_MS),
        };
        Some(ctx.now.wall_ms.saturating_sub(ago_ms))
    }

    /// Measures the growing logs of an instance whose next process starts now. Otherwise the first
    /// lines of that process would have the times of the last lines of the process before it.
    fn separate_output(&mut self, ctx: &mut Ctx, id: u32) {
        let growing: Vec<LogRef> = self.growing.values().map(|growing| growing.log).filter(|log| log.id == id).collect();
        growing.into_iter().for_each(|log| self.look_at_log(ctx, log));
        self.send(ctx);
    }

    fn wake(&mut self, ctx: &mut Ctx, rest: Resting, woken_ms: Option<u64>) {
        Self::set_timer(ctx);
        let Some((ino, length)) = rest.file else {
            // A file appeared in the folder of a lost log.
            return self.fresh.push(Fresh { log: rest.log, before: None });
        };
        if let Some(log) = self.begin(ctx, rest.log, None) {
            log.was_resting(ino, length, woken_ms.map(|at_ms| Entry { length, at_ms }));
            self.look_at_log(ctx, rest.log);
        }
    }

    /// Returns the path of a log without links, the rights for its access, and the file that it
    /// must be.
    fn target(ctx: &Ctx, log: LogRef) -> Option<(PathBuf, Rights, Option<FileKey>)> {
        let slot = ctx.state.slots.get(log.id)?;
        // Each line of JSON has its time.
        let (path, file) = slot.log(log.place).filter(|_| !slot.spec().logs.json)?;
        // The daemon itself writes the file at the path of a carried log.
        let file = file.filter(|file| !ctx.state.log_files.carried.contains(file));
        let (target, rights) = Rights::of(slot.spec()).target(path.as_ref());
        Some((target, rights, file))
    }

    /// Begins to measure a log. Returns `None` if it has no file, or is measured already.
    fn begin(&mut self, ctx: &Ctx, log: LogRef, before: Option<Entry>) -> Option<&mut Growing> {
        let (target, rights, wanted) = Self::target(ctx, log)?;
        match self.growing.entry(target) {
            MapEntry::Occupied(mut known) => {
                (known.get_mut().log, known.get_mut().wanted) = (log, wanted);
                None
            }
            MapEntry::Vacant(free) => Some(free.insert(Growing::new(log, rights, wanted, before))),
        }
    }

    /// Measures a growing log now.
    fn look_at_log(&mut self, ctx: &mut Ctx, log: LogRef) {
        let target = self.growing.iter().find(|(_, growing)| growing.log == log).map(|(target, _)| target.clone());
        let Some((target, mut growing)) = target.and_then(|target| self.growing.remove_entry(&target)) else { return };
        self.look_at(ctx, &target, &mut growing);
        self.growing.insert(target, growing);
    }

    /// Handles new content of the logs with this path.
    fn restart(&mut self, ctx: &mut Ctx, path: &str) {
        let has_path = |log: &LogRef| ctx.state.slots.get(log.id).and_then(|slot| slot.log(log.place)).is_some_and(|(own, _)| own == path);
        let resting = self.watches.disarm(|rest| has_path(&rest.log));
        let growing = self.growing.values().map(|log| log.log).find(has_path);
        let Some(log) = resting.first().map(|rest| rest.log).or(growing) else { return };
        let _ = self.begin(ctx, log, None);
        let at_ms = ctx.now.wall_ms;
        if let Some(growing) = self.growing.values_mut().find(|growing| growing.log == log) {
            growing.is_new_since(Entry { length: 0, at_ms });
        }
        self.look_at_log(ctx, log);
        Self::set_timer(ctx);
    }

    fn forget(&mut self, ctx: &mut Ctx, id: u32) {
        self.watches.disarm(|rest| rest.log.id == id);
        self.growing.retain(|_, growing| growing.log.id != id);
        self.fresh.retain(|fresh| fresh.log.id != id);
        let heirs: Vec<LogRef> = LOGS.filter_map(|place| heir(ctx, LogRef { id, place })).collect();
        if !heirs.is_empty() {
            self.fresh.extend(heirs.into_iter().map(|log| Fresh { log, before: None }));
            Self::set_timer(ctx);
        }
    }

    /// Passes the looks of this turn to the thread.
    fn send(&mut self, ctx: &mut Ctx) {
        if self.seen.is_empty() {
            return;
        }
        let seen = std::mem::take(&mut self.seen);
        if self.recorder.is_none() {
            match self.start(ctx) {
                Ok(recorder) => self.recorder = Some(recorder),
                Err(error) => return warn(ctx, &format!("cannot start a thread: {error}")),
            }
        }
        let is_due = self.swept_ms.is_none_or(|at_ms| at_ms + SWEEP_MS <= ctx.now.mono_ms);
        let Some(recorder) = &self.recorder else { return };
        recorder.order(TimesOrder::Record(seen));
        if is_due {
            self.swept_ms = Some(ctx.now.mono_ms);
            recorder.order(TimesOrder::Sweep(all_logs(ctx)));
        }
    }

    fn start(&mut self, ctx: &Ctx) -> std::io::Result<Recorder> {
        let waker = Waker::of_feature(&mut self.waker, &ctx.io.reactor, Source::Feature(Self::NAME, FAILED))?;
        let (sender, failures) = mpsc::channel();
        self.failures = Some(failures);
        Recorder::start(TimesFolder::of_home(&ctx.io.settings.home), self.former.take(), move |why| {
            // If the daemon is exiting, nothing receives the report.
            let _ = sender.send(why);
            waker.wake();
        })
    }

    fn on_failures(&mut self, ctx: &mut Ctx) {
        self.waker.iter().for_each(|waker| waker.clear());
        if let Some(why) = self.failures.as_ref().and_then(|failures| failures.try_iter().last()) {
            warn(ctx, &why);
        }
    }

    /// Arms the watch of a log or of its folder. Returns false if the kernel gives no watch.
    fn arm(&mut self, ctx: &mut Ctx, path: &Path, events: WatchFlags, rest: Resting) -> bool {
        let armed = self.watches.arm(path, events, rest, (&ctx.io.reactor, Source::Feature(Self::NAME, FIRED)));
        if let Err(error) = &armed
            && error.kind() != std::io::ErrorKind::NotFound
        {
            warn(ctx, &format!("cannot watch \"{}\": {error}", path.display()));
        }
        armed.is_ok()
    }
}

fn warn(ctx: &mut Ctx, why: &str) {
    ctx.io
        .log
        .error_once("line times", format_args!("receive times of log lines are incomplete: {why} (apps and their logs are not affected)"));
}

/// Returns a log of another slot that is at the same path.
fn heir(ctx: &Ctx, log: LogRef) -> Option<LogRef> {
    let slot = ctx.state.slots.get(log.id)?;
    let logs = &slot.spec().logs;
    // Usually each instance has files of its own.
    if !logs.merge_logs && logs.out_file.is_none() && logs.error_file.is_none() && logs.log_file.is_none() {
        return None;
    }
    let (path, _) = slot.log(log.place)?;
    let others = ctx.state.slots.iter().filter(|other| other.durable.id != log.id);
    let place = |other: &crate::state::slots::Slot| LOGS.into_iter().find(|place| other.log(*place).is_some_and(|(own, _)| own == path));
    others.filter_map(|other| Some(LogRef { id: other.durable.id, place: place(other)? })).next()
}

/// Returns all logs, and one in the usual folder, where those of deleted apps are.
fn all_logs(ctx: &Ctx) -> Vec<(PathBuf, Rights)> {
    let usual = ostler_core::home::home_paths::HomePaths::logs(&ctx.io.settings.home).join("x");
    let of_slot = |slot: &crate::state::slots::Slot| {
        let rights = Rights::of(slot.spec());
        slot.logs().map(|(path, _)| (PathBuf::from(path), rights.clone())).collect::<Vec<_>>()
    };
    ctx.state.slots.iter().flat_map(of_slot).chain([(usual, Rights::default())]).collect()
}
