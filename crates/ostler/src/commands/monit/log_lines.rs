//! Log lines that the view keeps.

use std::collections::VecDeque;

/// Most lines.
const LINES: usize = 1000;
/// Most bytes of one line; the rest is not shown here.
const LINE_BYTES: usize = 4096;
/// Most bytes in all lines.
const BYTES: usize = 1 << 20;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogLine {
    pub text: Box<str>,
    /// Whether it came on the error stream.
    pub is_error: bool,
}

impl LogLine {
    pub(super) fn new(bytes: &[u8], is_error: bool) -> Self {
        let bytes = &bytes[..bytes.len().min(LINE_BYTES)];
        Self { text: plain(&String::from_utf8_lossy(bytes)).into(), is_error }
    }
}

/// The last lines, bounded in number and size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LogLines {
    lines: VecDeque<LogLine>,
    bytes: usize,
}

impl LogLines {
    /// Adds a line; returns the number of oldest lines that were dropped.
    pub(super) fn push(&mut self, line: LogLine) -> usize {
        self.bytes += line.text.len();
        self.lines.push_back(line);
        let mut gone = 0;
        while self.lines.len() > LINES || self.bytes > BYTES {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes -= oldest.text.len();
            gone += 1;
        }
        gone
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Returns the lines up to `back` lines before the end, the newest first.
    pub(super) fn upwards(&self, back: usize) -> impl Iterator<Item = &LogLine> {
        self.lines.iter().rev().skip(back)
    }
}

/// Removes terminal sequences from the text: apps that colour their lines would be hard to read.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\u{1b}') {
        out.push_str(&rest[..at]);
        rest = after_sequence(&rest[at..]);
    }
    out.push_str(rest.trim_end_matches('\r'));
    out
}

/// Returns the text after the sequence at its beginning. If the sequence has no end, only the
/// escape is removed.
fn after_sequence(text: &str) -> &str {
    let body = &text[1..];
    let end = match body.chars().next() {
        Some('[') => body[1..].find(|c: char| ('\u{40}'..='\u{7e}').contains(&c)).map(|at| at + 2),
        Some(']') => {
            let bell = body.find('\u{7}').map(|at| at + 1);
            let ended = body.find("\u{1b}\\").map(|at| at + 2);
            bell.into_iter().chain(ended).min()
        }
        _ => Some(0),
    };
    &body[end.unwrap_or(0)..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_are_stripped_from_lines() {
        for (line, shown) in [
            (&b"plain"[..], "plain"),
            (b"\x1b[31mred\x1b[0m and \x1b[1;32mgreen\x1b[m\r", "red and green"),
            (b"\x1b]0;title\x07text \x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "text link"),
            (b"open \x1b[31", "open [31"),
            (b"open \x1b]0;never", "open ]0;never"),
            (b"\x1b", ""),
            (b"\xff\xfe", "\u{fffd}\u{fffd}"),
        ] {
            assert_eq!(&*LogLine::new(line, false).text, shown, "{line:?}");
        }
    }

    #[test]
    fn lines_are_bounded() {
        let mut lines = LogLines::default();
        for _ in 0..LINES {
            assert_eq!(lines.push(LogLine::new(b"x", false)), 0);
        }
        assert_eq!((lines.push(LogLine::new(b"y", false)), lines.len()), (1, LINES));
        for _ in 0..LINES {
            lines.push(LogLine::new(&[b'z'; 9999], true));
        }
        assert!(lines.bytes <= BYTES && lines.len() < LINES && lines.upwards(0).next().is_some_and(|line| line.text.len() == LINE_BYTES));
    }
}
