//! What `doctor` looks at: the home, who else manages apps here, the machine, and what apps do that several copies of them must not.
//!
//! Looks only; nothing is changed, and no daemon is started.

mod apps;
mod home;
mod machine;
mod others;

use std::path::Path;

use ostler_client::Peer;
use ostler_proto::control::Detail;

/// Weight of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// It is as it should be.
    Fine,
    /// Something is done without here; nobody has to do anything.
    Note,
    /// It works, and will not always.
    Warning,
    /// It does not work.
    Wrong,
}

impl Level {
    /// The word in JSON.
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
    /// The thing that was looked at.
    pub what: String,
    pub level: Level,
    /// The facts that were found.
    pub found: String,
    /// Remedy, or what it costs.
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

/// What is known of the daemon.
pub(crate) enum Daemon {
    /// It answers.
    Runs(Peer, Vec<Detail>),
    /// None is running.
    None,
    /// It does not answer as it should.
    Ill(String),
}

/// Everything but the boot service.
pub(crate) fn look(home: &Path, daemon: &Daemon) -> Vec<Finding> {
    let mut findings = Vec::new();
    home::look(home, daemon, &mut findings);
    others::look(home, &mut findings);
    machine::look(daemon, &mut findings);
    if let Daemon::Runs(_, details) = daemon {
        apps::look(details, &mut findings);
    }
    findings
}
