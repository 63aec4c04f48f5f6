//! Requests of PM2's clients to start an app (`prepare`) and to restart it: attributes with all
//! paths resolved → description.

use ostler_core::app::{AppSpec, CombinedLog, EnvMap};
use serde_json::{Map, Value};
use std::sync::Arc;

use super::entry::{self, AttributeError};

/// Maximum number of instances of one call; a larger number is a mistake.
const MAX_INSTANCES: i64 = 10_000;

/// Returns true for attributes that PM2's clients send with each restart although the user did not
/// set them. With these values, they change nothing.
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

/// Returns the app in the argument of `prepare`. `home` is ours: files at PM2's default paths get
/// our default names, with the instance number if required. `cpus` applies to `instances` of 0 and
/// less.
///
/// # Errors
/// Returns one line that names the invalid attribute and the problem.
pub fn prepared(map: &Map<String, Value>, home: &str, cpus: u32) -> Result<Prepared, AttributeError> {
    let mut spec = entry::attributes_to_spec(map)?;
    let part = entry::file_part(&spec.name);
    let usual = |file: &str, folder: &str, ending: &str| file == format!("{home}/{folder}/{part}{ending}");
    spec.logs.out_file = spec.logs.out_file.filter(|file| !usual(file, "logs", "-out.log"));
    spec.logs.error_file = spec.logs.error_file.filter(|file| !usual(file, "logs", "-error.log"));
    if matches!(&spec.logs.log_file, Some(CombinedLog::Path(file)) if usual(file, "logs", ".log")) {
        spec.logs.log_file = Some(CombinedLog::Default);
    }
    spec.pid_file = spec.pid_file.filter(|file| !usual(file, "pids", ".pid"));
    spec.instances = instances(map.get("instances"), cpus)?;
    // This is an entry of a saved list.
    if !map.contains_key("instances") && map.get("status").and_then(Value::as_str) == Some("stopped") {
        spec.autostart = false;
    }
    let vars = Arc::unwrap_or_clone(std::mem::take(&mut spec.env.base));
    Ok(Prepared { spec, vars })
}

/// Returns the number of instances: as given, or based on the number of CPUs.
fn instances(given: Option<&Value>, cpus: u32) -> Result<u32, AttributeError> {
    let wrong = |reason: String| AttributeError::value("instances", reason);
    let number = match given {
        None | Some(Value::Null) => 1,
        Some(Value::Number(number)) => number.as_i64().ok_or_else(|| wrong("expected a whole number".into()))?,
        Some(Value::String(text)) if text == "max" => 0,
        Some(Value::String(text)) => text.trim().parse().map_err(|_| wrong(format!("expected a number, found {text:?}")))?,
        Some(_) => return Err(wrong("expected a number".into())),
    };
    let cpus = i64::from(cpus);
    let number = if number > 0 { number } else { (cpus + number).max(1) };
    u32::try_from(number).ok().filter(|_| number <= MAX_INSTANCES).ok_or_else(|| wrong(format!("{number} are too many")))
}

/// Returns the environment that comes with a restart, variables only. `current_conf` is not a
/// variable, and the values that `pm2 set` stores under the app's name are not text.
///
/// # Errors
/// Returns one line that names a variable which no process can receive. Running processes must not
/// be stopped for it.
pub fn restart_vars(env: &Map<String, Value>) -> Result<Option<EnvMap>, AttributeError> {
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
        Some((name, _)) => Err(AttributeError::NulInVariable(name.clone())),
        None => Ok((!vars.is_empty()).then_some(vars)),
    }
}

/// Attributes that PM2 shows although the description does not set them. If such an attribute was
/// removed, `given` has a null for it.
const ALWAYS_SHOWN: [&str; 12] = [
    "filter_env",
    "merge_logs",
    "vizion",
    "autostart",
    "autorestart",
    "watch",
    "instance_var",
    "pmx",
    "automation",
    "treekill",
    "kill_retry_time",
    "node_args",
];

/// Returns true for values that PM2 treats as equal to the text `null`, which removes an attribute.
/// PM2's command line sends a list of words.
fn removes(value: &Value) -> bool {
    match value {
        Value::Array(list) => matches!(list.as_slice(), [word] if word == "null"),
        value => value == "null",
    }
}

/// Returns the description of an app after a restart changed its attributes (`current_conf`), or
/// `None` if they change nothing. The text `null` removes an attribute. `pm2_env` has the app's
/// attributes as PM2 shows them. Settings that they cannot express stay unchanged.
///
/// # Errors
/// Returns one line that names the invalid attribute and the problem.
pub fn reconfigured(spec: &AppSpec, pm2_env: &Map<String, Value>, conf: &Map<String, Value>) -> Result<Option<AppSpec>, AttributeError> {
    let changes = |key: &str, value: &Value| key != "env" && !is_filled_in(key, value) && pm2_env.get(key) != Some(value);
    let changed: Vec<_> = conf.iter().filter(|(key, value)| changes(key, value)).collect();
    if changed.is_empty() {
        return Ok(None);
    }
    let mut map = pm2_env.clone();
    let mut spec = spec.clone();
    for (key, value) in changed.into_iter().filter(|(_, value)| !value.is_null()) {
        let is_removed = removes(value);
        if is_removed {
            map.shift_remove(key);
        } else {
            map.insert(key.clone(), value.clone());
        }
        if ALWAYS_SHOWN.contains(&key.as_str()) {
            spec.given.open_mut().shift_remove(key);
            if is_removed {
                spec.given.open_mut().insert(key.clone(), Value::Null);
            }
        }
    }
    let [before, after] = [pm2_env, &map].map(entry::attributes_to_spec);
    Ok(Some(carry_over(spec, &before?, &after?)))
}

