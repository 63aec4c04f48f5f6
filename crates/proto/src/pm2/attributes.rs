//! Attributes of an app under PM2's names.

use ostler_core::app::inherit::EnvPolicy;
use ostler_core::app::{AppSpec, CombinedLog, ExecMode, ReadySpec};
use serde_json::{Map, Value};

use crate::control::Files;

/// Names in `AppSpec::given` that have another name, or a field of their own, on the wire.
pub(super) const RENAMED: [&str; 22] = [
    "name",
    "namespace",
    "script",
    "cwd",
    "args",
    "node_args",
    "interpreter_args",
    "exec_interpreter",
    "interpreter",
    "exec_mode",
    "instances",
    "out_file",
    "error_file",
    "log_file",
    "pid_file",
    "port",
    "env",
    "env_file",
    "merge_logs",
    "autostart",
    "autorestart",
    "treekill",
];

/// Returns true for names of attributes and of state that PM2 knows. An app's variable with such a
/// name appears in `env` only: at the top level, readers would take it for a setting in force.
pub(super) fn is_attribute(name: &str) -> bool {
    RENAMED.contains(&name) || KNOWN.contains(&name) || CONSTANT.iter().any(|(key, _)| *key == name)
}

/// Attributes and state that are not in [`RENAMED`].
const KNOWN: [&str; 68] = [
    "_km_monitored",
    "_pm2_version",
    "_tree_pids",
    "append_env_to_name",
    "automation",
    "axm_actions",
    "axm_dynamic",
    "axm_monitor",
    "axm_options",
    "created_at",
    "cron_restart",
    "deep_monitoring",
    "disable_logs",
    "disable_source_map_support",
    "disable_trace",
    "env_policy",
    "event_loop_inspector",
    "execute_command",
    "exit_code",
    "exp_backoff_restart_delay",
    "filter_env",
    "force",
    "gid",
    "health_status",
    "ignore_watch",
    "increment_var",
    "install_url",
    "instance_var",
    "io",
    "kill_mode",
    "kill_retry_time",
    "kill_signal",
    "kill_timeout",
    "listen_timeout",
    "log_date_format",
    "log_type",
    "max_memory_restart",
    "max_restarts",
    "min_uptime",
    "name_prefix",
    "nice",
    "node_version",
    "pm_id",
    "pm_log_path",
    "pm_uptime",
    "pmx",
    "pmx_module",
    "post_update",
    "prev_restart_delay",
    "restart_delay",
    "restart_time",
    "shutdown_with_message",
    "source_map_support",
    "status",
    "stop_exit_codes",
    "time",
    "trace",
    "uid",
    "unstable_restarts",
    "username",
    "v8",
    "version",
    "versioning",
    "vizion",
    "wait_ready",
    "watch",
    "watch_delay",
    "watch_options",
];

/// PM2 attributes for which ostler always reports the same value.
pub(super) const CONSTANT: [(&str, bool); 2] = [("km_link", false), ("vizion_running", false)];

