//! Search over logs and their rotated files, compressed or not. It finds the last lines first, in
//! bounded memory, and stops when its receiver wants no more.
//!
//! # Theory of operation
//! The files of all sources are put into a stable order: current files first, then rotated ones,
//! the newest first. Each file is read from its end in blocks. A compressed file is read from its
//! beginning, and only the last hits are kept. A block is searched as a whole: for a text by vector
//! instructions, for an expression by an automaton. A hit is a line with its neighbours. Its file
//! and position are the cursor from which a later search continues. Files are opened in the same
//! way as followed files: outside of our own folder with the rights of the app's user. A rotated
//! file is never opened through a link.

#[cfg_attr(not(feature = "search"), path = "expression_left_out.rs")]
mod expression;
mod pattern;
mod scan;
mod time;
#[cfg(feature = "web")]
mod worker;

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use ostler_core::text::fnv::fnv_64;

use super::follow::modified_ms;
use super::line_times::FileTimes;
use super::past::rotated;
use super::source::Source;
use crate::error::SearchError;
use scan::ScanQuery;

pub(crate) use pattern::Pattern;
pub(crate) use scan::FoundLine;
pub(super) use time::LINES_OF_ONE;
pub(crate) use time::{leading_date, line_time, moment};
#[cfg(feature = "web")]
pub(crate) use worker::main as log_search;

/// Time between two progress reports.
const REPORT_INTERVAL: Duration = Duration::from_millis(100);
/// Most file errors that are reported.
const MOST_TROUBLE: usize = 5;

/// Position in a file; the part before it is searched next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// Number of the file, a hash of its path; it does not change when the file is compressed.
    file: u64,
    offset: u64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.file, self.offset)
    }
}

impl FromStr for Cursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (file, offset) = text.split_once('-').ok_or(())?;
        let number = |text: &str| u64::from_str_radix(text, 16).map_err(drop);
        Ok(Self { file: number(file)?, offset: number(offset)? })
    }
}

/// A search.
#[derive(Clone, Debug)]
pub(crate) struct Search {
    /// Home with the receive times of lines; none if they are not wanted.
    pub(crate) home: Option<PathBuf>,
    pub(crate) pattern: Pattern,
    pub(crate) since_ms: Option<u64>,
    pub(crate) until_ms: Option<u64>,
    /// Whether lines with an unknown time are left out.
    pub(crate) only_timed: bool,
    /// Searches only before this position.
    pub(crate) before: Option<Cursor>,
    /// Returns only the line at this position.
    pub(crate) at: Option<Cursor>,
    /// Most hits.
    pub(crate) limit: usize,
    /// Number of lines to return before and after a hit.
    pub(crate) context: usize,
    /// Time limit.
    pub(crate) within: Option<Duration>,
    /// End of a log for this search; logs that are missing here are searched completely.
    pub(crate) ends_at: HashMap<PathBuf, u64>,
}

/// A line that was found, with its position.
pub(crate) struct Hit<'a> {
    pub(crate) source: &'a Source,
    pub(crate) file: &'a Path,
    pub(crate) cursor: Cursor,
    pub(crate) found: &'a FoundLine,
}

/// Receiver of hits and of progress: searched bytes, and bytes in total. Both methods return false
/// if no more hits are wanted.
pub(crate) trait Receiver {
    fn hit(&mut self, hit: &Hit<'_>) -> bool;
    fn progress(&mut self, searched: u64, total: u64) -> bool;
}

/// Result of a search.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SearchResult {
    pub(crate) searched: u64,
    pub(crate) total: u64,
    pub(crate) hits: usize,
    /// Lines that were left out because their time is unknown.
    pub(crate) untimed: u64,
    /// Position at which to continue; none = everything was searched.
    pub(crate) more: Option<Cursor>,
    /// Whether the time limit was reached.
    pub(crate) is_late: bool,
    /// Files that could not be searched, and why.
    pub(crate) trouble: Vec<String>,
}

/// A file to be searched.
#[derive(Clone, Debug, PartialEq, Eq)]
struct LogFile {
    /// Index of its source.
    source: usize,
    path: PathBuf,
    is_rotated: bool,
    length: u64,
    /// Time of its last change, and of the last change of the file before it.
    modified_ms: u64,
    started_ms: Option<u64>,
}

impl LogFile {
    fn is_compressed(&self) -> bool {
        self.is_rotated && self.path.extension().is_some_and(|end| end == "gz")
    }

    fn number(&self) -> u64 {
        let path = if self.is_compressed() { self.path.with_extension("") } else { self.path.clone() };
        fnv_64(path.as_os_str().as_encoded_bytes())
    }

    /// Returns true if the file may contain lines of that time.
    fn may_have(&self, since_ms: Option<u64>, until_ms: Option<u64>) -> bool {
        since_ms.is_none_or(|since| self.modified_ms >= since) && until_ms.zip(self.started_ms).is_none_or(|(until, begun)| begun <= until)
    }
}

/// Returns the files of these sources in the order in which they are searched.
fn log_files(sources: &[Source]) -> Vec<LogFile> {
    let mut all = Vec::new();
    for (source, log) in sources.iter().map(|source| &source.path).enumerate() {
        let paths = std::iter::once((log.clone(), false)).chain(rotated(log).into_iter().map(|path| (path, true)));
        let first = all.len();
        for (path, is_rotated) in paths {
            let Ok(meta) = path.symlink_metadata() else { continue };
            let modified_ms = modified_ms(&meta);
            // The next older file ends at the time at which this one begins.
            if let Some(newer) = all.get_mut(first..).and_then(<[LogFile]>::last_mut) {
                newer.started_ms = Some(modified_ms);
            }
            // The metadata of a link describe the link itself, so its time is useless.
            let modified_ms = if meta.is_symlink() { u64::MAX } else { modified_ms };
            all.push(LogFile { source, path, is_rotated, length: meta.len(), modified_ms, started_ms: None });
        }
    }
    all.sort_by_key(|entry| (entry.is_rotated, if entry.is_rotated { u64::MAX - entry.modified_ms } else { 0 }));
    all
}