/// Applies the difference between two descriptions to a third. It compares their JSON, because
/// every part of a description has one.
fn carry_over(spec: AppSpec, before: &AppSpec, after: &AppSpec) -> AppSpec {
    let values = [&spec, before, after].map(|spec| serde_json::to_value(spec).unwrap_or_default());
    let [now, before, after] = values;
    serde_json::from_value(overlaid(now, &before, &after)).unwrap_or(spec)
}

fn overlaid(now: Value, before: &Value, after: &Value) -> Value {
    match (now, before, after) {
        (now, before, after) if before == after => now,
        (Value::Object(mut now), Value::Object(before), Value::Object(after)) => {
            for key in before.keys().filter(|key| !after.contains_key(*key)) {
                now.shift_remove(key);
            }
            for (key, value) in after.iter().filter(|(key, value)| before.get(*key) != Some(value)) {
                let merged = overlaid(now.get(key).cloned().unwrap_or_default(), before.get(key).unwrap_or(&Value::Null), value);
                now.insert(key.clone(), merged);
            }
            Value::Object(now)
        }
        (_, _, after) => after.clone(),
    }
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
    fn app_sent_by_pm2_is_read() {
        let Prepared { spec, vars } = prepared(&app(json!({})), "/home", 4).unwrap();
        assert_eq!((spec.name.as_str(), spec.script.as_str(), spec.mode, spec.instances), ("my app", "/srv/app.js", ExecMode::Fork, 1));
        assert_eq!((spec.logs.out_file, spec.logs.error_file.as_deref(), spec.pid_file), (None, Some("/elsewhere/err.log"), None));
        assert_eq!((vars.get("PORT").map(String::as_str), vars.contains_key("PM2_USAGE")), (Some("80"), false));
        assert!(spec.env.base.is_empty());
    }

    #[test]
    fn instances_setting_gives_the_instance_count() {
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
    fn null_text_removes_an_attribute() {
        let env = app(json!({ "node_args": ["--inspect"], "max_memory_restart": 100, "autorestart": false, "kill_timeout": 5 }));
        let was = entry::to_spec(&env).unwrap();
        for word in [json!("null"), json!(["null"])] {
            let conf = json!({ "node_args": word, "max_memory_restart": word, "autorestart": word, "kill_timeout": word });
            let spec = reconfigured(&was, &env, conf.as_object().unwrap()).unwrap().unwrap();
            assert_eq!(
                (spec.interpreter_args.len(), spec.safeguards.clone(), spec.restart.autorestart, spec.stop.kill_timeout_ms),
                (0, None, true, None)
            );
            let given = spec.given.open().into_owned();
            assert_eq!((given.get("node_args"), given.get("max_memory_restart")), (Some(&Value::Null), None));
            let again = reconfigured(
                &spec,
                &Map::from_iter(env.clone().into_iter().filter(|(key, _)| key != "node_args")),
                json!({ "node_args": ["-r"] }).as_object().unwrap(),
            );
            let again = again.unwrap().unwrap();
            assert_eq!((again.interpreter_args, again.given.open().get("node_args")), (vec!["-r".to_owned()], None));
        }
        let conf = json!({ "args": ["null", "x"] });
        assert_eq!(reconfigured(&was, &env, conf.as_object().unwrap()).unwrap().unwrap().args, ["null", "x"]);
    }

    #[test]
    fn variable_named_like_an_attribute_stays_a_variable() {
        let env =
            json!({ "PATH": "/usr/bin", "kill_timeout": "77", "uid": "bin", "args": "x", "cron_restart": "* * * * *", "watch": "true" });
        let Prepared { spec, vars } = prepared(&app(json!({ "env": env, "kill_timeout": 900, "args": ["a"] })), "/home", 4).unwrap();
        assert_eq!((spec.stop.kill_timeout_ms, spec.args, spec.uid, spec.cron), (Some(900), vec!["a".to_owned()], None, None));
        assert_eq!(vars["kill_timeout"], "77");
    }

    #[test]
    fn restart_applies_only_attributes_set_by_the_user() {
        let plain = json!({
            "filter_env": [], "env": {}, "merge_logs": true, "instance_var": "NODE_APP_INSTANCE", "username": "me", "windowsHide": true,
            "kill_retry_time": 100, "km_link": false
        });
        let env = app(json!({ "merge_logs": false, "instance_var": "I" }));
        let was = AppSpec { instances: 3, config_file: Some("/srv/eco.json".into()), ..entry::to_spec(&env).unwrap() };
        let changed = |conf: Value| reconfigured(&was, &env, conf.as_object().unwrap());
        assert_eq!(changed(plain), Ok(None), "what PM2 fills in does not undo what a file has set");
        let spec = changed(json!({ "kill_timeout": 900, "namespace": "null", "name": "my app" })).unwrap().unwrap();
        assert_eq!((spec.stop.kill_timeout_ms, spec.namespace.as_str()), (Some(900), "default"));
        assert_eq!((spec.instances, spec.config_file.as_deref()), (3, Some("/srv/eco.json")), "what PM2 has no attribute for stays");
        assert_eq!(spec.logs, was.logs);
        assert_eq!(restart_vars(json!({ "current_conf": { "x": 1 }, "my app": {} }).as_object().unwrap()), Ok(None));
        let vars =
            restart_vars(json!({ "current_conf": {}, "A": "1", "B": 2, "": "x", "a=b": "x" }).as_object().unwrap()).unwrap().unwrap();
        assert!(restart_vars(json!({ "A": "a\0b" }).as_object().unwrap()).is_err());
        assert_eq!(vars.into_iter().collect::<Vec<_>>(), [("A".into(), "1".into()), ("B".into(), "2".into())]);
    }
}
