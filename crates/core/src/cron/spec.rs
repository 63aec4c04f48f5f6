//! What an app declares about times.

use serde::{Deserialize, Serialize};

/// Retries of a job when it names none.
pub const DEFAULT_RETRIES: u32 = 0;
/// First pause before a retry.
pub const DEFAULT_RETRY_DELAY_MS: u64 = 10_000;
/// No growing pause between retries is longer than this (or than the first one).
pub const RETRY_DELAY_CAP_MS: u64 = 600_000;
/// Runs of a job that are remembered.
pub const DEFAULT_HISTORY: u32 = 20;
/// More are not remembered: they are part of the journal.
pub const MOST_HISTORY: u32 = 100;

/// At which times what happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CronSpec {
    /// A pattern that [`super::Schedule::parse`] took.
    pub pattern: String,
    /// Name of the time zone; `None` = the daemon's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// What happens when it still runs.
    pub overlap: Overlap,
    /// A run that was missed (no daemon, a machine asleep) is made up for, once.
    #[serde(default)]
    pub catch_up: bool,
    /// Which instances.
    pub run_on: RunOn,
    /// It runs at these times, and is not kept running between them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobSpec>,
}

impl CronSpec {
    /// Restarts by this pattern, as PM2 knows them.
    pub fn restarts(pattern: String) -> Self {
        Self { pattern, zone: None, overlap: Overlap::Kill, catch_up: false, run_on: RunOn::All, job: None }
    }

    /// A job by this pattern.
    pub fn job(pattern: String, job: JobSpec) -> Self {
        Self { overlap: Overlap::Skip, run_on: RunOn::One, job: Some(job), ..Self::restarts(pattern) }
    }
}

/// What happens at the time of a run when the one before is not over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// It goes on, the new one is left out.
    Skip,
    /// It is stopped, and the new one begins.
    Kill,
    /// It goes on, and the new one begins when it has ended; however many were missed.
    Queue,
}

/// Which instances take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunOn {
    /// Each.
    All,
    /// The first.
    One,
}

/// A command that is run at its times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    /// A run that fails (any exit code but 0, a signal, its timeout) is repeated so often.
    #[serde(default)]
    pub retries: u32,
    /// Pause before the first of these; each further one is half as long again.
    pub retry_delay_ms: u64,
    /// Longest time of one attempt; `None` = no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// How many runs are remembered.
    pub history: u32,
}

impl Default for JobSpec {
    fn default() -> Self {
        Self { retries: DEFAULT_RETRIES, retry_delay_ms: DEFAULT_RETRY_DELAY_MS, timeout_ms: None, history: DEFAULT_HISTORY }
    }
}
