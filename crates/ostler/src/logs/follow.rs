//! Follower of one file across truncation and rotation.

mod rotated_file;

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ostler_core::logs::line_times::line::LineTime;
use rustix::fs::SeekFrom;

use super::content::{Content, compressed, content, hidden_length};
use super::line_times::{FileTimes, LineClock};
use super::lines::{LinePiece, Lines, count_lines, start_of_last};
use super::past;
use super::source::Source;
use super::watch::Watch;

/// Time after which an incomplete line is shown.
const PARTIAL_LINE_DELAY: Duration = Duration::from_secs(1);
/// Longest rotation. If a file has a hole at the read position, it is being rotated, and its lines
/// will appear elsewhere. If they do not within this time, it is just a hole.
const LONGEST_ROTATION: Duration = Duration::from_secs(10);

/// Position in a file from which reading continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReadPosition {
    /// Device and inode.
    pub key: (u64, u64),
    /// Bytes before the position; all of them were shown.
    pub end: u64,
    /// Time since which the file has its present content, ms since the epoch. Lines that were
    /// rotated before it do not matter.
    pub since_ms: u64,
}

/// A line, and its position in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    pub text: &'a [u8],
    /// Start of the line.
    pub start: u64,
    /// Position after the line; none for lines of the past.
    pub place: Option<ReadPosition>,
    /// True if the line continues after this piece.
    pub is_partial: bool,
    /// Time of a line of the past, if the reader asked for times.
    pub time: LineTime,
}

impl<'a> Line<'a> {
    const fn of((key, since_ms): ((u64, u64), u64), piece: LinePiece<'a>) -> Self {
        Self {
            text: piece.text,
            start: piece.start,
            place: Some(ReadPosition { key, end: piece.end, since_ms }),
            is_partial: piece.is_partial,
            time: LineTime::Unknown,
        }
    }

    pub(super) const fn past(text: &'a [u8]) -> Self {
        Self { text, start: 0, place: None, is_partial: false, time: LineTime::Unknown }
    }
}

