//! Server of `serve`: serves the files of a folder over HTTP and runs as an ordinary app.
//!
//! # Theory of operation
//! The server is one process with one thread. [`ostler_http`] handles sockets, connections and
//! shutdown.
//! Each response is computed from three inputs:
//! - the requested target ([`target`])
//! - a file that the kernel opened beneath the root ([`files`]), possibly cached in memory
//!   ([`memory`])
//! - the version that the client already has ([`conditions`], [`range`])
//!
//! The first and the last are pure functions.
#![forbid(unsafe_code)]

mod answer;
mod auth;
mod body;
mod conditions;
mod encoding;
mod files;
#[cfg(debug_assertions)]
#[doc(hidden)]
pub mod fuzz;
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

/// Argument after the program's name that selects the server role.
pub const ROLE: &str = "static-server";

/// Serves files as configured by environment variables, until it is asked to stop.
pub fn main() -> ExitCode {
    let settings = match Settings::from_vars(|name| std::env::var(name).ok()) {
        Ok(settings) => settings,
        Err(error) => return failed(&error),
    };
    settings.warnings().for_each(|warning| write_line(&mut std::io::stderr(), warning));
    match serve(&settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

/// Failure to start the server.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error("cannot serve the folder \"{path}\"")]
    Folder { path: String, source: io::Error },
    #[error(transparent)]
    Server(#[from] ServerError),
}

fn serve(settings: &Settings) -> Result<(), ServeError> {
    // The path is absolute: the working directory stays the old folder if a build recreates it.
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
    write_line(&mut std::io::stderr(), &format!("error: {error}{cause}"));
    ExitCode::FAILURE
}

/// Writes a line and ignores errors: the server keeps serving if its log cannot be written.
fn write_line(out: &mut dyn std::io::Write, line: &str) {
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

/// Writes a line to the app's log.
fn log(line: &str) {
    write_line(&mut std::io::stdout().lock(), line);
}
