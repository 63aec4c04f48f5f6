//! The native API: requests, responses and events on `ostler.sock`.
//!
//! A client sends [`ClientFrame`]s; the first carries [`Request::Hello`]. The daemon answers each request with zero or more
//! [`Response::Progress`] frames and exactly one final response, all carrying the request's id.

use std::collections::BTreeMap;

use ostler_core::app::{AppSpec, EnvMap};
use serde::{Deserialize, Serialize};

pub use crate::event::{Event, Missed, Position};
pub use crate::failure::Failure;
pub use crate::figures::{Figures, InstanceFigures, RouteFigures, Window};
pub use crate::health::HealthReport;
pub use crate::host::{HostReport, InterfaceReport, MountReport};
pub use crate::instance::{Detail, Files, HealthRow, Json, Learned, Monit, OpenSocket, Summary, TableRow};
pub use crate::rollout::{FaultReport, ReplicaReport, RolloutReport, RolloutState};
pub use crate::said::Said;

/// Version of this API. A daemon refuses a client with another number and names both versions.
///
/// Raised with every change that the other side would not understand: a new request, answer or variant of anything in them, another name, a
/// field that has to be there. `tests/wire.rs` fails when that is forgotten. A new optional field needs none.
pub const PROTOCOL: u32 = 3;

/// Most characters of `on_behalf_of` in [`Request::Hello`].
pub const MAX_ON_BEHALF_OF: usize = 128;

/// Frame of a client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClientFrame {
    /// Chosen by the client, repeated in every answer.
    pub id: u64,
    /// The request.
    pub request: Request,
}

/// Frame of the daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DaemonFrame {
    /// The request this answers.
    pub id: u64,
    /// The answer.
    pub response: Response,
}