/// Returns all attributes that do not change while the app lives, in PM2's order.
pub(super) fn of(spec: &AppSpec, files: &Files, user: &str, env: Map<String, Value>) -> Map<String, Value> {
    let options = &*spec.given.open();
    let mut map = Map::new();
    map.insert("name".into(), spec.name.clone().into());
    if may_be_unset(spec, options, "filter_env") {
        map.insert("filter_env".into(), options.get("filter_env").cloned().unwrap_or_else(|| Value::Array(Vec::new())));
    }
    map.insert("namespace".into(), spec.namespace.clone().into());
    if !spec.args.is_empty() || options.contains_key("args") {
        map.insert("args".into(), spec.args.clone().into());
    }
    map.insert("env".into(), Value::Object(env));
    given(options, &mut map);
    typed(spec, options, &mut map);
    if spec.logs.merge_logs {
        map.insert("merge_logs".into(), true.into());
    }
    defaulted(options, "vizion", true.into(), &mut map);
    map.insert("autostart".into(), spec.autostart.into());
    map.insert("autorestart".into(), spec.restart.autorestart.into());
    if may_be_unset(spec, options, "watch") {
        defaulted(options, "watch", false.into(), &mut map);
    }
    map.insert("instance_var".into(), spec.env.instance_var.as_deref().unwrap_or("NODE_APP_INSTANCE").into());
    defaulted(options, "pmx", true.into(), &mut map);
    defaulted(options, "automation", true.into(), &mut map);
    map.insert("treekill".into(), spec.stop.treekill.into());
    map.insert("username".into(), user.into());
    defaulted(options, "windowsHide", true.into(), &mut map);
    defaulted(options, "kill_retry_time", 100.into(), &mut map);
    for (name, vars) in &spec.env.profiles {
        let key = format!("env_{name}");
        let vars = vars.iter().map(|(name, value)| (name.clone(), shown(spec, &key, name, value))).collect();
        map.insert(key, Value::Object(vars));
    }
    map.insert("node_args".into(), spec.interpreter_args.clone().into());
    map.insert("pm_exec_path".into(), spec.script.clone().into());
    map.insert("pm_cwd".into(), spec.cwd.clone().into());
    map.insert("exec_interpreter".into(), spec.interpreter.as_deref().unwrap_or("none").into());
    map.insert("exec_mode".into(), mode(spec.mode).into());
    map.insert("instances".into(), spec.instances.into());
    paths(spec, files, &mut map);
    as_given(options, &mut map);
    for (key, value) in CONSTANT {
        map.insert(key.into(), value.into());
    }
    // A null in the options means that a restart has removed the attribute.
    map.retain(|key, _| options.get(key) != Some(&Value::Null));
    map
}

/// Returns `fork_mode` or `cluster_mode`.
pub(super) fn mode(mode: ExecMode) -> &'static str {
    match mode {
        ExecMode::Fork => "fork_mode",
        ExecMode::Cluster => "cluster_mode",
    }
}

/// Returns the variables as PM2 shows them: numbers and booleans of the file keep their type.
pub(super) fn object<'a>(spec: &AppSpec, env: impl Iterator<Item = (&'a str, &'a str)>) -> Map<String, Value> {
    env.map(|(name, value)| (name.to_owned(), bare(spec, name, value).unwrap_or_else(|| value.into()))).collect()
}

fn shown(spec: &AppSpec, key: &str, name: &str, text: &str) -> Value {
    bare_of(spec, key, name, text).unwrap_or_else(|| text.into())
}

/// Returns the number or boolean that a variable was in the file, or `None` if it was a text.
pub(super) fn bare(spec: &AppSpec, name: &str, text: &str) -> Option<Value> {
    if spec.env.bare.is_empty() {
        return None;
    }
    bare_of(spec, &spec.env.key_of(name), name, text)
}

fn bare_of(spec: &AppSpec, key: &str, name: &str, text: &str) -> Option<Value> {
    if !spec.env.bare.get(key).is_some_and(|names| names.iter().any(|bare| bare == name)) {
        return None;
    }
    // A later `--env` may have replaced the value by any text.
    let bare = serde_json::from_str::<Value>(text).ok().filter(|value| value.is_number() || value.is_boolean());
    bare.filter(|value| serde_json::to_string(value).is_ok_and(|spelt| spelt == text))
}

/// Returns true for attributes that PM2 fills in for apps started with options. Apps from a config
/// file have them only if the file has them.
fn may_be_unset(spec: &AppSpec, options: &Map<String, Value>, key: &str) -> bool {
    spec.config_file.is_none() || options.contains_key(key)
}

/// Copies the options as the user gave them. [`typed`] overwrites those that the description holds
/// in a typed form.
fn given(options: &Map<String, Value>, map: &mut Map<String, Value>) {
    for (key, value) in options {
        if RENAMED.contains(&key.as_str()) || map.contains_key(key) || key.starts_with("env_") {
            continue;
        }
        map.insert(key.clone(), in_bytes(key, value).unwrap_or_else(|| value.clone()));
    }
}

/// Copies the folder and the port as the user gave them, in addition to the resolved values.
fn as_given(options: &Map<String, Value>, map: &mut Map<String, Value>) {
    for key in ["cwd", "port"] {
        if let Some(value) = options.get(key) {
            map.insert(key.into(), value.clone());
        }
    }
}

/// Returns a memory limit in bytes, as PM2 stores it, whatever its original notation.
fn in_bytes(key: &str, value: &Value) -> Option<Value> {
    if key != "max_memory_restart" {
        return None;
    }
    ostler_core::text::units::bytes(value.as_str()?).ok().map(Value::from)
}

