//! `oxfile.toml` of OxMgr. Source: its documentation of the format (`docs/OXFILE.md`).
//!
//! Layers are `[defaults]`, `[[apps]]`, `[apps.profiles.<name>]`. A profile becomes `env_<name>`,
//! which has only variables; its other changes are reported.

use ostler_core::app::args::split;
use ostler_core::{marked, message};
use serde_json::{Map, Value};

use super::keys::{has_effect, oxmgr::KEYS, reason_for_skipping};
use super::{App, ImportError, Imported};
use crate::Notice;

/// Defaults of OxMgr, by its documentation.
const CRASH_LIMIT: u64 = 3;
const MAX_RESTARTS: u64 = 10;
const STOP_TIMEOUT_SECS: u64 = 5;
const READY_TIMEOUT_SECS: u64 = 30;
/// Default window of `crash_restart_limit`.
const CRASH_WINDOW: &str = "5m";
/// Characters that need a shell.
const OF_SHELLS: &[char] = &['|', '&', ';', '<', '>', '$', '`', '*', '(', '~'];

pub(super) fn read(text: &str) -> Result<Imported, ImportError> {
    let file: Value =
        toml::from_str(text).map_err(|error| ImportError::Malformed(error.message().lines().next().unwrap_or_default().to_owned()))?;
    if let Some(version) = file.get("version").filter(|version| version.as_u64() != Some(1)) {
        return Err(ImportError::Malformed(message!("version {version} is not known, only 1 is", version)));
    }
    let apps = file.get("apps").and_then(Value::as_array).filter(|apps| !apps.is_empty()).ok_or(ImportError::NoApps(marked!("app")))?;
    let defaults = file.get("defaults").and_then(Value::as_object).cloned().unwrap_or_default();
    let mut notices = Vec::new();
    let mut read = Vec::new();
    for (at, own) in apps.iter().enumerate() {
        let Some(own) = own.as_object() else { return Err(ImportError::Malformed(message!("apps[{at}] is not a table", at))) };
        read.extend(app(at, &defaults, own, &mut notices));
    }
    let known = |key: &&String| matches!(key.as_str(), "version" | "defaults" | "apps");
    for key in file.as_object().into_iter().flat_map(Map::keys).filter(|key| !known(key)) {
        let why = if key == "deploy" { message!("move it beside `apps` as `deploy`, with the same keys") } else { message!("unknown key") };
        notices.push(Notice::new("-", key.as_str(), why));
    }
    if read.is_empty() { Err(ImportError::NoApps(marked!("app that is not disabled"))) } else { Ok(Imported { apps: read, notices }) }
}

/// Returns an app, completed by the defaults.
fn app(at: usize, defaults: &Map<String, Value>, own: &Map<String, Value>, notices: &mut Vec<Notice>) -> Option<Map<String, Value>> {
    let mut all = defaults.clone();
    for (key, value) in own {
        match (all.get_mut(key), value) {
            (Some(Value::Object(under)), Value::Object(over)) if key == "env" => under.extend(over.clone()),
            _ => drop(all.insert(key.clone(), value.clone())),
        }
    }
    let text = |key: &str| all.get(key).and_then(Value::as_str).map(str::to_owned);
    let name = text("name").unwrap_or_else(|| format!("app-{at}"));
    let mut app = App::new(&name, notices);
    if all.get("disabled") == Some(&Value::Bool(true)) {
        app.report("disabled", message!("it is left out there, and so it is here"));
        return None;
    }
    let Some(command) = text("command").filter(|command| !command.trim().is_empty()) else {
        app.report("command", message!("it has no command"));
        return None;
    };
    if command.contains(OF_SHELLS) {
        app.set("script", command);
    } else {
        app.command(&split(&command));
    }
    // Its default policy, which differs from ostler's.
    match text("restart_policy").as_deref() {
        None | Some("on_failure" | "on-failure") => app.set("stop_exit_codes", vec![0]),
        Some("never") => app.set("autorestart", false),
        Some("always") => {}
        Some(other) => app.report("restart_policy", message!("{found}: expected always, on_failure or never", found = other)),
    }
    for (key, usual) in [("stop_signal", "SIGTERM".into()), ("stop_timeout_secs", STOP_TIMEOUT_SECS.into())] {
        all.entry(key).or_insert(usual);
    }
    if all.get("wait_ready") == Some(&Value::Bool(true)) {
        all.entry("ready_timeout_secs").or_insert(READY_TIMEOUT_SECS.into());
    }
    if app.map.get("autorestart").is_none() {
        all.entry("max_restarts").or_insert(MAX_RESTARTS.into());
        all.entry("crash_restart_limit").or_insert(CRASH_LIMIT.into());
    }
    let is_hard = all.get("cgroup_enforce") == Some(&Value::Bool(true));
    for (key, value) in &all {
        if has_effect(KEYS, key) {
            one(&mut app, key, value, &all, is_hard);
        } else {
            app.report(key, reason_for_skipping(KEYS, key));
        }
    }
    health(&mut app, &all);
    Some(app.map)
}

