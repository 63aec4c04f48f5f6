//! Health of an instance, as clients see it.

use ostler_core::health::HealthState;
use ostler_core::time::Now;
use serde::{Deserialize, Serialize};

/// The health of a process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HealthReport {
    /// The state.
    pub state: HealthState,
    /// Time at which it entered this state.
    pub since: Now,
    /// Failed checks in a row.
    pub failures: u32,
    /// The latest answer.
    pub last: Option<LastAnswer>,
}

impl HealthReport {
    /// Returns the problem in words that follow "online", or `None` if the instance is healthy.
    pub fn trouble(&self) -> Option<String> {
        if self.state == HealthState::Healthy {
            return None;
        }
        let last = self.last.as_ref().filter(|last| !last.good).map(|last| format!(": {}", last.words));
        let word = if self.state == HealthState::Broken { "health check broken" } else { self.state.as_str() };
        Some(format!("{word}{}", last.unwrap_or_default()))
    }
}

/// Answer to a health check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastAnswer {
    /// Time.
    pub at: Now,
    /// Whether it matches the expectation.
    pub good: bool,
    /// The question and the answer; empty for a good answer.
    pub words: String,
}
