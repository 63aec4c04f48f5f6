//! Expressions, in a program that was built without the feature `search`: there is none.

use crate::error::SearchError;

/// An expression.
#[derive(Clone, Debug)]
pub(super) enum Expression {}

impl Expression {
    /// No expression. The options that ask for one are refused before ([`crate::commands::left_out_option`]).
    ///
    /// # Errors
    /// Always.
    pub(super) fn new(_: &str, _: bool, _: bool) -> Result<Self, SearchError> {
        Err(SearchError::LeftOut)
    }

    pub(super) fn is_match(&self, _: &[u8]) -> bool {
        match *self {}
    }

    pub(super) fn find_at(&self, _: &[u8], _: usize) -> Option<usize> {
        match *self {}
    }
}
