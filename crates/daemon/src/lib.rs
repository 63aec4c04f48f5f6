//! The daemon: all effects, and no truth that the keeper or the disk does not have. It may die at any moment.
//!
//! Start reading at [`control`] (the loop); `ostler_core::lifecycle` decides, [`supervisor`] performs.
#![forbid(unsafe_code)]

mod actions;
mod autosave;
mod autoscale;
mod boot;
mod cgroups;
mod channels;
mod cluster;
mod collecting;
mod commands;
mod conf;
mod control;
mod cron;
mod doors;
mod drains;
mod engine;
mod events;
mod fd_budget;
mod features;
mod files;
mod flush;
mod handover;
mod health;
mod home_watch;
mod hooks;
mod host;
mod incident;
mod input;
mod inspector;
mod ipc;
mod jobs;

mod keeper_door;
mod keeper_watch;
mod last_lines;
mod left_behind;
mod lifetime;
mod limits;
mod log;
mod log_writers;
mod logs;
mod marked;
mod node_version;
mod order;
mod pid_files;
mod pm2_log;
mod policy;
mod preload;
mod probe;
mod reactor;
mod readiness;
mod reclaim;
mod remediation;
mod rights;
mod rollouts;
mod rotation;
mod runtime;
mod sample;
mod secrets;
mod settings;
mod shared_folder;
#[cfg(test)]
mod simulation;
mod slots;
mod sockets;
mod store;
mod supervisor;
mod sweeps;
mod threads;
mod tracing;
mod update;
mod usage;
mod users;
mod vanished;
mod versioning;
mod waker;
mod watch;
mod working_trees;

use std::process::ExitCode;

pub use left_behind::LeftBehind;

/// Entry of the binary when the keeper started it as daemon.
pub fn main() -> ExitCode {
    match boot::boot().and_then(|control| control.run().map_err(boot::BootError::Wait)) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error is the daemon's log. The keeper starts another daemon, and sends the reason to whoever asks meanwhile.
            incident::send_death_report(&log::chain(&error));
            eprintln_line(&error);
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "there is no log yet when the daemon cannot boot")]
fn eprintln_line(error: &dyn std::error::Error) {
    eprintln!("ostler daemon: {}", log::chain(error));
}
