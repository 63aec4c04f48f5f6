//! The native API: requests, responses and events on `ostler.sock`.
//!
//! A client sends [`ClientFrame`]s; the first carries [`Request::Hello`]. The daemon answers each
//! request with zero or more [`Response::Progress`] frames and exactly one final response, all
//! carrying the request's id.

use std::collections::BTreeMap;

use ostler_core::app::{AppSpec, EnvMap};
use serde::{Deserialize, Serialize};

pub use crate::app_message::AppMessage;
pub use crate::event::{Event, MissedEntries, Position};
pub use crate::failure::Failure;
pub use crate::figures::{Figures, InstanceFigures, RouteFigures, Window};
pub use crate::health::HealthReport;
pub use crate::host::{HostReport, InterfaceReport, MountReport};
pub use crate::instance::{AppFacts, Detail, Files, HealthRow, Json, LastExit, Monit, OpenSocket, RECENT_MS, Summary, TableRow};
pub use crate::response::{LogOutcome, Progress, ReloadedLog, Response};
pub use crate::rollout::{FaultReport, ReplicaReport, RolloutReport, RolloutState};

/// Version of this API. A daemon rejects a client with another number and names both versions.
///
/// Raise it with every change that the other side would not understand: a new request, answer or
/// variant anywhere in them, another name, a new required field. `tests/wire.rs` fails if you
/// forget. A new optional field does not need a new version.
pub const PROTOCOL: u32 = 3;

/// Maximum number of characters of `on_behalf_of` in [`Request::Hello`].
pub const MAX_ON_BEHALF_OF: usize = 128;

/// Frame of a client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClientFrame {
    /// Number that the client chooses. Every answer repeats it.
    pub id: u64,
    /// The request.
    pub request: Request,
}

/// Frame of the daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DaemonFrame {
    /// Id of the request that this answers.
    pub id: u64,
    /// The answer.
    pub response: Response,
}

