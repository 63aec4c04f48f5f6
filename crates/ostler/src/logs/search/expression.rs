//! Expression that lines are searched for, and texts that match letters of either case. Pure.

use regex::bytes::{Regex, RegexBuilder};

use crate::error::SearchError;

/// Most memory of a compiled expression, bytes; also the limit of its cache while it searches.
const COMPILED: usize = 1 << 20;
const KEPT: usize = 4 << 20;

/// An expression.
#[derive(Clone, Debug)]
pub(super) struct Expression {
    regex: Regex,
    names_ends: bool,
}

impl Expression {
    /// Compiles an expression, or a text in which each character is literal.
    ///
    /// # Errors
    /// Returns the problem, in one line.
    pub(super) fn new(text: &str, is_regex: bool, ignores_case: bool) -> Result<Self, SearchError> {
        let text = if is_regex { text.to_owned() } else { regex::escape(text) };
        let mut builder = RegexBuilder::new(&text);
        builder.case_insensitive(ignores_case).multi_line(true).crlf(true).size_limit(COMPILED).dfa_size_limit(KEPT);
        match builder.build() {
            Ok(regex) => Ok(Self { regex, names_ends: is_regex && names_ends(&text) }),
            Err(regex::Error::CompiledTooBig(_)) => Err(SearchError::TooLarge),
            // The parser's message marks the position of the fault over several lines. Only its
            // last line describes the fault.
            Err(error) => {
                Err(SearchError::Syntax(error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()))
            }
        }
    }

    /// Returns true if it matches somewhere in this line.
    pub(super) fn is_match(&self, line: &[u8]) -> bool {
        self.regex.is_match(line)
    }

    /// Returns the start of the first match from this position on.
    pub(super) fn find_at(&self, bytes: &[u8], from: usize) -> Option<usize> {
        self.regex.find_at(bytes, from).map(|found| found.start())
    }

    /// Returns true if it may refer to the ends of the searched text, so that each line has to be
    /// searched on its own.
    pub(super) fn names_ends(&self) -> bool {
        self.names_ends
    }
}

/// Returns true for `\A`, `\z`, and flags that turn off `m`, with which `^` and `$` mean lines. True
/// for some other expressions, too, which are only searched more slowly.
fn names_ends(text: &str) -> bool {
    let flags = text.match_indices("(?").map(|(at, _)| text[at + 2..].split([')', ':']).next().unwrap_or_default());
    text.contains("\\A") || text.contains("\\z") || flags.filter_map(|flags| flags.split_once('-')).any(|(_, off)| off.contains('m'))
}
