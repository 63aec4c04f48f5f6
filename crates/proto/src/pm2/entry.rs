//! One entry of a dump that PM2 wrote (or that a user edited): attributes → description.

use ostler_core::app::inherit::EnvPolicy;
use ostler_core::app::{AppSpec, CombinedLog, EnvMap, ExecMode, KillMode};
use ostler_core::cron::{CronSpec, JobSpec, Schedule};
use ostler_core::health::limits::MemoryAmount;
use ostler_core::health::safeguards::Safeguards;
use ostler_core::message;
use serde_json::{Map, Value};
use std::sync::Arc;

/// Attribute that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttributeError {
    /// Attribute that is missing or has a wrong value.
    #[error("{key}: {reason}")]
    Value {
        /// Its name.
        key: String,
        /// The description of the fault.
        reason: String,
    },
    /// Variable with a NUL character, which no process can have.
    #[error("{}", message!("variable {name} contains a NUL character", name = _0))]
    NulInVariable(String),
    /// Path or argument with a NUL character.
    #[error("{}", message!("a path or argument contains a NUL character"))]
    Nul,
}

impl AttributeError {
    pub(super) fn value(key: &str, reason: impl Into<String>) -> Self {
        Self::Value { key: key.to_owned(), reason: reason.into() }
    }
}

/// Leftovers of the runtime and internals that never belong to a description.
const NOT_OPTIONS: [&str; 51] = [
    "health_status",
    "name",
    "namespace",
    "args",
    "env",
    "node_args",
    "pm_exec_path",
    "pm_cwd",
    "exec_interpreter",
    "exec_mode",
    "instances",
    "pm_log_path",
    "pm_out_log_path",
    "pm_err_log_path",
    "pm_pid_path",
    "km_link",
    "vizion_running",
    "unique_id",
    "status",
    "pm_uptime",
    "axm_actions",
    "axm_monitor",
    "axm_options",
    "axm_dynamic",
    "created_at",
    "pm_id",
    "restart_time",
    "unstable_restarts",
    "version",
    "node_version",
    "prev_restart_delay",
    "exit_code",
    "_tree_pids",
    "_pm2_version",
    "_km_monitored",
    "username",
    "versioning",
    "merge_logs",
    "autostart",
    "autorestart",
    "treekill",
    "instance_var",
    "increment_var",
    "script",
    "out_file",
    "error_file",
    "log_file",
    "pid_file",
    "updateEnv",
    "restart_task",
    "PM2_HOME",
];

/// Variables that PM2 or ostler add to `env` by themselves.
const ADDED: [&str; 6] = ["unique_id", "PM2_HOME", "PM2_USAGE", "PM2_JSON_PROCESSING", "PM2_INTERACTOR_PROCESSING", "updateEnv"];

/// Reader of single attributes.
struct Entry<'a> {
    map: &'a Map<String, Value>,
    env: Option<&'a Map<String, Value>>,
    /// Whether the variables of `env` also appear among the attributes, as in PM2's lists.
    is_flattened: bool,
}

impl<'a> Entry<'a> {
    /// Returns an optional attribute. In PM2, a variable of the same name may have overwritten it;
    /// its original value is then unknown.
    fn get(&self, key: &str) -> Option<&'a Value> {
        // A variable that overwrote the attribute has the same value. If the values differ, the
        // attribute is ours and in force.
        let is_overwritten = |env: &Map<String, Value>| env.get(key).is_some_and(|var| self.map.get(key).and_then(to_text) == to_text(var));
        if self.is_flattened && self.env.is_some_and(is_overwritten) {
            return None;
        }
        self.map.get(key).filter(|value| !value.is_null())
    }

    fn text(&self, key: &str) -> Option<String> {
        self.get(key).and_then(to_text)
    }

    fn flag(&self, key: &str) -> Option<bool> {
        match self.get(key)? {
            Value::Bool(flag) => Some(*flag),
            Value::String(text) if text == "true" => Some(true),
            Value::String(text) if text == "false" => Some(false),
            _ => None,
        }
    }

    /// Returns a whole, non-negative number; PM2 stores some numbers as text.
    fn number(&self, key: &str) -> Option<u64> {
        to_number(self.get(key)?)
    }

    fn list(&self, key: &str) -> Result<Vec<String>, AttributeError> {
        match self.get(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) => {
                let words: Option<Vec<String>> = list.iter().map(to_text).collect();
                words.ok_or_else(|| AttributeError::value(key, message!("expected a list of strings")))
            }
            Some(Value::String(text)) => Ok(ostler_core::app::args::split(text)),
            Some(_) => Err(AttributeError::value(key, message!("expected a list or a string"))),
        }
    }
}

