//! What PM2's clients send to start an app (`prepare`), and what they send with a restart: attributes with all paths resolved → description.

use ostler_core::app::{AppSpec, CombinedLog, EnvMap};
use serde_json::{Map, Value};
use std::sync::Arc;

use super::entry;

/// Most instances of one call: more are a slip.
const MAX_INSTANCES: i64 = 10_000;

/// Attributes that PM2's clients send with each restart although nobody gave them, with these values: they change nothing.
fn is_filled_in(key: &str, value: &Value) -> bool {
    match key {
        "filter_env" => value.as_array().is_some_and(Vec::is_empty),
        "env" => value.as_object().is_some_and(Map::is_empty),
        "merge_logs" | "windowsHide" => *value == Value::Bool(true),
        "instance_var" => value == "NODE_APP_INSTANCE",
        "kill_retry_time" => *value == 100,
        "km_link" => *value == Value::Bool(false),
        "username" => true,
        _ => false,
    }
}

/// An app to start.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// Its description, without the environment of the caller.
    pub spec: AppSpec,
    /// The environment: PM2's clients have merged the caller's and the app's own.
    pub vars: EnvMap,
}

/// The app in the argument of `prepare`. `home` is ours: files at PM2's usual places get our usual names, with the number of the instance where
/// that belongs. `cpus`: for `instances` of 0 and less.
///
/// # Errors
/// One line: which attribute, and what is wrong with it.
pub fn prepared(map: &Map<String, Value>, home: &str, cpus: u32) -> Result<Prepared, String> {
    let mut spec = entry::to_spec(map)?;
    let part = entry::file_part(&spec.name);
    let usual = |file: &str, folder: &str, ending: &str| file == format!("{home}/{folder}/{part}{ending}");
    spec.logs.out_file = spec.logs.out_file.filter(|file| !usual(file, "logs", "-out.log"));
    spec.logs.error_file = spec.logs.error_file.filter(|file| !usual(file, "logs", "-error.log"));
    if matches!(&spec.logs.log_file, Some(CombinedLog::Path(file)) if usual(file, "logs", ".log")) {
        spec.logs.log_file = Some(CombinedLog::Default);
    }
    spec.pid_file = spec.pid_file.filter(|file| !usual(file, "pids", ".pid"));
    spec.instances = instances(map.get("instances"), cpus)?;
    // An entry of a saved list.
    if !map.contains_key("instances") && map.get("status").and_then(Value::as_str) == Some("stopped") {
        spec.autostart = false;
    }
    let vars = Arc::unwrap_or_clone(std::mem::take(&mut spec.env.base));
    Ok(Prepared { spec, vars })
}

/// Number of instances: as given, or by the number of CPUs.
fn instances(given: Option<&Value>, cpus: u32) -> Result<u32, String> {
    let number = match given {
        None | Some(Value::Null) => 1,
        Some(Value::Number(number)) => number.as_i64().ok_or("instances: expected a whole number")?,
        Some(Value::String(text)) if text == "max" => 0,
        Some(Value::String(text)) => text.trim().parse().map_err(|_| format!("instances: expected a number, found {text:?}"))?,
        Some(_) => return Err("instances: expected a number".into()),
    };
    let cpus = i64::from(cpus);
    let number = if number > 0 { number } else { (cpus + number).max(1) };
    u32::try_from(number).ok().filter(|_| number <= MAX_INSTANCES).ok_or_else(|| format!("instances: {number} are too many"))
}

/// The environment that comes with a restart: variables only; `current_conf` is no variable, and what PM2 keeps of `set` under the name of the app
/// is no text.
///
/// # Errors
/// One line: which variable can be given to no process. What runs is not to be stopped for that.
pub fn restart_vars(env: &Map<String, Value>) -> Result<Option<EnvMap>, String> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    let is_name = |name: &str| !name.is_empty() && !name.contains(['=', '\0']) && name != "current_conf";
    let vars: EnvMap =
        env.iter().filter(|(name, _)| is_name(name)).filter_map(|(name, value)| Some((name.clone(), text(value)?))).collect();
    match vars.iter().find(|(_, value)| value.contains('\0')) {
        Some((name, _)) => Err(format!("variable {name} holds a NUL character")),
        None => Ok((!vars.is_empty()).then_some(vars)),
    }
}