/// Adds the options that the description holds in a typed form, in PM2's units, if they were set.
fn typed(spec: &AppSpec, given: &Map<String, Value>, map: &mut Map<String, Value>) {
    let (restart, stop, ready, logs) = (&spec.restart, &spec.stop, &spec.ready, &spec.logs);
    let nonzero = |number: u64| (number > 0).then_some(number);
    let options: [(&str, Option<Value>); 21] = [
        ("max_restarts", restart.max_restarts.map(Value::from)),
        ("min_uptime", restart.min_uptime_ms.map(Value::from)),
        ("restart_delay", nonzero(restart.restart_delay_ms).map(Value::from)),
        ("exp_backoff_restart_delay", nonzero(restart.exp_backoff_ms).map(Value::from)),
        ("stop_exit_codes", exit_codes(&restart.stop_exit_codes)),
        ("kill_timeout", stop.kill_timeout_ms.map(Value::from)),
        ("kill_mode", stop.kill_mode.filter(|_| !given.contains_key("kill_mode")).map(|mode| mode.name().into())),
        ("env_policy", (spec.env.policy != EnvPolicy::Inherit && !given.contains_key("env_policy")).then(|| spec.env.policy.name().into())),
        ("shutdown_with_message", stop.shutdown_with_message.then(|| true.into())),
        ("wait_ready", ready.wait_ready.then(|| true.into())),
        ("listen_timeout", ready.listen_timeout_ms.map(Value::from)),
        ("ready_timeout_action", is_strict(ready, given).then(|| "fail".into())),
        ("log_date_format", logs.date_format.clone().map(Value::from)),
        ("log_type", logs.json.then(|| "json".into())),
        ("disable_logs", logs.disable_logs.then(|| true.into())),
        ("increment_var", spec.env.increment_var.clone().map(Value::from)),
        ("uid", spec.uid.as_deref().map(id)),
        ("gid", spec.gid.as_deref().map(id)),
        ("nice", spec.limits.nice.map(Value::from)),
        ("disable_source_map_support", spec.disable_source_map_support.then(|| true.into())),
        ("kill_signal", stop.signal.filter(|_| !given.contains_key("kill_signal")).map(Value::from)),
    ];
    for (key, value) in options {
        if let Some(value) = value {
            map.insert(key.into(), value);
        }
    }
}

/// Returns true for a `listen_timeout` with ostler's meaning, which PM2's attributes cannot express
/// otherwise.
fn is_strict(ready: &ReadySpec, given: &Map<String, Value>) -> bool {
    ready.listen_timeout_ms.is_some() && !ready.accept_timeout && !given.contains_key("ready_timeout_action")
}

/// Returns the exit codes; a single one is a number, as in PM2.
fn exit_codes(codes: &[i32]) -> Option<Value> {
    match codes {
        [] => None,
        [code] => Some((*code).into()),
        codes => Some(codes.into()),
    }
}

/// Returns a user in PM2's form: as a number if it is one.
fn id(text: &str) -> Value {
    text.parse::<u32>().map_or_else(|_| text.into(), Value::from)
}

/// Adds an attribute that PM2 fills in: the given value, otherwise the default.
fn defaulted(options: &Map<String, Value>, key: &str, default: Value, map: &mut Map<String, Value>) {
    // This moves it to its usual position if `given` has already added it.
    map.shift_remove(key);
    map.insert(key.into(), options.get(key).cloned().unwrap_or(default));
}

fn paths(spec: &AppSpec, files: &Files, map: &mut Map<String, Value>) {
    let combined = files.combined.clone().or_else(|| match &spec.logs.log_file {
        Some(CombinedLog::Path(path)) => Some(path.clone()),
        Some(CombinedLog::Default) | None => None,
    });
    if let Some(path) = combined {
        map.insert("pm_log_path".into(), path.into());
    }
    map.insert("pm_out_log_path".into(), files.out.as_deref().unwrap_or("/dev/null").into());
    map.insert("pm_err_log_path".into(), files.error.as_deref().unwrap_or("/dev/null").into());
    map.insert("pm_pid_path".into(), files.pid.clone().into());
}