/// Every request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// First of all. Answer: [`Response::Hello`]. In every version of the protocol this, [`Request::Ping`] and [`Request::Update`] are as they
    /// are here and are served to clients of all versions: else a newer program could not replace an older daemon.
    Hello {
        /// [`PROTOCOL`] of the client.
        protocol: u32,
        /// Its version, for messages.
        version: String,
        /// Whether this connection only reads, and stays so: every request that changes something ([`Request::is_read_only`]) is refused with
        /// [`Failure::ReadOnly`].
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        read_only: bool,
        /// Person for whom this client asks: the user of a login, `ssh user@host`. Whoever may connect may do everything anyway, so this is believed and
        /// gives no right; it is shown beside the client's uid and pid. Of more than [`MAX_ON_BEHALF_OF`] characters the first are kept.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        on_behalf_of: Option<String>,
    },
    /// Answer: [`Response::Pong`].
    Ping,
    /// All instances, short. Answer: [`Response::List`].
    List,
    /// What a table shows of all instances. Answer: [`Response::Table`].
    Table,
    /// Health of instances, without anything that would have to be measured. Answer: [`Response::Health`]; an unknown target is [`Failure::NotFound`].
    Health {
        /// What to select; empty = all.
        targets: Vec<String>,
    },
    /// Instances in full (environment included). Answer: [`Response::Details`]; an unknown target is [`Failure::NotFound`].
    Inspect {
        /// What to select; empty = all.
        targets: Vec<String>,
        /// Working directory of the caller, for script paths; without it a path is no target.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        cwd: String,
    },
    /// All instances in PM2's shape (environment included). Answer: [`Response::Processes`].
    Processes,
    /// Starts apps. Answer: progress, then [`Response::Done`].
    Start {
        /// The apps. `env.base` of each is empty: it travels once, in `base_env`.
        apps: Vec<AppSpec>,
        /// Environment of the client.
        base_env: EnvMap,
        /// What to do with apps that exist already.
        existing: Existing,
        /// Command word, for the record.
        command: String,
        /// Proof of the start that is waited for besides; none = it was executed (and is ready, where it says so).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        confirm: Option<Confirm>,
        /// Whether instances of `autostart: false` that never ran stay stopped unless a target is
        /// their name or id, as in PM2.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        named_only: bool,
        /// Whether PM2's rules hold: an app of the same name in any namespace is the app to start
        /// anew, and log and pid files get PM2's names, which several apps can share.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        as_pm2: bool,
    },
    /// Does something to existing instances. Answer: progress, then [`Response::Done`].
    Act {
        /// The action.
        action: Action,
        /// The targets: one after the other (see `together`), the first failure ends it.
        targets: Vec<String>,
        /// Directory against which script paths among the targets are resolved.
        cwd: String,
        /// Changes applied before (restart, reload).
        change: Option<Box<Change>>,
        /// How many instances at the same time; 0 = all.
        parallel: u32,
        /// Whether what runs may finish what it does (stop, delete).
        gentle: bool,
        /// Time for which the first new instance of a reload is watched; none = as the app says.
        canary_ms: Option<u64>,
        /// Command word, for the record.
        command: String,
        /// Whether instances of `autostart: false` that never ran stay stopped unless a target is
        /// their name or id, as in PM2.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        named_only: bool,
        /// See `confirm` of [`Request::Start`] (restart, reload).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        confirm: Option<Confirm>,
        /// Namespace outside of which the targets mean no app; none = all namespaces.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        namespace: Option<String>,
        /// Whether all targets are one selection (stop, delete): an app stops as soon as nothing of
        /// the selection that depends on it runs, whatever the order of the targets.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        together: bool,
    },
    /// Replacements of releases: under way, and the last ones. Answer: [`Response::Rollouts`].
    Rollouts {
        /// The app; none = all.
        app: Option<String>,
    },
    /// Goes back to an earlier release, in the way of a reload. Answer: progress, then [`Response::Done`].
    Undo {
        /// The app.
        app: String,
        /// The release; none = the one before.
        to: Option<u32>,
        /// Command word, for the record.
        command: String,
    },
    /// Runs a job now. Answer: progress, then [`Response::Done`] when it has begun (or waits for the end of the present run).
    RunJob {
        /// Name, id or namespace; everything it selects has to be a job.
        target: String,
        /// Command word, for the record.
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
        /// Whether the oldest instances go first, as in PM2; else the newest.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        oldest_first: bool,
        /// See `confirm` of [`Request::Start`], for instances that are added.
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
    /// Calls an action that apps offer over their channel. Answer: [`Progress::Selected`] with the instances that were told, [`Progress::Returned`] or
    /// [`Progress::InstanceFailed`] for each of them, then [`Response::Done`] or [`Failure::Some`].
    Trigger {
        /// Name, id, namespace or `all`.
        target: String,
        /// The action, as the app calls it.
        action: String,
        /// Text for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        params: Option<String>,
        /// Longest wait for an answer.
        within_ms: u64,
    },
    /// Has Node apps take a profile of themselves. Answer as for [`Request::Trigger`]; what is returned is the path of a file that the app has written.
    Profile {
        /// Name, id, namespace or `all`.
        target: String,
        /// What is profiled.
        kind: Profile,
        /// For how long; nothing for [`Profile::Heap`].
        ms: u64,
    },
    /// Has workers of Node apps open a way to themselves: what connects to it reaches the server of that very process on this port, which all workers share.
    /// Nothing of the app changes, and a way that nobody uses is closed. Answer as for [`Request::Trigger`]; what is returned is the path of a unix socket.
    Reach {
        /// Name, id, namespace or `all`.
        target: String,
        /// Port of the server.
        port: u16,
    },
    /// Writes into the standard input of an instance, all of the text or nothing. Answer: [`Response::Done`].
    Input {
        /// Its id.
        id: u32,
        /// The text, with the end of its line.
        text: String,
    },
    /// Brings in instances of another manager, as it describes them: what runs there is started, what is stopped is listed. Those whose name is in the list
    /// already are left alone. Answer: progress, then [`Response::Done`].
    Restore {
        /// Entries in the shape of PM2's saved list, one per instance.
        entries: Vec<serde_json::Value>,
        /// The other manager, while its sockets are in the way of those that cluster workers of these apps ask for: they get copies of them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sockets_of: Option<OtherManager>,
    },
    /// Truncates log files. Answer: [`Response::Paths`].
    Flush {
        /// Name or id; none = all and the daemon's own log.
        target: Option<String>,
        /// Log in place of the daemon's own; none = that of the running daemon.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        own: Option<String>,
    },
    /// Figures of the machine. Answer: [`Response::Host`].
    Host,
    /// The settings of the home (`module_conf.json`) were changed. Answer: [`Response::Done`].
    SettingsChanged,
    /// Reopens log files. Answer: [`Response::LogsReloaded`].
    ReloadLogs,
    /// Writes `dump.pm2`. Answer: [`Response::Paths`] (the file), or [`Failure::NothingToSave`].
    Save {
        /// Whether also an empty list is saved.
        force: bool,
        /// Files of the list; none = those of the running daemon.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        files: Option<SavedFiles>,
    },
    /// Starts what `dump.pm2` holds. Answer: progress, then [`Response::Done`].
    Resurrect,
    /// Stops and forgets everything, then the daemon ends. Answer: progress, [`Response::Done`], end of the connection.
    Kill,
    /// Replaces daemon and keeper by the program at this path; apps go on. Answer: [`Response::Done`], end of the connection.
    Update {
        /// Absolute path of the new binary.
        exe: String,
    },
    /// Checks whether daemon and keeper are alive. Answer: [`Response::Pong`], when the keeper has answered the daemon.
    Pulse,
    /// Events that are still known. Answer: [`Response::Events`].
    Events,
    /// Subscribes: from now on, every [`Event`] is sent as [`Response::Happened`] with this request's id, until the connection ends, or until
    /// [`Response::FellBehind`].
    Subscribe {
        /// First the events after that position, as far as they are still known; those that are not are counted by [`Response::Missed`]. None = from now on only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<Position>,
    },
    /// Listens: from now on, every message of these topics that an app sends over its channel is sent as [`Response::Said`] with this request's id, until the
    /// connection ends. Messages that this client does not read in time are dropped; none is kept for later.
    Listen {
        /// The topics, e.g. `process:exception`.
        topics: Vec<String>,
    },
    /// Has the preload of Node apps measure what they do, for this time from now on; it goes on while it is asked for again. Answer: [`Response::Figures`].
    Collect {
        /// For how long; two minutes at most.
        for_ms: u64,
    },
}