/// The description of an app (`pm2_env`) with the attributes of a restart (`current_conf`) laid over it; none where they change nothing. The text
/// `null` takes an attribute away.
///
/// # Errors
/// One line: which attribute, and what is wrong with it.
pub fn reconfigured(pm2_env: &Map<String, Value>, conf: &Map<String, Value>) -> Result<Option<AppSpec>, String> {
    let changes = |key: &str, value: &Value| !is_filled_in(key, value) && pm2_env.get(key) != Some(value);
    let changed: Vec<_> = conf.iter().filter(|(key, value)| changes(key, value)).collect();
    if changed.is_empty() {
        return Ok(None);
    }
    let mut map = pm2_env.clone();
    for (key, value) in changed {
        match value {
            Value::Null => {}
            Value::String(text) if text == "null" => _ = map.shift_remove(key),
            value => _ = map.insert(key.clone(), value.clone()),
        }
    }
    entry::to_spec(&map).map(Some)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ostler_core::app::ExecMode;
    use serde_json::json;

    fn app(more: Value) -> Map<String, Value> {
        let mut map = json!({
            "name": "my app", "namespace": "default", "filter_env": [], "merge_logs": true, "pm_exec_path": "/srv/app.js", "pm_cwd": "/srv",
            "exec_interpreter": "node", "exec_mode": "fork_mode", "instances": 1, "pm_out_log_path": "/home/logs/my-app-out.log",
            "pm_err_log_path": "/elsewhere/err.log", "pm_pid_path": "/home/pids/my-app.pid", "node_args": [], "km_link": false,
            "env": {"PATH": "/usr/bin", "PORT": 80, "PM2_HOME": "/home", "PM2_USAGE": "CLI", "my app": {}}
        });
        more.as_object().unwrap().iter().for_each(|(key, value)| map[key.as_str()] = value.clone());
        map.as_object().unwrap().clone()
    }

    #[test]
    fn an_app_as_pm2_sends_it() {
        let Prepared { spec, vars } = prepared(&app(json!({})), "/home", 4).unwrap();
        assert_eq!((spec.name.as_str(), spec.script.as_str(), spec.mode, spec.instances), ("my app", "/srv/app.js", ExecMode::Fork, 1));
        assert_eq!((spec.logs.out_file, spec.logs.error_file.as_deref(), spec.pid_file), (None, Some("/elsewhere/err.log"), None));
        assert_eq!((vars.get("PORT").map(String::as_str), vars.contains_key("PM2_USAGE")), (Some("80"), false));
        assert!(spec.env.base.is_empty());
    }

    #[test]
    fn how_many_instances() {
        let count = |given: Value| prepared(&app(json!({ "instances": given })), "/home", 4).map(|app| app.spec.instances);
        for (given, expected) in
            [(json!(3), 3), (json!("2"), 2), (json!(0), 4), (json!("max"), 4), (json!(-1), 3), (json!(-9), 1), (json!(null), 1)]
        {
            assert_eq!(count(given.clone()), Ok(expected), "{given}");
        }
        for given in [json!(1e9), json!("x"), json!([]), json!(1.5)] {
            assert!(count(given.clone()).is_err(), "{given}");
        }
        let mut saved = app(json!({ "status": "stopped" }));
        saved.shift_remove("instances");
        assert!(!prepared(&saved, "/home", 4).unwrap().spec.autostart);
    }

    #[test]
    fn what_comes_with_a_restart() {
        let plain = json!({
            "filter_env": [], "env": {}, "merge_logs": true, "instance_var": "NODE_APP_INSTANCE", "username": "me", "windowsHide": true,
            "kill_retry_time": 100, "km_link": false
        });
        let env = app(json!({ "merge_logs": false, "instance_var": "I" }));
        assert_eq!(reconfigured(&env, plain.as_object().unwrap()), Ok(None), "what PM2 fills in does not undo what a file has set");
        let conf = json!({ "kill_timeout": 900, "namespace": "null", "name": "my app" });
        let spec = reconfigured(&env, conf.as_object().unwrap()).unwrap().unwrap();
        assert_eq!((spec.stop.kill_timeout_ms, spec.namespace.as_str()), (Some(900), "default"));
        assert_eq!(restart_vars(json!({ "current_conf": { "x": 1 }, "my app": {} }).as_object().unwrap()), Ok(None));
        let vars =
            restart_vars(json!({ "current_conf": {}, "A": "1", "B": 2, "": "x", "a=b": "x" }).as_object().unwrap()).unwrap().unwrap();
        assert!(restart_vars(json!({ "A": "a\0b" }).as_object().unwrap()).is_err());
        assert_eq!(vars.into_iter().collect::<Vec<_>>(), [("A".into(), "1".into()), ("B".into(), "2".into())]);
    }
}
