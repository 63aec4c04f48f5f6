//! Reasons why a request of the native API fails.

use serde::{Deserialize, Serialize};

use crate::rollout::RolloutReport;

/// Reason why a request failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// No instance matches.
    #[error("process or namespace {target} not found")]
    NotFound {
        /// The target as given.
        target: String,
    },
    /// `all` or a regex on an empty list.
    #[error("no process found")]
    Empty,
    /// [`crate::control::Existing::PlainScript`] and it runs.
    #[error("script already launched, add -f option to force re-execution")]
    AlreadyLaunched,
    /// An empty list is not saved without force.
    #[error("no process is managed, nothing saved")]
    NothingToSave,
    /// Resurrect without a saved list.
    #[error("no processes saved; the dump file doesn't exist")]
    NothingSaved,
    /// Scale to the same number.
    #[error("nothing to do")]
    NothingToDo,
    /// Some instances failed; each was reported by [`crate::control::Progress::InstanceFailed`].
    #[error("{failed} of {total} instances failed")]
    Some {
        /// Number of those that failed.
        failed: u32,
        /// Number of all.
        total: u32,
    },
    /// A new release was not taken.
    #[error("{}", crate::rollout::failure(.0))]
    Rollout(Vec<RolloutReport>),
    /// The client speaks another version.
    #[error("daemon {daemon_version} does not understand this client")]
    Protocol {
        /// Version of the daemon.
        daemon_version: String,
    },
    /// A change was asked for on a connection that only reads ([`crate::control::Request::Hello`]).
    #[error("this connection only reads, so nothing was changed")]
    ReadOnly,
    /// Anything else, worded for the user.
    #[error("{0}")]
    Other(String),
}
