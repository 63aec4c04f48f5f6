//! What ostler looks after while an app runs: its health, and what it may use.

use serde::{Deserialize, Serialize};

use crate::serving::HttpProbe;
use crate::time::Now;

/// Everything that is looked after. [`crate::app::AppSpec`] has none of it for an app that asks for nothing: such an app costs nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Care {
    /// Is it well?
    #[serde(skip_serializing_if = "is_default")]
    pub health: Health,
    /// `max_memory_restart`.
    #[serde(skip_serializing_if = "is_default")]
    pub memory: Option<Amount>,
    /// `max_cpu`.
    #[serde(skip_serializing_if = "is_default")]
    pub cpu: Option<CpuLimit>,
    /// `error` as a table.
    #[serde(skip_serializing_if = "is_default")]
    pub errors: Option<ErrorLimit>,
    /// Limits that the kernel keeps.
    #[serde(skip_serializing_if = "is_default")]
    pub hard: HardLimits,
    /// What is not well is ended as if it had crashed: no drain, no new process beside it, and the restart policy decides.
    #[serde(skip_serializing_if = "is_default")]
    pub autokill: bool,
}

impl Care {
    /// Nothing is asked for.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Something has to be measured while it runs.
    pub fn measures(&self) -> bool {
        self.memory.is_some() || self.cpu.is_some() || self.errors.is_some()
    }
}

/// Is an app well? Phases as in Kubernetes: until `startup` is good nothing else is asked; `readiness` says whether it gets new connections;
/// when `liveness` fails it is restarted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// Asked first.
    #[serde(skip_serializing_if = "is_default")]
    pub startup: Option<Check>,
    /// May it have new connections?
    #[serde(skip_serializing_if = "is_default")]
    pub readiness: Option<Check>,
    /// Does it have to be restarted?
    #[serde(skip_serializing_if = "is_default")]
    pub liveness: Option<Check>,
    /// The event loop of a Node app says at least this often that it turns.
    #[serde(skip_serializing_if = "is_default")]
    pub heartbeat_ms: Option<u64>,
    /// Bad answers do not count for so long after a start; `None` = one interval of liveness.
    #[serde(skip_serializing_if = "is_default")]
    pub grace_ms: Option<u64>,
    /// What becomes of a process that is not well.
    #[serde(skip_serializing_if = "is_default")]
    pub action: Action,
}

impl Health {
    /// The check of a phase.
    pub fn check(&self, phase: Phase) -> Option<&Check> {
        match phase {
            Phase::Startup => self.startup.as_ref(),
            Phase::Readiness => self.readiness.as_ref(),
            Phase::Liveness => self.liveness.as_ref(),
        }
    }

    /// Somebody has to be asked.
    pub fn asks(&self) -> bool {
        Phase::ALL.into_iter().any(|phase| self.check(phase).is_some())
    }

    /// Something is known of its health.
    pub fn is_watched(&self) -> bool {
        self.asks() || self.heartbeat_ms.is_some()
    }
}

/// What a check is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Has it come up?
    Startup,
    /// May it have new connections?
    Readiness,
    /// Does it have to be restarted?
    Liveness,
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Startup, Self::Readiness, Self::Liveness];
}

/// One question, how often it is asked, and how many answers count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What is asked.
    pub ask: Ask,
    /// From one question to the next.
    pub interval_ms: u64,
    /// For one answer.
    pub timeout_ms: u64,
    /// So many bad answers in a row and the check has failed.
    pub failures: u32,
    /// So many good answers in a row and it has passed.
    pub successes: u32,
    /// Before the first question.
    #[serde(default, skip_serializing_if = "is_default")]
    pub delay_ms: u64,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// A request. Interval and timeout of the probe do not count, those of the check do.
    Http(HttpProbe),
    /// A connection.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// A command, run as the app's user in its folder with its environment; code 0 is a good answer.
    Command(Vec<String>),
}

/// What becomes of a process that is not well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is replaced: by a new process beside it where two can serve beside each other, else it is restarted.
    #[default]
    Restart,
    /// As a reload of this instance, which a new process that does not come up leaves as it was.
    Reload,
    /// It is told, and nothing is done.
    None,
}

/// So much memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Amount {
    /// Bytes.
    Bytes(u64),
    /// Hundredths of a percent of what the machine (or our cgroup) has.
    Share(u32),
}

impl Amount {
    /// In bytes, where there are `total`.
    pub fn bytes(self, total: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Share(share) => u64::try_from(u128::from(total) * u128::from(share) / 10_000).unwrap_or(u64::MAX),
        }
    }
}

/// Soft limit of CPU use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuLimit {
    /// Percent.
    pub percent: u32,
    /// 100 percent are all processors, not one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub of_machine: bool,
    /// It has to use more than that on average for so long.
    pub window_ms: u64,
}

impl CpuLimit {
    /// In percent of one processor.
    pub fn of_one(&self, cpus: u32) -> f64 {
        f64::from(self.percent) * if self.of_machine { f64::from(cpus.max(1)) } else { 1.0 }
    }
}

/// So many errors are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorLimit {
    /// Lines on standard error and reported exceptions.
    pub threshold: u32,
    /// Within so long.
    pub window_ms: u64,
    /// It is restarted then; otherwise it is told.
    pub restart: bool,
}

/// Limits that the kernel keeps, by cgroup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HardLimits {
    /// CPU, in percent of one core.
    #[serde(skip_serializing_if = "is_default")]
    pub cpu_percent: Option<u32>,
    /// Memory.
    #[serde(skip_serializing_if = "is_default")]
    pub memory: Option<Amount>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "is_default")]
    pub pids: Option<u32>,
    /// Weight of its input and output, 1 to 10000; 100 is usual.
    #[serde(skip_serializing_if = "is_default")]
    pub io_weight: Option<u16>,
}

impl HardLimits {
    /// None at all.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// At most so many restarts within a time (`restart_budget`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartBudget {
    /// So many.
    pub n: u32,
    /// Within so long.
    pub window_ms: u64,
}

/// Something worth telling that was found out while an instance was looked after.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// When.
    pub at: Now,
    /// In words that follow a name: `is unhealthy: …`.
    pub text: String,
}

impl Note {
    /// How many are remembered per instance.
    pub const KEPT: usize = 8;
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_in_bytes() {
        assert_eq!(Amount::Bytes(7).bytes(100), 7);
        assert_eq!(Amount::Share(5_000).bytes(1 << 30), 1 << 29);
        assert_eq!(Amount::Share(1).bytes(u64::MAX), u64::MAX / 10_000);
    }

    #[test]
    fn shares_of_a_machine() {
        let limit = CpuLimit { percent: 50, of_machine: false, window_ms: 1 };
        assert!((limit.of_one(8) - 50.0).abs() < 1e-9);
        assert!((CpuLimit { of_machine: true, ..limit }.of_one(8) - 400.0).abs() < 1e-9);
    }
}
