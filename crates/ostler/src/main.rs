//! The ostler binary: client, keeper and daemon in one, so that versions cannot drift.
#![forbid(unsafe_code)]

mod cli;
mod client;
mod commands;
mod cx;
mod deploy;
mod error;
mod home;
mod left_behind;
mod logs;
mod module_conf;
mod render;
mod run;
mod service;
mod signals;
mod silence;
mod startup;
#[cfg(test)]
mod tests;
mod text;
mod versioning;

use std::process::ExitCode;

fn main() -> ExitCode {
    match role() {
        Some(main) => main(),
        None => run::client(),
    }
}

/// The role that a process of ours was started for; the keeper sets it for itself and for the daemon.
fn role() -> Option<fn() -> ExitCode> {
    match std::env::var_os("OSTLER_ROLE")?.to_str()? {
        "keeper" => Some(ostler_keeper::main),
        "daemon" => Some(ostler_daemon::main),
        _ => None,
    }
}
