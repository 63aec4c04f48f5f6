//! `pm2_env` of an item of `jlist`, and the variables that an app finds in its environment.
//!
//! ```text
//! {"pid":28414,"name":"tiny",
//!  "pm2_env":{"name":"tiny","namespace":"nsA",…,"status":"online",…},
//!  "pm_id":0,"monit":{"memory":53936128,"cpu":15.9}}
//! ```

use std::borrow::Cow;

use indexmap::IndexMap;
use ostler_core::app::git::WorkingTree;
use ostler_core::app::{AppSpec, EnvMap, ExecMode};
use ostler_core::lifecycle::{Counters, Instance, ProcessEnding};
use serde_json::{Map, Value, json};

use super::attributes;
use crate::control::{Detail, Files, HealthReport};

/// The PM2 release whose formats these are.
pub const PM2_VERSION: &str = "7.0.4";

/// Source of the data, borrowed, so that the daemon need not copy a description to spawn an app.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// `pm_id`.
    pub id: u32,
    /// Number of the instance within its app.
    pub index: u32,
    /// UUID of the instance.
    pub unique_id: &'a str,
    /// The lowest layer of the environment, if the description (`env.base`) does not contain it.
    pub base: Option<&'a EnvMap>,
    /// The description.
    pub spec: &'a AppSpec,
    /// Counters.
    pub counters: &'a Counters,
    /// PM2's status word.
    pub status: &'a str,
    /// Wire `exit_code` of the last exit: 0 for a signal, none before the first exit.
    pub exit_code: Option<i32>,
    /// Version of Node, if known.
    pub node_version: Option<&'a str>,
    /// Working tree in which it was started.
    pub working_tree: Option<&'a WorkingTree>,
    /// Custom actions of the app.
    pub axm_actions: &'a [Value],
    /// Its custom metrics.
    pub axm_monitor: &'a Map<String, Value>,
    /// Configuration of its probe.
    pub axm_options: &'a Map<String, Value>,
    /// Resolved file paths.
    pub files: &'a Files,
    /// User name for display.
    pub user: &'a str,
    /// PM2 home of the daemon.
    pub home: &'a str,
    /// Variables that `set <app>:<key> <value>` keeps for it.
    pub kept: Option<&'a EnvMap>,
}

impl<'a> View<'a> {
    /// Returns the wire `exit_code` of an instance.
    pub fn exit_code_of(instance: &Instance) -> Option<i32> {
        instance.exits.last().map(|exit| match exit.ending {
            ProcessEnding::Code(code) => code,
            // PM2 stores 0 for a death by signal, and scripts compare with 0. `ostler why` shows
            // the signal.
            ProcessEnding::Signal { .. } | ProcessEnding::Unknown => 0,
            ProcessEnding::SpawnFailed { .. } => 1,
        })
    }
}

impl<'a> From<&'a Detail> for View<'a> {
    fn from(detail: &'a Detail) -> Self {
        Self {
            id: detail.id,
            index: detail.index,
            unique_id: &detail.unique_id,
            base: None,
            spec: &detail.spec,
            counters: &detail.instance.counters,
            status: detail.instance.status(),
            exit_code: Self::exit_code_of(&detail.instance),
            node_version: detail.learned.node_version.as_deref(),
            working_tree: detail.learned.working_tree.as_deref(),
            axm_actions: &detail.learned.axm_actions,
            axm_monitor: &detail.learned.axm_monitor,
            axm_options: &detail.learned.axm_options,
            files: &detail.files,
            user: &detail.user,
            home: &detail.home,
            kept: Some(&detail.kept),
        }
    }
}

/// Returns the `pm2_env` object: attributes, the flattened environment, state.
///
/// PM2 differs: there, a variable with an attribute's name (`name`, `status`, `args`, …) overwrites
/// the attribute, and with it the daemon's own data. Here, the attribute is the setting in force,
/// or missing if it is not set. The variable is in `env`.
pub fn pm2_env(view: &View<'_>) -> Map<String, Value> {
    let env = attributes::object(view.spec, wire_vars(view).iter().map(|(name, value)| (*name, &**value)));
    let mut head = attributes::of(view.spec, view.files, view.user, env.clone());
    head.insert(instance_var(view.spec).into(), view.index.into());
    let tail = state(view);
    for (key, value) in env {
        if !head.contains_key(&key) && !tail.contains_key(&key) && !attributes::is_attribute(&key) {
            head.insert(key, value);
        }
    }
    head.extend(tail);
    head
}

/// Returns the variables that the daemon adds to an app's environment when it spawns it: every
/// scalar attribute under PM2's name, with the state `launching`. They override
/// [`ostler_core::app::EnvSpec::merged`].
///
/// A variable that the user declared for the app (`env_file`, `env`, the chosen profile) is left
/// alone even if it has an attribute's name. An inherited variable of the caller, which may be a
/// managed app itself, is overwritten.
pub fn scalar_env(view: &View<'_>) -> EnvMap {
    let view = View { status: "launching", ..*view };
    // `env` itself is not a scalar, so its contents are irrelevant here: a description without its
    // lowest layer is sufficient.
    let mut attributes = attributes::of(view.spec, view.files, view.user, Map::new());
    attributes.extend(state(&view));
    let declared = declared(view.spec);
    let mut vars: EnvMap = attributes
        .into_iter()
        .filter(|(key, _)| !declared.contains(&key.as_str()))
        .filter_map(|(key, value)| Some((key, scalar(value)?)))
        .collect();
    vars.insert("PM2_HOME".into(), view.home.into());
    vars.insert("PM2_USAGE".into(), "CLI".into());
    vars.insert("unique_id".into(), view.unique_id.into());
    vars.insert(instance_var(view.spec).into(), view.index.to_string());
    if let Some((key, value)) = incremented(&view) {
        vars.insert(key.to_owned(), value);
    }
    vars
}

