//! Lines of files of any size, forwards and backwards.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use memchr::{memchr, memrchr_iter};

const BLOCK: usize = 64 << 10;
/// Longest line; a longer one is shown in pieces.
const LONGEST: usize = 1 << 20;
/// Longest line that is a JSON object: a line of `log_type: json` holds up to 1 MiB of text, in
/// which each byte may be escaped.
const LONGEST_OBJECT: usize = 8 << 20;

/// Returns the position at which the last `count` lines of the first `length` bytes start. An
/// incomplete last line counts.
pub(super) fn start_of_last(file: &File, length: u64, count: u64) -> io::Result<u64> {
    if count == 0 {
        return Ok(length);
    }
    let mut block = vec![0; BLOCK];
    let mut end = length;
    let mut left = count;
    while end > 0 {
        let start = end.saturating_sub(BLOCK as u64);
        let size = usize::try_from(end - start).unwrap_or(BLOCK);
        let filled = read_at(file, &mut block[..size], start)?;
        for at in memrchr_iter(b'\n', &block[..filled]) {
            let at = start + at as u64;
            // The newline at the very end closes the last line and starts no new one.
            if at + 1 == length {
                continue;
            }
            left -= 1;
            if left == 0 {
                return Ok(at + 1);
            }
        }
        end = start;
    }
    Ok(0)
}

/// Returns the number of lines in the first `length` bytes; an incomplete last line counts.
pub(super) fn count_lines(file: &File, length: u64) -> io::Result<u64> {
    let mut block = vec![0; BLOCK];
    let (mut at, mut count, mut last) = (0, 0, b'\n');
    while at < length {
        let size = usize::try_from(length - at).unwrap_or(BLOCK).min(BLOCK);
        let filled = read_at(file, &mut block[..size], at)?;
        let Some(end) = block[..filled].last() else { break };
        last = *end;
        count += memchr::memchr_iter(b'\n', &block[..filled]).count() as u64;
        at += filled as u64;
    }
    Ok(count + u64::from(last != b'\n'))
}

/// Reads as many bytes as are available, until the buffer is full.
pub(super) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Part of a file that is shown as a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct LinePiece<'a> {
    /// The line, without its newline.
    pub text: &'a [u8],
    /// Start of the line in the file.
    pub start: u64,
    /// Position after the line.
    pub end: u64,
    /// True if the line continues after this piece.
    pub is_partial: bool,
}

