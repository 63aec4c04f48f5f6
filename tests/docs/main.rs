//! The documentation: its commands run, its links lead somewhere, its translation is the same.
//!
//! [`ostler_testkit::Page`] says how a page tells what is to be run. That the program's parser takes every command of every page, also of
//! those that are not run, is tested in the program (`documented`).
#![allow(clippy::unwrap_used, clippy::print_stderr, unreachable_pub, missing_docs)]

mod links;
mod run;
mod session;
mod translation;
