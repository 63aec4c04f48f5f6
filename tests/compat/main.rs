//! ostler called as `pm2`, compared with real PM2: the same session must give the same transcript.
//!
//! Each session is a function that runs commands and records their output, their exit codes and the
//! app list. [`ostler_testkit::Transcript`] replaces pids, paths and ages. The transcript of real
//! PM2 is the file `golden/<session>.txt`:
//!
//! - `<session>::pm2` runs the session on real PM2 and compares, which keeps the golden file true.
//!   It is skipped if npm cannot install PM2.
//! - `<session>::ostler` runs the session on ostler and compares, after it has applied the intended
//!   differences, each with its reason.
//!
//! `OSTLER_COMPAT_RECORD=1` makes the `pm2` tests write the golden files instead.
#![allow(clippy::unwrap_used, clippy::print_stderr, unreachable_pub, missing_docs)]

mod compare;
mod library;
mod parity;
mod repeated_commands;
mod sequences;
mod shapes;
mod sessions {
    mod config;
    mod crash;
    mod inspect;
    mod reload;
    mod saved;
    mod scale;
    mod start;
    mod stop;
    mod targets;
    mod usage;
}
