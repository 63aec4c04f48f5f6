//! The keeper with real processes.
#![allow(clippy::unwrap_used, reason = "tests")]

mod adopt;
mod daemon;
mod home;
mod processes;
mod upgrade;
