//! Search within one file, the last lines first, in bounded memory. [`ScanQuery`] decides about each
//! piece without access to the file.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::num::NonZeroU64;
use std::ops::Range;

use flate2::read::MultiGzDecoder;
use jiff::tz::TimeZone;
use memchr::memchr_iter;
use ostler_core::logs::line_times::line::{DatedLine, LineTime};
use rustix::fs::{Advice, fadvise};

use super::super::line_times::FileTimes;
use super::super::lines::read_at;
use super::pattern::{Pattern, line_around};
use super::time::{self, LINES_OF_ONE};

/// Bytes that are searched at once.
pub(super) const BLOCK: usize = 2 << 20;
/// Bytes on both sides of a block that may contain the rest of a line and its neighbours.
const MARGIN: usize = 64 << 10;
/// Bytes that the kernel is asked to read ahead. By itself, the kernel reads ahead only towards the
/// end of a file.
const AHEAD: u64 = 16 << 20;
/// Longest text of a line that was found, and of a neighbouring line.
const LONGEST: usize = 16 << 10;
const LONGEST_AROUND: usize = 2 << 10;
/// Bytes of hits that are kept for a compressed file, which can only be read from its beginning.
const MOST_KEPT: usize = 4 << 20;
/// Longest interval of a line that counts as known, ms, unless a longer range of time is searched.
const KNOWN_MS: u64 = 600_000;

/// Conditions that a line must meet, and the details to return for it.
pub(super) struct ScanQuery<'a> {
    pub(super) pattern: &'a Pattern,
    pub(super) since_ms: Option<u64>,
    pub(super) until_ms: Option<u64>,
    /// Whether a line with an unknown time is left out.
    pub(super) only_timed: bool,
    /// Number of lines that were left out for that reason.
    pub(super) untimed: &'a Cell<u64>,
    /// Receive times of the file.
    pub(super) times: &'a FileTimes,
    /// Number of lines to return before and after a hit.
    pub(super) context: usize,
    pub(super) zone: &'a TimeZone,
    /// Bytes that are searched at once.
    pub(super) block: usize,
}

/// A line that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FoundLine {
    /// Start of the line in the file, in bytes; in a compressed file, the position in its content.
    pub(crate) start: u64,
    /// Time at which it was written.
    pub(crate) time: LineTime,
    /// The line.
    pub(crate) text: Vec<u8>,
    /// Whether the text was cut.
    pub(crate) is_cut: bool,
    /// Lines before the line, and after it.
    pub(crate) before: Vec<Vec<u8>>,
    pub(crate) after: Vec<Vec<u8>>,
}

impl FoundLine {
    fn len(&self) -> usize {
        self.text.len() + self.before.iter().chain(&self.after).map(|line| line.len() + size_of::<Vec<u8>>()).sum::<usize>()
    }
}

