//! Observations of an instance that are shown to people, and remembered.

use serde::{Deserialize, Serialize};

use crate::time::Now;

/// Observation worth reporting that was made while an instance was supervised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// Time of the observation.
    pub at: Now,
    /// Text, in words that follow a name: `is unhealthy: …`.
    pub text: String,
}

impl Observation {
    /// Most observations that are remembered per instance.
    pub const KEPT: usize = 8;
}
