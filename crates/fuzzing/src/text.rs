//! Text files of the binary.

#[path = "../../ostler/src/text/safe.rs"]
pub(crate) mod safe;
