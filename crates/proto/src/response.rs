//! Answers of the native API: the final response of a request, and its steps before that.

use serde::{Deserialize, Serialize};

use crate::app_message::AppMessage;
use crate::event::{Event, MissedEntries, Position};
use crate::failure::Failure;
use crate::figures::InstanceFigures;
use crate::host::HostReport;
use crate::instance::{Detail, HealthRow, Json, Summary, TableRow};
use crate::rollout::RolloutReport;

/// Every answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// Answer to hello.
    Hello {
        /// [`crate::control::PROTOCOL`] of the daemon.
        protocol: u32,
        /// Its version.
        version: String,
        /// Its pid.
        pid: i32,
        /// The keeper's pid.
        keeper_pid: i32,
        /// Whether this connection only reads, as the client requested.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        read_only: bool,
    },
    /// The daemon is alive.
    Pong,
    /// Short form of the list, by id.
    List(Vec<Summary>),
    /// Rows of a table, by id.
    Table(Vec<TableRow>),
    /// Health of instances, by id.
    Health(Vec<HealthRow>),
    /// Full form of the list, by id.
    Details(Vec<Detail>),
    /// PM2's list ([`crate::pm2::Process`]), by id.
    Processes(Json),
    /// A step of the request; more responses follow.
    Progress(Progress),
    /// Success.
    Done {
        /// Ids of the instances touched, in order.
        ids: Vec<u32>,
    },
    /// Replacements of releases, oldest first.
    Rollouts(Vec<RolloutReport>),
    /// Files touched.
    Paths(Vec<String>),
    /// Metrics of the machine; none = they are turned off (`pm2:sysmonit`).
    Host(Option<Box<HostReport>>),
    /// Outcome for each log that has one; a log that was never renamed has no outcome.
    LogsReloaded(Vec<ReloadedLog>),
    /// Failed; no more responses follow.
    Failed(Failure),
    /// Events, oldest first.
    Events {
        /// The events.
        list: Vec<Event>,
        /// The position from which to [`crate::control::Request::Subscribe`].
        position: Position,
    },
    /// An event (after [`crate::control::Request::Subscribe`]).
    Happened(Event),
    /// Count of requested events that the daemon no longer has. The next event is the oldest that
    /// it has.
    Missed(MissedEntries),
    /// Measurements of Node apps so far, by id.
    Figures(Vec<InstanceFigures>),
    /// A message of an app (after [`crate::control::Request::Listen`]).
    #[serde(rename = "said")]
    AppMessage(AppMessage),
    /// This client did not read fast enough. Its queue was dropped, and the connection ends. The
    /// client may connect again and subscribe from its position.
    FellBehind,
}

/// One log after [`crate::control::Request::ReloadLogs`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReloadedLog {
    /// Path as the app's description has it.
    pub path: String,
    /// Instances that write to it.
    pub ids: Vec<u32>,
    /// The outcome.
    #[serde(flatten)]
    pub outcome: LogOutcome,
}

/// Outcome of a reload for a log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum LogOutcome {
    /// Its lines pass through the daemon, which reopens it for the next line.
    Reopened,
    /// It had been renamed; new lines arrive at its path again.
    #[serde(rename = "handed_back")]
    Reclaimed {
        /// The file with the old lines.
        rotated: String,
        /// Size of that file in bytes.
        bytes: u64,
        /// Time for which its writers were stopped, in microseconds.
        stalled_us: u64,
    },
    /// It had been renamed, and that could not be repaired.
    Failed {
        /// The reason, one line.
        reason: String,
    },
}

/// Step of a longer request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// A target was resolved.
    Selected {
        /// The action's PM2 name, e.g. `restartProcessId`.
        action: String,
        /// The target as given.
        target: String,
        /// Ids that it resolved to.
        ids: Vec<u32>,
    },
    /// One instance is done.
    InstanceDone {
        /// Its id.
        id: u32,
        /// Its name.
        name: String,
        /// Why it is not ready yet, in words that follow its name. Its start continues.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        late: Option<String>,
    },
    /// One instance failed. The others continue; the final answer is a failure.
    InstanceFailed {
        /// Its id.
        id: u32,
        /// Its name.
        name: String,
        /// The reason, one line.
        reason: String,
    },
    /// Apps of the file that did not exist yet.
    NotRunning {
        /// Their names.
        names: Vec<String>,
    },
    /// A new app was launched with these instances.
    Launched {
        /// Its name.
        name: String,
        /// Ids of its instances.
        ids: Vec<u32>,
    },
    /// `wait_ready`: the daemon waits for this app.
    WaitingReady {
        /// Its name.
        name: String,
    },
    /// An action of an instance has returned.
    Returned {
        /// Its id.
        id: u32,
        /// Its name.
        name: String,
        /// Its namespace.
        namespace: String,
        /// Value that the app returned.
        value: serde_json::Value,
    },
    /// Step of an instance during a reload.
    Rollout {
        /// Its id.
        id: u32,
        /// Its name.
        name: String,
        /// The step, in words that follow a name.
        step: String,
        /// Whether users have to know of it after the reload.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_notable: bool,
    },
    /// A complete line for the user.
    Warning(String),
}
