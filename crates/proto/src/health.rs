//! Health of an instance, for whoever asks.

use ostler_core::health::State;
use ostler_core::time::Now;
use serde::{Deserialize, Serialize};

/// The health of a process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HealthReport {
    /// The state.
    pub state: State,
    /// Time of its begin.
    pub since: Now,
    /// Bad answers in a row.
    pub failures: u32,
    /// The newest answer.
    pub last: Option<LastAnswer>,
}

impl HealthReport {
    /// What is wrong with it, in words that follow "online"; none if it is healthy.
    pub fn trouble(&self) -> Option<String> {
        if self.state == State::Healthy {
            return None;
        }
        let last = self.last.as_ref().filter(|last| !last.good).map(|last| format!(": {}", last.words));
        let word = if self.state == State::Broken { "health check broken" } else { self.state.word() };
        Some(format!("{word}{}", last.unwrap_or_default()))
    }
}

/// An answer to a health check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastAnswer {
    /// Time.
    pub at: Now,
    /// Whether it is as expected.
    pub good: bool,
    /// The question and what came; empty for a good one.
    pub words: String,
}