impl ScanQuery<'_> {
    /// Returns the hit for a line, or none if the line has another time. `offset`: position of
    /// `bytes` in the file.
    fn found(&self, bytes: &[u8], offset: u64, line: Range<usize>) -> Option<FoundLine> {
        let time = self.time(bytes, offset, &line);
        if !time.may_be_within(self.since_ms, self.until_ms) {
            return None;
        }
        if self.only_timed && !time.is_known_to(self.known_ms()) {
            self.untimed.set(self.untimed.get() + 1);
            return None;
        }
        let cut = |line: Range<usize>, most: usize| bytes[line.start..line.end.min(line.start + most)].to_vec();
        let (mut before, mut after) = (Vec::new(), Vec::new());
        let mut edge = line.start;
        while before.len() < self.context && edge > 0 {
            let line = line_around(bytes, edge - 1);
            // The first line of a piece may be the rest of a line.
            if line.start == 0 && offset > 0 {
                break;
            }
            edge = line.start;
            before.push(cut(line, LONGEST_AROUND));
        }
        before.reverse();
        let mut edge = line.end + 1;
        while after.len() < self.context && edge < bytes.len() {
            let line = line_around(bytes, edge);
            edge = line.end + 1;
            after.push(cut(line, LONGEST_AROUND));
        }
        let is_cut = line.len() > LONGEST;
        Some(FoundLine { start: offset + line.start as u64, time, text: cut(line, LONGEST), is_cut, before, after })
    }

    /// Returns the uncertainty up to which the time of a line counts as known.
    fn known_ms(&self) -> u64 {
        let range_ms = self.until_ms.zip(self.since_ms).map_or(0, |(until, since)| until.saturating_sub(since));
        range_ms.max(KNOWN_MS)
    }

    /// Returns the time of a line. A stack trace has the time of its message, which is the nearest
    /// line before it that carries one.
    fn time(&self, bytes: &[u8], offset: u64, line: &Range<usize>) -> LineTime {
        let received = |line: &Range<usize>| self.times.received(offset + line.end as u64);
        let date_ms = |line: &Range<usize>| time::line_time(&bytes[line.clone()], self.zone);
        let own_ms = date_ms(line);
        let mut dated = line.clone();
        let mut before = None;
        for _ in 1..LINES_OF_ONE {
            if own_ms.is_some() || before.is_some() || dated.start == 0 {
                break;
            }
            dated = line_around(bytes, dated.start - 1);
            before = date_ms(&dated).map(|at_ms| DatedLine { at_ms, received: received(&dated) });
        }
        LineTime::of(own_ms, received(line), before)
    }

    /// Returns the time of the first whole line in a piece that carries a time. The piece may begin
    /// within a line.
    fn first_time(&self, bytes: &[u8]) -> Option<u64> {
        let starts = memchr_iter(b'\n', bytes).take(LINES_OF_ONE).map(|end| end + 1);
        starts.filter(|start| *start < bytes.len()).find_map(|start| time::line_time(&bytes[line_around(bytes, start)], self.zone))
    }
}

/// Receiver of hits and of progress. Both methods return false if the search must stop.
pub(super) trait Sink {
    fn found(&mut self, found: &FoundLine) -> bool;
    fn searched(&mut self, bytes: u64) -> bool;
    /// Returns the number of lines that are still wanted.
    fn room(&self) -> usize;
}

/// Searches `range` of a file from its end. Returns the position before which nothing was searched;
/// none = everything was searched.
///
/// # Errors
/// Returns an error if the file cannot be read.
pub(super) fn plain(file: &File, range: Range<u64>, query: &ScanQuery<'_>, sink: &mut dyn Sink) -> io::Result<Option<u64>> {
    let length = file.metadata()?.len();
    let mut end = range.end.min(length);
    if let Some(until) = query.until_ms {
        end = end_by_time(file, end, until, query)?;
    }
    let mut buffer = vec![0; query.block + 2 * MARGIN];
    let mut ahead = end;
    let mut last = None;
    while end > range.start {
        // Requests more as soon as half of the previous request was searched.
        if ahead > range.start && end < ahead + AHEAD / 2 {
            let start = ahead.saturating_sub(AHEAD).max(range.start);
            let _ = fadvise(file, start, NonZeroU64::new(ahead - start), Advice::WillNeed);
            ahead = start;
        }
        let start = end.saturating_sub(query.block as u64).max(range.start);
        let offset = start.saturating_sub(MARGIN as u64);
        let size = usize::try_from((end + MARGIN as u64).min(length) - offset).unwrap_or(0).min(buffer.len());
        let filled = read_at(file, &mut buffer[..size], offset)?;
        let bytes = &buffer[..filled];
        let within = |at: u64| usize::try_from(at - offset).unwrap_or(usize::MAX).min(filled);
        // Only the last hits of the block can be wanted.
        let mut found: VecDeque<FoundLine> = VecDeque::new();
        let room = sink.room().max(1);
        query.pattern.lines(bytes, within(start)..within(end), &mut |line| {
            if found.len() == room {
                found.pop_front();
            }
            found.extend(query.found(bytes, offset, line));
            true
        });
        while let Some(one) = found.pop_back() {
            // A line that spans two blocks is found in both.
            if last.replace(one.start) != Some(one.start) && !sink.found(&one) {
                return Ok(Some(one.start));
            }
        }
        let first_ms = || query.first_time(&bytes[within(start)..within(end)]).or_else(|| query.times.latest_ms(start));
        let is_before = |since: u64| first_ms().is_some_and(|first| first < since);
        if !sink.searched(end - start) && start > range.start {
            return Ok(Some(start));
        }
        if query.since_ms.is_some_and(is_before) {
            return Ok(None);
        }
        end = start;
    }
    Ok(None)
}

