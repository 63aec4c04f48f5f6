//! Result of a check.

/// Nothing, or what is broken, in words.
pub(super) type Verdict = Result<(), String>;