/// Returns the description.
///
/// # Errors
/// Returns one line that names the invalid attribute and the problem.
pub(super) fn to_spec(map: &Map<String, Value>) -> Result<AppSpec, AttributeError> {
    read(&Entry { map, env: map.get("env").and_then(Value::as_object), is_flattened: true })
}

/// Returns the description for attributes that no variable has overwritten: PM2's clients send them
/// separately from the environment.
///
/// # Errors
/// Returns the errors of [`to_spec`].
pub(super) fn attributes_to_spec(map: &Map<String, Value>) -> Result<AppSpec, AttributeError> {
    read(&Entry { map, env: map.get("env").and_then(Value::as_object), is_flattened: false })
}

fn read(entry: &Entry<'_>) -> Result<AppSpec, AttributeError> {
    let map = entry.map;
    let script = path(map, "pm_exec_path")?;
    let name = map.get("name").and_then(to_text).filter(|name| !name.is_empty()).unwrap_or_else(|| stem(&script));
    if name.chars().any(char::is_control) {
        return Err(AttributeError::value("name", message!("contains control characters")));
    }
    let interpreter = entry.text("exec_interpreter").filter(|name| name != "none" && !name.is_empty());
    let args = entry.list("args")?;
    let mode = if entry.text("exec_mode").is_some_and(|mode| mode.starts_with("cluster")) { ExecMode::Cluster } else { ExecMode::Fork };
    let mut spec = AppSpec {
        shell: interpreter.is_none() && is_shell(&script) && matches!(args.as_slice(), [flag, _] if flag == "-c"),
        interpreter_args: entry.list("node_args")?,
        cwd: path(map, "pm_cwd")?,
        instances_given: mode == ExecMode::Cluster || entry.flag("merge_logs") != Some(true),
        uid: entry.text("uid"),
        gid: entry.text("gid"),
        pid_file: entry.text("pm_pid_path").filter(|path| !is_default_pid_file(path, &name)),
        autostart: entry.flag("autostart").unwrap_or(true),
        disable_source_map_support: entry.flag("disable_source_map_support").unwrap_or(false),
        version: entry.text("version").filter(|version| version != "N/A"),
        given: options(entry).into(),
        namespace: entry.text("namespace").filter(|name| !name.is_empty()).unwrap_or_else(|| "default".into()),
        name,
        script,
        interpreter,
        args,
        mode,
        ..AppSpec::default()
    };
    environment(entry, &mut spec);
    logs(entry, &mut spec);
    lifecycle(entry, &mut spec)?;
    // Ignore an invalid watch setting: a saved list has to be restored whatever PM2 accepted.
    spec.watch = ostler_core::watch::WatchSpec::read(&spec.given.open(), &spec.cwd).unwrap_or_default().into();
    spec.cron = cron(&spec.given.open()).map(Box::new);
    no_nul(&spec)?;
    Ok(spec)
}

/// Returns the schedule; a schedule that PM2 accepted but ostler cannot parse is left out.
fn cron(given: &Map<String, Value>) -> Option<CronSpec> {
    fn parse_word<T: serde::de::DeserializeOwned>(value: Option<&Value>) -> Option<T> {
        value.and_then(|value| T::deserialize(value).ok())
    }
    let pattern = |value: &Value| value.as_str().map(|text| text.trim().to_owned()).filter(|text| Schedule::parse(text).is_ok());
    let mut cron = match (given.get("cron_restart").and_then(pattern), given.get("job")) {
        (Some(pattern), _) => CronSpec::restarts(pattern),
        (None, Some(job)) => CronSpec::job(pattern(job.get("schedule").unwrap_or(job))?, JobSpec::default()),
        (None, None) => return None,
    };
    cron.zone = given.get("timezone").and_then(to_text);
    cron.overlap = parse_word(given.get("overlap")).unwrap_or(cron.overlap);
    cron.run_on = parse_word(given.get("run_on")).unwrap_or(cron.run_on);
    cron.catch_up = given.get("catch_up") == Some(&Value::Bool(true));
    Some(cron)
}

/// Returns the number of the instance within its app.
pub(super) fn index(map: &Map<String, Value>) -> Option<u32> {
    let key = map.get("instance_var").and_then(Value::as_str).unwrap_or("NODE_APP_INSTANCE");
    u32::try_from(to_number(map.get(key)?)?).ok()
}

