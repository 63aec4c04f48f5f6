//! Expressions in a program that was built without the feature `search`: none can be created.

use crate::error::SearchError;

/// An expression.
#[derive(Clone, Debug)]
pub(super) enum Expression {}

impl Expression {
    /// Always fails. Options that need an expression are rejected before
    /// ([`crate::commands::left_out_option`]).
    ///
    /// # Errors
    /// Always returns an error.
    pub(super) fn new(_: &str, _: bool, _: bool) -> Result<Self, SearchError> {
        Err(SearchError::LeftOut)
    }

    pub(super) fn is_match(&self, _: &[u8]) -> bool {
        match *self {}
    }

    pub(super) fn names_ends(&self) -> bool {
        match *self {}
    }

    pub(super) fn find_at(&self, _: &[u8], _: usize) -> Option<usize> {
        match *self {}
    }
}