impl Request {
    /// True if nothing is changed by it, neither apps nor files nor the daemon: it may be sent again when nobody knows what became of it, and on a
    /// connection that only reads.
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
    /// The list before it.
    pub backup: String,
}

/// Daemon of another manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherManager {
    /// Its pid.
    pub pid: i32,
    /// Its start time, clock ticks since boot.
    pub start_ticks: u64,
}

/// Proof of a start: that the runtime runs the script, and that each new process stays up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirm {
    /// Longest wait after the request.
    pub within_ms: u64,
    /// Whether a failure of the process meanwhile is one of the start.
    pub early_exit_fails: bool,
    /// Whether each new process has to run for its `min_uptime`. The first one that exits before is a failure, and other instances of its app
    /// that have not been touched stay as they are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub watches: bool,
    /// Whether the client is answered as soon as the daemon has taken the order, without any proof.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub detached: bool,
}

/// Action of `start` on an app whose name exists.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Existing {
    /// A plain script: same script and name and not running → start it; running → [`Failure::AlreadyLaunched`]; other script → new.
    PlainScript {
        /// Start another one although it runs.
        force: bool,
    },
    /// A config file: every instance of that name gets the new description, then is restarted.
    Restart,
    /// The same with a rolling reload.
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
    /// Where the CPU time goes.
    Cpu,
    /// What is allocated, and where.
    Memory,
    /// Everything that is in memory.
    Heap,
}