fn lifecycle(entry: &Entry<'_>, spec: &mut AppSpec) -> Result<(), AttributeError> {
    spec.restart.autorestart = entry.flag("autorestart").unwrap_or(true);
    spec.restart.max_restarts = entry.number("max_restarts").and_then(|n| u32::try_from(n).ok());
    spec.restart.min_uptime_ms = entry.number("min_uptime");
    spec.restart.restart_delay_ms = entry.number("restart_delay").unwrap_or(0);
    spec.restart.exp_backoff_ms = entry.number("exp_backoff_restart_delay").unwrap_or(0);
    spec.restart.stop_exit_codes = exit_codes(entry)?;
    spec.stop.signal = entry.number("kill_signal").and_then(|n| i32::try_from(n).ok());
    spec.stop.kill_timeout_ms = entry.number("kill_timeout");
    spec.stop.treekill = entry.flag("treekill").unwrap_or(true);
    spec.stop.kill_mode = entry.text("kill_mode").as_deref().and_then(KillMode::named);
    spec.env.policy = entry.text("env_policy").as_deref().and_then(EnvPolicy::named).unwrap_or_default();
    spec.stop.shutdown_with_message = entry.flag("shutdown_with_message").unwrap_or(false);
    let memory = entry.number("max_memory_restart").filter(|bytes| *bytes > 0).map(MemoryAmount::Bytes);
    spec.safeguards = memory.map(|memory| Box::new(Safeguards { memory: Some(memory), ..Safeguards::default() }));
    spec.ready.wait_ready = entry.flag("wait_ready").unwrap_or(false);
    spec.ready.listen_timeout_ms = entry.number("listen_timeout");
    // Attributes of PM2 have PM2's meaning: an app that is late counts as ready.
    spec.ready.accept_timeout = entry.text("ready_timeout_action").as_deref() != Some("fail");
    spec.limits.nice = entry.get("nice").and_then(Value::as_i64).and_then(|n| i32::try_from(n).ok()).filter(|n| (-20..=19).contains(n));
    Ok(())
}

fn exit_codes(entry: &Entry<'_>) -> Result<Vec<i32>, AttributeError> {
    let code = |value: &Value| to_number(value).and_then(|n| i32::try_from(n).ok());
    match entry.get("stop_exit_codes") {
        None => Ok(Vec::new()),
        Some(Value::Array(list)) => {
            let codes: Option<Vec<i32>> = list.iter().map(code).collect();
            codes.ok_or_else(|| AttributeError::value("stop_exit_codes", message!("expected a list of numbers")))
        }
        Some(single) => Ok(code(single).into_iter().collect()),
    }
}

fn logs(entry: &Entry<'_>, spec: &mut AppSpec) {
    let logs = &mut spec.logs;
    logs.out_file = entry.text("pm_out_log_path");
    logs.error_file = entry.text("pm_err_log_path");
    logs.log_file = entry.text("pm_log_path").map(CombinedLog::Path);
    logs.merge_logs = entry.flag("merge_logs").unwrap_or(false);
    logs.disable_logs = entry.flag("disable_logs").unwrap_or(false);
    logs.json = entry.text("log_type").as_deref() == Some("json");
    logs.date_format = if entry.flag("time") == Some(true) {
        Some("YYYY-MM-DDTHH:mm:ss".into())
    } else {
        entry.text("log_date_format").filter(|format| !format.is_empty())
    };
}

/// Reads the environment. PM2 stores a single merged one; the layer of each variable is lost, so
/// all belong to the lowest layer.
fn environment(entry: &Entry<'_>, spec: &mut AppSpec) {
    let env = &mut spec.env;
    env.instance_var = entry.text("instance_var").filter(|name| name != "NODE_APP_INSTANCE" && !name.is_empty());
    env.increment_var = entry.text("increment_var").filter(|name| !name.is_empty());
    let base = Arc::make_mut(&mut env.base);
    for (key, value) in entry.env.into_iter().flatten() {
        // PM2 names one variable after the app: module settings, which are empty unless the user
        // ran `pm2 set`.
        let own_name = *key == spec.name && matches!(to_variable(value).as_str(), "{}");
        if !ADDED.contains(&key.as_str()) && !own_name && is_variable_name(key) {
            if value.is_number() || value.is_boolean() {
                env.bare.entry("env".into()).or_default().push(key.clone());
            }
            base.insert(key.clone(), to_variable(value));
        }
    }
    if let Some(key) = &env.increment_var {
        // The file has the value of *this* instance; the description holds the value of the first.
        let shown = base.get(key).and_then(|text| text.parse::<i64>().ok());
        if let (Some(shown), Some(index)) = (shown, index(entry.map)) {
            base.insert(key.clone(), shown.saturating_sub(index.into()).to_string());
        }
    }
    for (key, value) in entry.map {
        if let (Some(name), Value::Object(vars)) = (key.strip_prefix("env_"), value) {
            let vars: EnvMap = vars.iter().filter(|(key, _)| is_variable_name(key)).map(|(k, v)| (k.clone(), to_variable(v))).collect();
            env.profiles.insert(name.into(), vars);
        }
    }
}