/// Receiver of lines; returns false if it wants no more.
pub(super) type LineSink<'a> = &'a mut dyn FnMut(&Source, &Line<'_>) -> bool;

/// An open file.
pub(super) struct OpenLog {
    file: File,
    key: (u64, u64),
    since_ms: u64,
    modified_ms: u64,
    /// Whether no writer adds to it any more: it is a rotated file.
    is_over: bool,
    position: u64,
    lines: Lines,
    partial_since: Option<Instant>,
    /// Name after a rename, if it was renamed.
    away: Option<PathBuf>,
    /// Time since which the read position is in a hole.
    hole_since: Option<Instant>,
    /// Position up to which holes are ignored.
    passed: u64,
}

/// Log file that was renamed back to its path (`reloadLogs` after a rename). Its old content is in
/// another file, which has the name that the log had in between.
struct ReturnedLog {
    key: (u64, u64),
    rotated: PathBuf,
    since: Instant,
}

fn ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Returns the time of the last change, ms since the epoch. For a rotated log, it is the time of
/// its last line.
pub(super) fn modified_ms(meta: &Metadata) -> u64 {
    meta.modified().map_or(0, ms)
}

impl OpenLog {
    fn new(file: File) -> io::Result<Self> {
        let meta = file.metadata()?;
        Ok(Self::with_key(file, (meta.dev(), meta.ino())).with_time_of(&meta))
    }

    fn with_key(file: File, key: (u64, u64)) -> Self {
        Self {
            key,
            since_ms: ms(SystemTime::now()),
            modified_ms: 0,
            is_over: false,
            file,
            position: 0,
            lines: Lines::default(),
            partial_since: None,
            away: None,
            hole_since: None,
            passed: 0,
        }
    }

    /// Opens the file at this position.
    pub(super) fn at(file: File, position: u64) -> io::Result<Self> {
        Ok(Self { position, ..Self::new(file)? })
    }

    /// Uses the content of a rotated file, from this position on.
    pub(super) fn of_content(content: Content, position: u64) -> Self {
        let Content { file, meta } = content;
        Self { position, ..Self::with_key(file, (meta.dev(), meta.ino())).with_time_of(&meta) }
    }

    /// Moves to another position.
    pub(super) fn from(self, position: u64) -> Self {
        Self { position, ..self }
    }

    /// Sets the time of the last change.
    pub(super) fn with_time_of(self, meta: &Metadata) -> Self {
        Self { modified_ms: modified_ms(meta), ..self }
    }

    /// Marks it as a rotated file.
    pub(super) fn over(self) -> Self {
        Self { is_over: true, ..self }
    }

    /// Returns the time of the last change up to now.
    fn last_change_ms(&self) -> u64 {
        match self.file.metadata() {
            Ok(meta) if (meta.dev(), meta.ino()) == self.key => modified_ms(&meta),
            // Decompressed content is in another file, which was just created.
            _ => self.modified_ms,
        }
    }

    /// Returns the time of the last change when the file was opened.
    pub(super) const fn modified_ms(&self) -> u64 {
        self.modified_ms
    }

    /// Sets the time since which the file has its present content.
    pub(super) fn since(self, since_ms: u64) -> Self {
        Self { since_ms, ..self }
    }

    pub(super) const fn key(&self) -> (u64, u64) {
        self.key
    }

    pub(super) fn len(&self) -> u64 {
        self.file.metadata().map_or(0, |meta| meta.len())
    }

    /// Shows new lines, until a file is moved to the name of the log. After such a move, the log
    /// may have a different beginning.
    fn read(&mut self, source: &Source, watch: &mut Watch, seen: usize, each: LineSink<'_>) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        let mut is_moved = || {
            watch.drain();
            watch.moves().iter().skip(seen).any(|moved| moved.to == source.path)
        };
        if length < self.position {
            if is_moved() {
                return Ok(());
            }
            (self.position, self.passed) = (0, 0);
            self.lines.forget();
        }
        // Reads only the bytes that exist now: a flood in one file must not delay the other files.
        let mut hole = None;
        let (file, passed, key) = (&self.file, self.passed, (self.key, self.since_ms));
        let mut holds = |block: &[u8], at: u64| {
            hole = if block.contains(&0) { hole_end(file, at, block.len()).filter(|end| *end > passed) } else { None };
            hole.is_none() && !is_moved()
        };
        let any = self.lines.read(file, &mut self.position, length, &mut holds, &mut |piece| each(source, &Line::of(key, piece)))?;
        if self.passes(hole) {
            return self.read(source, watch, seen, each);
        }
        if any || !self.lines.has_partial() {
            self.partial_since = self.lines.has_partial().then(Instant::now);
        }
        Ok(())
    }
}

impl OpenLog {
    /// Shows the rest of a file to which no writer adds any more.
    fn read_whole(&mut self, source: &Source, each: LineSink<'_>) -> io::Result<()> {
        let (length, key) = (self.len(), (self.key, self.since_ms));
        let mut each_line = |piece: LinePiece<'_>| each(source, &Line::of(key, piece));
        self.lines.read(&self.file, &mut self.position, length, &mut |_, _| true, &mut each_line)?;
        self.lines.flush(self.position, &mut each_line);
        Ok(())
    }

    /// Waits for the end of a rotation, for a limited time. Returns true if the time is over.
    fn passes(&mut self, hole: Option<u64>) -> bool {
        let since = hole.map(|_| self.hole_since.unwrap_or_else(Instant::now));
        let is_over = since.is_some_and(|since| since.elapsed() >= LONGEST_ROTATION);
        self.hole_since = since.filter(|_| !is_over);
        self.passed = if is_over { hole.unwrap_or_default() } else { self.passed };
        is_over
    }

    /// Remembers the name of the file while it differs from the name of the log.
    fn find_name(&mut self, log: &Path) {
        let name = std::fs::read_link(format!("/proc/self/fd/{}", self.file.as_raw_fd())).ok().filter(|name| name != log && name.exists());
        self.away = name.or(self.away.take());
    }
}

