//! [`AppSpec`]: the normalized description of an app that every layer shares.
//!
//! The client builds it from options or an ecosystem file (`ostler-config`); the daemon gets only
//! this. Paths are absolute but *not* symlink-resolved: a `current` link is followed at each start.

pub mod args;
pub mod default_box;
pub mod diff;
mod env;
pub mod export_settings;
pub mod git;
pub mod given_options;
pub mod hooks;
pub mod inherit;
pub mod inspector;
pub mod instances;
pub mod launcher;
pub mod package;
pub mod program;
mod restart;
pub mod sandbox;
pub mod secrets;
pub mod select;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::app::default_box::{DefaultBox, is_default};
use crate::app::given_options::GivenOptions;
use crate::app::hooks::Hooks;
use crate::app::program::ProgramKind;
use crate::app::sandbox::SandboxSpec;
use crate::app::secrets::Secrets;
use crate::cron::CronSpec;
use crate::health::HealthSpec;
use crate::health::limits::HardLimits;
use crate::health::safeguards::Safeguards;
use crate::lifecycle::order::Dependencies;
use crate::logs::rotate::RotateSpec;
use crate::serving::{AutoscaleSettings, Listen, ReadyBy, RolloutSpec, Scheduling, Sticky};
use crate::watch::WatchSpec;

pub use env::EnvSpec;
pub use inherit::EnvMap;
pub use restart::{RestartBudget, RestartSpec};