/// Returns the end of the part that may contain lines up to this time. If lines carry times, it is
/// found by binary search. If not even the last lines do, the receive times show it.
fn end_by_time(file: &File, end: u64, until_ms: u64, query: &ScanQuery<'_>) -> io::Result<u64> {
    let mut buffer = vec![0; MARGIN];
    let (mut low, mut high) = (0, end);
    while high - low > query.block.max(4 * MARGIN) as u64 {
        let middle = low + (high - low) / 2;
        let filled = read_at(file, &mut buffer, middle)?;
        match query.first_time(&buffer[..filled]) {
            Some(at) if at > until_ms => high = middle + filled as u64,
            Some(_) => low = middle,
            None => {
                let filled = read_at(file, &mut buffer, end.saturating_sub(MARGIN as u64))?;
                let is_undated = query.first_time(&buffer[..filled]).is_none();
                return Ok(query.times.end_of(until_ms).filter(|_| is_undated).map_or(end, |limit| limit.min(end)));
            }
        }
    }
    Ok(high.min(end))
}

/// Reader that counts bytes.
struct CountingReader<'a> {
    file: &'a File,
    count: u64,
}

impl Read for CountingReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.count += count as u64;
        Ok(count)
    }
}

/// Works like [`plain`] for a compressed file, which is read from its beginning. The last hits are
/// kept until its end.
///
/// # Errors
/// Returns an error if the file is damaged or cannot be read; earlier hits were already passed on.
pub(super) fn compressed(file: &File, range: Range<u64>, query: &ScanQuery<'_>, sink: &mut dyn Sink) -> io::Result<Option<u64>> {
    let mut reader = MultiGzDecoder::new(CountingReader { file, count: 0 });
    let mut bytes = Vec::with_capacity(query.block + 2 * MARGIN);
    // Position of `bytes` in the content, end of the searched part, and compressed bytes that were
    // reported.
    let (mut offset, mut from, mut reported) = (0_u64, 0_usize, 0_u64);
    let mut kept: VecDeque<FoundLine> = VecDeque::new();
    let (mut kept_bytes, mut last, mut is_short) = (0, None, false);
    let room = sink.room().max(1);
    let failure = loop {
        let missing = (query.block + 2 * MARGIN - bytes.len()) as u64;
        let read = (&mut reader).take(missing).read_to_end(&mut bytes);
        let is_end = bytes.len() < query.block + 2 * MARGIN;
        let end = if is_end { bytes.len() } else { bytes.len() - MARGIN };
        let in_bytes = |at: u64| usize::try_from(at.saturating_sub(offset)).unwrap_or(usize::MAX);
        let searched = from.max(in_bytes(range.start))..end.min(in_bytes(range.end));
        query.pattern.lines(&bytes, searched, &mut |line| {
            let start = offset + line.start as u64;
            if last.replace(start) != Some(start)
                && let Some(found) = query.found(&bytes, offset, line)
            {
                kept_bytes += found.len();
                kept.push_back(found);
            }
            while kept.len() > room || (kept_bytes > MOST_KEPT && kept.len() > 1) {
                kept_bytes -= kept.pop_front().map_or(0, |found| found.len());
                is_short = true;
            }
            true
        });
        let count = reader.get_ref().count;
        let continues = sink.searched(count - reported);
        reported = count;
        if is_end || read.is_err() || offset + end as u64 >= range.end {
            break read.err();
        }
        if !continues {
            return Ok(Some(range.end));
        }
        let done = end.saturating_sub(MARGIN);
        bytes.drain(..done);
        offset += done as u64;
        from = end - done;
    };
    let mut oldest = None;
    while let Some(found) = kept.pop_back() {
        if !sink.found(&found) {
            return Ok(Some(found.start));
        }
        oldest = Some(found.start);
    }
    match failure {
        Some(error) => Err(error),
        None => Ok(oldest.filter(|_| is_short)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use std::os::unix::fs::FileExt;

    use super::*;

    /// A small block, so that there are many.
    const SMALL: usize = 16 << 10;

    /// Collects all hits until it has `room` lines.
    struct All {
        room: usize,
        found: Vec<FoundLine>,
        searched: u64,
        blocks: usize,
    }

    impl Sink for All {
        fn found(&mut self, found: &FoundLine) -> bool {
            self.found.push(found.clone());
            self.room -= 1;
            self.room > 0
        }

        fn searched(&mut self, bytes: u64) -> bool {
            self.searched += bytes;
            self.blocks -= 1;
            self.blocks > 0
        }

        fn room(&self) -> usize {
            self.room
        }
    }

    fn file(content: &[u8]) -> File {
        let file: File = rustix::fs::memfd_create("search", rustix::fs::MemfdFlags::CLOEXEC).unwrap().into();
        file.write_all_at(content, 0).unwrap();
        file
    }

    /// Returns all hits in the content, plain or compressed. Each call finds up to `room` lines and
    /// reads up to `blocks` blocks; the next call continues.
    fn search(content: &[u8], is_compressed: bool, query: &ScanQuery<'_>, room: usize, blocks: usize) -> Vec<FoundLine> {
        let bytes = if is_compressed {
            let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
            gz.write_all(content).unwrap();
            gz.finish().unwrap()
        } else {
            content.to_vec()
        };
        let (mut end, mut found) = (u64::MAX, Vec::new());
        loop {
            let mut all = All { room, found: Vec::new(), searched: 0, blocks };
            let file = file(&bytes);
            let left = if is_compressed { compressed(&file, 0..end, query, &mut all) } else { plain(&file, 0..end, query, &mut all) };
            found.append(&mut all.found);
            match left.unwrap() {
                Some(left) => {
                    assert!(left < end, "it does not come further");
                    end = left;
                }
                None => return found,
            }
        }
    }

    fn query<'a>(pattern: &'a Pattern, zone: &'a TimeZone) -> ScanQuery<'a> {
        let (untimed, times) = (Box::leak(Box::default()), Box::leak(Box::default()));
        ScanQuery { pattern, since_ms: None, until_ms: None, only_timed: false, untimed, times, context: 1, zone, block: SMALL }
    }

    #[test]
    fn lines_without_time_are_skipped_and_counted() {
        let (utc, pattern) = (TimeZone::UTC, Pattern::ALL);
        let only_timed = || ScanQuery { only_timed: true, since_ms: Some(0), ..query(&pattern, &utc) };
        for is_compressed in [false, true] {
            let query = only_timed();
            let found = search(b"one\ntwo\n2026-11-24T10:00:00Z three\nof three\n", is_compressed, &query, usize::MAX, usize::MAX);
            assert_eq!(found.iter().map(|one| &one.text[..]).collect::<Vec<_>>(), [&b"of three"[..], b"2026-11-24T10:00:00Z three"]);
            assert_eq!(query.untimed.get(), 2);
        }
    }

    /// Lines without dates are found by the times at which they were received, and parts of another
    /// time are not read.
    #[test]
    fn search_uses_receive_times() {
        let (utc, all) = (TimeZone::UTC, Pattern::ALL);
        let content: String = (0..6000).map(|n| format!("line {n:05}{}\n", "-".repeat(99))).collect();
        // Ten lines each second, and an hour without a daemon in the middle.
        let second = |n: u64| 1_795_514_400_000 + n * 1000;
        let at = |n: u64| if n < 300 { second(n) } else { second(3600 + n) };
        let entries: Vec<(u64, u64)> = (0..=600).map(|n| (n * 1100, at(n))).collect();
        let times = FileTimes::with_entries(&entries);
        let numbers = |found: &[FoundLine]| -> Vec<u64> {
            found.iter().map(|one| std::str::from_utf8(&one.text).unwrap()[5..10].parse().unwrap()).collect()
        };
        for (since, until, first, count) in [
            (second(100), second(101), 990, 30),
            (at(599), at(700), 5980, 20),
            (0, second(1), 0, 20),
            (second(2000), second(2001), 2990, 10),
            (second(90_000), second(90_001), 0, 0),
        ] {
            for is_compressed in [false, true] {
                let query = ScanQuery { since_ms: Some(since), until_ms: Some(until), times: &times, ..query(&all, &utc) };
                let mut found = numbers(&search(content.as_bytes(), is_compressed, &query, usize::MAX, usize::MAX));
                found.reverse();
                assert!(found.len() == count && found.first().copied().unwrap_or(0) == first, "{since} {until}: {found:?}");
            }
        }
        // An hour is too uncertain for the lines of a moment.
        let uncertain =
            ScanQuery { since_ms: Some(second(2000)), until_ms: Some(second(2001)), only_timed: true, times: &times, ..query(&all, &utc) };
        assert_eq!((search(content.as_bytes(), false, &uncertain, usize::MAX, usize::MAX).len(), uncertain.untimed.get()), (0, 10));
        for (since_ms, until_ms) in [(Some(second(3590 + 600)), None), (None, Some(second(10)))] {
            let mut sink = All { room: usize::MAX, found: Vec::new(), searched: 0, blocks: usize::MAX };
            plain(&file(content.as_bytes()), 0..u64::MAX, &ScanQuery { since_ms, until_ms, times: &times, ..query(&all, &utc) }, &mut sink)
                .unwrap();
            assert!(sink.searched < 100_000 && sink.found.len() >= 100, "{} bytes, {} lines", sink.searched, sink.found.len());
        }
    }

    /// Each line is found once, the last first, with its neighbours, independent of the block size
    /// and of how often the search continues.
    #[test]
    fn each_line_is_found_once_with_any_block_size() {
        let utc = TimeZone::UTC;
        let lines: Vec<String> =
            (0..6000).map(|n| format!("line {n} of many, some of which are longer than others {}", "x".repeat(n % 90))).collect();
        let content = lines.join("\n") + "\n";
        assert!(content.len() > 20 * SMALL);
        let is_it = |line: &&String| line.contains("7 of many") && line.ends_with("xxxxx");
        let expected: Vec<&String> = lines.iter().filter(is_it).rev().collect();
        let (text, regex) = (Pattern::new("7 of many", false, false).unwrap(), Pattern::new("7 OF many.*x{5}$", true, true).unwrap());
        for is_compressed in [false, true] {
            for (room, blocks) in [(usize::MAX, usize::MAX), (50, usize::MAX), (100_000, 1 + usize::from(is_compressed) * 100)] {
                let found = search(content.as_bytes(), is_compressed, &query(&regex, &utc), room, blocks);
                let texts: Vec<&str> = found.iter().map(|one| std::str::from_utf8(&one.text).unwrap()).collect();
                assert!(texts == expected, "{is_compressed} {room} {blocks}: {} of {}", texts.len(), expected.len());
                for one in &found {
                    let start = usize::try_from(one.start).unwrap();
                    assert_eq!(&content.as_bytes()[start..start + one.text.len()], one.text);
                    let n: usize = std::str::from_utf8(&one.text).unwrap().split(' ').nth(1).unwrap().parse().unwrap();
                    assert_eq!(one.before, [lines[n - 1].as_bytes()]);
                    assert_eq!(one.after, lines.get(n + 1).map(|line| line.as_bytes().to_vec()).into_iter().collect::<Vec<_>>());
                }
            }
            let found = search(content.as_bytes(), is_compressed, &query(&text, &utc), usize::MAX, usize::MAX);
            assert_eq!(found.len(), lines.iter().filter(|line| line.contains("7 of many")).count());
            // This also holds for a line that spans two blocks and matches in both.
            let found = search(content.as_bytes(), is_compressed, &query(&Pattern::ALL, &utc), usize::MAX, usize::MAX);
            assert_eq!(found.len(), lines.len());
        }
    }

    #[test]
    fn search_respects_since_and_until() {
        let utc = TimeZone::UTC;
        let second = 1_795_514_400_000_u64;
        let stamp = |n: u64| jiff::Timestamp::from_millisecond((second + n * 1000).cast_signed()).unwrap();
        let lines: Vec<String> = (0..10_000).map(|n| format!("{} line {n}\n    at some place of {n}\n", stamp(n))).collect();
        let content = lines.concat();
        assert!(content.len() > 20 * SMALL);
        let pattern = Pattern::new("at some", false, false).unwrap();
        for (since, until, expected) in
            [(Some(9_998), None, 2), (None, Some(9), 10), (Some(5_000), Some(5_009), 10), (Some(200_000), None, 0)]
        {
            for is_compressed in [false, true] {
                let at = |n: u64| second + n * 1000;
                let query = ScanQuery { since_ms: since.map(at), until_ms: until.map(at), ..query(&pattern, &utc) };
                let found = search(content.as_bytes(), is_compressed, &query, usize::MAX, usize::MAX);
                assert_eq!(found.len(), expected, "{since:?} {until:?} {is_compressed}");
                assert!(found.iter().all(|one| one.time.at_ms().is_some()));
            }
        }
        // Parts of another time are not read.
        let mut all = All { room: 1000, found: Vec::new(), searched: 0, blocks: usize::MAX };
        let query = ScanQuery { since_ms: Some(second + 9_000_000), ..query(&pattern, &utc) };
        plain(&file(content.as_bytes()), 0..u64::MAX, &query, &mut all).unwrap();
        assert!(all.searched < content.len() as u64 / 2 && all.found.len() == 1000, "{} bytes", all.searched);
    }

    #[test]
    fn search_handles_empty_binary_and_truncated_content() {
        let utc = TimeZone::UTC;
        let all = Pattern::ALL;
        let long = "y".repeat(200_000);
        for (content, expected) in [("", 0), ("\n", 1), ("a", 1), ("a\n\nb", 3), (long.as_str(), 0), ("a\0b\r\n\u{fffd}\n", 2)] {
            for is_compressed in [false, true] {
                let found = search(content.as_bytes(), is_compressed, &query(&all, &utc), usize::MAX, usize::MAX);
                assert!(
                    found.len() >= expected.min(1) && (found.len() == expected || content.len() > SMALL),
                    "{} {}",
                    content.len(),
                    found.len()
                );
                assert!(found.iter().all(|one| one.text.len() <= LONGEST && one.is_cut == (content.len() > SMALL)));
            }
        }
        // A truncated compressed file: the lines before the end are found.
        let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
        gz.write_all("a line\n".repeat(100_000).as_bytes()).unwrap();
        let bytes = gz.finish().unwrap();
        let mut sink = All { room: 5, found: Vec::new(), searched: 0, blocks: usize::MAX };
        let query = query(&all, &utc);
        let left = compressed(&file(&bytes[..bytes.len() / 2]), 0..u64::MAX, &query, &mut sink);
        assert!(left.is_ok() && sink.found.len() == 5);
    }
}