/// Every request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Always the first request. Answer: [`Response::Hello`]. This request, [`Request::Ping`] and
    /// [`Request::Update`] have the same form in every version of the protocol, and the daemon
    /// serves them to clients of all versions. Otherwise a newer program could not replace an older
    /// daemon.
    Hello {
        /// [`PROTOCOL`] of the client.
        protocol: u32,
        /// Its version, for messages.
        version: String,
        /// Whether this connection only ever reads. The daemon then rejects every request that
        /// changes something (see [`Request::is_read_only`]) with [`Failure::ReadOnly`].
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        read_only: bool,
        /// Person for whom this client asks: the user of a login, `ssh user@host`. Any client that
        /// can connect has all rights anyway, so the daemon trusts this name and derives no rights
        /// from it. It is shown beside the client's uid and pid. Only the first
        /// [`MAX_ON_BEHALF_OF`] characters are kept.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        on_behalf_of: Option<String>,
    },
    /// Answer: [`Response::Pong`].
    Ping,
    /// All instances, in short form. Answer: [`Response::List`].
    List,
    /// The table rows of all instances. Answer: [`Response::Table`].
    Table,
    /// Health of instances, without new measurements. Answer: [`Response::Health`]; an unknown
    /// target is [`Failure::NotFound`].
    Health {
        /// Targets to select; empty = all.
        targets: Vec<String>,
    },
    /// Instances in full (environment included). Answer: [`Response::Details`]; an unknown target
    /// is [`Failure::NotFound`].
    Inspect {
        /// Targets to select; empty = all.
        targets: Vec<String>,
        /// Working directory of the caller, for script paths. If it is empty, a path does not count
        /// as a target.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        cwd: String,
    },
    /// All instances in PM2's shape (environment included). Answer: [`Response::Processes`].
    Processes,
    /// Starts apps. Answer: progress, then [`Response::Done`].
    Start {
        /// The apps. `env.base` of each is empty: it is sent once, in `base_env`.
        apps: Vec<AppSpec>,
        /// Environment of the client.
        base_env: EnvMap,
        /// Action on apps that already exist.
        existing: Existing,
        /// Command word, for the records.
        command: String,
        /// Proof of success that the client waits for. `None` waits until the program is executed,
        /// and until it is ready if the app declares readiness.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        confirm: Option<Confirm>,
        /// Whether instances with `autostart: false` that never ran stay stopped unless a target is
        /// their name or id, as in PM2.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        named_only: bool,
        /// Whether PM2's rules apply: an app of the same name in any namespace is the one to start
        /// again. Log and pid files get PM2's names, which several apps can share.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        as_pm2: bool,
    },
    /// Performs an action on existing instances. Answer: progress, then [`Response::Done`].
    Act {
        /// The action.
        action: Action,
        /// The targets, processed one after the other (see `together`). The first failure stops the
        /// request.
        targets: Vec<String>,
        /// Directory for relative script paths among the targets.
        cwd: String,
        /// Changes to apply first (restart, reload).
        change: Option<Box<Change>>,
        /// Number of instances handled at the same time; 0 = all.
        parallel: u32,
        /// Whether instances may finish their current work (stop, delete).
        gentle: bool,
        /// Time for which the first new instance of a reload is watched; none = the app's own
        /// setting.
        canary_ms: Option<u64>,
        /// Command word, for the records.
        command: String,
        /// Whether instances with `autostart: false` that never ran stay stopped unless a target is
        /// their name or id, as in PM2.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        named_only: bool,
        /// See `confirm` of [`Request::Start`] (restart, reload).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        confirm: Option<Confirm>,
        /// Namespace that limits the targets; none = all namespaces.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        namespace: Option<String>,
        /// Whether all targets form one selection (stop, delete). An app then stops as soon as no
        /// running app of the selection depends on it, whatever the order of the targets.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        together: bool,
    },
    /// Replacements of releases: those in progress, and the most recent ones. Answer:
    /// [`Response::Rollouts`].
    Rollouts {
        /// The app; none = all.
        app: Option<String>,
    },
    /// Rolls back to an earlier release, in the manner of a reload. Answer: progress, then
    /// [`Response::Done`].
    Undo {
        /// The app.
        app: String,
        /// The release; none = the previous one.
        to: Option<u32>,
        /// Command word, for the records.
        command: String,
    },
    /// Runs a job now. Answer: progress, then [`Response::Done`] when it has started, or when it is
    /// queued behind the current run.
    RunJob {
        /// Name, id or namespace; everything that it selects has to be a job.
        target: String,
        /// Command word, for the records.
        command: String,
    },
    /// Changes the number of instances. Answer: progress, then [`Response::Done`].
    Scale {
        /// Name or script path.
        name: String,
        /// See `cwd` of [`Request::Act`].
        cwd: String,
        /// The new number.
        to: ScaleTo,
        /// Whether the oldest instances are removed first, as in PM2; otherwise the newest.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        oldest_first: bool,
        /// See `confirm` of [`Request::Start`]; applies to added instances.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        confirm: Option<Confirm>,
    },
    /// Sends a signal to main processes. Answer: progress, then [`Response::Done`].
    Signal {
        /// Signal number.
        signal: i32,
        /// Name, id or `all`.
        target: String,
    },
    /// Calls an action that apps offer over their channel. Answer: [`Progress::Selected`] with the
    /// instances that get the call, then [`Progress::Returned`] or [`Progress::InstanceFailed`] for
    /// each of them, then [`Response::Done`] or [`Failure::Some`].
    Trigger {
        /// Name, id, namespace or `all`.
        target: String,
        /// The action, by the app's name for it.
        action: String,
        /// Text parameter of the action.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        params: Option<String>,
        /// Maximum wait for an answer.
        within_ms: u64,
    },
    /// Makes Node apps record a profile of themselves. Answer as for [`Request::Trigger`]; the
    /// returned value is the path of a file that the app has written.
    Profile {
        /// Name, id, namespace or `all`.
        target: String,
        /// Subject of the profile.
        kind: Profile,
        /// Duration of the recording; not used by [`Profile::Heap`].
        ms: u64,
    },
    /// Makes workers of Node apps open a private socket. A connection to it reaches the server of
    /// that one worker on this port, which all workers share. The app itself does not change, and
    /// an unused socket is closed. Answer as for [`Request::Trigger`]; the returned value is the
    /// path of a unix socket.
    Reach {
        /// Name, id, namespace or `all`.
        target: String,
        /// Port of the server.
        port: u16,
    },
    /// Writes into the standard input of an instance: the whole text, or nothing. Answer:
    /// [`Response::Done`].
    Input {
        /// Its id.
        id: u32,
        /// The text, including its line end.
        text: String,
    },
    /// Imports instances of another manager in the form in which it describes them. Running ones
    /// are started, stopped ones are listed. Instances whose name is already in the list are left
    /// alone. Answer: progress, then [`Response::Done`].
    Restore {
        /// Entries in the form of PM2's saved list, one per instance.
        entries: Vec<serde_json::Value>,
        /// The other manager, while it still holds the sockets that cluster workers of these apps
        /// request. The workers then get copies of these sockets.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sockets_of: Option<OtherManager>,
    },
    /// Truncates log files. Answer: [`Response::Paths`].
    Flush {
        /// Name or id; none = all and the daemon's own log.
        target: Option<String>,
        /// Path of the log to use instead of the daemon's own; none = the log of the running
        /// daemon.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        own: Option<String>,
    },
    /// Metrics of the machine. Answer: [`Response::Host`].
    Host,
    /// Announces that the settings of the home (`module_conf.json`) were changed. Answer:
    /// [`Response::Done`].
    SettingsChanged,
    /// Reopens log files. Answer: [`Response::LogsReloaded`].
    ReloadLogs,
    /// Writes `dump.pm2`. Answer: [`Response::Paths`] with the file, or [`Failure::NothingToSave`].
    Save {
        /// Whether to save even an empty list.
        force: bool,
        /// Files of the list; none = those of the running daemon.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        files: Option<SavedFiles>,
    },
    /// Starts the instances in `dump.pm2`. Answer: progress, then [`Response::Done`].
    Resurrect,
    /// Stops and forgets everything, then the daemon exits. Answer: progress, [`Response::Done`],
    /// end of the connection.
    Kill,
    /// Replaces daemon and keeper by the program at this path; apps keep running. Answer:
    /// [`Response::Done`], end of the connection.
    Update {
        /// Absolute path of the new binary.
        exe: String,
    },
    /// Checks whether daemon and keeper are alive. Answer: [`Response::Pong`] when the keeper has
    /// answered the daemon.
    Pulse,
    /// All events that the daemon still has. Answer: [`Response::Events`].
    Events,
    /// Subscribes to events. From now on, the daemon sends every [`Event`] as
    /// [`Response::Happened`] with this request's id, until the connection ends or
    /// [`Response::FellBehind`] arrives.
    Subscribe {
        /// Position after which events are sent first, as far as the daemon still has them.
        /// [`Response::Missed`] counts the lost events. None = new events only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<Position>,
    },
    /// Listens to app messages. From now on, the daemon forwards every message of these topics from
    /// the channels of apps. Each is a [`Response::AppMessage`] with this request's id, until the
    /// connection ends. If the client does not read in time, messages are dropped; the daemon
    /// stores none for later.
    Listen {
        /// The topics, e.g. `process:exception`.
        topics: Vec<String>,
    },
    /// Makes the preload of Node apps measure their activity from now on for this time; each
    /// further request extends it. Answer: [`Response::Figures`].
    Collect {
        /// Duration; two minutes at most.
        for_ms: u64,
    },
}