/// Returns the position at which the hole ends, if a part of the bytes that were read is a hole.
fn hole_end(file: &File, at: u64, count: usize) -> Option<u64> {
    let begin = rustix::fs::seek(file, SeekFrom::Hole(at)).ok().filter(|begin| *begin < at + count as u64)?;
    rustix::fs::seek(file, SeekFrom::Data(begin)).ok().or_else(|| file.metadata().ok().map(|meta| meta.len()))
}

pub(super) fn key_of(path: &Path) -> Option<(u64, u64)> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.dev(), meta.ino()))
}

/// One source, with the read position in it.
pub(super) struct Follower {
    pub source: Source,
    /// Open files, the newest with this name last. An older file stays open while its writer may
    /// still have it open.
    open: Vec<OpenLog>,
    /// Number of moves of the watch that were handled.
    seen: usize,
    /// File that was renamed back, while its old content does not have its final name yet.
    returned: Option<ReturnedLog>,
    /// Time since which the source is followed, ms since the epoch.
    since_ms: u64,
    /// Home with the receive times of lines; none if lines of the past need no times.
    home: Option<PathBuf>,
}

impl Follower {
    /// Opens the file at its beginning, if the file exists.
    pub(super) fn new(source: Source) -> Self {
        let mut follower = Self::resumed(source, Vec::new(), None);
        follower.open.extend(follower.another());
        follower
    }

    /// Follows everything that is written after this time. The file is opened at the first check,
    /// because it may be rotated before.
    pub(super) fn after(source: Source, time: SystemTime) -> Self {
        Self { since_ms: ms(time), ..Self::resumed(source, Vec::new(), None) }
    }

    /// Continues at these positions, the oldest first. `returning`: the name that the old lines of
    /// the last file will get in a moment; that file was already shortened.
    pub(super) fn resumed(source: Source, open: Vec<OpenLog>, returning: Option<PathBuf>) -> Self {
        let returned = returning.zip(open.last()).map(|(rotated, last)| ReturnedLog { key: last.key, rotated, since: Instant::now() });
        Self { source, open, seen: 0, returned, since_ms: ms(SystemTime::now()), home: None }
    }

    /// Gives lines of the past their times, if a home with receive times is given.
    pub(super) fn with_times(self, home: Option<PathBuf>) -> Self {
        Self { home, ..self }
    }

    /// Returns the positions from which reading continues, the oldest first.
    pub(super) fn places(&self) -> Vec<ReadPosition> {
        let place = |open: &OpenLog| ReadPosition {
            key: open.key,
            end: open.position - open.lines.partial_len().min(open.position),
            since_ms: open.since_ms,
        };
        self.open.iter().map(place).collect()
    }

    /// Starts at this position instead.
    pub(super) fn skip_to(&mut self, position: u64) {
        if let Some(open) = self.open.last_mut() {
            open.position = position;
        }
    }

    /// Skips the unread part of the newest file, except the last bytes, whose number is given.
    pub(super) fn skip_backlog(&mut self, bytes: u64) {
        let Some(open) = self.open.last_mut() else { return };
        let length = open.file.metadata().map_or(0, |meta| meta.len());
        if length.saturating_sub(open.position) > bytes {
            open.position = length - bytes;
            open.lines.forget();
        }
    }

