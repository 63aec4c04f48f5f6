//! Reader of one output: takes lines and returns reports as soon as they are complete.

use super::{Exception, cut};
use crate::logs::error_lines::newest;
use crate::logs::line_date::date_length;

/// Largest number of waiting lines.
pub(super) const LINES: usize = 600;
/// Largest size of waiting lines, in bytes.
pub(super) const BYTES: usize = 64 << 10;
/// Longest line.
pub(super) const LINE: usize = 2000;
/// Lines before a report that are kept with it.
const BEFORE: usize = 10;
/// Longest of these lines.
const SHORT: usize = 500;
/// Number of lines within which a report may continue:
/// `The above exception was the direct cause of …`, `Emitted 'error' event on …`.
const LINK: usize = 6;
/// Number of last lines that may be the start of a report while more lines arrive.
const OPEN: usize = 100;

/// A report in an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundReport {
    /// The exception.
    pub exception: Exception,
    /// The lines before it, the oldest first.
    pub before: Vec<String>,
}

/// Reader of one output. It holds at most 64 KiB.
#[derive(Debug, Default)]
pub struct ReportReader {
    pub(super) lines: Vec<String>,
    pub(super) bytes: usize,
    /// Number of leading lines that are already searched; they are context for the next report.
    searched: usize,
}

impl ReportReader {
    /// Takes a line, without colours and without a date before it.
    pub fn push(&mut self, line: &str) {
        let line = plain(cut(line, LINE));
        self.bytes += line.len();
        self.lines.push(line);
    }

    /// Returns true if no line waits.
    pub fn is_empty(&self) -> bool {
        self.searched == self.lines.len()
    }

    /// Returns true if it has to be searched before it takes more.
    pub fn is_full(&self) -> bool {
        self.lines.len() >= LINES || self.bytes >= BYTES
    }

    /// Searches the waiting lines and returns the reports, the oldest first. `settled`: no further
    /// line follows for the moment. Otherwise a report at the end waits for the rest of it.
    pub fn take(&mut self, settled: bool) -> Vec<FoundReport> {
        let lines: Vec<&str> = self.lines.iter().map(String::as_str).collect();
        let mut found = Vec::new();
        let (mut end, mut keep) = (lines.len(), if settled { lines.len() } else { self.open() });
        while let Some((form, report)) = newest(&lines[self.searched.min(end)..end]) {
            let (from, until) = (self.searched + report.place.start, self.searched + report.place.end);
            // A report that fills the whole buffer cannot grow.
            let waits = !settled && until + LINK > lines.len() && !(from == self.searched && self.is_full());
            if waits {
                keep = keep.min(from);
            } else {
                keep = if until > keep { until } else { keep };
                let exception = Exception::printed(form, &report.head, &lines[from..until], &report.frames);
                let before = lines[..from].iter().rev().filter(|line| !line.trim().is_empty()).take(BEFORE);
                let mut before: Vec<String> = before.map(|line| cut(line, SHORT).to_owned()).collect();
                before.reverse();
                found.push(FoundReport { exception, before });
            }
            if from >= end {
                break;
            }
            end = from;
        }
        found.reverse();
        let first = keep.saturating_sub(BEFORE);
        self.lines.drain(..first);
        self.searched = keep - first;
        self.lines[..self.searched].iter_mut().for_each(|line| line.truncate(cut(line, SHORT).len()));
        self.bytes = self.lines.iter().map(String::len).sum();
        found
    }
}

impl ReportReader {
    /// Returns the index of the first of the last lines that may be the start of a report.
    fn open(&self) -> usize {
        let mut bytes = 0;
        let open = self.lines[self.searched..].iter().rev().take(OPEN).take_while(|line| {
            bytes += line.len();
            bytes <= BYTES / 2
        });
        self.lines.len() - open.count()
    }
}

/// Returns the line without escape sequences and without a date before it.
fn plain(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line.trim_end_matches(['\r', '\n']);
    while let Some(at) = rest.find('\u{1b}') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(sequence) = rest.strip_prefix('[') {
            let end = sequence.find(|c: char| c.is_ascii_alphabetic() || !c.is_ascii()).map_or(sequence.len(), |at| at + 1);
            rest = sequence.get(end..).unwrap_or_default();
        }
    }
    out.push_str(rest);
    let date = date_length(&out);
    out.drain(..date);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_colours_are_removed_from_a_line() {
        for (line, expected) in [
            ("2026-11-24T08:19:45.123Z     at f (/a.js:1:1)", "    at f (/a.js:1:1)"),
            ("\u{1b}[31m2026-11-24 08:19:45 +01:00: Error: x", "Error: x"),
            ("\u{1b}[31mTypeError\u{1b}[0m: x\u{1b}", "TypeError: x"),
            ("", ""),
        ] {
            assert_eq!(plain(line), expected, "{line}");
        }
    }
}
