//! Search over logs and their rotated files, compressed or not: the last lines first, in bounded memory, and as long as somebody wants it.
//!
//! # Theory of operation
//! The files of all sources are put in an order that stays: present ones, then rotated ones, the newest first. Each is read from its end in blocks
//! (a compressed one from its begin, where the last hits are kept), and a block is searched as a whole: a text by vector instructions, an expression by an
//! automaton. A hit is a line with its neighbours; where it begins, and in which file, is the cursor from which a later search goes on. Files are opened as
//! those that are followed: with the rights of the app's user where its folder is not ours, and a rotated one never through a link.

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
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use ostler_core::text::fnv::fnv_64;

use super::follow::modified_ms;
use super::past::rotated;
use super::source::Source;
use crate::error::SearchError;
use scan::Wanted;

pub(crate) use pattern::Pattern;
pub(crate) use scan::Found;
pub(crate) use time::moment;
#[cfg(feature = "web")]
pub(crate) use worker::main as log_search;

/// Time between two reports of how far it is.
const REPORT: Duration = Duration::from_millis(100);
/// Most faults of files that are told.
const MOST_TROUBLE: usize = 5;

/// A place in a file: what is before it is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// Number of the file: of its path, which stays when it is compressed.
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
    pub(crate) pattern: Pattern,
    pub(crate) since_ms: Option<u64>,
    pub(crate) until_ms: Option<u64>,
    /// Whether lines whose time is not known are left out.
    pub(crate) only_timed: bool,
    /// What is before this place only.
    pub(crate) before: Option<Cursor>,
    /// The line at this place only.
    pub(crate) at: Option<Cursor>,
    /// Most hits.
    pub(crate) limit: usize,
    /// Lines before and after a hit.
    pub(crate) context: usize,
    /// Longest time.
    pub(crate) within: Option<Duration>,
    /// Where a log ends for this search; those that are not in it are searched as a whole.
    pub(crate) ends_at: HashMap<PathBuf, u64>,
}

/// A line that was found, and where.
pub(crate) struct Hit<'a> {
    pub(crate) source: &'a Source,
    pub(crate) file: &'a Path,
    pub(crate) cursor: Cursor,
    pub(crate) found: &'a Found,
}

/// Receiver of hits and of how far it is: bytes that were looked at, and of how many. False = nobody wants more.
pub(crate) trait Receiver {
    fn hit(&mut self, hit: &Hit<'_>) -> bool;
    fn progress(&mut self, looked: u64, of: u64) -> bool;
}

/// How a search ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) looked: u64,
    pub(crate) of: u64,
    pub(crate) hits: usize,
    /// Lines that were left out because their time is not known.
    pub(crate) untimed: u64,
    /// Where to go on; none = everything was searched.
    pub(crate) more: Option<Cursor>,
    /// Its time was over.
    pub(crate) is_late: bool,
    /// Files that could not be searched, and why.
    pub(crate) trouble: Vec<String>,
}

/// A file to be searched.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    /// Index of its source.
    source: usize,
    path: PathBuf,
    is_rotated: bool,
    length: u64,
    /// Time of its last change, and of that of the file before it.
    modified_ms: u64,
    begun_ms: Option<u64>,
}

impl Entry {
    fn is_compressed(&self) -> bool {
        self.is_rotated && self.path.extension().is_some_and(|end| end == "gz")
    }

    fn number(&self) -> u64 {
        let path = if self.is_compressed() { self.path.with_extension("") } else { self.path.clone() };
        fnv_64(path.as_os_str().as_encoded_bytes())
    }

    /// True if lines of that time may be in it.
    fn may_have(&self, since_ms: Option<u64>, until_ms: Option<u64>) -> bool {
        since_ms.is_none_or(|since| self.modified_ms >= since) && until_ms.zip(self.begun_ms).is_none_or(|(until, begun)| begun <= until)
    }
}

/// The files of these sources in the order in which they are searched.
fn entries(sources: &[Source]) -> Vec<Entry> {
    let mut all = Vec::new();
    for (source, log) in sources.iter().map(|source| &source.path).enumerate() {
        let paths = std::iter::once((log.clone(), false)).chain(rotated(log).into_iter().map(|path| (path, true)));
        let first = all.len();
        for (path, is_rotated) in paths {
            let Ok(meta) = path.symlink_metadata() else { continue };
            let modified_ms = modified_ms(&meta);
            // The next older file ends where this one begins.
            if let Some(newer) = all.get_mut(first..).and_then(<[Entry]>::last_mut) {
                newer.begun_ms = Some(modified_ms);
            }
            // A link has a length of its own, and a time.
            let modified_ms = if meta.is_symlink() { u64::MAX } else { modified_ms };
            all.push(Entry { source, path, is_rotated, length: meta.len(), modified_ms, begun_ms: None });
        }
    }
    all.sort_by_key(|entry| (entry.is_rotated, if entry.is_rotated { u64::MAX - entry.modified_ms } else { 0 }));
    all
}