    /// Passes the last `count` lines to `each`; [`Self::advance`] handles later lines.
    pub(super) fn tail(&mut self, count: u64, is_last_look: bool, each: LineSink<'_>) -> io::Result<()> {
        let (source, home) = (&self.source, self.home.as_deref());
        let mut before = |count: u64| {
            let lines = past::lines_before(&source.path, count, home, &|path| source.open_rotated(path));
            lines.iter().all(|line| each(source, &Line { time: line.time, ..Line::past(&line.text) }))
        };
        let Some(open) = self.open.last_mut() else {
            before(count);
            return Ok(());
        };
        let length = open.file.metadata()?.len();
        open.position = start_of_last(&open.file, length, count)?;
        if open.position == 0 && count > 0 {
            let missing = count - count_lines(&open.file, length)?.min(count);
            if missing > 0 && !before(missing) {
                return Ok(());
            }
        }
        let key = (open.key, open.since_ms);
        let mut clock = home.map(|home| LineClock::new(FileTimes::of(home, &open.file, false)));
        let mut time = |piece: &LinePiece<'_>| clock.as_mut().map_or(LineTime::Unknown, |clock| clock.time(piece.text, piece.start));
        let mut each_line = |piece: LinePiece<'_>| each(source, &Line { time: time(&piece), ..Line::of(key, piece) });
        open.lines.read(&open.file, &mut open.position, length, &mut |_, _| true, &mut each_line)?;
        if is_last_look {
            open.lines.flush(open.position, &mut each_line);
        }
        open.partial_since = open.lines.has_partial().then(Instant::now);
        Ok(())
    }

    /// Returns true if [`Self::tail`] has something to show.
    pub(super) fn has_content(&self) -> bool {
        self.open.last().is_some_and(|open| open.file.metadata().is_ok_and(|meta| meta.len() > 0)) || past::has_past(&self.source.path)
    }

    /// Passes new lines to `each`: first the rest of the files from before a rotation, then the new
    /// file.
    pub(super) fn advance(&mut self, look_for_new: bool, watch: &mut Watch, each: LineSink<'_>) -> io::Result<()> {
        self.read_rotated(each)?;
        loop {
            self.take_moves(watch);
            self.adopt_returned(each)?;
            self.read_all(watch, each)?;
            if look_for_new && let Some(newest) = self.another() {
                // First the lines that were written between the read above and the check.
                self.read_all(watch, each)?;
                let newest = self.read_between(newest, each);
                watch.file(&newest.file);
                self.open.push(newest);
                self.read_all(watch, each)?;
                let excess = self.open.len().saturating_sub(2);
                self.open.drain(..excess);
            }
            if look_for_new {
                self.open.iter_mut().for_each(|open| open.find_name(&self.source.path));
            }
            // A move happened during the read: handle it now.
            if watch.moves().len() == self.seen || self.returned.is_some() {
                return Ok(());
            }
        }
    }

    /// Reads rotated files to their end. Even if the log is rotated once more in between, its lines
    /// come after theirs.
    fn read_rotated(&mut self, each: LineSink<'_>) -> io::Result<()> {
        for open in self.open.iter_mut().filter(|open| open.is_over) {
            open.read_whole(&self.source, each)?;
        }
        self.open.retain(|open| !open.is_over);
        Ok(())
    }

    fn read_all(&mut self, watch: &mut Watch, each: LineSink<'_>) -> io::Result<()> {
        let waits = self.returned.as_ref().map(|returned| returned.key);
        for open in self.open.iter_mut().filter(|open| waits != Some(open.key)) {
            open.read(&self.source, watch, self.seen, each)?;
        }
        Ok(())
    }

    /// Handles moves, one after the other: was a known file moved to the name of the log?
    fn take_moves(&mut self, watch: &Watch) {
        while let (None, Some(moved)) = (&self.returned, watch.moves().get(self.seen)) {
            self.seen += 1;
            if moved.to != self.source.path {
                continue;
            }
            // The file may have been renamed again by now. Then it is the open file that still has
            // a name, because the file that it replaced has none.
            let now = key_of(&moved.to);
            let is_it = |open: &&OpenLog| Some(open.key) == now;
            let has_name = |open: &&OpenLog| open.file.metadata().is_ok_and(|meta| meta.nlink() > 0);
            let Some(key) = self.open.iter().find(is_it).or_else(|| self.open.iter().rev().find(has_name)).map(|open| open.key) else {
                continue;
            };
            let Some(index) = self.open.iter().position(|open| open.key == key) else { continue };
            // It is the newest file again.
            let open = self.open.remove(index);
            let rotated = moved.from.clone().or_else(|| open.away.clone());
            self.open.push(open);
            self.returned = rotated.map(|rotated| ReturnedLog { key, rotated, since: Instant::now() });
        }
    }

