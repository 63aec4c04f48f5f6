//! ostler keeper.
#![forbid(unsafe_code)]
