//! Inputs of the engine.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::rule::Severity;

/// Input of the engine.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Something happened to an app or to the machine.
    Occurred(Occurrence),
    /// A metric was measured.
    Measured(MetricSample),
    /// An app wrote a line.
    Wrote {
        /// The app.
        app: String,
        /// The instance.
        instance: Option<u32>,
        /// The line, without secrets.
        line: String,
    },
    /// An exception was reported.
    Exception {
        /// The app.
        app: String,
        /// The instance.
        instance: Option<u32>,
        /// Type and message, without secrets.
        title: String,
        /// True if the error was resolved and occurred again; false if it is new.
        returned: bool,
    },
    /// A check of a rule finished.
    Checked {
        /// Name of the rule.
        rule: String,
        /// Result of the check, or an error message.
        result: Result<CheckResult, String>,
    },
    /// The list of apps at this time. It resolves two kinds of alerts: those whose end event was
    /// missed, and those of apps that no longer exist, for example after a rename.
    Listed {
        /// Each app with its instances.
        apps: BTreeMap<String, BTreeMap<u32, InstanceState>>,
        /// The time, in ms since 1970.
        at_ms: u64,
    },
    /// Only time passed.
    Time,
}

/// State of an instance in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceState {
    /// The instance is stopped.
    Stopped,
    /// The instance is online.
    Online,
    /// The instance is online and passes its health checks.
    Healthy,
    /// Any other state.
    Other,
}

/// Result of a successful check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckResult {
    /// Days until the certificate expires; none = no certificate.
    pub certificate_days: Option<i64>,
}

/// Event of an app, the daemon or the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occurrence {
    /// Kind of event.
    pub kind: OccurrenceKind,
    /// The app; empty = the daemon or the machine.
    pub app: String,
    /// The instance.
    pub instance: Option<u32>,
    /// Description that follows the app's name, without secrets.
    pub text: String,
}

/// Kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OccurrenceKind {
    /// A process exited by itself with a failure.
    Crash,
    /// The daemon stopped restarting an instance.
    Errored,
    /// The kernel killed a process because memory ran out.
    OutOfMemory,
    /// Health checks of an instance fail.
    Unhealthy,
    /// A health check cannot be run.
    CheckBroken,
    /// An instance exceeds a limit.
    Limit,
    /// A new release failed its checks; the old release keeps running.
    ReloadRefused,
    /// A run of a job failed.
    JobFailed,
    /// A job run was missed and is skipped.
    JobMissed,
    /// The machine was rebooted.
    HostRebooted,
    /// The daemon died and was replaced.
    DaemonReplaced,
    /// An update of ostler failed.
    UpdateFailed,
    /// An instance was removed from the list because daemons crashed while handling it.
    SetAside,
    /// An instance is online.
    Online,
    /// Health checks of an instance pass.
    Healthy,
    /// An instance was stopped on purpose.
    Stopped,
    /// An instance exited by itself and stays stopped.
    Finished,
    /// An instance was deleted.
    Deleted,
    /// A reload of an app began.
    ReloadBegun,
    /// A reload ended: the new release is online, or another command interrupted it.
    ReloadEnded,
    /// A job run succeeded.
    JobDone,
}

impl OccurrenceKind {
    /// Kinds that can raise an alert.
    pub const ALARMS: &[Self] = &[
        Self::Crash,
        Self::Errored,
        Self::OutOfMemory,
        Self::Unhealthy,
        Self::CheckBroken,
        Self::Limit,
        Self::ReloadRefused,
        Self::JobFailed,
        Self::JobMissed,
        Self::HostRebooted,
        Self::DaemonReplaced,
        Self::UpdateFailed,
        Self::SetAside,
    ];

    /// Returns the word for this kind in settings and messages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::Errored => "errored",
            Self::OutOfMemory => "out_of_memory",
            Self::Unhealthy => "unhealthy",
            Self::CheckBroken => "check_broken",
            Self::Limit => "limit",
            Self::ReloadRefused => "reload_refused",
            Self::JobFailed => "job_failed",
            Self::JobMissed => "job_missed",
            Self::HostRebooted => "host_rebooted",
            Self::DaemonReplaced => "daemon_replaced",
            Self::UpdateFailed => "update_failed",
            Self::SetAside => "set_aside",
            Self::Online => "online",
            Self::Healthy => "healthy",
            Self::Stopped => "stopped",
            Self::Finished => "finished",
            Self::Deleted => "deleted",
            Self::ReloadBegun => "reload_begun",
            Self::ReloadEnded => "reload_ended",
            Self::JobDone => "job_done",
        }
    }

    /// Returns the default severity.
    pub fn severity(self) -> Severity {
        match self {
            Self::Errored | Self::OutOfMemory | Self::Unhealthy | Self::ReloadRefused | Self::SetAside => Severity::Critical,
            Self::Crash | Self::CheckBroken | Self::Limit | Self::JobFailed | Self::JobMissed | Self::HostRebooted | Self::UpdateFailed => {
                Severity::Warning
            }
            _ => Severity::Info,
        }
    }

    /// Returns true if a user or a policy removed the instance, so all of its alerts end.
    pub(crate) fn is_removal(self) -> bool {
        matches!(self, Self::Stopped | Self::Deleted)
    }

    /// Returns when an alert of this kind ends, unless [`Self::is_removal`] applies first.
    pub(crate) fn resolution(self) -> Resolution {
        match self {
            Self::Errored => Resolution::OnEvents(&[Self::Online]),
            Self::Unhealthy => Resolution::OnEvents(&[Self::Healthy, Self::Finished]),
            Self::CheckBroken => Resolution::OnEvents(&[Self::Healthy, Self::Unhealthy, Self::Finished]),
            Self::JobFailed | Self::JobMissed => Resolution::OnEvents(&[Self::JobDone]),
            Self::ReloadRefused => Resolution::OnEvents(&[Self::ReloadEnded]),
            Self::HostRebooted | Self::DaemonReplaced | Self::UpdateFailed | Self::SetAside => Resolution::Unannounced,
            _ => Resolution::AfterQuiet,
        }
    }
}

/// Condition for the end of an event alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resolution {
    /// Ends when one of these events happens to each affected instance.
    OnEvents(&'static [OccurrenceKind]),
    /// Ends when the event has not recurred for a while.
    AfterQuiet,
    /// Same as [`Self::AfterQuiet`], but without a notification, because the event is a report and
    /// not a state.
    Unannounced,
}

/// Measured values of a metric at one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricSample {
    /// The app; empty = the machine.
    pub app: String,
    /// Name of the metric.
    pub metric: String,
    /// Values by instance; none = of the app as a whole.
    pub values: Vec<(Option<u32>, f64)>,
    /// Limit of the metric; none = unknown.
    pub limit: Option<f64>,
}