    /// Reads from the copy the lines that were unread when the file was shortened, then continues
    /// in the file.
    fn adopt_returned(&mut self, each: LineSink<'_>) -> io::Result<()> {
        let Some(returned) = &self.returned else { return Ok(()) };
        let Some(open) = self.open.last_mut().filter(|open| open.key == returned.key) else {
            self.returned = None;
            return Ok(());
        };
        let copy = |path: &Path| content(&self.source, path, open.position).map(|content| OpenLog::of_content(content, open.position));
        let copy = copy(&returned.rotated).filter(|copy| copy.key != open.key).or_else(|| copy(&compressed(&returned.rotated)));
        let Some(copy) = copy else {
            // The copy gets its name in a moment, or later on a slow disk. If it does not, the file
            // was only renamed back, or the copy was removed since.
            let patience = if hidden_length(&returned.rotated) > 0 { LONGEST_ROTATION } else { PARTIAL_LINE_DELAY };
            if returned.since.elapsed() >= patience {
                self.returned = None;
            }
            return Ok(());
        };
        let length = copy.file.metadata()?.len();
        let source = &self.source;
        open.lines.read(&copy.file, &mut open.position, length, &mut |_, _| true, &mut |piece| {
            each(source, &Line::of((copy.key, copy.since_ms), piece))
        })?;
        // Bytes that were read beyond the copy belong to the incomplete line, which is now in the
        // file.
        open.position = open.position.saturating_sub(length);
        open.away = None;
        open.since_ms = copy.modified_ms;
        self.returned = None;
        Ok(())
    }

    /// Starts watching the files.
    pub(super) fn watch(&self, watch: &mut Watch) {
        watch.folder_of(&self.source.path);
        self.open.iter().for_each(|open| watch.file(&open.file));
    }

    /// Returns the time at which an incomplete line is due.
    pub(super) fn due(&self) -> Option<Instant> {
        let short = self.open.iter().filter_map(|open| open.partial_since).min().map(|since| since + PARTIAL_LINE_DELAY);
        let long = self.open.iter().filter_map(|open| open.hole_since).min().map(|since| since + LONGEST_ROTATION);
        let returned = self.returned.as_ref().map(|returned| returned.since);
        let returned =
            returned.map(|since| since + if since.elapsed() < PARTIAL_LINE_DELAY { PARTIAL_LINE_DELAY } else { LONGEST_ROTATION });
        [short, long, returned].into_iter().flatten().min()
    }

    /// Shows incomplete lines that have waited long enough.
    pub(super) fn flush_due(&mut self, each: LineSink<'_>) {
        for open in &mut self.open {
            if open.partial_since.is_some_and(|since| since.elapsed() >= PARTIAL_LINE_DELAY) {
                open.partial_since = None;
                let key = (open.key, open.since_ms);
                open.lines.flush_open(open.position, &mut |piece| each(&self.source, &Line::of(key, piece)));
            }
        }
    }

    /// Returns the file at the path, unless it is already open.
    fn another(&self) -> Option<OpenLog> {
        let open = OpenLog::new(self.source.open(&self.source.path).ok()?).ok()?;
        (!self.open.iter().any(|known| known.key == open.key)).then_some(open)
    }

    /// Reads the files that were rotated since the last check and before the newest file.
    fn read_between(&self, newest: OpenLog, each: LineSink<'_>) -> OpenLog {
        let since_ms = self.open.iter().map(OpenLog::last_change_ms).max().unwrap_or(self.since_ms);
        let mut last_ms = None;
        for between in rotated_file::between(&self.source, since_ms, &self.open, &newest) {
            // Files that are damaged or not readable for this user are skipped; the rest is shown
            // once.
            let Ok(mut open) = between.open() else { continue };
            let _ = open.read_whole(&self.source, each);
            last_ms = Some(open.modified_ms);
        }
        last_ms.into_iter().fold(newest, OpenLog::since)
    }
}

#[cfg(test)]
mod tests;
