//! Restart policy of an app, as the user declares it.

use serde::{Deserialize, Serialize};

use crate::app::default_box::is_default;

/// Restart policy of an app.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RestartSpec {
    /// Restart after an unrequested exit.
    pub autorestart: bool,
    /// Unstable restarts in a row before `errored`; `None` = 16, or no limit if the delay grows.
    pub max_restarts: Option<u32>,
    /// Shortest run that counts as stable; `None` = 1000.
    pub min_uptime_ms: Option<u64>,
    /// Longest life of a process; after that, it is replaced.
    #[serde(skip_serializing_if = "is_default")]
    pub max_lifetime_ms: Option<u64>,
    /// Fixed delay before a restart.
    pub restart_delay_ms: u64,
    /// First delay of the growing backoff (×1.5, at most 15 s); 0 = off. Takes precedence over
    /// `restart_delay_ms`.
    pub exp_backoff_ms: u64,
    /// Exit codes after which the app stays stopped.
    pub stop_exit_codes: Vec<i32>,
    /// Budget: largest number of restarts within a time, for any reason.
    #[serde(skip_serializing_if = "is_default")]
    pub budget: Option<RestartBudget>,
}

impl Default for RestartSpec {
    fn default() -> Self {
        Self {
            autorestart: true,
            max_restarts: None,
            min_uptime_ms: None,
            max_lifetime_ms: None,
            restart_delay_ms: 0,
            exp_backoff_ms: 0,
            stop_exit_codes: Vec::new(),
            budget: None,
        }
    }
}

/// Budget of restarts: largest number within a time (`restart_budget`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartBudget {
    /// Most restarts.
    pub n: u32,
    /// Window.
    pub window_ms: u64,
}
