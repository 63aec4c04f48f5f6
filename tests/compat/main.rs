//! ostler called as `pm2` beside real PM2: the same session has to give the same transcript.
//!
//! Each session is a function that runs commands and writes down what they said, how they exited and what the list looks like
//! ([`ostler_testkit::Transcript`] replaces pids, paths, ages). Its transcript on real PM2 lies in `golden/<session>.txt`:
//!
//! - `<session>::pm2` runs it on real PM2 and compares: the golden file tells the truth (skipped where npm cannot bring PM2);
//! - `<session>::ostler` runs it on ostler and compares, after the differences that are meant, each with its reason.
//!
//! `OSTLER_COMPAT_RECORD=1` makes the `pm2` tests write the golden files instead.
#![allow(clippy::unwrap_used, clippy::print_stderr, unreachable_pub, missing_docs)]

mod compare;
mod library;
mod parity;
mod second;
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
