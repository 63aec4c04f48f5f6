//! Checks of `doctor`: the home, other managers on this machine, the machine itself, and risky
//! packages of apps with several instances.
//!
//! The checks only read: they change nothing and start no daemon.

mod apps;
mod home;
mod machine;
mod pm2;

use std::path::Path;

use ostler_client::Peer;
use ostler_proto::control::Detail;

/// Weight of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Everything is in order.
    Fine,
    /// A feature is not available here; no action is needed.
    Note,
    /// It works now, but may fail later.
    Warning,
    /// It does not work.
    Wrong,
}

impl Level {
    /// Returns the word in JSON.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Wrong => "wrong",
        }
    }
}

/// One line of the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Subject of the check.
    pub what: String,
    pub level: Level,
    /// The facts that were found.
    pub found: String,
    /// Remedy, or the consequence.
    pub remedy: Option<String>,
}

impl Finding {
    pub(crate) fn fine(what: impl Into<String>, found: impl Into<String>) -> Self {
        Self { what: what.into(), level: Level::Fine, found: found.into(), remedy: None }
    }

    pub(crate) fn new(level: Level, what: impl Into<String>, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), level, found: found.into(), remedy: Some(remedy.into()) }
    }
}

/// State of the daemon.
pub(crate) enum DaemonState {
    /// It answers.
    Runs(Peer, Vec<Detail>),
    /// No daemon is running.
    None,
    /// The daemon does not answer correctly.
    Faulty(String),
}

/// Runs all checks except that of the boot service.
pub(crate) fn inspect(home: &Path, daemon: &DaemonState) -> Vec<Finding> {
    let mut findings = Vec::new();
    home::inspect(home, daemon, &mut findings);
    pm2::inspect(home, &mut findings);
    machine::inspect(daemon, &mut findings);
    if let DaemonState::Runs(_, details) = daemon {
        apps::inspect(details, &mut findings);
    }
    findings
}
