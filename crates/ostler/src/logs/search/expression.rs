//! Expression that lines are searched for, and texts of which letters of either case are meant. Pure.

use regex::bytes::{Regex, RegexBuilder};

use crate::error::SearchError;

/// Most memory of a compiled expression, bytes; and of what it keeps while it searches.
const COMPILED: usize = 1 << 20;
const KEPT: usize = 4 << 20;

/// An expression.
#[derive(Clone, Debug)]
pub(super) struct Expression(Regex);

impl Expression {
    /// An expression, or a text of which each character is meant.
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    pub(super) fn new(text: &str, is_regex: bool, ignores_case: bool) -> Result<Self, SearchError> {
        let text = if is_regex { text.to_owned() } else { regex::escape(text) };
        let mut builder = RegexBuilder::new(&text);
        builder.case_insensitive(ignores_case).multi_line(true).crlf(true).size_limit(COMPILED).dfa_size_limit(KEPT);
        match builder.build() {
            Ok(regex) => Ok(Self(regex)),
            Err(regex::Error::CompiledTooBig(_)) => Err(SearchError::TooLarge),
            // The parser draws with several lines where the fault is; the last says what.
            Err(error) => {
                Err(SearchError::Syntax(error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()))
            }
        }
    }

    /// True if it matches somewhere in this line.
    pub(super) fn is_match(&self, line: &[u8]) -> bool {
        self.0.is_match(line)
    }

    /// Where the first match from here on begins.
    pub(super) fn find_at(&self, bytes: &[u8], from: usize) -> Option<usize> {
        self.0.find_at(bytes, from).map(|found| found.start())
    }
}
