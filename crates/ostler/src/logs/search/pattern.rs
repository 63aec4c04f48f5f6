//! Pattern that lines are searched for. Pure.

use std::ops::Range;

use memchr::memmem::Finder;
use memchr::{memchr, memrchr};

use super::expression::Expression;
use crate::error::SearchError;

/// Longest pattern, bytes.
const LONGEST: usize = 4096;

/// A pattern.
#[derive(Clone, Debug)]
pub(crate) struct Pattern(PatternKind);

#[derive(Clone, Debug)]
enum PatternKind {
    /// Matches each line.
    All,
    /// A text, searched for by vector instructions.
    Text(Box<Finder<'static>>),
    /// An expression; the time of its search grows only with the length of the searched text.
    Expression(Box<Expression>),
}

impl Pattern {
    /// A pattern that each line matches.
    pub(crate) const ALL: Self = Self(PatternKind::All);

    /// Creates a pattern from a text or an expression; the empty one matches each line.
    ///
    /// # Errors
    /// Returns the problem, in one line.
    pub(crate) fn new(text: &str, is_regex: bool, ignores_case: bool) -> Result<Self, SearchError> {
        if text.is_empty() {
            return Ok(Self::ALL);
        }
        if text.len() > LONGEST {
            return Err(SearchError::TooLong(LONGEST));
        }
        if !is_regex && text.contains('\n') {
            return Err(SearchError::SeveralLines);
        }
        if !is_regex && !ignores_case {
            return Ok(Self(PatternKind::Text(Box::new(Finder::new(text).into_owned()))));
        }
        Ok(Self(PatternKind::Expression(Box::new(Expression::new(text, is_regex, ignores_case)?))))
    }

    /// Returns true if this line, without its end, matches.
    pub(crate) fn is_match(&self, line: &[u8]) -> bool {
        match &self.0 {
            PatternKind::All => true,
            PatternKind::Text(finder) => finder.find(line).is_some(),
            PatternKind::Expression(expression) => expression.is_match(line),
        }
    }

    /// Passes the matching lines in `bytes` to `each`, in order, if their match begins within
    /// `range`. Stops if `each` returns false.
    pub(super) fn lines(&self, bytes: &[u8], range: Range<usize>, each: &mut dyn FnMut(Range<usize>) -> bool) {
        let (mut from, end) = (range.start, range.end.min(bytes.len()));
        // A match of an expression may span lines. From then on each line is checked on its own;
        // otherwise each line might cause a search to the end of everything. So is each line of an
        // expression for the ends of a line such as `\z`.
        let mut by_line = matches!(&self.0, PatternKind::Expression(expression) if expression.names_ends());
        while from < end {
            let at = match &self.0 {
                PatternKind::All => Some(from),
                PatternKind::Text(finder) => finder.find(&bytes[from..]).map(|at| from + at),
                PatternKind::Expression(_) if by_line => Some(from),
                PatternKind::Expression(expression) => expression.find_at(bytes, from),
            };
            let Some(at) = at.filter(|at| *at < end) else { return };
            let line = line_around(bytes, at);
            let is_match = match &self.0 {
                PatternKind::Expression(expression) => expression.is_match(&bytes[line.clone()]),
                PatternKind::All | PatternKind::Text(_) => true,
            };
            by_line |= !is_match;
            from = line.end + 1;
            if is_match && !each(line) {
                return;
            }
        }
    }
}

/// Returns the line around this position, without its end.
pub(super) fn line_around(bytes: &[u8], at: usize) -> Range<usize> {
    let start = memrchr(b'\n', &bytes[..at]).map_or(0, |end| end + 1);
    let end = memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |end| at + end);
    start..end
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn found(pattern: &Pattern, text: &str, range: Range<usize>) -> Vec<String> {
        let mut found = Vec::new();
        pattern.lines(text.as_bytes(), range, &mut |line| {
            found.push(text[line].to_owned());
            true
        });
        found
    }

    #[test]
    fn pattern_matches_within_one_line() {
        let text = "GET /a 200\nget /b 500\n\nPOST /a\u{e4} 500\nüber GET\n";
        for (pattern, is_regex, ignores_case, expected) in [
            ("GET", false, false, vec!["GET /a 200", "über GET"]),
            ("get", false, true, vec!["GET /a 200", "get /b 500", "über GET"]),
            ("ÜBER", false, true, vec!["über GET"]),
            ("/a 2", false, false, vec!["GET /a 200"]),
            ("500$", true, false, vec!["get /b 500", "POST /aä 500"]),
            ("^.*a.* \\d+$", true, false, vec!["GET /a 200", "POST /aä 500"]),
            ("^$", true, false, vec![""]),
            // No match spans lines, even if the expression would.
            ("200\\s+get", true, false, vec![]),
            ("[^x]*POST", true, false, vec!["POST /aä 500"]),
            ("\\AGET|500\\z", true, false, vec!["GET /a 200", "get /b 500", "POST /a\u{e4} 500"]),
            ("(?-m)^get", true, false, vec!["get /b 500"]),
            ("a(b", false, false, vec![]),
            ("", false, false, vec!["GET /a 200", "get /b 500", "", "POST /aä 500", "über GET"]),
        ] {
            let pattern = Pattern::new(pattern, is_regex, ignores_case).unwrap();
            assert_eq!(found(&pattern, text, 0..text.len()), expected, "{pattern:?}");
            for line in text.lines() {
                assert_eq!(pattern.is_match(line.as_bytes()), expected.contains(&line), "{pattern:?} {line}");
            }
        }
    }

    /// However a text is split, each line is found in the part in which its match begins.
    #[test]
    fn search_in_parts_finds_the_same_lines() {
        let text: String = (0..50).map(|n| format!("line {n} {}\n", if n % 7 == 0 { "ERROR" } else { "fine" })).collect();
        for pattern in [Pattern::new("ERROR", false, false).unwrap(), Pattern::new("e\\w+r$", true, true).unwrap()] {
            let whole = found(&pattern, &text, 0..text.len());
            assert_eq!(whole.len(), 8);
            for size in [1, 7, 64, 300] {
                let mut parts: Vec<String> = (0..text.len()).step_by(size).flat_map(|at| found(&pattern, &text, at..at + size)).collect();
                parts.dedup();
                assert_eq!(parts, whole, "{size}");
            }
        }
    }

    #[test]
    fn invalid_patterns_report_the_reason() {
        for (pattern, is_regex, why) in [
            ("(", true, "unclosed group"),
            ("a{1000}{1000}{1000}", true, "too large"),
            ("a\nb", false, "line break"),
            (&"x".repeat(5000), false, "more than 4096"),
        ] {
            let error = Pattern::new(pattern, is_regex, false).unwrap_err().to_string();
            assert!(error.contains(why) && !error.contains('\n'), "{error}");
        }
    }
}
