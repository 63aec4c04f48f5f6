//! Marks in charts: events of apps, for as long as the history has values. The daemon's ring of
//! events covers less than a week.
//!
//! `marks.log`, beside the history files, has one JSON object per line; all of them are in memory,
//! too. If there are too many, they are thinned out ([`reduced`]) and the file is rewritten.

use std::collections::HashSet;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ostler_alerts::engine::AlertChange;
use ostler_proto::control::{Event, Position};
use ostler_proto::event::EventKind;
use ostler_sys::fs::replace::{Durability, Writers, replace};
use serde::{Deserialize, Serialize};

use crate::view;

/// Maximum number of marks, and the number that remains after thinning.
const MOST: usize = 4096;
const LEFT: usize = 3072;
/// Maximum number of characters of a text or a name.
const LONGEST: usize = 160;
/// Maximum number of bytes that are read from the file.
const READ: u64 = 8 << 20;
const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;
/// Kind of a mark for the start or end of an alert.
const ALERT: &str = "alert";

/// Event in a chart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChartMark {
    /// Wall clock, ms.
    pub(crate) at: u64,
    /// Kind of the event, or `alert`.
    pub(crate) kind: String,
    /// None = the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) app: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) instance: Option<u32>,
    pub(crate) text: String,
    pub(crate) severity: String,
    /// Ring and number of the event; 0 = it is not an event.
    #[serde(default)]
    epoch: u64,
    #[serde(default)]
    seq: u64,
}

impl ChartMark {
    /// Returns the mark of an event; none if charts do not show it.
    fn of(event: &Event) -> Option<Self> {
        let is_marked = matches!(
            event.kind,
            EventKind::Online { .. }
                | EventKind::Exit { .. }
                | EventKind::Errored { .. }
                | EventKind::ReloadDone { .. }
                | EventKind::ReloadFailed { .. }
        );
        let app = event.app.as_ref().filter(|_| is_marked)?;
        let seen = view::event(event);
        Some(Self {
            at: event.at_ms,
            kind: seen.kind,
            app: Some(app.clone()),
            instance: event.id,
            text: seen.text.chars().take(LONGEST).collect(),
            severity: seen.severity.to_owned(),
            epoch: event.epoch,
            seq: event.seq,
        })
    }

    fn of_alert(change: &AlertChange) -> Self {
        let text = format!("{} {}: {}", change.rule, change.status, change.text);
        let is_over = change.status == "resolved";
        Self {
            at: change.at,
            kind: ALERT.to_owned(),
            app: Some(change.app.clone()).filter(|app| !app.is_empty()),
            instance: None,
            text: text.chars().take(LONGEST).collect(),
            severity: if is_over { "info" } else { change.severity.word() }.to_owned(),
            epoch: 0,
            seq: 0,
        }
    }

    /// Returns true for events that an app that keeps crashing causes in large numbers.
    fn is_common(&self) -> bool {
        matches!(self.kind.as_str(), "online" | "exit")
    }
}

/// All marks of a home.
#[derive(Clone, Debug)]
pub(crate) struct ChartMarks(Arc<Mutex<MarksState>>);

#[derive(Debug)]
struct MarksState {
    path: PathBuf,
    /// None = not read yet.
    list: Option<Vec<ChartMark>>,
    /// Last known event.
    position: Option<Position>,
    /// True if the file has the whole list and ends with a complete line.
    is_complete: bool,
    is_failure_logged: bool,
}

impl ChartMarks {
    pub(crate) fn of(home: &Path) -> Self {
        let path = super::folder(home).join("marks.log");
        Self(Arc::new(Mutex::new(MarksState { path, list: None, position: None, is_complete: false, is_failure_logged: false })))
    }

    fn state(&self) -> MutexGuard<'_, MarksState> {
        // Entries are complete even if a thread panicked while it held the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds events, the oldest first; known events are ignored.
    pub(crate) fn add_events<'a>(&self, events: impl IntoIterator<Item = &'a Event>) {
        let mut state = self.state();
        state.open();
        let mut new = Vec::new();
        for event in events {
            let position = event.position();
            if !state.knows(position) {
                state.position = Some(position);
                new.extend(ChartMark::of(event));
            }
        }
        state.add(new);
    }

    /// Adds alerts that began or ended.
    pub(crate) fn alerted(&self, changes: &[AlertChange]) {
        let mut state = self.state();
        state.open();
        state.add(changes.iter().map(ChartMark::of_alert).collect());
    }

    /// Returns the newest marks of an app (none = the machine) in a time range, at most `most`, in
    /// order.
    pub(crate) fn between(&self, app: Option<&str>, instance: Option<u32>, from: u64, to: u64, most: usize) -> Vec<ChartMark> {
        let mut state = self.state();
        state.open();
        let is_wanted = |mark: &&ChartMark| {
            let is_of = mark.app.as_deref() == app && (instance.is_none() || mark.instance.is_none() || mark.instance == instance);
            is_of && (from..=to).contains(&mark.at)
        };
        let mut found: Vec<ChartMark> = state.list.iter().flatten().filter(is_wanted).cloned().collect();
        // They are out of order if the clock was set back.
        found.sort_by_key(|mark| mark.at);
        found.split_off(found.len().saturating_sub(most))
    }
}

