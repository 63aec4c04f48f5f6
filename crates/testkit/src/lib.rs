//! Drives a pm2-like binary from outside, in a private home, and proves what it left behind.
//!
//! Theory of operation: a [`Home`] is a temporary folder with the manager's home in it. Every command a test runs carries the folder's
//! path in the environment variable [`MARKER`]; keeper, daemon and apps inherit it, so that everything a test ever started can be found
//! in `/proc` and is killed when the `Home` is dropped, also by a panic. Commands run as users run them, so the same script works on ostler, on ostler called as `pm2`, and on
//! real PM2 ([`Subject`]). Of the product the kit links only `ostler-client`: [`Home::jlist`] asks the daemon for the list over its socket,
//! because a test asks often and the start of a debug binary is expensive.
//!
//! There are no sleeps in tests: [`Home::wait_until`] waits for a condition with a deadline, and its failure shows the manager's log, the
//! list and the tail of each log file.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test that meets the unexpected has to stop and tell")]

mod cgroup;
mod fixtures;
mod home;
mod http;
mod listing;
mod load;
mod machine;
mod nodes;
mod output;
mod pages;
mod procs;
mod programs;
mod receiver;
mod resident;
mod root;
mod skipped;
mod subject;
mod terminal;
mod transcript;
mod views;
mod words;

pub use cgroup::{cgroup_of_home, cgroups_are_off, writable_cgroup};
pub use fixtures::{fixture, fixture_app, fixture_path};
pub use home::{Cmd, DEADLINE, Home};
pub use http::{free_port, free_ports, get};
pub use listing::Item;
pub use load::{Address, Body, Load, LoadReport, LoadSpec, ScriptLoad};
pub use machine::{Machine, no_machine};
pub use nodes::{Node, cache_dir, nodes, python_program};
pub use output::Output;
pub use pages::{CodeBlock, Page, PageTest, checkout, pages};
pub use procs::{KilledOnDrop, MARKER, Proc, alive, kill, process_table};
pub use programs::{on_ci, program, setting};
pub use receiver::{Behaviour, Received, Receiver};
pub use root::{Tmpfs, is_root};
pub use skipped::report_skip;
pub use subject::{Subject, installed_pm2, installed_pm2_of};
pub use terminal::Terminal;
pub use transcript::{Transcript, shape};
pub use words::Words;

/// Ends the test as passed and reports why it proved nothing.
#[macro_export]
macro_rules! skip {
    ($($why:tt)*) => {{
        $crate::report_skip(format_args!($($why)*));
        return;
    }};
}

/// Ends the test as passed when this machine lacks the program, says so; on CI its absence is a failure.
#[macro_export]
macro_rules! needs_program {
    ($name:expr) => {
        if $crate::program($name).is_none() {
            assert!(!$crate::on_ci(), "{} is not installed, and on CI it has to be", $name);
            $crate::skip!("{} is not installed", $name);
        }
    };
}

/// Skips the test if no cgroup can be made, or `OSTLER_CGROUP=off` turns cgroups off; on CI only the latter is no failure.
#[macro_export]
macro_rules! needs_cgroup {
    () => {
        if $crate::writable_cgroup().is_none() {
            assert!(!$crate::on_ci() || $crate::cgroups_are_off(), "no writable cgroup2, and on CI there has to be one");
            $crate::skip!("no writable cgroup2, or turned off");
        }
    };
}

/// Ends the test as passed where no machine with a systemd of its own can be booted, and says why; on CI that is a failure.
#[macro_export]
macro_rules! needs_machine {
    () => {
        if let Some(why) = $crate::no_machine() {
            assert!(!$crate::on_ci(), "no machine can be booted, and on CI it has to be: {why}");
            $crate::skip!("{why}");
        }
    };
}

/// Skips the test if it does not run as root; on CI that is a failure.
#[macro_export]
macro_rules! needs_root {
    () => {
        if !$crate::is_root() {
            assert!(!$crate::on_ci(), "the test does not run as root, and on CI it has to");
            $crate::skip!("needs root");
        }
    };
}
