//! Times of lines: the date that a line carries, or the time at which the daemon saw the line
//! arrive (`ostler_core::logs::line_times`).
//!
//! To show lines with their times, make a [`LineClock`] of their file and ask it for each line, in
//! order. To look up single positions, use [`FileTimes`].

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use jiff::tz::TimeZone;
use ostler_core::home::home_paths::HomePaths;
use ostler_core::logs::line_times::line::{DatedLine, LineTime};
use ostler_core::logs::line_times::{Entry, FileId, LineTimes, Received};
use ostler_sys::fs::facts::FileFacts;
use rustix::fs::OFlags;

use super::search::{LINES_OF_ONE, line_time};

/// Most bytes of an index that are read. The daemon writes no longer ones.
const LONGEST_INDEX: u64 = 1 << 20;

/// Receive times of one file; empty if the daemon recorded none.
#[derive(Clone, Debug, Default)]
pub(super) struct FileTimes(LineTimes);

impl FileTimes {
    /// Reads the times of an open log file of this home. Positions in a compressed file are those of
    /// its content.
    pub(super) fn of(home: &Path, file: &File, is_compressed: bool) -> Self {
        Self::read(home, file, is_compressed).unwrap_or_default()
    }

    fn read(home: &Path, file: &File, is_compressed: bool) -> io::Result<Self> {
        let FileFacts { dev, ino, born_ns, length, modified_ms, .. } = FileFacts::of(file)?;
        let path = HomePaths::line_times(home).join(FileId { dev, ino, born_ns }.index_name());
        let index = File::options().read(true).custom_flags(OFlags::NOFOLLOW.bits().cast_signed()).open(path)?;
        let mut bytes = Vec::new();
        index.take(LONGEST_INDEX).read_to_end(&mut bytes)?;
        let length = if is_compressed { u64::MAX } else { length };
        Ok(Self(LineTimes::new(&bytes, Entry { length, at_ms: modified_ms })))
    }

    /// Returns the times of a file with this index: lengths and times.
    #[cfg(test)]
    pub(super) fn with_entries(entries: &[(u64, u64)]) -> Self {
        let bytes: Vec<u8> = entries.iter().flat_map(|(length, at_ms)| Entry { length: *length, at_ms: *at_ms }.encode()).collect();
        Self(LineTimes::new(&bytes, Entry { length: u64::MAX, at_ms: 0 }))
    }

    /// Returns the interval in which a line was received whose text ends before this position; none
    /// = unknown. The line was complete when its newline arrived.
    pub(super) fn received(&self, text_end: u64) -> Option<Received> {
        self.0.received(text_end).or_else(|| self.0.received(text_end.checked_sub(1)?))
    }

    /// Returns the latest time of all bytes up to this one; none = unknown.
    pub(super) fn latest_ms(&self, offset: u64) -> Option<u64> {
        self.0.latest_ms(offset)
    }

    /// Returns the position from which on everything was received after this time; none = unknown.
    pub(super) fn end_of(&self, until_ms: u64) -> Option<u64> {
        self.0.end_of(until_ms)
    }
}

/// Times of the lines of one file, which it gets in their order.
#[derive(Debug)]
pub(super) struct LineClock {
    times: FileTimes,
    zone: TimeZone,
    /// Last line that carried a date, and the number of lines since.
    dated: Option<(DatedLine, usize)>,
}

impl LineClock {
    pub(super) fn new(times: FileTimes) -> Self {
        Self { times, zone: TimeZone::system(), dated: None }
    }

    /// Returns the time of the next line, which begins at this position.
    pub(super) fn time(&mut self, text: &[u8], start: u64) -> LineTime {
        let received = self.times.received(start + text.len() as u64);
        let date_ms = line_time(text, &self.zone);
        self.dated = match (date_ms, self.dated) {
            (Some(at_ms), _) => Some((DatedLine { at_ms, received }, 0)),
            (None, Some((dated, lines))) if lines + 1 < LINES_OF_ONE => Some((dated, lines + 1)),
            (None, _) => None,
        };
        LineTime::of(date_ms, received, self.dated.map(|(dated, _)| dated))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::PathBuf;

    use super::*;

    /// Returns a home with a log of this content, whose index has these entries.
    fn home(name: &str, content: &str, entries: &[(u64, u64)]) -> (PathBuf, File) {
        let home = std::env::temp_dir().join(format!("ostler-line-times-{}-{name}", std::process::id()));
        std::fs::create_dir_all(HomePaths::line_times(&home)).unwrap();
        std::fs::write(home.join("a.log"), content).unwrap();
        let file = File::open(home.join("a.log")).unwrap();
        let FileFacts { dev, ino, born_ns, .. } = FileFacts::of(&file).unwrap();
        let bytes: Vec<u8> = entries.iter().flat_map(|(length, at_ms)| Entry { length: *length, at_ms: *at_ms }.encode()).collect();
        std::fs::write(HomePaths::line_times(&home).join(FileId { dev, ino, born_ns }.index_name()), bytes).unwrap();
        (home, file)
    }

    fn words(content: &str, clock: &mut LineClock) -> Vec<(Option<&'static str>, Option<u64>)> {
        let mut start = 0;
        let mut word = |line: &str| {
            let time = clock.time(line.trim_end_matches('\n').as_bytes(), start);
            start += line.len() as u64;
            (time.word(), time.at_ms())
        };
        content.split_inclusive('\n').map(&mut word).collect()
    }

    #[test]
    fn lines_get_the_best_known_time() {
        let content = "a\nb\n2026-11-24T10:00:00Z c\n  at c\nd\n";
        let dated = 1_795_514_400_000;
        let entries = [(0, dated - 9000), (2, dated - 8000), (4, dated), (34, dated + 500), (34, dated + 60_000), (36, dated + 60_500)];
        let (folder, file) = home("words", content, &entries);
        let expected = [
            (Some("received"), Some(dated - 8000)),
            (Some("estimated"), Some(dated)),
            (Some("line"), Some(dated)),
            (Some("line"), Some(dated)),
            (Some("received"), Some(dated + 60_500)),
        ];
        assert_eq!(words(content, &mut LineClock::new(FileTimes::of(&folder, &file, false))), expected);
        // Without an index, a line has the time of the dated line before it.
        let none = words(content, &mut LineClock::new(FileTimes::default()));
        assert_eq!(
            none.iter().map(|(word, _)| *word).collect::<Vec<_>>(),
            [None, None, Some("line"), Some("estimated"), Some("estimated")]
        );
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn index_of_another_file_or_of_former_content_is_not_used() {
        let (folder, file) = home("other", "abc\n", &[(0, 1000), (9, 2000)]);
        assert_eq!(FileTimes::of(&folder, &file, false).received(3), None, "the file is shorter than its index");
        assert!(FileTimes::of(&folder, &file, true).received(3).is_some(), "the length of compressed content is unknown");
        std::fs::write(folder.join("b.log"), "abc\n").unwrap();
        assert_eq!(FileTimes::of(&folder, &File::open(folder.join("b.log")).unwrap(), false).received(3), None);
        assert_eq!(FileTimes::of(Path::new("/nowhere"), &file, false).received(3), None);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn line_without_its_newline_has_the_time_of_its_last_byte() {
        let (folder, file) = home("open", "one\ntwo", &[(0, 1000), (4, 2000), (7, 3000)]);
        let times = FileTimes::of(&folder, &file, false);
        assert_eq!((times.received(3).map(|at| at.to_ms), times.received(7).map(|at| at.to_ms)), (Some(2000), Some(3000)));
        assert_eq!(FileTimes::default().received(0), None);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
