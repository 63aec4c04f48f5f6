//! The daemon: performs all effects, and keeps no state that the keeper or the disk lacks. It may
//! be killed at any moment.
//!
//! Start reading at [`control`] (the loop); `ostler_core::lifecycle` decides, [`supervisor`]
//! performs.
#![forbid(unsafe_code)]

mod api;
mod boot;
mod control;
mod engine;
mod features;
#[cfg(debug_assertions)]
#[doc(hidden)]
pub mod fuzz;
mod logs;
mod platform;
#[cfg(test)]
mod simulation;
mod state;
mod supervisor;

use std::process::ExitCode;

pub use state::leftovers::LeftBehind;

/// Entry point when the keeper started this process as the daemon.
pub fn main() -> ExitCode {
    match boot::boot().and_then(|control| control.run().map_err(boot::BootError::Wait)) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error is the daemon's log. The keeper starts another daemon, and sends the
            // reason to clients that ask in the meantime.
            platform::incident::send_death_report(&platform::log::chain(&error));
            eprintln_line(&error);
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "there is no log yet when the daemon cannot boot")]
fn eprintln_line(error: &dyn std::error::Error) {
    eprintln!("ostler daemon: {}", platform::log::chain(error));
}