/// Splits bytes of a file into lines; keeps the start of a line until its end arrives.
#[derive(Debug, Default)]
pub(super) struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// Reads from `*position` up to `until` (or the end) and passes whole lines, without their
    /// newline, to `each`. Stops early if `each` returns false. Also stops if `holds` returns
    /// false: it checks after each read whether the bytes still belong to the expected content.
    /// Returns whether anything was read.
    pub(super) fn read(
        &mut self,
        file: &File,
        position: &mut u64,
        until: u64,
        holds: &mut dyn FnMut(&[u8], u64) -> bool,
        each: &mut dyn FnMut(LinePiece<'_>) -> bool,
    ) -> io::Result<bool> {
        let mut block = vec![0; BLOCK];
        let mut any = false;
        while *position < until {
            let size = usize::try_from(until - *position).unwrap_or(BLOCK).min(BLOCK);
            let filled = read_at(file, &mut block[..size], *position)?;
            if filled == 0 || !holds(&block[..filled], *position) {
                break;
            }
            any = true;
            let at = *position;
            *position += filled as u64;
            if !self.cut(&block[..filled], at, each) {
                break;
            }
        }
        Ok(any)
    }

    fn cut(&mut self, mut bytes: &[u8], mut at: u64, each: &mut dyn FnMut(LinePiece<'_>) -> bool) -> bool {
        while let Some(end) = memchr(b'\n', bytes) {
            let next = at + end as u64 + 1;
            let go_on = if self.partial.is_empty() {
                each(LinePiece { text: &bytes[..end], start: at, end: next, is_partial: false })
            } else {
                self.partial.extend_from_slice(&bytes[..end]);
                self.give(next, next - 1, false, each)
            };
            (bytes, at) = (&bytes[end + 1..], next);
            if !go_on {
                return false;
            }
        }
        self.partial.extend_from_slice(bytes);
        self.partial.len() < self.longest() || self.flush_open(at + bytes.len() as u64, each)
    }

    fn longest(&self) -> usize {
        if self.partial.first() == Some(&b'{') { LONGEST_OBJECT } else { LONGEST }
    }

    /// Returns true if a line has started and not ended.
    pub(super) fn has_partial(&self) -> bool {
        !self.partial.is_empty()
    }

    /// Returns the bytes of a line that has started and not ended.
    pub(super) fn partial_len(&self) -> u64 {
        self.partial.len() as u64
    }

    /// Passes on the start of a line as if it were whole, because no more bytes follow. The file
    /// was read up to this position.
    pub(super) fn flush(&mut self, position: u64, each: &mut dyn FnMut(LinePiece<'_>) -> bool) -> bool {
        self.partial.is_empty() || self.give(position, position, false, each)
    }

    /// Passes on the start of a line that continues. The file was read up to this position.
    pub(super) fn flush_open(&mut self, position: u64, each: &mut dyn FnMut(LinePiece<'_>) -> bool) -> bool {
        self.partial.is_empty() || self.give(position, position, true, each)
    }

    fn give(&mut self, end: u64, text_end: u64, is_partial: bool, each: &mut dyn FnMut(LinePiece<'_>) -> bool) -> bool {
        let line = std::mem::take(&mut self.partial);
        each(LinePiece { text: &line, start: text_end.saturating_sub(line.len() as u64), end, is_partial })
    }

    /// Drops the start of a line, because the file was truncated.
    pub(super) fn forget(&mut self) {
        self.partial.clear();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn file(content: &[u8]) -> File {
        let file: File = rustix::fs::memfd_create("lines", rustix::fs::MemfdFlags::CLOEXEC).unwrap().into();
        file.write_all_at(content, 0).unwrap();
        file
    }

    fn all_lines(content: &[u8], from: u64, until: u64) -> Vec<String> {
        let mut seen = Vec::new();
        let content_of =
            |piece: &LinePiece<'_>| content[usize::try_from(piece.start).unwrap()..usize::try_from(piece.end).unwrap()].to_vec();
        let mut each = |piece: LinePiece<'_>| {
            let whole = content_of(&piece);
            assert_eq!(whole.strip_suffix(b"\n").unwrap_or(&whole), piece.text, "it is where it is said to be");
            seen.push(String::from_utf8(piece.text.to_vec()).unwrap());
            true
        };
        let mut lines = Lines::default();
        let mut position = from;
        lines.read(&file(content), &mut position, until, &mut |_, _| true, &mut each).unwrap();
        lines.flush(position, &mut each);
        seen
    }

    #[test]
    fn start_of_last_finds_exactly_the_last_lines() {
        let long = "x".repeat(200_000);
        let contents = [
            "a\nb\nc\n".to_owned(),
            "a\nb\nc".into(),
            "\n\n\n".into(),
            String::new(),
            "a".into(),
            format!("{long}\n{long}\n{long}\n"),
            "l\n".repeat(100_000),
        ];
        for content in &contents {
            let expected: Vec<&str> = content.strip_suffix('\n').unwrap_or(content).split('\n').collect();
            let expected = if content.is_empty() { Vec::new() } else { expected };
            for count in [0, 1, 2, 3, 4, 70_000] {
                let length = content.len() as u64;
                let start = start_of_last(&file(content.as_bytes()), length, count).unwrap();
                let wanted = &expected[expected.len().saturating_sub(usize::try_from(count).unwrap())..];
                let rest = &content[usize::try_from(start).unwrap()..];
                let found: Vec<&str> =
                    if rest.is_empty() { Vec::new() } else { rest.strip_suffix('\n').unwrap_or(rest).split('\n').collect() };
                assert!(found == wanted, "{count} of {} bytes: {} lines", content.len(), found.len());
            }
        }
    }

    #[test]
    fn lines_stay_whole_across_blocks() {
        let content: String = (0..30_000).map(|n| format!("line {n}\n")).collect();
        let expected: Vec<String> = content.lines().map(str::to_owned).collect();
        assert!(all_lines(content.as_bytes(), 0, u64::MAX) == expected);
        assert_eq!(all_lines(b"a\nbc\nd", 2, 4), ["bc"], "no further than asked");
        assert_eq!(all_lines(b"a\n\nb", 0, u64::MAX), ["a", "", "b"]);
    }

    #[test]
    fn overlong_line_is_split_into_pieces() {
        let content = "y".repeat(LONGEST * 2 + 7);
        let pieces = all_lines(content.as_bytes(), 0, u64::MAX);
        assert!(pieces.len() == 3 && pieces.concat() == content);
    }

    #[test]
    fn a_piece_is_partial_if_its_line_continues() {
        let pieces = |content: String| {
            let (mut position, mut seen, mut lines) = (0, Vec::new(), Lines::default());
            let mut each = |piece: LinePiece<'_>| {
                seen.push(piece.is_partial);
                true
            };
            lines.read(&file(content.as_bytes()), &mut position, u64::MAX, &mut |_, _| true, &mut each).unwrap();
            lines.flush_open(position, &mut each);
            seen
        };
        assert_eq!(pieces(format!("{}\na\nb", "y".repeat(LONGEST * 2 + 7))), [true, true, false, false, true]);
        assert_eq!(pieces(format!("{{{}\n", "y".repeat(LONGEST * 2))), [false], "an object stays whole");
    }
}
