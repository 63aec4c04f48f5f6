//! Errors of the binary that its included files use.

#[path = "../../ostler/src/error/search.rs"]
#[allow(dead_code, reason = "the checks use a part of it")]
mod search;

pub(crate) use search::SearchError;
