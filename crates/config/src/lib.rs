//! ostler config.
#![forbid(unsafe_code)]