/// Returns the range of each file that must be searched.
fn plan(mut log_files: Vec<LogFile>, search: &Search) -> Result<Vec<(LogFile, Range<u64>)>, SearchError> {
    let cursor = search.at.or(search.before);
    if let Some(cursor) = cursor {
        let at = log_files.iter().position(|entry| entry.number() == cursor.file);
        let at = at.ok_or(SearchError::NoFile)?;
        log_files.drain(..at);
    }
    if search.at.is_some() {
        log_files.truncate(1);
    }
    let range = |(n, entry): (usize, LogFile)| match (n, search.at, search.before) {
        (0, Some(at), _) => (entry, at.offset..at.offset.saturating_add(1)),
        (0, None, Some(before)) => (entry, 0..before.offset),
        _ => {
            let end = search.ends_at.get(&entry.path).copied().unwrap_or(u64::MAX);
            (entry, 0..end)
        }
    };
    let planned = log_files.into_iter().enumerate().map(range);
    Ok(planned.filter(|(entry, _)| search.at.is_some() || entry.may_have(search.since_ms, search.until_ms)).collect())
}

/// Searches, and passes each hit to the receiver.
///
/// # Errors
/// Returns an error if the file of the start position does not exist any more.
pub(crate) fn search(sources: &[Source], search: &Search, receiver: &mut dyn Receiver) -> Result<SearchResult, SearchError> {
    let planned = plan(log_files(sources), search)?;
    let (zone, untimed) = (TimeZone::system(), Cell::new(0));
    let now = Instant::now();
    let mut run = SearchRun {
        receiver,
        result: SearchResult { total: planned.iter().map(|(entry, range)| entry.length.min(range.end)).sum(), ..SearchResult::default() },
        remaining: search.limit.max(1),
        reported: now,
        until: search.within.and_then(|within| now.checked_add(within)),
        is_over: false,
    };
    let mut planned = planned.into_iter().peekable();
    while let Some((entry, range)) = planned.next() {
        let Some(source) = sources.get(entry.source) else { continue };
        let mut file_search = FileSearch { run: &mut run, source, entry: &entry };
        let remaining = open(source, &entry).and_then(|file| {
            let times = search.home.as_ref().map(|home| FileTimes::of(home, &file, entry.is_compressed()));
            let query = ScanQuery {
                pattern: &search.pattern,
                since_ms: search.since_ms,
                until_ms: search.until_ms,
                only_timed: search.only_timed,
                untimed: &untimed,
                times: &times.unwrap_or_default(),
                context: search.context,
                zone: &zone,
                block: scan::BLOCK,
            };
            let scan = if entry.is_compressed() { scan::compressed } else { scan::plain };
            scan(&file, range, &query, &mut file_search)
        });
        let file = entry.number();
        match remaining {
            Ok(Some(offset)) => {
                run.result.more = Some(Cursor { file, offset }).filter(|_| search.at.is_none());
                break;
            }
            Ok(None) => {}
            // The file was just removed, so its lines no longer exist.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if run.result.trouble.len() < MOST_TROUBLE => run.result.trouble.push(format!("{}: {error}", entry.path.display())),
            Err(_) => {}
        }
        if run.is_over || run.remaining == 0 {
            run.result.more = planned.peek().map(|(next, range)| Cursor { file: next.number(), offset: range.end });
            break;
        }
    }
    run.result.untimed = untimed.get();
    Ok(run.result)
}

fn open(source: &Source, entry: &LogFile) -> io::Result<File> {
    if entry.is_rotated { source.open_rotated(&entry.path) } else { source.open(&entry.path) }
}

/// State of a search.
struct SearchRun<'a> {
    receiver: &'a mut dyn Receiver,
    result: SearchResult,
    remaining: usize,
    reported: Instant,
    until: Option<Instant>,
    /// Whether no more hits are wanted, or the time limit was reached.
    is_over: bool,
}

/// State of a search within one file.
struct FileSearch<'a, 'b> {
    run: &'a mut SearchRun<'b>,
    source: &'a Source,
    entry: &'a LogFile,
}

impl scan::Sink for FileSearch<'_, '_> {
    fn found(&mut self, found: &FoundLine) -> bool {
        let cursor = Cursor { file: self.entry.number(), offset: found.start };
        let hit = Hit { source: self.source, file: &self.entry.path, cursor, found };
        self.run.is_over |= !self.run.receiver.hit(&hit);
        self.run.result.hits += 1;
        self.run.remaining -= 1;
        self.run.remaining > 0 && !self.run.is_over
    }

    fn searched(&mut self, bytes: u64) -> bool {
        let run = &mut *self.run;
        run.result.searched += bytes;
        let now = Instant::now();
        if run.until.is_some_and(|until| now >= until) {
            run.result.is_late = true;
            run.is_over = true;
        }
        if now.duration_since(run.reported) >= REPORT_INTERVAL {
            run.reported = now;
            run.is_over |= !run.receiver.progress(run.result.searched, run.result.total.max(run.result.searched));
        }
        !run.is_over
    }

    fn room(&self) -> usize {
        self.run.remaining
    }
}
