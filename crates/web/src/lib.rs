//! The dashboard: page, API, live news, logs and metrics over HTTP, by one process of the same binary that is supervised like any app.
//!
//! # Theory of operation
//! One thread answers ([`ostler_http`]); one other follows the daemon ([`daemon`]) through `ostler-client` alone. A request passes the doors in a fixed order:
//! the name under which we were called ([`http::guard`]), then who asks ([`access`]), then what that role may do ([`routes`]). What is shown is made from the daemon's
//! answers by pure functions ([`view`], [`metrics`]). Alerts ([`alerts`]) are judged and sent beside all that, also where nobody asks anything. Nothing here is needed for an app to run: this process may be killed at any instant, and is started again.
//!
//! Off (the state at first) there is no process, no socket and no file.
#![forbid(unsafe_code)]

pub mod access;
pub mod alerts;
mod clock;
mod daemon;
pub mod errors;
pub mod history;
mod http;
mod logs;
mod metrics;
mod otlp;
mod profiles;
mod routes;
mod server;
pub mod settings;
mod site;
mod snapshot;
mod view;

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

pub use settings::names::{APP, FOR_OTHERS, ROLE, SEARCH_ROLE, folder};

/// Serves the dashboard of this home until it is asked to end.
pub fn main(home: Option<&OsStr>) -> ExitCode {
    let Some(home) = home else { return failed(&"the home is missing on the command line") };
    ostler_sys::memory::one_heap();
    match server::run(Path::new(home)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&ostler_core::text::causes::with_causes(&error)),
    }
}

fn failed(error: &dyn std::fmt::Display) -> ExitCode {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "error: {error}");
    ExitCode::FAILURE
}
