//! Severity of alerts.

use serde::{Deserialize, Serialize};

/// Severity of an alert.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// For information only.
    Info,
    /// Needs attention soon.
    #[default]
    Warning,
    /// Needs immediate action.
    Critical,
}

impl Severity {
    /// Returns the word for this severity.
    pub fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    pub(crate) const WORDS: &[(&str, Self)] = &[("info", Self::Info), ("warning", Self::Warning), ("critical", Self::Critical)];
}