/// What is to be searched of which file.
fn plan(mut entries: Vec<Entry>, search: &Search) -> Result<Vec<(Entry, Range<u64>)>, SearchError> {
    let place = search.at.or(search.before);
    if let Some(place) = place {
        let at = entries.iter().position(|entry| entry.number() == place.file);
        let at = at.ok_or(SearchError::NoFile)?;
        entries.drain(..at);
    }
    if search.at.is_some() {
        entries.truncate(1);
    }
    let range = |(n, entry): (usize, Entry)| match (n, search.at, search.before) {
        (0, Some(at), _) => (entry, at.offset..at.offset.saturating_add(1)),
        (0, None, Some(before)) => (entry, 0..before.offset),
        _ => {
            let end = search.ends_at.get(&entry.path).copied().unwrap_or(u64::MAX);
            (entry, 0..end)
        }
    };
    let planned = entries.into_iter().enumerate().map(range);
    Ok(planned.filter(|(entry, _)| search.at.is_some() || entry.may_have(search.since_ms, search.until_ms)).collect())
}

/// Searches, and tells what it finds.
///
/// # Errors
/// The place to go on from is not there any more.
pub(crate) fn search(sources: &[Source], search: &Search, receiver: &mut dyn Receiver) -> Result<End, SearchError> {
    let planned = plan(entries(sources), search)?;
    let zone = TimeZone::system();
    let wanted = Wanted {
        pattern: &search.pattern,
        since_ms: search.since_ms,
        until_ms: search.until_ms,
        only_timed: search.only_timed,
        untimed: Cell::new(0),
        context: search.context,
        zone: &zone,
        block: scan::BLOCK,
    };
    let now = Instant::now();
    let mut run = Run {
        receiver,
        end: End { of: planned.iter().map(|(entry, range)| entry.length.min(range.end)).sum(), ..End::default() },
        left: search.limit.max(1),
        reported: now,
        until: search.within.and_then(|within| now.checked_add(within)),
        is_over: false,
    };
    let mut planned = planned.into_iter().peekable();
    while let Some((entry, range)) = planned.next() {
        let Some(source) = sources.get(entry.source) else { continue };
        let mut of_file = OfFile { run: &mut run, source, entry: &entry };
        let left = look(source, &entry, range, &wanted, &mut of_file);
        let file = entry.number();
        match left {
            Ok(Some(offset)) => {
                run.end.more = Some(Cursor { file, offset }).filter(|_| search.at.is_none());
                break;
            }
            Ok(None) => {}
            // Removed in this moment: its lines are not there any more.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if run.end.trouble.len() < MOST_TROUBLE => run.end.trouble.push(format!("{}: {error}", entry.path.display())),
            Err(_) => {}
        }
        if run.is_over || run.left == 0 {
            run.end.more = planned.peek().map(|(next, range)| Cursor { file: next.number(), offset: range.end });
            break;
        }
    }
    run.end.untimed = wanted.untimed.get();
    Ok(run.end)
}

fn look(source: &Source, entry: &Entry, range: Range<u64>, wanted: &Wanted<'_>, of_file: &mut OfFile<'_, '_>) -> io::Result<Option<u64>> {
    let file = if entry.is_rotated { source.open_rotated(&entry.path)? } else { source.open(&entry.path)? };
    if entry.is_compressed() { scan::compressed(&file, range, wanted, of_file) } else { scan::plain(&file, range, wanted, of_file) }
}

/// A search under way.
struct Run<'a> {
    receiver: &'a mut dyn Receiver,
    end: End,
    left: usize,
    reported: Instant,
    until: Option<Instant>,
    /// Nobody wants more, or its time is over.
    is_over: bool,
}

/// The same within one file.
struct OfFile<'a, 'b> {
    run: &'a mut Run<'b>,
    source: &'a Source,
    entry: &'a Entry,
}

impl scan::Sink for OfFile<'_, '_> {
    fn found(&mut self, found: &Found) -> bool {
        let cursor = Cursor { file: self.entry.number(), offset: found.start };
        let hit = Hit { source: self.source, file: &self.entry.path, cursor, found };
        self.run.is_over |= !self.run.receiver.hit(&hit);
        self.run.end.hits += 1;
        self.run.left -= 1;
        self.run.left > 0 && !self.run.is_over
    }

    fn looked(&mut self, bytes: u64) -> bool {
        let run = &mut *self.run;
        run.end.looked += bytes;
        let now = Instant::now();
        if run.until.is_some_and(|until| now >= until) {
            run.end.is_late = true;
            run.is_over = true;
        }
        if now.duration_since(run.reported) >= REPORT {
            run.reported = now;
            run.is_over |= !run.receiver.progress(run.end.looked, run.end.of.max(run.end.looked));
        }
        !run.is_over
    }

    fn room(&self) -> usize {
        self.run.left
    }
}
