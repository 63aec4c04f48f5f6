//! ostler testkit.
#![forbid(unsafe_code)]
