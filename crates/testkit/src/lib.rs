//! Driver for a pm2-like binary: runs it from outside in a private home, and checks what it leaves
//! behind.
//!
//! Theory of operation: a [`Home`] is a temporary folder that contains the manager's home. Every
//! command of a test carries the folder's path in the environment variable [`MARKER`]. Keeper,
//! daemon and apps inherit it. All processes that a test ever started can therefore be found in
//! `/proc`, and are killed when the `Home` is dropped, even by a panic. Commands run as users run
//! them, so the same script works with ostler, with ostler called as `pm2`, and with real PM2
//! ([`Subject`]). Of the product, the kit links only `ostler-client`, and the traps of `ostler-sys` ([`Supervisor`]). [`Home::jlist`] requests the
//! list over the daemon's socket, because tests need it often and a debug binary or Node starts
//! slowly.
//!
//! Tests do not sleep: [`Home::wait_until`] waits for a condition with a deadline. If it fails, it
//! shows the manager's log, the list and the tail of each log file.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test that meets the unexpected has to stop and tell")]

mod cgroup;
mod files;
mod fixtures;
mod foreground;
mod home;
mod http;
mod listing;
mod load;
mod machine;
mod nodes;
mod output;
mod pages;
mod pm2_socket;
mod procs;
mod programs;
mod random;
mod receiver;
mod resident;
mod root;
mod skipped;
mod subject;
mod supervisor;
mod terminal;
mod transcript;
mod views;
mod waits;
mod words;

pub use cgroup::{cgroup_of_home, cgroups_are_off, writable_cgroup};
pub use files::{fill_disk, names_in, paths_below, set_mode, text_of};
pub use fixtures::{fixture, fixture_app, fixture_path};
pub use foreground::{ExitedProcess, Foreground};
pub use home::{Cmd, DEADLINE, Home};
pub use http::{HttpResponse, connect, exchange, free_port, free_ports, get, post, read_line, request};
pub use listing::ListedApp;
pub use load::{Address, Body, Load, LoadReport, LoadSpec, ScriptLoad};
pub use machine::{Machine, no_machine};
pub use nodes::{Node, cache_dir, nodes, python_program};
pub use output::{Output, sh};
pub use pages::{CodeBlock, Page, PageTest, checkout, pages};
pub use pm2_socket::list_over_rpc;
pub use procs::{KilledOnDrop, MARKER, Proc, alive, kill, proc_number, process_table, stat_field, state, try_variable, variable};
pub use programs::{on_ci, program, setting};
pub use random::Rng;
pub use receiver::{Behaviour, Received, Receiver};
pub use root::{Tmpfs, can_unshare, is_root};
pub use skipped::report_skip;
pub use subject::{Subject, installed_pm2, installed_pm2_of};
pub use supervisor::{CallFault, Part, Pattern, Supervisor, UNTRAPPED, call_name, call_number, run_within, trapped};
pub use terminal::Terminal;
pub use transcript::{Transcript, shape};
pub use words::Words;

/// Ends the test as passed and reports why it was skipped.
#[macro_export]
macro_rules! skip {
    ($($why:tt)*) => {{
        $crate::report_skip(format_args!($($why)*));
        return;
    }};
}

/// Skips the test if this machine lacks the program; on CI that is a failure.
#[macro_export]
macro_rules! needs_program {
    ($name:expr) => {
        if $crate::program($name).is_none() {
            assert!(!$crate::on_ci(), "{} is not installed, and on CI it has to be", $name);
            $crate::skip!("{} is not installed", $name);
        }
    };
}

/// Skips the test if no cgroup can be created, or if `OSTLER_CGROUP=off` turns cgroups off. On CI,
/// only the latter is permitted.
#[macro_export]
macro_rules! needs_cgroup {
    () => {
        if $crate::writable_cgroup().is_none() {
            assert!(!$crate::on_ci() || $crate::cgroups_are_off(), "no writable cgroup2, and on CI there has to be one");
            $crate::skip!("no writable cgroup2, or turned off");
        }
    };
}

/// Skips the test if no machine with its own systemd can be booted, and reports the reason; on CI
/// that is a failure.
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
