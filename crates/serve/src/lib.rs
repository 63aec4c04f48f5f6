//! The server of `serve`: the files of a folder over HTTP, as an app like any other.
//!
//! # Theory of operation
//! One process, one thread; sockets, connections and the end are [`ostler_http`]'s. Every request is answered from a description of what is asked
//! ([`target`]), a file that was opened beneath the root by the kernel ([`files`]) and may be in memory ([`memory`]), and what the client has already
//! ([`conditions`], [`range`]): the last two and the first are pure.
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
mod range;
mod settings;
mod target;

use std::future::ready;
use std::io;
use std::process::ExitCode;

use ostler_http::{Address, Limits, ServerError};

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
    match serve(&settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

/// A failure to begin.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error("cannot serve the folder \"{path}\"")]
    Folder { path: String, source: io::Error },
    #[error(transparent)]
    Server(#[from] ServerError),
}

fn serve(settings: &Settings) -> Result<(), ServeError> {
    // By its path from the top: our own directory stays the old one when a build makes it anew.
    let path = std::path::absolute(&settings.path).unwrap_or_else(|_| settings.path.clone());
    let shown = path.display().to_string();
    let own = Address { host: settings.host.clone(), port: settings.port };
    let limits = Limits { patience: settings.patience, connections: settings.connections, guests: None };
    ostler_http::run(&own, limits, None, |_| {
        let root = files::Root::new(path, settings.follow_out).map_err(|source| ServeError::Folder { path: shown.clone(), source })?;
        let site = answer::Site::new(settings, root);
        log(&format!("Exposing {shown} directory on {own}"));
        Ok(move |_, request: hyper::Request<_>| {
            let (head, _) = request.into_parts();
            ready(site.answer(&head))
        })
    })
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