/// Returns the names of the variables that the user declared for this app.
fn declared(spec: &AppSpec) -> Vec<&str> {
    let env = &spec.env;
    let profile = env.profile.as_ref().and_then(|name| env.profiles.get(name));
    [Some(&env.file), Some(&env.vars), profile].into_iter().flatten().flat_map(|layer| layer.keys().map(String::as_str)).collect()
}

/// Returns `env` as PM2 shows it: all layers, with the daemon's own variables on top.
pub(super) fn wire_vars<'a>(view: &View<'a>) -> IndexMap<&'a str, Cow<'a, str>> {
    let mut env: IndexMap<&str, Cow<'_, str>> = IndexMap::new();
    let layers = view.base.into_iter().chain(view.spec.env.layers()).chain(view.kept);
    for layer in layers {
        env.extend(layer.iter().map(|(name, value)| (name.as_str(), Cow::Borrowed(value.as_str()))));
    }
    env.insert("PM2_HOME", view.home.into());
    env.insert("PM2_USAGE", "CLI".into());
    if let Some((key, value)) = incremented(view) {
        env.insert(key, value.into());
    }
    env.insert("unique_id", view.unique_id.into());
    env
}

/// Returns the value of `increment_var` for this instance. Text that is not a number counts as 0,
/// as in PM2.
fn incremented<'a>(view: &View<'a>) -> Option<(&'a str, String)> {
    let key = view.spec.env.increment_var.as_deref()?;
    let text = view.base.into_iter().chain(view.spec.env.layers()).filter_map(|layer| layer.get(key)).last();
    let first: i64 = text.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    Some((key, first.saturating_add(view.index.into()).to_string()))
}

pub(super) fn instance_var(spec: &AppSpec) -> &str {
    spec.env.instance_var.as_deref().unwrap_or("NODE_APP_INSTANCE")
}

/// Returns the attributes that change while the app lives.
pub(super) fn state(view: &View<'_>) -> Map<String, Value> {
    let counters = view.counters;
    let created = counters.created.map(|now| now.wall_ms);
    let mut map = Map::new();
    let mut put = |key: &str, value: Value| drop(map.insert(key.into(), value));
    put("unique_id", view.unique_id.into());
    put("status", view.status.into());
    put("pm_uptime", counters.last_start.map(|now| now.wall_ms).or(created).into());
    put("axm_actions", view.axm_actions.into());
    put("axm_monitor", view.axm_monitor.clone().into());
    put("axm_options", axm_options(view).into());
    put("axm_dynamic", json!({}));
    // PM2 has null here after a failed start.
    put("created_at", if view.status == "errored" { Value::Null } else { created.into() });
    put("pm_id", view.id.into());
    put("restart_time", counters.restarts.into());
    put("unstable_restarts", counters.unstable.into());
    if view.spec.mode == ExecMode::Cluster {
        put("_pm2_version", PM2_VERSION.into());
    }
    put("version", view.spec.version.as_deref().unwrap_or("N/A").into());
    if let Some(version) = view.node_version {
        put("node_version", version.into());
    }
    if let Some(tree) = view.working_tree {
        put("versioning", versioning(tree));
    }
    if view.spec.restart.exp_backoff_ms > 0 || counters.last_delay_ms > 0 {
        put("prev_restart_delay", counters.last_delay_ms.into());
    }
    if let Some(code) = view.exit_code {
        put("exit_code", code.into());
    }
    map
}

/// Returns the options of an app's probes. In every Node app, PM2's own probe adds the app's name
/// to them, and dashboards read it.
fn axm_options(view: &View<'_>) -> Map<String, Value> {
    let mut options = view.axm_options.clone();
    let has_probe = view.spec.runs_in_node() && !view.spec.given.is("pmx", false);
    if has_probe && view.counters.last_start.is_some() {
        options.entry("module_name").or_insert_with(|| view.spec.name.as_str().into());
        options
            .entry("module_version")
            .or_insert_with(|| view.spec.version.as_deref().filter(|version| *version != "N/A").unwrap_or(PM2_VERSION).into());
    }
    options
}

/// Returns a working tree in the format of PM2's `vizion`, as far as git's files contain the data.
pub fn versioning(tree: &WorkingTree) -> Value {
    json!({ "type": "git", "url": tree.url, "revision": tree.revision, "branch": tree.branch, "remote": "origin", "repo_path": tree.root.to_string_lossy() })
}

/// Returns the health of an instance with checks; PM2 has no such attribute.
pub(super) fn health_status(health: &HealthReport) -> Value {
    let last = health.last.as_ref().map(|last| json!({"at": last.at.wall_ms, "good": last.good, "text": last.words}));
    json!({"status": health.state.as_str(), "since": health.since.wall_ms, "failures": health.failures, "last_answer": last})
}

/// Returns a number as JavaScript prints it: 0, not 0.0.
pub(super) fn number(value: f64) -> Value {
    #[expect(clippy::cast_possible_truncation, reason = "checked to be integral and small")]
    if value.fract() == 0.0 && value.abs() < 1e15 { (value as i64).into() } else { value.into() }
}

/// Returns the text of a scalar, or `None` for lists, objects and null.
fn scalar(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests;