/// An app as the user declares it; it has a name and one or more instances.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AppSpec {
    /// Any text without control characters; not unique by itself.
    pub name: String,
    /// Key of the app if it is not its name, because an app of another namespace had that name
    /// first.
    #[serde(skip_serializing_if = "is_default")]
    pub qualified: Option<String>,
    /// `default` unless given.
    pub namespace: String,
    /// Absolute path of the script or program (`pm_exec_path` on the wire), or the text of a shell
    /// command when `shell` is true.
    pub script: String,
    /// The target was a command line (it had a blank): `script` is the shell, `args` is
    /// `["-c", text]`, `interpreter` is none.
    #[serde(skip_serializing_if = "is_default")]
    pub shell: bool,
    /// Program that runs the script, as given or derived from the extension (`node`, `python3`,
    /// `/opt/x/node`); looked up in the *app's* `PATH` at each start. `None` = run the script
    /// itself (wire `none`).
    #[serde(skip_serializing_if = "is_default")]
    pub interpreter: Option<String>,
    /// Kind of the program that runs it, if the name of the interpreter does not show it.
    #[serde(skip_serializing_if = "is_default")]
    pub program: Option<ProgramKind>,
    /// Arguments before the script (`node_args`).
    #[serde(skip_serializing_if = "is_default")]
    pub interpreter_args: Vec<String>,
    /// Arguments after the script.
    #[serde(skip_serializing_if = "is_default")]
    pub args: Vec<String>,
    /// Absolute working directory.
    pub cwd: String,
    /// Folder of the first start, against which `cwd` and `script` were resolved; none = `cwd`
    /// itself.
    #[serde(skip_serializing_if = "is_default")]
    pub folder: Option<String>,
    /// Fork or cluster.
    pub mode: ExecMode,
    /// Number of instances (`max`, 0 and negative numbers are already resolved).
    pub instances: u32,
    /// `instances` was given explicitly (decides the log file suffix as PM2 does).
    #[serde(skip_serializing_if = "is_default")]
    pub instances_given: bool,
    /// User to run as: name or number as given.
    #[serde(skip_serializing_if = "is_default")]
    pub uid: Option<String>,
    /// Group to run as: name or number as given.
    #[serde(skip_serializing_if = "is_default")]
    pub gid: Option<String>,
    /// Environment, in layers.
    #[serde(skip_serializing_if = "is_default")]
    pub env: EnvSpec,
    /// Variables whose values are fetched at each start.
    #[serde(skip_serializing_if = "is_default")]
    pub secrets: Secrets,
    /// Destinations of the output.
    #[serde(skip_serializing_if = "is_default")]
    pub logs: LogSpec,
    /// Rotation of the logs (`log_rotate`), as far as the app sets it.
    #[serde(skip_serializing_if = "is_default")]
    pub log_rotate: DefaultBox<RotateSpec>,
    /// Explicit pid file; without it `<home>/pids/<name>-<id>.pid`. The id suffix is always added.
    #[serde(skip_serializing_if = "is_default")]
    pub pid_file: Option<String>,
    /// Start immediately; false = the entry is created as stopped.
    pub autostart: bool,
    /// Restart policy: when to restart and when to give up.
    #[serde(skip_serializing_if = "is_default")]
    pub restart: RestartSpec,
    /// Hooks: commands at fixed points of its life.
    #[serde(skip_serializing_if = "is_default")]
    pub hooks: DefaultBox<Hooks>,
    /// Dependencies: apps that must run first.
    #[serde(skip_serializing_if = "is_default")]
    pub order: DefaultBox<Dependencies>,
    /// How it is stopped.
    #[serde(skip_serializing_if = "is_default")]
    pub stop: StopSpec,
    /// Readiness: when a start counts as done.
    #[serde(skip_serializing_if = "is_default")]
    pub ready: ReadySpec,
    /// Sockets that every instance gets.
    #[serde(skip_serializing_if = "is_default")]
    pub listen: Vec<Listen>,
    /// Distribution of connections to cluster workers.
    #[serde(skip_serializing_if = "is_default")]
    pub scheduling: Scheduling,
    /// Stickiness: what binds a client to a worker.
    #[serde(skip_serializing_if = "is_default")]
    pub sticky: Option<Sticky>,
    /// Age from which a connection is closed after its next response, so that its client connects
    /// again.
    #[serde(skip_serializing_if = "is_default")]
    pub max_connection_age_ms: Option<u64>,
    /// Whether kept connections are retired before the stop signal.
    #[serde(skip_serializing_if = "is_default")]
    pub retire_connections: bool,
    /// Replacement of instances by a reload.
    #[serde(skip_serializing_if = "is_default")]
    pub rollout: RolloutSpec,
    /// Range of the number of instances, which then follows the load.
    #[serde(skip_serializing_if = "is_default")]
    pub autoscale: Option<AutoscaleSettings>,
    /// Schedule: restarts or runs at given times.
    #[serde(skip_serializing_if = "is_default")]
    pub cron: Option<Box<CronSpec>>,
    /// Scheduling and resource limits: nice, umask, rlimits.
    #[serde(skip_serializing_if = "is_default")]
    pub limits: LimitSpec,
    /// Confinement of its processes.
    #[serde(skip_serializing_if = "is_default")]
    pub sandbox: Option<Box<SandboxSpec>>,
    /// Restarts when files change.
    #[serde(skip_serializing_if = "is_default")]
    pub watch: DefaultBox<WatchSpec>,
    /// Health checks and limits of use; none = nothing is checked.
    #[serde(rename = "care", skip_serializing_if = "is_default")]
    pub safeguards: Option<Box<Safeguards>>,
    /// No preload in Node apps (`pmx: false`).
    #[serde(skip_serializing_if = "is_default")]
    pub no_preload: bool,
    /// Source maps for Node apps are on unless this is true.
    #[serde(skip_serializing_if = "is_default")]
    pub disable_source_map_support: bool,
    /// Absolute path of the ecosystem file this came from, so that
    /// `restart <name> --env production` can read it again.
    #[serde(skip_serializing_if = "is_default")]
    pub config_file: Option<String>,
    /// Version of the nearest `package.json`, or `N/A`.
    #[serde(skip_serializing_if = "is_default")]
    pub version: Option<String>,
    /// Every attribute as the user gave it, under its main name, for `pm2_env` and for features of
    /// later layers (`cron_restart`, `watch`, `max_memory_restart`, …). Never holds `env` or
    /// `env_*`.
    pub given: GivenOptions,
    /// Attributes that the command line set, and whether each replaced a value of the config file.
    /// A later command with the file keeps those that the file does not set.
    #[serde(skip_serializing_if = "is_default")]
    pub options: BTreeMap<String, bool>,
}

impl AppSpec {
    /// Returns the key by which the daemon knows the app: no two apps of one home share it. It is
    /// the name, or `namespace/name` if another namespace had the name first.
    pub fn key(&self) -> &str {
        self.qualified.as_deref().unwrap_or(&self.name)
    }

