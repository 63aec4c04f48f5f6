//! Origins: the user or feature that requested a change of an instance, and the reason.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Origin of a change; shown by `ostler why`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// A command of a user.
    User {
        /// The command, e.g. `restart`.
        command: String,
        /// Peer credentials of the client.
        uid: u32,
        /// Process id of the client, for the record only.
        pid: i32,
        /// Person for whom the client sent the command, as the client reports it: a login of a
        /// dashboard, `ssh user@host`. For the record only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        on_behalf_of: Option<Box<str>>,
    },
    /// Restored by `resurrect`.
    Resurrect,
    /// The daemon itself is shutting down.
    Shutdown,
    /// A feature of ostler that acts by itself.
    Policy(PolicyFinding),
}

impl Origin {
    /// Returns the origin of a policy that needs no reason: its time has come.
    pub fn policy(name: PolicyName) -> Self {
        Self::Policy(name.into())
    }

    /// Returns the origin of a policy with its finding or measurement.
    pub fn found(name: PolicyName, detail: impl Into<String>) -> Self {
        Self::Policy(PolicyFinding { name, detail: Some(detail.into()) })
    }

    /// Returns true if a client waits for the outcome.
    pub fn is_user(&self) -> bool {
        matches!(self, Self::User { .. })
    }
}

/// Reason why a feature acted by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "AsWritten")]
pub struct PolicyFinding {
    /// The feature.
    pub name: PolicyName,
    /// Finding or measurement in words: `uses 310 MB`, `src/app.js`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl From<PolicyName> for PolicyFinding {
    fn from(name: PolicyName) -> Self {
        Self { name, detail: None }
    }
}

impl fmt::Display for PolicyFinding {
    /// Writes `watch: src/app.js`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.detail {
            Some(detail) => write!(f, "{}: {detail}", self.name),
            None => self.name.fmt(f),
        }
    }
}

/// Stored form of a finding.
#[derive(Deserialize)]
#[serde(untagged)]
enum AsWritten {
    Finding {
        name: PolicyName,
        #[serde(default)]
        detail: Option<String>,
    },
    /// Line as older versions wrote it: `watch: src/app.js`.
    Line(String),
}

impl From<AsWritten> for PolicyFinding {
    fn from(written: AsWritten) -> Self {
        match written {
            AsWritten::Finding { name, detail } => Self { name, detail },
            AsWritten::Line(line) => match line.split_once(": ") {
                Some((name, detail)) => Self { name: name.into(), detail: Some(detail.to_owned()) },
                None => PolicyName::from(line.as_str()).into(),
            },
        }
    }
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// The name of a feature that acts by itself.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(from = "String", into = "String")]
        pub enum PolicyName {
            $($(#[$doc])* $name,)*
            /// A feature of another version.
            Unknown(Box<str>),
        }

        impl PolicyName {
            /// Returns the word for users and records.
            pub fn word(&self) -> &str {
                match self {
                    $(Self::$name => $word,)*
                    Self::Unknown(word) => word,
                }
            }
        }

        impl From<&str> for PolicyName {
            fn from(word: &str) -> Self {
                match word {
                    $($word => Self::$name,)*
                    other => Self::Unknown(other.into()),
                }
            }
        }
    };
}

names! {
    /// Start after an unrequested exit.
    Autorestart = "autorestart",
    /// `instances` with a range.
    Autoscale = "autoscale",
    /// `max_cpu`.
    Cpu = "cpu",
    /// `cron_restart`, and jobs.
    Cron = "cron",
    /// `error_threshold`.
    Errors = "errors",
    /// Kill of the processes that an exited process left behind.
    Exit = "exit",
    /// Health checks, and the heartbeat of the event loop.
    Health = "health",
    /// A log is full, or its time has come.
    LogRotate = "log_rotate",
    /// `max_lifetime`.
    MaxLifetime = "max_lifetime",
    /// `max_restarts`.
    MaxRestarts = "max_restarts",
    /// `max_memory_restart`.
    Memory = "memory",
    /// Rotation: a log is full, or its time has come.
    PostStart = "post_start",
    /// Recovery: a new daemon found this state at its start.
    Recovery = "recovery",
    /// Cleanup of an unfinished reload.
    Reload = "reload",
    /// `resurrect`.
    Resurrect = "resurrect",
    /// A start that failed.
    Start = "start",
    /// `timeout` of a job.
    Timeout = "timeout",
    /// `wait_ready`, and other readiness signals that did not come in time.
    WaitReady = "wait_ready",
    /// `watch`.
    Watch = "watch",
    /// The watchdog of `sd_notify`.
    Watchdog = "watchdog",
}

impl From<String> for PolicyName {
    fn from(word: String) -> Self {
        Self::from(word.as_str())
    }
}

impl From<PolicyName> for String {
    fn from(name: PolicyName) -> Self {
        name.word().to_owned()
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_round_trip_through_json() {
        for (finding, json) in [
            (PolicyFinding::from(PolicyName::Cron), r#"{"name":"cron"}"#),
            (PolicyFinding { name: PolicyName::Watch, detail: Some("src/a: b.js".into()) }, r#"{"name":"watch","detail":"src/a: b.js"}"#),
            (PolicyFinding::from(PolicyName::from("of tomorrow")), r#"{"name":"of tomorrow"}"#),
        ] {
            assert_eq!(serde_json::to_string(&finding).unwrap(), json);
            assert_eq!(serde_json::from_str::<PolicyFinding>(json).unwrap(), finding);
        }
    }

    #[test]
    fn origins_of_earlier_versions_are_readable() {
        for (line, name, detail) in [
            ("cron", PolicyName::Cron, None),
            ("wait_ready", PolicyName::WaitReady, None),
            ("watch: src/a: b.js", PolicyName::Watch, Some("src/a: b.js")),
            ("memory: uses 9 bytes", PolicyName::Memory, Some("uses 9 bytes")),
            ("post_start failed with code 1", PolicyName::Unknown("post_start failed with code 1".into()), None),
        ] {
            let origin: Origin = serde_json::from_value(serde_json::json!({ "Policy": line })).unwrap();
            assert_eq!(origin, Origin::Policy(PolicyFinding { name, detail: detail.map(str::to_owned) }));
            assert!(matches!(origin, Origin::Policy(finding) if finding.to_string() == line));
        }
    }
}
