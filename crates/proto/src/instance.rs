//! Views of an instance: a row, a summary, the full detail.

use std::sync::Arc;

use ostler_core::app::git::WorkingTree;
use ostler_core::app::sandbox::kernel::SandboxReport;
use ostler_core::app::{AppSpec, EnvMap};
use ostler_core::cron::Ticks;
use ostler_core::lifecycle::Instance;
use ostler_core::lifecycle::observation::Observation;
use ostler_core::serving::interception::OwnSocket;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::event::{EventCause, LimitKind};
use crate::health::HealthReport;

/// Health of one instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HealthRow {
    /// `pm_id`.
    pub id: u32,
    /// App name.
    pub name: String,
    /// PM2's status word.
    pub status: String,
    /// Problem that checks found, although the instance may be online.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// Table row of an instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableRow {
    /// `pm_id`.
    pub id: u32,
    /// App name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// Version of the app's package, if known.
    pub version: Option<String>,
    /// `fork` or `cluster`.
    pub mode: ostler_core::app::ExecMode,
    /// Pid; 0 when not running.
    pub pid: i32,
    /// PM2's status word.
    pub status: String,
    /// Milliseconds since the start, while online.
    pub uptime_ms: Option<u64>,
    /// `restart_time`.
    pub restarts: u32,
    /// CPU and memory of the whole tree.
    pub monit: Monit,
    /// Name of the user it runs as.
    pub user: String,
    /// Whether it is watched for file changes.
    pub watching: bool,
    /// Health; none if the app has no checks or does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<ostler_core::health::HealthState>,
    /// Problem that its status does not show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<ostler_core::lifecycle::Trouble>,
    /// Last exit, if no process runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<LastExit>,
    /// Unrequested exits of the last [`RECENT_MS`], as far as they are kept; 0 for a job, which is
    /// expected to exit.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub recent_exits: u32,
    /// Limit that it exceeded in the last [`RECENT_MS`]; the newest one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exceeded: Option<LimitKind>,
    /// Memory limit in bytes: the smaller of the soft and the hard limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<u64>,
    /// Name of its sandbox: `web`, `strict` or `custom`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
    /// Whether it is a PM2 module.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub module: bool,
}

/// Time in which [`TableRow::recent_exits`] and [`TableRow::exceeded`] count, in milliseconds.
pub const RECENT_MS: u64 = 15 * 60_000;

/// Last exit of an instance that does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastExit {
    /// Time since the exit, in milliseconds.
    pub ago_ms: u64,
    /// How the process ended.
    pub ending: ostler_core::lifecycle::ProcessEnding,
    /// Whether a user, a schedule or a policy requested the exit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub requested: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// Summary of an instance: its table row and the paths of its files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Its table row; in JSON, its fields are on the same level as the others.
    #[serde(flatten)]
    pub row: TableRow,
    /// Number of unstable restarts.
    pub unstable: u32,
    /// Script path.
    pub script: String,
    /// Output log.
    pub out_file: Option<String>,
    /// Error log.
    pub error_file: Option<String>,
    /// Combined log.
    pub log_file: Option<String>,
    /// Pid file.
    pub pid_file: String,
    /// Commit from which it was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}

impl std::ops::Deref for Summary {
    type Target = TableRow;

    fn deref(&self) -> &TableRow {
        &self.row
    }
}

/// A measurement of an instance's process tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Monit {
    /// Percent of one core, one decimal.
    pub cpu_pct: f64,
    /// Resident memory in bytes.
    pub memory_bytes: u64,
    /// Processes in the tree.
    pub processes: u32,
}

/// JSON that is passed on unchanged, without being parsed.
#[derive(Clone, Debug)]
pub struct Json(JsonText);

#[derive(Clone, Debug)]
enum JsonText {
    /// Text from a serializer, or text that was read.
    Raw(Box<RawValue>),
    /// Text joined from the output of serializers. It is validated again only when it becomes part
    /// of another value.
    Written(String),
}

impl Json {
    /// Returns the JSON of a value.
    ///
    /// # Errors
    /// Returns an error if the value cannot be represented as JSON.
    pub fn of<T: Serialize>(value: &T) -> Result<Self, serde_json::Error> {
        serde_json::value::to_raw_value(value).map(|raw| Self(JsonText::Raw(raw)))
    }

    /// Wraps a text that was joined from the output of serializers.
    pub fn written(text: String) -> Self {
        Self(JsonText::Written(text))
    }

    /// Returns the text.
    pub fn text(&self) -> &str {
        match &self.0 {
            JsonText::Raw(raw) => raw.get(),
            JsonText::Written(text) => text,
        }
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            JsonText::Raw(raw) => raw.serialize(serializer),
            JsonText::Written(text) => serde_json::from_str::<&RawValue>(text).map_err(S::Error::custom)?.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(|raw| Self(JsonText::Raw(raw)))
    }
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

/// An instance in full.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detail {
    /// `pm_id`.
    pub id: u32,
    /// Number of the instance within its app (`NODE_APP_INSTANCE`).
    pub index: u32,
    /// Unique id of the instance, a UUID.
    pub unique_id: String,
    /// The description, `env.base` included.
    pub spec: AppSpec,
    /// State, counters, exits.
    pub instance: Instance,
    /// State of its schedule.
    #[serde(default, skip_serializing_if = "Ticks::are_none")]
    pub ticks: Ticks,
    /// Facts that the running process reported.
    pub learned: AppFacts,
    /// CPU and memory.
    pub monit: Monit,
    /// Resolved file paths.
    pub files: Files,
    /// User name for display.
    pub user: String,
    /// PM2 home of the daemon.
    pub home: String,
    /// The dependencies that it waits for before its start, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits_for: Vec<String>,
    /// Health; none if the app has no checks or does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthReport>,
    /// Cause of its current state; none if no event has occurred yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<EventCause>,
    /// Observations from its supervision, oldest first.
    #[serde(default, rename = "notes", skip_serializing_if = "Vec::is_empty")]
    pub observations: Vec<Observation>,
    /// Variables that `set <app>:<key> <value>` keeps for it.
    #[serde(default, skip_serializing_if = "EnvMap::is_empty")]
    pub kept: EnvMap,
}

/// Facts that an app sent over its IPC channel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AppFacts {
    /// Version of Node.
    pub node_version: Option<String>,
    /// Custom actions.
    pub axm_actions: Vec<serde_json::Value>,
    /// Custom metrics.
    pub axm_monitor: serde_json::Map<String, serde_json::Value>,
    /// Probe configuration.
    pub axm_options: serde_json::Map<String, serde_json::Value>,
    /// The open sockets that it got (`listen`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sockets: Vec<OpenSocket>,
    /// Sockets of its own that it keeps, although its app shares the ports that it opens.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub own_sockets: Vec<OwnSocket>,
    /// Status that the app reported through sd_notify (`STATUS=`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Ports of the sockets that the cluster workers of the app share.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<u16>,
    /// Git working tree in which it was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_tree: Option<Arc<WorkingTree>>,
    /// Sandbox that it was started with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<SandboxReport>,
}

ostler_core::static_default!(AppFacts);

/// A socket that was passed to an app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenSocket {
    /// Its name in `LISTEN_FDNAMES`.
    pub name: String,
    /// Its address: `127.0.0.1:8080`, `port 8080`, `/run/x.sock`.
    pub address: String,
}

/// Files of an instance, id suffix included.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Files {
    /// Standard output log.
    pub out: Option<String>,
    /// Standard error log.
    pub error: Option<String>,
    /// Combined log.
    pub combined: Option<String>,
    /// Pid file.
    pub pid: String,
}
