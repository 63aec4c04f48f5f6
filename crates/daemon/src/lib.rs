//! ostler daemon.
#![forbid(unsafe_code)]