impl Request {
    /// Returns a plain action on these targets, which form one selection.
    pub fn act(action: Action, targets: Vec<String>, command: &str) -> Self {
        Self::Act {
            action,
            targets,
            cwd: String::new(),
            change: None,
            parallel: 0,
            gentle: false,
            canary_ms: None,
            command: command.to_owned(),
            named_only: false,
            confirm: None,
            namespace: None,
            together: true,
        }
    }

    /// Returns true if the request changes neither apps nor files nor the daemon. Clients may then
    /// repeat it if the answer was lost, and may send it on a read-only connection.
    pub fn is_read_only(&self) -> bool {
        match self {
            Self::Hello { .. }
            | Self::Ping
            | Self::List
            | Self::Table
            | Self::Health { .. }
            | Self::Processes
            | Self::Inspect { .. }
            | Self::Rollouts { .. }
            | Self::Host
            | Self::Pulse
            | Self::Events
            | Self::Subscribe { .. }
            | Self::Listen { .. }
            | Self::Reach { .. }
            | Self::Collect { .. } => true,
            Self::Start { .. }
            | Self::Act { .. }
            | Self::Undo { .. }
            | Self::RunJob { .. }
            | Self::Scale { .. }
            | Self::Signal { .. }
            | Self::Trigger { .. }
            | Self::Profile { .. }
            | Self::Restore { .. }
            | Self::Input { .. }
            | Self::Flush { .. }
            | Self::SettingsChanged
            | Self::ReloadLogs
            | Self::Save { .. }
            | Self::Resurrect
            | Self::Kill
            | Self::Update { .. } => false,
        }
    }
}

