//! What the reader of log files for the event socket is told at its start.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Lengths of log files at the time from which on lines are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLengths {
    /// The time, ms since the epoch.
    pub at_ms: u64,
    /// Bytes by path; a file that is not there has none.
    pub lengths: BTreeMap<String, u64>,
}