impl MarksState {
    fn knows(&self, position: Position) -> bool {
        self.position.is_some_and(|known| known.epoch == position.epoch && known.seq >= position.seq)
    }

    /// Reads the file once.
    fn open(&mut self) {
        if self.list.is_some() {
            return;
        }
        let mut bytes = Vec::new();
        let read = OpenOptions::new().read(true).open(&self.path).and_then(|file| file.take(READ).read_to_end(&mut bytes));
        // The next write removes invalid lines.
        let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
        let mut list: Vec<ChartMark> = Vec::new();
        for mark in lines.iter().filter_map(|line| serde_json::from_slice::<ChartMark>(line).ok()) {
            let position = Position { epoch: mark.epoch, seq: mark.seq };
            // During an update, two processes write the file for a moment.
            if mark.seq == 0 || !self.knows(position) {
                self.position = if mark.seq == 0 { self.position } else { Some(position) };
                list.push(mark);
            }
        }
        self.is_complete = read.is_ok() && list.len() == lines.len() && bytes.last().is_none_or(|byte| *byte == b'\n');
        self.list = Some(list);
    }

    fn add(&mut self, new: Vec<ChartMark>) {
        let Some(list) = self.list.as_mut().filter(|_| !new.is_empty()) else { return };
        let mut lines = Vec::new();
        new.iter().for_each(|mark| line(mark, &mut lines));
        list.extend(new);
        if list.len() > MOST {
            *list = reduced(std::mem::take(list));
            self.is_complete = false;
        }
        let written = if self.is_complete { self.append(&lines) } else { self.rewrite() };
        self.is_complete = written.is_ok();
        if let Err(error) = written
            && !std::mem::replace(&mut self.is_failure_logged, true)
        {
            let _ = writeln!(io::stderr(), "history: cannot save marks in \"{}\": {error}", self.path.display());
        }
    }

    fn append(&self, lines: &[u8]) -> io::Result<()> {
        OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?.write_all(lines)
    }

    fn rewrite(&self) -> io::Result<()> {
        let mut lines = Vec::new();
        self.list.iter().flatten().for_each(|mark| line(mark, &mut lines));
        if let Some(folder) = self.path.parent() {
            DirBuilder::new().mode(0o700).recursive(true).create(folder)?;
        }
        replace(&self.path, &lines, Durability::Process, Writers::One).map_err(|error| error.source)
    }
}

fn line(mark: &ChartMark, into: &mut Vec<u8>) {
    // Numbers and strings always serialize.
    if serde_json::to_writer(&mut *into, mark).is_ok() {
        into.push(b'\n');
    }
}

