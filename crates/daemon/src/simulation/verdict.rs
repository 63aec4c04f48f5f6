//! Result of a check.

/// Nothing, or the broken promise as a text.
pub(super) type Verdict = Result<(), String>;
