//! Reasons why a request of the native API fails.

use serde::{Deserialize, Serialize};

use ostler_core::message;

use crate::rollout::RolloutReport;

/// Reason why a request failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// No instance matches the target.
    #[error("{}", message!("process or namespace {target} not found", target))]
    NotFound {
        /// The target as given.
        target: String,
    },
    /// `all` or a regex on an empty list.
    #[error("{}", message!("no process found"))]
    Empty,
    /// The script of [`crate::control::Existing::PlainScript`] already runs.
    #[error("{}", message!("script already launched, add -f option to force re-execution"))]
    AlreadyLaunched,
    /// The list is empty, and saving it was not forced.
    #[error("{}", message!("no process is managed, nothing saved"))]
    NothingToSave,
    /// There is no saved list to resurrect.
    #[error("{}", message!("no processes saved; the dump file doesn't exist"))]
    NothingSaved,
    /// The app already has this number of instances.
    #[error("{}", message!("nothing to do"))]
    NothingToDo,
    /// Some instances failed; [`crate::control::Progress::InstanceFailed`] reported each.
    #[error("{}", failed_text(*failed, *total))]
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
    #[error("{}", message!("daemon {daemon_version} does not support this client", daemon_version))]
    Protocol {
        /// Version of the daemon.
        daemon_version: String,
    },
    /// The client requested a change on a read-only connection
    /// ([`crate::control::Request::Hello`]).
    #[error("{}", message!("this connection is read-only; nothing was changed"))]
    ReadOnly,
    /// Any other reason, worded for the user.
    #[error("{0}")]
    Other(String),
}

fn failed_text(failed: u32, total: u32) -> String {
    match total {
        1 => message!("1 instance failed"),
        _ => message!("{failed} of {total} instances failed", failed, total),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_instances_are_counted() {
        for (failed, total, text) in [(1, 1, "1 instance failed"), (1, 5, "1 of 5 instances failed"), (2, 2, "2 of 2 instances failed")] {
            assert_eq!(Failure::Some { failed, total }.to_string(), text);
        }
    }
}
