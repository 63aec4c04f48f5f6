//! Schedule of an app, as the user declares it.

use serde::{Deserialize, Serialize};

/// Default number of retries of a job.
pub const DEFAULT_RETRIES: u32 = 0;
/// First pause before a retry.
pub const DEFAULT_RETRY_DELAY_MS: u64 = 10_000;
/// Upper bound of a growing pause between retries (or the first pause, if that is longer).
pub const RETRY_DELAY_CAP_MS: u64 = 600_000;
/// Runs of a job that are remembered by default.
pub const DEFAULT_HISTORY: u32 = 20;
/// Largest number of runs that can be remembered: they are part of the journal.
pub const MOST_HISTORY: u32 = 100;

/// A schedule, and the action at its times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CronSpec {
    /// A pattern that [`super::Schedule::parse`] accepts.
    pub pattern: String,
    /// Name of the time zone; `None` = the daemon's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Policy for a tick during the previous run.
    pub overlap: Overlap,
    /// Whether a missed run (no daemon, a suspended machine) is started late, once.
    #[serde(default)]
    pub catch_up: bool,
    /// Instances that take part.
    pub run_on: RunOn,
    /// Job: it runs only at these times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobSpec>,
}

impl CronSpec {
    /// Returns the spec for restarts by this pattern, as in PM2.
    pub fn restarts(pattern: String) -> Self {
        Self { pattern, zone: None, overlap: Overlap::Kill, catch_up: false, run_on: RunOn::All, job: None }
    }

    /// Returns the spec of a job by this pattern.
    pub fn job(pattern: String, job: JobSpec) -> Self {
        Self { overlap: Overlap::Skip, run_on: RunOn::One, job: Some(job), ..Self::restarts(pattern) }
    }
}

/// Policy for a tick during the previous run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// The new run is skipped.
    Skip,
    /// The old run is stopped, and the new one begins.
    Kill,
    /// The new run begins when the old one has ended. At most one run is queued.
    Queue,
}

/// Instances that take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunOn {
    /// All of them.
    All,
    /// The first one.
    One,
}

/// A command that runs at scheduled times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    /// Retries of a failed run (any exit code except 0, a signal, its timeout).
    #[serde(default)]
    pub retries: u32,
    /// Pause before the first retry; each further pause is 1.5 times as long.
    pub retry_delay_ms: u64,
    /// Longest time of one attempt; `None` = no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Number of runs that are remembered.
    pub history: u32,
}

impl Default for JobSpec {
    fn default() -> Self {
        Self { retries: DEFAULT_RETRIES, retry_delay_ms: DEFAULT_RETRY_DELAY_MS, timeout_ms: None, history: DEFAULT_HISTORY }
    }
}
