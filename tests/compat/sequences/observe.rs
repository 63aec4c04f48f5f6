//! Observable state of a world after a step, as a flat list of facts.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ostler_testkit::{ListedApp, alive};
use serde_json::Value;

use super::world::World;

/// Facts by name: `[0] status`, `[0] sees DB`, `file logs/web-out.log`.
pub type Facts = BTreeMap<String, String>;

/// Keys whose values are times, random numbers, or measurements.
const BY_CHANCE: [&str; 15] = [
    "OSTLER_INCARNATION",
    "created_at",
    "pm_uptime",
    "unique_id",
    "axm_actions",
    "axm_monitor",
    "axm_options",
    "axm_dynamic",
    "monit",
    "_tree_pids",
    "prev_restart_delay",
    "unstable_restarts",
    "node_version",
    "NODE_UNIQUE_ID",
    "NODE_CHANNEL_FD",
];

/// Observable state of a world at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct View {
    pub facts: Facts,
    /// True if no app is about to change its state.
    pub settled: bool,
    /// Process of each id.
    pub pids: BTreeMap<u64, i32>,
}

/// Observes a world. `before` is the view before the step.
pub fn view(world: &World, before: &View) -> View {
    let root = world.home.root().to_string_lossy().into_owned();
    let mut view = View { settled: true, ..View::default() };
    let list = world.list();
    let daemon = if list.is_some() { "runs" } else { "does not run" };
    view.facts.insert("daemon".to_owned(), daemon.to_owned());
    for item in list.iter().flatten() {
        add_item(world, item, before, &mut view);
    }
    let left = before.pids.values().filter(|pid| alive(**pid) && !view.pids.values().any(|now| now == *pid)).count();
    view.facts.insert("processes left behind".to_owned(), left.to_string());
    for folder in ["home/logs", "home/pids", "work"] {
        add_files(&world.home.root().join(folder), folder, &view.pids.clone(), &mut view.facts);
    }
    add_dump(&world.home.dir().join("dump.pm2"), &mut view.facts);
    view.facts.values_mut().for_each(|value| *value = value.replace(&root, "<root>"));
    view
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn add_item(world: &World, item: &ListedApp, before: &View, view: &mut View) {
    // During a reload, the replaced worker has a text as its id until it exits.
    let Some(id) = item.0["pm_id"].as_u64() else {
        view.settled = false;
        return;
    };
    let at = format!("[{id}]");
    add_keys(&at, &item.0["pm2_env"], &mut view.facts);
    view.facts.insert(format!("{at} name of the entry"), text(&item.0["name"]));
    let online = item.status() == "online";
    let pid = if online { item.pid() } else { 0 };
    view.pids.insert(id, pid);
    let process = match before.pids.get(&id) {
        _ if pid == 0 => "none",
        Some(old) if *old == pid => "same",
        _ => "new",
    };
    view.facts.insert(format!("{at} process"), process.to_owned());
    let at_rest = matches!(item.status(), "stopped" | "errored");
    let script = item.text("pm_exec_path");
    let ends = script.ends_with("crash.js") || script.ends_with("done.js");
    let seen = online.then(|| fs::read(world.home.work().join("seen").join(pid.to_string())).ok()).flatten();
    view.settled &= at_rest || (online && !ends && alive(pid) && seen.is_some());
    if let Some(seen) = seen.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok()) {
        add_seen(&at, &seen, &mut view.facts);
    }
}

fn add_keys(at: &str, keys: &Value, facts: &mut Facts) {
    for (key, value) in keys.as_object().into_iter().flatten().filter(|(key, _)| !BY_CHANCE.contains(&key.as_str())) {
        match value.as_object().filter(|_| key == "env") {
            Some(variables) => {
                let kept = variables.iter().filter(|(name, _)| !BY_CHANCE.contains(&name.as_str()));
                facts.extend(kept.map(|(name, value)| (format!("{at} env {name}"), text(value))));
            }
            None => drop(facts.insert(format!("{at} {key}"), text(value))),
        }
    }
}

/// Adds the facts that the process recorded at its start.
fn add_seen(at: &str, seen: &Value, facts: &mut Facts) {
    for key in ["script", "args", "cwd"] {
        facts.insert(format!("{at} process {key}"), text(&seen[key]));
    }
    for (name, value) in seen["env"].as_object().into_iter().flatten().filter(|(name, _)| !BY_CHANCE.contains(&name.as_str())) {
        facts.insert(format!("{at} sees {name}"), text(value));
    }
}

/// Adds the files below a folder with their lines. Several processes may write to one log file, so
/// the order of its lines is random.
fn add_files(folder: &Path, shown: &str, pids: &BTreeMap<u64, i32>, facts: &mut Facts) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if path.is_dir() {
            if name != "seen" {
                add_files(&path, &format!("{shown}/{name}"), pids, facts);
            }
            continue;
        }
        let contents = String::from_utf8_lossy(&fs::read(&path).unwrap_or_default()).into_owned();
        let contents = if name.ends_with(".pid") {
            let of_list = pids.values().any(|pid| contents.trim() == pid.to_string());
            if of_list { "pid of an entry" } else { "another pid" }.to_owned()
        } else {
            let mut lines: Vec<&str> = contents.lines().collect();
            lines.sort_unstable();
            lines.join("\n")
        };
        facts.insert(format!("file {shown}/{name}"), contents);
    }
}

fn add_dump(path: &Path, facts: &mut Facts) {
    let Ok(bytes) = fs::read(path) else { return };
    let apps: Vec<Value> = serde_json::from_slice(&bytes).unwrap_or_default();
    for (position, app) in apps.iter().enumerate() {
        add_keys(&format!("dump[{position}]"), app, facts);
    }
    facts.insert("dump".to_owned(), format!("{} apps", apps.len()));
}
