//! Errors of commands on several hosts.

use std::path::PathBuf;

use ostler_core::message;
use ostler_fleet::{HostOutcome, HostsError};

/// Reason why a command cannot be sent to hosts.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FleetError {
    /// Home with two hosts files.
    #[error("{}", message!("there are two hosts files, {first} and {second}: remove one", first = _0.display(), second = _1.display()))]
    TwoFiles(PathBuf, PathBuf),
    /// Hosts file that makes no sense.
    #[error("{file}: {source}")]
    Hosts {
        /// Its path.
        file: String,
        /// The fault.
        source: HostsError,
    },
    /// Command that did not run on its host.
    #[error("{0}")]
    Host(HostOutcome),
}
