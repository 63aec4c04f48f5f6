//! Safeguards of an app while it runs: its health, and what it may use.

use serde::{Deserialize, Serialize};

use crate::app::default_box::is_default;
use crate::health::HealthSpec;
use crate::health::limits::{Amount, CpuLimit, ErrorLimit, HardLimits};

/// Safeguards of an app while it runs. [`crate::app::AppSpec`] has none for an app that asks for nothing: such an app costs nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Safeguards {
    /// Health checks.
    #[serde(skip_serializing_if = "is_default")]
    pub health: HealthSpec,
    /// `max_memory_restart`.
    #[serde(skip_serializing_if = "is_default")]
    pub memory: Option<Amount>,
    /// `max_cpu`.
    #[serde(skip_serializing_if = "is_default")]
    pub cpu: Option<CpuLimit>,
    /// Limit of errors (`error` as a table).
    #[serde(skip_serializing_if = "is_default")]
    pub errors: Option<ErrorLimit>,
    /// Limits that the kernel keeps.
    #[serde(skip_serializing_if = "is_default")]
    pub hard: HardLimits,
    /// Whether what is not well is ended as if it had crashed: no drain, no new process beside it, and the restart policy decides.
    #[serde(skip_serializing_if = "is_default")]
    pub autokill: bool,
}

impl Safeguards {
    /// True if nothing is asked for.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// True if something has to be measured while it runs.
    pub fn measures(&self) -> bool {
        self.memory.is_some() || self.cpu.is_some() || self.errors.is_some()
    }
}
