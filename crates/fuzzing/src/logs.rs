//! Log files of the binary.

pub(crate) mod search;
