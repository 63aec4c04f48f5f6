//! The dashboard: page, API, live news, logs and metrics over HTTP, by one process of the same binary that is supervised like any app.
//!
//! # Theory of operation
//! One thread answers ([`ostler_http`]); one other follows the daemon ([`daemon`]) through `ostler-client` alone. A request passes the doors in a fixed order:
//! the name under which we were called ([`guard`]), then who asks ([`access`]), then what that role may do ([`routes`]). What is shown is made from the daemon's
//! answers by pure functions ([`view`], [`metrics`]). Alerts ([`alerts`]) are judged and sent beside all that, also where nobody asks anything. Nothing here is needed for an app to run: this process may be killed at any instant, and is started again.
//!
//! Off (the state at first) there is no process, no socket and no file.
#![forbid(unsafe_code)]

pub mod access;
pub mod alerts;
mod assets;
mod audit;
mod daemon;
pub mod errors;
mod guard;
pub mod history;
mod metrics;
pub mod otlp;
mod profiles;
mod reply;
mod routes;
mod scrape;
mod server;
pub mod settings;
mod shares;
pub mod tls;
mod view;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The word after the program's name that makes it this server; after it comes the home.
pub const ROLE: &str = "web-server";

/// The word that makes it the process that searches logs; after it comes the home, and on its input the question.
pub const SEARCH_ROLE: &str = "log-search";

/// Name of the app under which it is supervised.
pub const APP: &str = "ostler-web";

/// Variable of a reader of logs that reads for others: a link that an app's user has made leads no further than that user gets.
pub const FOR_OTHERS: &str = "OSTLER_READS_FOR_OTHERS";

/// The folder of everything that it keeps.
pub fn folder(home: &Path) -> PathBuf {
    home.join("web")
}

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

/// The clock on the wall, in ms since 1970.
fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