/// Returns all entries that are neither structure, nor runtime state, nor a flattened variable.
fn options(entry: &Entry<'_>) -> Map<String, Value> {
    let instance_var = entry.map.get("instance_var").and_then(Value::as_str);
    let is_flat = |key: &str| {
        let var = entry.env.filter(|_| entry.is_flattened).and_then(|env| env.get(key));
        var.is_some_and(|var| entry.map.get(key).and_then(to_text) == to_text(var))
    };
    let is_variable = |key: &str| is_flat(key) || instance_var == Some(key);
    let is_profile = |key: &str, value: &Value| key.starts_with("env_") && value.is_object();
    let is_option = |key: &str, value: &Value| !(NOT_OPTIONS.contains(&key) || is_variable(key) || is_profile(key, value));
    entry.map.iter().filter(|(key, value)| is_option(key, value)).map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Returns an absolute path.
fn path(map: &Map<String, Value>, key: &str) -> Result<String, AttributeError> {
    match map.get(key) {
        Some(Value::String(text)) if text.starts_with('/') => Ok(text.clone()),
        Some(Value::String(text)) => {
            Err(AttributeError::value(key, message!("expected an absolute path, found {found}", found = format!("{text:?}"))))
        }
        Some(_) => Err(AttributeError::value(key, message!("expected a string"))),
        None => Err(AttributeError::value(key, message!("missing"))),
    }
}

/// Checks that no value contains a NUL, because the values reach system calls.
fn no_nul(spec: &AppSpec) -> Result<(), AttributeError> {
    let has_nul = |text: &str| text.contains('\0');
    let texts = [&spec.script, &spec.cwd].into_iter().chain(&spec.args).chain(&spec.interpreter_args).chain(&spec.interpreter);
    let log_file = match &spec.logs.log_file {
        Some(CombinedLog::Path(path)) => Some(path),
        _ => None,
    };
    let files = [&spec.logs.out_file, &spec.logs.error_file, &spec.pid_file].into_iter().flatten().chain(log_file);
    if texts.chain(files).any(|text| has_nul(text)) {
        return Err(AttributeError::Nul);
    }
    let vars = [&*spec.env.base].into_iter().chain(spec.env.profiles.values());
    match vars.flatten().find(|(_, value)| has_nul(value)) {
        Some((key, _)) => Err(AttributeError::NulInVariable(key.clone())),
        None => Ok(()),
    }
}

fn is_variable_name(key: &str) -> bool {
    !key.is_empty() && !key.contains(['=', '\0'])
}

fn is_shell(script: &str) -> bool {
    matches!(script.rsplit('/').next(), Some("bash" | "sh"))
}

/// Returns a name as PM2 writes it in file names.
pub(super) fn file_part(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '\\') { c } else { '-' }).collect()
}

/// Returns true for `…/pids/<name>-<digits>.pid`, with the name as PM2 writes it in file names.
fn is_default_pid_file(path: &str, name: &str) -> bool {
    let part = file_part(name);
    let mut parts = path.rsplit('/');
    let (file, folder) = (parts.next().unwrap_or_default(), parts.next());
    let id = file.strip_suffix(".pid").and_then(|stem| stem.strip_prefix(&part)).and_then(|rest| rest.strip_prefix('-'));
    folder == Some("pids") && id.is_some_and(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit()))
}

/// Returns the file name without its last extension: PM2's default name.
fn stem(script: &str) -> String {
    let file = script.rsplit('/').next().unwrap_or(script);
    file.rsplit_once('.').map_or(file, |(stem, _)| if stem.is_empty() { file } else { stem }).to_owned()
}

fn to_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Returns a value of `env` as the process sees it.
fn to_variable(value: &Value) -> String {
    to_text(value).unwrap_or_else(|| value.to_string())
}

fn to_number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64().or_else(|| {
            let float = number.as_f64().filter(|float| float.fract() == 0.0 && (0.0..9e15).contains(float))?;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be whole and in range")]
            Some(float as u64)
        }),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}
