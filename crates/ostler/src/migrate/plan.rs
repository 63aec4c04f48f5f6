//! Apps that PM2 runs, and how each is moved.

use std::collections::{BTreeMap, BTreeSet};

use ostler_core::text::language::translated;
use ostler_core::{marked, message};
use serde_json::{Map, Value};

/// Attributes for PM2's probes, which ostler ignores.
const FOR_PROBES: [&str; 4] = ["deep_monitoring", "v8", "event_loop_inspector", "io"];

/// Variables that a process manager sets itself.
const OF_MANAGERS: [&str; 8] = [
    "unique_id",
    "PM2_HOME",
    "PM2_USAGE",
    "PM2_JSON_PROCESSING",
    "PM2_INTERACTOR_PROCESSING",
    "updateEnv",
    "current_conf",
    "NODE_APP_INSTANCE",
];

/// An app of PM2.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct App {
    pub name: String,
    /// Whether PM2 holds its sockets and passes them to its processes.
    pub is_cluster: bool,
    /// Instances, in PM2's order.
    pub instances: Vec<Instance>,
    /// Differences after the move.
    pub notes: Vec<String>,
}

/// An instance of an app.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Instance {
    pub pm_id: u32,
    /// Pid of its process, if it runs.
    pub pid: Option<i32>,
    /// Entry in a saved list. An instance that is neither online nor starting is marked as stopped
    /// in it.
    pub entry: Value,
}

/// Everything in a PM2.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Pm2Contents {
    pub apps: Vec<App>,
    /// Names of modules. They are not moved.
    pub modules: Vec<String>,
    /// Number of invalid entries.
    pub rejected: usize,
}

/// Method of moving an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MoveMethod {
    /// The new processes become healthy beside the old ones, which are then stopped.
    Beside,
    /// The old processes are stopped first, because both cannot use the same ports.
    InPlace,
    /// No instance runs: the app is only listed.
    Listed,
}

impl MoveMethod {
    /// Returns the description for users.
    pub(crate) fn words(self) -> &'static str {
        translated(match self {
            Self::Beside => marked!("start beside the old one, then stop it"),
            Self::InPlace => marked!("stop, then start"),
            Self::Listed => marked!("stopped; added to the list"),
        })
    }

    /// Returns the word in JSON.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Beside => "beside",
            Self::InPlace => "in_place",
            Self::Listed => "listed",
        }
    }
}

impl App {
    /// Returns the pids of running processes.
    pub(crate) fn pids(&self) -> impl Iterator<Item = i32> {
        self.instances.iter().filter_map(|instance| instance.pid)
    }

    /// Returns PM2's ids of the running instances.
    pub(crate) fn running_ids(&self) -> Vec<u32> {
        self.instances.iter().filter(|instance| is_up(&instance.entry)).map(|instance| instance.pm_id).collect()
    }

    /// Returns the method for the app. `listens`: its processes have their own ports or sockets;
    /// `shares`: PM2's sockets are available.
    pub(crate) fn method(&self, listens: bool, shares: bool) -> MoveMethod {
        match (self.running_ids().is_empty(), self.is_cluster) {
            (true, _) => MoveMethod::Listed,
            (false, true) if shares && !listens => MoveMethod::Beside,
            (false, false) if !listens => MoveMethod::Beside,
            (false, _) => MoveMethod::InPlace,
        }
    }
}

fn is_up(entry: &Value) -> bool {
    entry["status"] != "stopped"
}

/// Returns the apps in the entries of a list, in the order of their first instance.
pub(crate) fn read(list: Vec<Value>) -> Pm2Contents {
    let mut found = Pm2Contents::default();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for (position, mut entry) in list.into_iter().enumerate() {
        let Some(map) = entry.as_object_mut() else {
            found.rejected += 1;
            continue;
        };
        let Some(name) = map.get("name").and_then(Value::as_str).map(str::to_owned) else {
            found.rejected += 1;
            continue;
        };
        if map.get("pmx_module") == Some(&Value::Bool(true)) {
            found.modules.push(name);
            continue;
        }
        let number = |key: &str, map: &Map<String, Value>| map.get(key).and_then(Value::as_i64);
        let pid = number("pid", map).and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 0);
        // A saved list has no ids.
        let pm_id = number("pm_id", map).and_then(|id| u32::try_from(id).ok()).unwrap_or(position as u32);
        map.shift_remove("pid");
        let runs = matches!(map.get("status").and_then(Value::as_str), Some("online" | "launching" | "waiting restart"));
        if !runs {
            map.insert("status".into(), "stopped".into());
        }
        let is_cluster = map.get("exec_mode").and_then(Value::as_str).is_some_and(|mode| mode.starts_with("cluster"));
        let notes = notes(map);
        let place = *places.entry(name.clone()).or_insert_with(|| {
            found.apps.push(App { name, is_cluster, instances: Vec::new(), notes });
            found.apps.len() - 1
        });
        found.apps[place].instances.push(Instance { pm_id, pid: pid.filter(|_| runs), entry });
    }
    found
}