    /// Returns true for a job: it runs only at its scheduled times, and exits by itself.
    pub fn is_job(&self) -> bool {
        self.cron.as_ref().is_some_and(|cron| cron.job.is_some())
    }

    /// Records that the command line sets this attribute. Call it before `given` has the new value.
    pub fn note_option(&mut self, name: &str) {
        let replaces = !self.options.contains_key(name) && self.given.open().contains_key(name);
        self.options.entry(name.to_owned()).or_insert(replaces);
    }

    /// Returns true for a module of PM2: `all` does not select it, and a saved list leaves it out.
    pub fn is_module(&self) -> bool {
        self.given.is("pmx_module", true)
    }

    /// Returns true if Node itself runs it.
    pub fn runs_in_node(&self) -> bool {
        self.runs_in("node", ProgramKind::Node)
    }

    /// Returns true if Node runs it, directly or through another program that is expected to start
    /// Node.
    pub fn ends_in_node(&self) -> bool {
        !self.serves_in_a_child() && (self.runs_in_node() || self.program == Some(ProgramKind::StartsNode))
    }

    /// Returns true for a clustered app whose program runs the server in a child process, as `npm
    /// start` does. Node's cluster protocol reaches the program only.
    fn serves_in_a_child(&self) -> bool {
        self.mode == ExecMode::Cluster && launcher::launcher(self).is_some()
    }

    /// Returns true if its processes run with the preload, unless the preload is unreadable.
    pub fn has_preload(&self) -> bool {
        self.ends_in_node() && !self.no_preload
    }

    /// Returns true if Deno runs it.
    pub fn runs_in_deno(&self) -> bool {
        self.runs_in("deno", ProgramKind::Deno)
    }

    fn runs_in(&self, name: &str, kind: ProgramKind) -> bool {
        match self.program {
            Some(known) => known == kind,
            None => self.interpreter.as_deref().and_then(|path| path.rsplit('/').next()) == Some(name),
        }
    }

    /// Returns true if its runtime supports Node's cluster protocol, at least in part. Without a
    /// script, Node would neither use the variable nor remove it.
    pub fn supports_cluster(&self) -> bool {
        let is_known = self.ends_in_node() || self.runs_in_deno() || self.runs_in("bun", ProgramKind::Bun);
        is_known && !self.script.is_empty() && !self.serves_in_a_child()
    }

    /// Returns true if its processes get the variables of cluster workers. No other app's processes
    /// get them.
    pub fn has_workers(&self) -> bool {
        self.mode == ExecMode::Cluster && self.supports_cluster()
    }

    /// Returns true if its processes open a port that they share: they get sockets of the app in
    /// place of their own ([`crate::serving::interception`]).
    pub fn shares_opened_port(&self) -> bool {
        self.is_intercepted() && self.listen.is_empty()
    }

    /// Returns true if calls of `bind` of its processes are intercepted: they open ports that they
    /// share, or ports that `listen` declares.
    pub fn is_intercepted(&self) -> bool {
        let declares_ports = self.listen.iter().any(|listen| listen.at.port().is_some());
        let may_share = declares_ports || self.listen.is_empty() && self.env.increment_var.is_none();
        self.mode == ExecMode::Cluster && !self.supports_cluster() && !self.script.is_empty() && may_share
    }

    /// Returns true if each of its processes has a separate socket for a port. This is false if a
    /// cluster protocol spreads connections, if the app wants one socket for all, and for unix
    /// sockets, which the kernel cannot group.
    pub fn has_shards(&self) -> bool {
        let has_port = self.shares_opened_port() || self.listen.iter().any(|listen| listen.at.port().is_some());
        !self.has_workers() && self.scheduling != Scheduling::Shared && has_port
    }

    /// Returns the health checks, if any.
    pub fn health(&self) -> Option<&HealthSpec> {
        self.safeguards.as_ref().map(|safeguards| &safeguards.health)
    }

    /// Returns the limits that the kernel enforces, if any.
    pub fn hard_limits(&self) -> Option<&HardLimits> {
        self.safeguards.as_ref().map(|safeguards| &safeguards.hard).filter(|hard| !hard.is_none())
    }