fn one(app: &mut App<'_>, key: &str, value: &Value, all: &Map<String, Value>, is_hard: bool) {
    match key {
        "name" | "command" | "disabled" | "restart_policy" | "cgroup_enforce" => {}
        "health_cmd" | "health_interval_secs" | "health_timeout_secs" | "health_max_failures" | "wait_ready" => {}
        "cwd" | "namespace" | "instance_var" | "watch" | "depends_on" | "cron_restart" => app.set(key, value.clone()),
        // OxMgr counts restarts, ostler counts starts.
        "max_restarts" => match value.as_u64() {
            Some(most) => app.set(key, most.saturating_add(1).min(1_000_000_000)),
            None => app.report(key, message!("not a number")),
        },
        "env" => {
            for (name, value) in value.as_object().into_iter().flatten() {
                app.variable(name, value.clone());
            }
        }
        "instances" => {
            if all.get("cluster_mode") != Some(&Value::Bool(true)) {
                app.set("instances", value.clone());
            }
        }
        "cluster_mode" => {
            if value == &Value::Bool(true) {
                app.set("exec_mode", "cluster");
                app.set("instances", all.get("cluster_instances").cloned().unwrap_or_else(|| "max".into()));
            }
        }
        "cluster_instances" => {}
        "stop_signal" => app.set("kill_signal", value.clone()),
        "stop_timeout_secs" => seconds(app, key, "kill_timeout", value),
        "restart_delay_secs" => seconds(app, key, "restart_delay", value),
        "watch_delay_secs" => seconds(app, key, "watch_delay", value),
        "ready_timeout_secs" => seconds(app, key, "listen_timeout", value),
        "crash_restart_limit" => {
            if let Some(most) = value.as_u64().filter(|most| *most > 0) {
                let budget = Map::from_iter([("n".to_owned(), Value::from(most)), ("window".to_owned(), CRASH_WINDOW.into())]);
                app.set("restart_budget", budget);
            }
        }
        "max_memory_mb" => match value.as_u64() {
            Some(0) => {}
            Some(mb) => app.set(if is_hard { "memory_max" } else { "max_memory_restart" }, format!("{mb}M")),
            None => app.report(key, message!("not a number")),
        },
        "max_cpu_percent" => match value.as_f64().filter(|percent| (0.0..1e6).contains(percent)) {
            Some(0.0) => {}
            Some(percent) => app.set(if is_hard { "cpu_quota" } else { "max_cpu" }, percent.ceil() as u64),
            None => app.report(key, message!("not a number")),
        },
        "reuse_port" => {
            if value == &Value::Bool(true) {
                app.variable("SO_REUSEPORT", "1");
                app.variable("OXMGR_REUSEPORT", "1");
            }
        }
        "profiles" => profiles(app, value),
        key => app.report(key, reason_for_skipping(KEYS, key)),
    }
}

fn seconds(app: &mut App<'_>, key: &str, own: &str, value: &Value) {
    match value.as_u64().and_then(|seconds| seconds.checked_mul(1000)) {
        Some(ms) => app.set(own, ms),
        None => app.report(key, message!("not a number of seconds")),
    }
}

/// Its single command checks liveness and, with `wait_ready`, also readiness.
fn health(app: &mut App<'_>, all: &Map<String, Value>) {
    let Some(command) = all.get("health_cmd").and_then(Value::as_str).filter(|command| !command.trim().is_empty()) else {
        return;
    };
    let words = if command.contains(OF_SHELLS) { vec!["sh".to_owned(), "-c".to_owned(), command.to_owned()] } else { split(command) };
    let mut check = Map::from_iter([("command".to_owned(), Value::from(words))]);
    for (key, own) in [("health_interval_secs", "interval"), ("health_timeout_secs", "timeout")] {
        if let Some(ms) = all.get(key).and_then(Value::as_u64).and_then(|seconds| seconds.checked_mul(1000)).filter(|ms| *ms > 0) {
            check.insert(own.into(), ms.into());
        }
    }
    let mut health = Map::new();
    if all.get("wait_ready") == Some(&Value::Bool(true)) {
        let startup = Map::from_iter([("command".to_owned(), check.get("command").cloned().unwrap_or_default())]);
        health.insert("startup".into(), startup.into());
    }
    if let Some(most) = all.get("health_max_failures").and_then(Value::as_u64).filter(|most| *most > 0) {
        check.insert("failures".into(), most.into());
    }
    health.insert("liveness".into(), check.into());
    app.set("health", health);
}

fn profiles(app: &mut App<'_>, value: &Value) {
    for (name, profile) in value.as_object().into_iter().flatten() {
        for (key, value) in profile.as_object().into_iter().flatten() {
            match (key.as_str(), value) {
                ("env", Value::Object(env)) => app.set(&format!("env_{name}"), env.clone()),
                _ => {
                    app.report(&format!("profiles.{name}.{key}"), message!("a profile has variables only; write the rest in its own file"))
                }
            }
        }
    }
}
