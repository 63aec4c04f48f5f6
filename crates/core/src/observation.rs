//! What is told to people of an instance, and remembered.

use serde::{Deserialize, Serialize};

use crate::time::Now;

/// Something worth telling that was found out while an instance was looked after.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// When.
    pub at: Now,
    /// In words that follow a name: `is unhealthy: …`.
    pub text: String,
}

impl Observation {
    /// How many are remembered per instance.
    pub const KEPT: usize = 8;
}
