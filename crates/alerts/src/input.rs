//! What the engine is told.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::rule::Severity;

/// Something that is told to the engine.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Something happened to an app, or to the machine.
    Occurred(Occurrence),
    /// A figure was measured.
    Measured(Sample),
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
        /// True: it had been resolved and is back; false: it was never seen before.
        returned: bool,
    },
    /// A check of a rule was made.
    Checked {
        /// Name of the rule.
        rule: String,
        /// What came of it; an error in words.
        result: Result<Checked, String>,
    },
    /// The list at this time. It ends alerts whose end was missed, and those of apps that are gone, such as under a former name.
    Listed {
        /// Each app with its instances.
        apps: BTreeMap<String, BTreeMap<u32, Standing>>,
        /// The time, in ms since 1970.
        at_ms: u64,
    },
    /// Nothing but time.
    Time,
}

/// State of an instance in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is stopped.
    Stopped,
    /// It serves.
    Online,
    /// It serves, and passes its health checks.
    Healthy,
    /// Anything else.
    Other,
}

/// What a check found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Days for which the certificate is valid; none = there is none.
    pub certificate_days: Option<i64>,
}

/// An occurrence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occurrence {
    /// What happened.
    pub kind: Kind,
    /// The app; empty = the manager, or the machine.
    pub app: String,
    /// The instance.
    pub instance: Option<u32>,
    /// What happened, in words that follow a name, without secrets.
    pub text: String,
}

/// A kind of occurrence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A process ended by itself, not well.
    Crash,
    /// An instance is given up.
    Errored,
    /// The kernel killed a process for want of memory.
    OutOfMemory,
    /// Checks say that an instance is ill.
    Unhealthy,
    /// A health check cannot be made.
    CheckBroken,
    /// An instance uses or reports more than it may.
    Limit,
    /// A new release was not good enough: the old one serves on.
    ReloadRefused,
    /// A run of a job failed.
    JobFailed,
    /// A run of a job was missed and is left out.
    JobMissed,
    /// The machine was started again.
    HostRebooted,
    /// The daemon died, and there is another.
    DaemonReplaced,
    /// An update did not work out.
    UpdateFailed,
    /// An instance is out of the list, because daemons died over it.
    SetAside,
    /// An instance serves.
    Online,
    /// Checks say that an instance is well.
    Healthy,
    /// An instance is stopped on purpose.
    Stopped,
    /// An instance ended by itself and stays down.
    Finished,
    /// An instance is out of the list.
    Deleted,
    /// The replacement of an app's instances begins.
    ReloadBegun,
    /// A new release serves, or another command came in between.
    ReloadEnded,
    /// A run of a job went well.
    JobDone,
}

impl Kind {
    /// Those that may be an alert.
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

    /// Its word.
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

    /// How grave it usually is.
    pub fn severity(self) -> Severity {
        match self {
            Self::Errored | Self::OutOfMemory | Self::Unhealthy | Self::ReloadRefused | Self::SetAside => Severity::Critical,
            Self::Crash | Self::CheckBroken | Self::Limit | Self::JobFailed | Self::JobMissed | Self::HostRebooted | Self::UpdateFailed => {
                Severity::Warning
            }
            _ => Severity::Info,
        }
    }

    /// Returns true if the instance is gone because a user or a policy wants that: all of its alerts are over.
    pub(crate) fn is_removal(self) -> bool {
        matches!(self, Self::Stopped | Self::Deleted)
    }

    /// When an alert about it is over, unless [`Self::is_removal`] comes first.
    pub(crate) fn ends(self) -> Ends {
        match self {
            Self::Errored => Ends::With(&[Self::Online]),
            Self::Unhealthy => Ends::With(&[Self::Healthy, Self::Finished]),
            Self::CheckBroken => Ends::With(&[Self::Healthy, Self::Unhealthy, Self::Finished]),
            Self::JobFailed | Self::JobMissed => Ends::With(&[Self::JobDone]),
            Self::ReloadRefused => Ends::With(&[Self::ReloadEnded]),
            Self::HostRebooted | Self::DaemonReplaced | Self::UpdateFailed | Self::SetAside => Ends::Told,
            _ => Ends::Quiet,
        }
    }
}

/// When an alert about something that happened is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    /// When one of these happens to each instance that it is about.
    With(&'static [Kind]),
    /// When it has not happened again for a while.
    Quiet,
    /// The same, and nobody is told of the end: it was news, not a state.
    Told,
}

/// A figure at an instant.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The app; empty = the machine.
    pub app: String,
    /// Its name.
    pub metric: String,
    /// By instance; none = of the app as a whole.
    pub values: Vec<(Option<u32>, f64)>,
    /// What it must not reach; none = nobody knows.
    pub limit: Option<f64>,
}