/// Absolute paths of a saved list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedFiles {
    /// The list.
    pub list: String,
    /// The previous list.
    pub backup: String,
}

/// Daemon of another manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherManager {
    /// Its pid.
    pub pid: i32,
    /// Its start time in clock ticks since boot.
    pub start_ticks: u64,
}

/// Proof that a start succeeded: the runtime runs the script, and each new process stays up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirm {
    /// Maximum wait after the request.
    pub within_ms: u64,
    /// Whether an exit of the process during the wait counts as a failed start.
    pub early_exit_fails: bool,
    /// Whether each new process has to run for its `min_uptime`. The first process that exits
    /// before that is a failure. Instances of its app that have not been replaced yet then stay
    /// unchanged.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub watches: bool,
    /// Whether the daemon answers as soon as it has accepted the request, without any proof.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub detached: bool,
}

/// Action of `start` on an app whose name already exists.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Existing {
    /// A plain script: same script and name and not running → start it; running →
    /// [`Failure::AlreadyLaunched`]; other script → new.
    PlainScript {
        /// Start another one although it already runs.
        force: bool,
    },
    /// A config file: every instance of that name gets the new description and is restarted.
    Restart,
    /// The same as `Restart`, but with a rolling reload.
    Reload {
        /// See `parallel` of [`Request::Act`].
        parallel: u32,
        /// See `canary_ms` of [`Request::Act`].
        canary_ms: Option<u64>,
    },
}

/// Subject of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// CPU time by function.
    Cpu,
    /// Memory allocations by function.
    Memory,
    /// Snapshot of everything in memory.
    Heap,
}

impl Profile {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Heap => "heap",
        }
    }
}

/// Action on instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Stop.
    Stop,
    /// Stop and start.
    Restart,
    /// Rolling restart.
    Reload,
    /// Stop and forget.
    Delete,
    /// Reset the counters to zero.
    Reset,
}

/// Changes to apply with a restart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Change {
    /// The caller's environment, merged into the app's (`--update-env`).
    pub env: Option<EnvMap>,
    /// Switch to this profile (`--env NAME`).
    pub profile: Option<String>,
    /// Variables set on top (`--env K=V`).
    pub vars: EnvMap,
    /// Replace the arguments (`-- args`).
    pub args: Option<Vec<String>>,
    /// Attributes given as options, by main name, as in [`AppSpec::given`].
    pub attributes: serde_json::Map<String, serde_json::Value>,
    /// Complete new descriptions by app name, made by the client from the remembered config file.
    pub specs: Vec<AppSpec>,
    /// If apps of one name have different descriptions: the index in `specs` for each instance, by
    /// its id.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub spec_of: BTreeMap<u32, usize>,
}

/// Target of `scale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScaleTo {
    /// This many.
    Exactly(u32),
    /// This many more (or fewer).
    By(i32),
}
