//! Severity of alerts.

use ostler_core::marked;
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
            Self::Info => marked!("info"),
            Self::Warning => marked!("warning"),
            Self::Critical => marked!("critical"),
        }
    }

    pub(crate) const WORDS: &[(&str, Self)] = &[("info", Self::Info), ("warning", Self::Warning), ("critical", Self::Critical)];
}