    /// Returns true if a second process can share its ports: ostler holds the sockets, or its
    /// workers share their ports by themselves.
    pub fn shares_its_ports(&self) -> bool {
        !self.listen.is_empty() || self.has_workers()
    }
}

crate::static_default!(Hooks, Dependencies, RotateSpec, WatchSpec);

impl Default for AppSpec {
    fn default() -> Self {
        Self {
            name: String::new(),
            qualified: None,
            namespace: "default".into(),
            script: String::new(),
            shell: false,
            interpreter: None,
            program: None,
            interpreter_args: Vec::new(),
            args: Vec::new(),
            cwd: "/".into(),
            folder: None,
            mode: ExecMode::Fork,
            instances: 1,
            instances_given: false,
            uid: None,
            gid: None,
            env: EnvSpec::default(),
            secrets: Secrets::new(),
            logs: LogSpec::default(),
            log_rotate: DefaultBox::default(),
            pid_file: None,
            autostart: true,
            restart: RestartSpec::default(),
            hooks: DefaultBox::default(),
            order: DefaultBox::default(),
            stop: StopSpec::default(),
            ready: ReadySpec::default(),
            listen: Vec::new(),
            scheduling: Scheduling::default(),
            sticky: None,
            max_connection_age_ms: None,
            retire_connections: false,
            rollout: RolloutSpec::default(),
            autoscale: None,
            cron: None,
            limits: LimitSpec::default(),
            sandbox: None,
            watch: DefaultBox::default(),
            safeguards: None,
            no_preload: false,
            disable_source_map_support: false,
            config_file: None,
            version: None,
            given: GivenOptions::default(),
            options: BTreeMap::new(),
        }
    }
}

/// Mode in which the processes of an app are run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExecMode {
    /// An ordinary child process (wire `fork_mode`).
    #[default]
    #[serde(rename = "fork_mode")]
    Fork,
    /// A Node cluster worker (wire `cluster_mode`).
    #[serde(rename = "cluster_mode")]
    Cluster,
}

/// Destinations of output. Paths are absolute and without the id suffix (the daemon adds it, see
/// `merge_logs`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogSpec {
    /// File of standard output; `None` = `<home>/logs/<name>-out.log`.
    pub out_file: Option<String>,
    /// File of standard error; `None` = `<home>/logs/<name>-error.log`.
    pub error_file: Option<String>,
    /// Combined file.
    pub log_file: Option<CombinedLog>,
    /// One pair of files for all instances: no id suffix.
    pub merge_logs: bool,
    /// No logs at all: neither files nor followers.
    pub disable_logs: bool,
    /// One JSON object per line.
    pub json: bool,
    /// day.js format of the date before each line; `time: true` is `YYYY-MM-DDTHH:mm:ss`.
    pub date_format: Option<String>,
}

/// The combined log file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum CombinedLog {
    /// `<home>/logs/<name>.log`.
    Default,
    /// An absolute path.
    Path(String),
}

/// How an app is stopped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StopSpec {
    /// Signal number of the polite request; `None` = the daemon's default (SIGINT, or
    /// `PM2_KILL_SIGNAL`). For servers in other languages that get their sockets by `listen`,
    /// SIGTERM replaces SIGINT.
    pub signal: Option<i32>,
    /// Time until SIGKILL; `None` = 1600.
    pub kill_timeout_ms: Option<u64>,
    /// PM2's name for two of the kill modes: false = only the main process.
    pub treekill: bool,
    /// Processes that a stop reaches; `None` = as `treekill` sets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kill_mode: Option<KillMode>,
    /// Send the IPC message `shutdown` instead of a signal if the process has a channel.
    pub shutdown_with_message: bool,
    /// Time for pending requests before the polite request, if an instance is drained; `None` = 30
    /// s, or `kill_timeout_ms` if that is longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_timeout_ms: Option<u64>,
}

impl Default for StopSpec {
    fn default() -> Self {
        Self { signal: None, kill_timeout_ms: None, treekill: true, kill_mode: None, shutdown_with_message: false, drain_timeout_ms: None }
    }
}

impl StopSpec {
    /// Returns the processes that a stop reaches.
    pub fn kill_mode(&self) -> KillMode {
        self.kill_mode.unwrap_or(if self.treekill { KillMode::Tree } else { KillMode::Process })
    }
}

