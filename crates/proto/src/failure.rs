//! Reasons why a request of the native API fails.

use serde::{Deserialize, Serialize};

use crate::rollout::RolloutReport;

/// Reason why a request failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// No instance matches the target.
    #[error("process or namespace {target} not found")]
    NotFound {
        /// The target as given.
        target: String,
    },
    /// `all` or a regex on an empty list.
    #[error("no process found")]
    Empty,
    /// The script of [`crate::control::Existing::PlainScript`] already runs.
    #[error("script already launched, add -f option to force re-execution")]
    AlreadyLaunched,
    /// The list is empty, and saving it was not forced.
    #[error("no process is managed, nothing saved")]
    NothingToSave,
    /// There is no saved list to resurrect.
    #[error("no processes saved; the dump file doesn't exist")]
    NothingSaved,
    /// The app already has this number of instances.
    #[error("nothing to do")]
    NothingToDo,
    /// Some instances failed; [`crate::control::Progress::InstanceFailed`] reported each.
    #[error("{failed} of {total} instances failed")]
    Some {
        /// Number of failed instances.
        failed: u32,
        /// Number of all instances.
        total: u32,
    },
    /// A new release failed.
    #[error("{}", crate::rollout::failure(.0))]
    Rollout(Vec<RolloutReport>),
    /// The client speaks another version.
    #[error("daemon {daemon_version} does not support this client")]
    Protocol {
        /// Version of the daemon.
        daemon_version: String,
    },
    /// The client requested a change on a read-only connection
    /// ([`crate::control::Request::Hello`]).
    #[error("this connection is read-only; nothing was changed")]
    ReadOnly,
    /// Any other reason, worded for the user.
    #[error("{0}")]
    Other(String),
}
