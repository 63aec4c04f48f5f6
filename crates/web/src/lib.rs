//! Dashboard: page, API, live updates, logs and metrics over HTTP. It is one process of the same
//! binary and is supervised like any app.
//!
//! # Theory of operation
//! One thread answers requests ([`ostler_http`]); another thread follows the daemon ([`daemon`]),
//! using only `ostler-client`. A request passes three checks in a fixed order:
//! - the host name of the request ([`http::guard`])
//! - the identity of the client ([`access`])
//! - the rights of its role ([`routes`])
//!
//! Pure functions build the output from the daemon's answers ([`view`], [`metrics`]). Alerts
//! ([`alerts`]) are evaluated and sent independently of requests. No app needs this process: it may
//! be killed at any time, and it is started again.
//!
//! If the dashboard is disabled (the default), there is no process, no socket and no file.
#![forbid(unsafe_code)]

pub mod access;
pub mod alerts;
mod clock;
mod daemon;
pub mod errors;
#[cfg(debug_assertions)]
#[doc(hidden)]
pub mod fuzz;
pub mod history;
mod hosts;
mod http;
pub mod json_file;
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

pub use hosts::{ConfiguredHost, HostsReader};
pub use settings::names::{APP, FOR_OTHERS, ROLE, SEARCH_ROLE, folder};

/// Serves the dashboard of this home until it is asked to stop.
pub fn main(home: Option<&OsStr>, hosts: HostsReader) -> ExitCode {
    let Some(home) = home else { return failed(&"no home is given on the command line") };
    ostler_sys::memory::one_heap();
    match server::run(Path::new(home), hosts) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&ostler_core::text::causes::with_causes(&error)),
    }
}

fn failed(error: &dyn std::fmt::Display) -> ExitCode {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "error: {error}");
    ExitCode::FAILURE
}
