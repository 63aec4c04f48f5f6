//! Safeguards of a running app: its health checks and its limits.

use serde::{Deserialize, Serialize};

use crate::app::default_box::is_default;
use crate::health::HealthSpec;
use crate::health::limits::{CpuLimit, ErrorLimit, HardLimits, MemoryAmount};

/// Safeguards of a running app. [`crate::app::AppSpec`] allocates none for an app that sets none,
/// so such an app costs nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Safeguards {
    /// Health checks.
    #[serde(skip_serializing_if = "is_default")]
    pub health: HealthSpec,
    /// `max_memory_restart`.
    #[serde(skip_serializing_if = "is_default")]
    pub memory: Option<MemoryAmount>,
    /// `max_cpu`.
    #[serde(skip_serializing_if = "is_default")]
    pub cpu: Option<CpuLimit>,
    /// Limit of errors (`error` as a table).
    #[serde(skip_serializing_if = "is_default")]
    pub errors: Option<ErrorLimit>,
    /// Limits that the kernel enforces.
    #[serde(skip_serializing_if = "is_default")]
    pub hard: HardLimits,
    /// Whether an unhealthy process is stopped as if it had crashed: no drain, no new process
    /// beside it, and the restart policy decides.
    #[serde(skip_serializing_if = "is_default")]
    pub autokill: bool,
}

impl Safeguards {
    /// Returns true if no safeguard is set.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Returns true if something has to be measured while it runs.
    pub fn measures(&self) -> bool {
        self.memory.is_some() || self.cpu.is_some() || self.errors.is_some()
    }
}