/// Reduces the marks and keeps their order. Starts and exits are removed first, in three steps:
/// - older than a day: one per app, kind and hour remains
/// - all: one per app, kind and minute remains
/// - then the oldest are removed
///
/// Releases, alerts and errored apps are removed only if they alone are too many.
fn reduced(mut list: Vec<ChartMark>) -> Vec<ChartMark> {
    let newest = list.iter().map(|mark| mark.at).max().unwrap_or(0);
    for (age, step) in [(DAY_MS, HOUR_MS), (0, MINUTE_MS)] {
        if list.len() <= LEFT {
            return list;
        }
        let mut seen = HashSet::new();
        list.retain(|mark| {
            let is_kept = !mark.is_common() || newest - mark.at < age;
            is_kept || seen.insert((mark.app.clone(), mark.kind.clone(), mark.at / step))
        });
    }
    let mut more = list.len().saturating_sub(LEFT);
    list.retain(|mark| {
        let goes = more > 0 && mark.is_common();
        more -= usize::from(goes);
        !goes
    });
    list.split_off(list.len().saturating_sub(LEFT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_core::lifecycle::ProcessEnding;
    use ostler_proto::event::EventCause;

    fn event(epoch: u64, seq: u64, at_ms: u64, what: EventKind) -> Event {
        Event { epoch, seq, at_ms, app: Some("api".into()), id: Some(3), kind: what, cause: EventCause::App, before: None, after: None }
    }

    fn exit(epoch: u64, seq: u64) -> Event {
        event(epoch, seq, seq * 1000, EventKind::Exit { pid: 1, ending: ProcessEnding::Code(1), uptime_ms: 5 })
    }

    fn mark(at: u64, kind: &str, app: &str) -> ChartMark {
        let (app, text, severity) = (Some(app.to_owned()), "x".to_owned(), "info".to_owned());
        ChartMark { at, kind: kind.to_owned(), app, instance: None, text, severity, epoch: 1, seq: at }
    }

    fn home(name: &str) -> PathBuf {
        let home = std::env::temp_dir().join(format!("ostler-marks-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&home);
        home
    }

    fn folder_of(home: &Path) -> PathBuf {
        crate::history::folder(home)
    }

    fn times(marks: &ChartMarks) -> Vec<u64> {
        marks.between(Some("api"), None, 0, u64::MAX, 9000).iter().map(|mark| mark.at).collect()
    }

    #[test]
    fn marks_are_unique_after_restart_torn_line_or_full_disk() {
        let home = home("once");
        let path = folder_of(&home).join("marks.log");
        let marks = ChartMarks::of(&home);
        marks.add_events(&[exit(1, 1), event(1, 2, 2000, EventKind::Stopped), exit(1, 3)]);
        marks.add_events(&[exit(1, 3), exit(1, 4)]);
        assert_eq!(times(&marks), [1000, 3000, 4000]);
        let found = marks.between(Some("api"), Some(3), 3500, 4000, 9);
        assert_eq!((found.len(), found[0].kind.as_str(), found[0].severity.as_str()), (1, "exit", "warning"));
        assert!(marks.between(Some("api"), Some(4), 0, 9000, 9).is_empty() && marks.between(None, None, 0, 9000, 9).is_empty());
        // Events that the ring delivers again after a restart are known. A torn line is ignored,
        // and later lines are still read.
        let mut text = std::fs::read(&path).unwrap();
        text.extend(b"{\"at\":77,\"ki");
        std::fs::write(&path, &text).unwrap();
        let again = ChartMarks::of(&home);
        again.add_events(&[exit(1, 3), exit(1, 4), exit(1, 5)]);
        // The numbers of another ring start again.
        again.add_events(&[exit(2, 1)]);
        assert_eq!(times(&again), [1000, 1000, 3000, 4000, 5000]);
        assert_eq!(times(&ChartMarks::of(&home)), times(&again));
        // A mark that cannot be written is written with the next mark.
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        again.add_events(&[exit(2, 7)]);
        std::fs::remove_dir(&path).unwrap();
        again.add_events(&[exit(2, 8)]);
        assert_eq!(times(&ChartMarks::of(&home)), [1000, 1000, 3000, 4000, 5000, 7000, 8000]);
        std::fs::remove_dir_all(&home).unwrap();
    }

    #[test]
    fn alerts_become_marks_of_app_or_host() {
        let home = home("alerts");
        let change = |app: &str, status: &str| AlertChange {
            at: 5,
            rule: "crash".into(),
            app: app.into(),
            status: status.into(),
            severity: ostler_alerts::rule::Severity::Critical,
            text: "exited".into(),
        };
        let marks = ChartMarks::of(&home);
        marks.alerted(&[change("api", "firing"), change("", "resolved")]);
        let of = |app| marks.between(app, Some(1), 0, 9, 9).into_iter().map(|mark| (mark.text, mark.severity)).collect::<Vec<_>>();
        assert_eq!(of(Some("api")), [("crash firing: exited".to_owned(), "critical".to_owned())]);
        assert_eq!(of(None), [("crash resolved: exited".to_owned(), "info".to_owned())]);
        std::fs::remove_dir_all(&home).unwrap();
    }

    #[test]
    fn flood_of_marks_keeps_releases_and_other_apps() {
        // A week of an app that crashes every ten seconds, with one release and one exit of another
        // app per day.
        let mut list = Vec::new();
        for second in (0..7 * 86_400).step_by(10) {
            list.push(mark(second * 1000, "exit", "bad"));
            if second % 86_400 == 0 {
                list.push(mark(second * 1000, "reload_done", "api"));
                list.push(mark(second * 1000, "exit", "api"));
            }
            if list.len() > MOST {
                list = reduced(list);
            }
        }
        let count = |kind: &str, app: &str| list.iter().filter(|mark| mark.kind == kind && mark.app.as_deref() == Some(app)).count();
        assert_eq!((count("reload_done", "api"), count("exit", "api")), (7, 7));
        assert!(list.len() <= MOST && list.is_sorted_by_key(|mark| mark.at));
        // If all of them are important, the oldest are removed.
        let matter = reduced((0..5000).map(|at| mark(at, "errored", "bad")).collect());
        assert_eq!((matter.len(), matter[0].at), (LEFT, 5000 - LEFT as u64));
        let common = reduced((0..5000).map(|n| mark(n * MINUTE_MS, "exit", &n.to_string())).collect());
        assert_eq!((common.len(), common[0].at), (LEFT, (5000 - LEFT as u64) * MINUTE_MS));
    }

    #[test]
    fn long_text_is_truncated() {
        let mut long = exit(1, 1);
        long.kind = EventKind::ReloadFailed { release: 2, why: "é".repeat(5000) };
        assert_eq!(ChartMark::of(&long).unwrap().text.chars().count(), LONGEST);
    }
}
