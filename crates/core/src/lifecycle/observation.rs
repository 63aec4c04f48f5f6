//! Observations of an instance that the daemon remembers and shows to users.

use serde::{Deserialize, Serialize};

use crate::time::Now;

/// Reportable observation about a supervised instance.
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
