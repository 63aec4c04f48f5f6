//! The server of `serve`: the files of a folder over HTTP, as an app like any other.
//!
//! # Theory of operation
//! One process, one thread. The daemon opens the socket and hands it over (`LISTEN_FDS`), so a reload loses no connection; the server says
//! `READY=1` when it accepts. Every request is answered from a description of what is asked ([`target`]), a file that was opened beneath
//! the root by the kernel ([`files`]) and may be in memory ([`memory`]), and what the client has already ([`conditions`], [`range`]): the last two
//! and the first are pure.
//!
//! Whatever a client does costs it alone: heads, their time, stalled reads and the number of connections are bounded ([`server`]).
//! Asked to end, it answers with `Connection: close`, closes what rests, finishes what runs, and ends.
#![forbid(unsafe_code)]

mod answer;
mod auth;
mod body;
mod conditions;
mod encoding;
mod files;
mod kinds;
mod listing;
mod memory;
mod notify;
mod patient;
mod range;
mod server;
mod settings;
mod sockets;
mod target;

use std::process::ExitCode;

pub use settings::{Settings, SettingsError};

/// The word after the program's name that makes it a server.
pub const ROLE: &str = "static-server";

/// Serves by the variables of the environment until it is asked to end.
pub fn main() -> ExitCode {
    let settings = match Settings::from_vars(|name| std::env::var(name).ok()) {
        Ok(settings) => settings,
        Err(error) => return failed(&error),
    };
    settings.warnings().for_each(|warning| say(&mut std::io::stderr(), warning));
    match server::run(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    let cause = error.source().map_or_else(String::new, |cause| format!(": {cause}"));
    say(&mut std::io::stderr(), &format!("error: {error}{cause}"));
    ExitCode::FAILURE
}

/// Writes a line; a log that cannot be written is no reason to serve nobody.
fn say(out: &mut dyn std::io::Write, line: &str) {
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

/// Writes a line to the log of the app.
fn log(line: &str) {
    say(&mut std::io::stdout().lock(), line);
}