/// Returns the differences after the move.
fn notes(map: &Map<String, Value>) -> Vec<String> {
    let env = map.get("env").and_then(Value::as_object);
    let is_on = |key: &&&str| {
        // In PM2, a variable of the same name has overwritten it.
        let is_variable = env.is_some_and(|env| env.contains_key(**key));
        !is_variable && map.get(**key).is_some_and(|value| !matches!(value, Value::Null | Value::Bool(false)))
    };
    let mut notes: Vec<String> = FOR_PROBES.iter().filter(is_on).map(|key| message!("{key} is kept, but has no effect", key)).collect();
    if map.get("status").and_then(Value::as_str) == Some("stopped")
        && map.get("exit_code").and_then(Value::as_i64).is_some_and(|code| code != 0)
    {
        notes.push(message!("was not running in PM2"));
    }
    notes
}

/// Returns the names of variables whose value differs in the new process. Their values must not be
/// shown.
pub(crate) fn differing(entry: &Value, environ: &[u8]) -> Vec<String> {
    let has: BTreeSet<&[u8]> = environ.split(|byte| *byte == 0).collect();
    let vars = entry["env"].as_object().into_iter().flatten();
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    };
    let differs = |name: &str, value: &Value| {
        // PM2 sets a variable named after each app.
        !OF_MANAGERS.contains(&name)
            && entry["name"] != *name
            && text(value).is_some_and(|value| !has.contains(format!("{name}={value}").as_bytes()))
    };
    vars.filter(|(name, value)| differs(name, value)).map(|(name, _)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn apps_are_read_from_pm2_list() {
        let found = read(vec![
            json!({"name": "api", "pm_id": 3, "pid": 10, "status": "online", "exec_mode": "cluster_mode", "v8": true}),
            json!({"name": "job", "pm_id": 4, "pid": 0, "status": "errored", "exec_mode": "fork_mode", "exit_code": 1}),
            json!({"name": "api", "pm_id": 5, "pid": 11, "status": "launching", "exec_mode": "cluster_mode"}),
            json!({"name": "pm2-logrotate", "pm_id": 0, "status": "online", "pmx_module": true}),
            json!({"pm_id": 9}),
            json!(7),
        ]);
        assert_eq!((found.modules, found.rejected), (vec!["pm2-logrotate".to_owned()], 2));
        let [api, job] = &found.apps[..] else { panic!() };
        assert_eq!((api.running_ids(), api.pids().collect::<Vec<_>>(), api.is_cluster), (vec![3, 5], vec![10, 11], true));
        assert_eq!(api.notes, ["v8 is kept, but has no effect"]);
        assert_eq!((job.running_ids(), job.instances[0].entry["status"].as_str(), job.notes.len()), (vec![], Some("stopped"), 1));
        assert_eq!(api.instances[0].entry.get("pid"), None);
    }

    #[test]
    fn migration_method_follows_mode_and_ports() {
        let app = |mode: &str, status: &str| {
            read(vec![json!({"name": "a", "pm_id": 0, "pid": 1, "status": status, "exec_mode": mode})]).apps.remove(0)
        };
        let fork = app("fork_mode", "online");
        assert_eq!((fork.method(false, false), fork.method(true, true)), (MoveMethod::Beside, MoveMethod::InPlace));
        let cluster = app("cluster_mode", "online");
        assert_eq!((cluster.method(false, true), cluster.method(false, false)), (MoveMethod::Beside, MoveMethod::InPlace));
        assert_eq!(cluster.method(true, true), MoveMethod::InPlace, "one has a port of its own besides");
        assert_eq!(app("fork_mode", "stopped").method(false, false), MoveMethod::Listed);
    }

    #[test]
    fn differing_lists_names_of_changed_variables() {
        let entry = json!({"name": "own", "env": {"A": "1", "B": 2, "C": "x=y", "PM2_HOME": "/x", "own": "{}", "GONE": ""}});
        assert_eq!(differing(&entry, b"A=1\0B=2\0C=x=y\0PM2_HOME=/y\0"), ["GONE"]);
        assert_eq!(differing(&entry, b""), ["A", "B", "C", "GONE"]);
        assert_eq!(differing(&json!({}), b"A=1\0"), Vec::<String>::new());
    }
}
