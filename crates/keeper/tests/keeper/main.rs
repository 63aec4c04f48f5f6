//! Tests of the keeper with real processes.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod adopt;
mod anchor;
mod daemon;
mod home;
mod processes;
mod upgrade;