/// Processes that a stop reaches: systemd's `KillMode`, where `tree` is `control-group`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KillMode {
    /// The whole tree gets the polite request, and the whole tree is killed.
    Tree,
    /// The main process gets the polite request. The processes that it leaves are killed
    /// immediately; after the timeout everything is killed.
    Mixed,
    /// Only the main process gets the polite request and SIGKILL; its child processes keep running.
    Process,
}

impl KillMode {
    /// Returns the mode of this name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "tree" | "control-group" => Some(Self::Tree),
            "mixed" => Some(Self::Mixed),
            "process" => Some(Self::Process),
            _ => None,
        }
    }

    /// Returns the name as it is written in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tree => "tree",
            Self::Mixed => "mixed",
            Self::Process => "process",
        }
    }

    /// Returns the default if no option sets a mode and PM2's behaviour is not requested. A program
    /// stops its own children, and prefork servers let theirs finish their requests. A shell does
    /// not forward signals, and many scripts that run other programs under Node do not either.
    pub fn usual(spec: &AppSpec) -> Self {
        const PASSES_NOTHING_ON: [&str; 11] = ["node", "bun", "deno", "sh", "bash", "dash", "ash", "busybox", "zsh", "ksh", "fish"];
        let program = spec.interpreter.as_deref().unwrap_or(&spec.script);
        let name = program.rsplit('/').next().unwrap_or(program);
        if spec.shell || spec.has_workers() || PASSES_NOTHING_ON.contains(&name) { Self::Tree } else { Self::Mixed }
    }
}

/// Readiness: when a start counts as done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReadySpec {
    /// Wait for the app's `ready`.
    pub wait_ready: bool,
    /// Longest wait; `None` = 3000.
    pub listen_timeout_ms: Option<u64>,
    /// `ready_timeout_action: accept`: a timeout counts as ready, as in PM2; otherwise the start
    /// has failed.
    pub accept_timeout: bool,
    /// Signal of readiness; `None` = [`ReadyBy::Message`] with `wait_ready`; without it, a start
    /// needs no proof.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<Box<ReadyBy>>,
    /// Longest time between two heartbeats by sd_notify (`WATCHDOG=1`); `None` = none are expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watchdog_ms: Option<u64>,
}

impl ReadySpec {
    /// Returns the readiness signal that a start waits for; `None` = the start is done when the
    /// program is executed.
    pub fn proof(&self) -> Option<ReadyBy> {
        self.by.as_deref().cloned().or_else(|| self.wait_ready.then_some(ReadyBy::Message))
    }
}

/// Scheduling and resource limits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LimitSpec {
    /// Nice value, -20..=19.
    pub nice: Option<i32>,
    /// File mode creation mask.
    pub umask: Option<u32>,
    /// Resource limits as (resource, soft, hard); `None` = unlimited. Resource names as in
    /// `ulimit`/systemd without `Limit`: `nofile`, `core`, …
    pub rlimits: Vec<(String, Option<u64>, Option<u64>)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clustered_launcher_shares_the_port_of_its_child() {
        let (cluster, fork) = (ExecMode::Cluster, ExecMode::Fork);
        for (script, mode, has_workers, shares_opened_port, has_preload) in [
            ("/srv/app.js", cluster, true, false, true),
            ("/usr/bin/npm", cluster, false, true, false),
            ("/usr/bin/npm", fork, false, false, true),
        ] {
            let spec = AppSpec { script: script.into(), interpreter: Some("node".into()), mode, ..AppSpec::default() };
            let found = (spec.has_workers(), spec.shares_opened_port(), spec.has_preload());
            assert_eq!(found, (has_workers, shares_opened_port, has_preload), "{script} {mode:?}");
        }
    }

    #[test]
    fn option_records_whether_it_replaces_a_file_value() {
        let mut spec = AppSpec::default();
        for (name, in_file, expected) in [("a", false, false), ("b", true, true), ("a", true, false), ("b", true, true)] {
            if in_file {
                spec.given.open_mut().insert(name.into(), 1.into());
            }
            spec.note_option(name);
            assert_eq!(spec.options.get(name), Some(&expected), "{name}");
        }
    }
}
