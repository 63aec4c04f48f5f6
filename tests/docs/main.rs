//! The documentation: its commands run, its links resolve, its translation has the same code, the
//! code and the tests that it names exist, and its pages solve the tasks of users.
//!
//! [`ostler_testkit::Page`] documents how a page marks the commands to run. A test in the program
//! itself (`documented`) checks that its parser accepts every command of every page, also those
//! that are not run.
#![allow(clippy::unwrap_used, clippy::print_stderr, unreachable_pub, missing_docs)]

mod code_names;
mod evidence;
mod links;
mod run;
mod session;
mod tasks;
mod translation;