impl Profile {
    /// The word for it.
    pub fn word(self) -> &'static str {
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
    /// Counters to zero.
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
    /// Where apps of one name have different descriptions: which of `specs` an instance gets, by its id.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub spec_of: BTreeMap<u32, usize>,
}

/// Target of `scale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScaleTo {
    /// So many.
    Exactly(u32),
    /// So many more (or fewer).
    By(i32),
}

/// Every answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// Answer to hello.
    Hello {
        /// [`PROTOCOL`] of the daemon.
        protocol: u32,
        /// Its version.
        version: String,
        /// Its pid.
        pid: i32,
        /// The keeper's pid.
        keeper_pid: i32,
        /// Whether this connection only reads, as it was asked.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        read_only: bool,
    },
    /// Alive.
    Pong,
    /// Short list, by id.
    List(Vec<Summary>),
    /// Rows of a table, by id.
    Table(Vec<TableRow>),
    /// Health of instances, by id.
    Health(Vec<HealthRow>),
    /// Full list, by id.
    Details(Vec<Detail>),
    /// PM2's list ([`crate::pm2::Process`]), by id.
    Processes(Json),
    /// A step on the way; more follows.
    Progress(Progress),
    /// Success. Ids touched, in order.
    Done {
        /// Instances that were touched.
        ids: Vec<u32>,
    },
    /// Replacements of releases, the oldest first.
    Rollouts(Vec<RolloutReport>),
    /// Files touched.
    Paths(Vec<String>),
    /// Figures of the machine; none = they are turned off (`pm2:sysmonit`).
    Host(Option<Box<HostReport>>),
    /// Outcome for each log that has one; a log that was never renamed has none.
    LogsReloaded(Vec<ReloadedLog>),
    /// Failed; nothing more follows.
    Failed(Failure),
    /// Events, the oldest first.
    Events {
        /// The events that are known.
        list: Vec<Event>,
        /// The position from which to [`Request::Subscribe`].
        position: Position,
    },
    /// An event (after [`Request::Subscribe`]).
    Happened(Event),
    /// Of the events that were asked for, these are not known any more; what comes next is the oldest that is.
    Missed(Missed),
    /// What Node apps do, as far as it was measured until now, by id.
    Figures(Vec<InstanceFigures>),
    /// A message of an app (after [`Request::Listen`]).
    Said(Said),
    /// This follower did not read: what waited for it was dropped, and the connection ends. It may connect again and subscribe from its position.
    FellBehind,
}

/// One log after [`Request::ReloadLogs`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReloadedLog {
    /// As the app's description has it.
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
    /// Its lines pass through the daemon, which reopens it with the next line.
    Reopened,
    /// It had been renamed; new lines arrive at its path again.
    #[serde(rename = "handed_back")]
    Reclaimed {
        /// The file with the old lines.
        rotated: String,
        /// Their bytes.
        bytes: u64,
        /// Time for which its writers stood still, in microseconds.
        stalled_us: u64,
    },
    /// It had been renamed, and that is how it stays.
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
        /// What it resolved to.
        ids: Vec<u32>,
    },
    /// One instance is done.
    InstanceDone {
        /// Its id.
        id: u32,
        /// Its name.
        name: String,
    },
    /// One instance failed; others go on, the final answer is a failure.
    InstanceFailed {
        /// Its id.
        id: u32,
        /// Its name.
        name: String,
        /// The reason, one line.
        reason: String,
    },
    /// Apps of the file that were not there yet.
    NotRunning {
        /// Their names.
        names: Vec<String>,
    },
    /// A new app was launched with so many instances.
    Launched {
        /// Its name.
        name: String,
        /// Ids of its instances.
        ids: Vec<u32>,
    },
    /// `wait_ready`: waiting for this app.
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
        /// What the app says.
        value: serde_json::Value,
    },
    /// An instance of a reload.
    Rollout {
        /// Its id.
        id: u32,
        /// Its name.
        name: String,
        /// The step, in words that follow a name.
        step: String,
    },
    /// A line for the user, already worded.
    Warning(String),
}
