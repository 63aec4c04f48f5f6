//! Reads a compose file. Services with a command become apps; services with only an image are
//! reported.

use ostler_core::app::args::split;
use ostler_core::message;
use serde_json::{Map, Value};

use super::interpolate::references;
use super::keys::compose::{KEYS, TOP_KEYS};
use super::keys::{Key, KeySupport, skipped_key};
use super::{App, INTERPRETERS, millis, size};
use crate::Notice;

/// Time between the stop signal and SIGKILL, and the length of a run that resets the restart count.
const GRACE_MS: u64 = 10_000;
/// First delay before a restart.
const FIRST_DELAY_MS: u64 = 100;
/// Default `interval` and `timeout` of a health check.
const HEALTH_MS: u64 = 30_000;

/// Reports the keys of the file that have no effect.
pub(super) fn report_file_keys(file: &Value, notices: &mut Vec<Notice>) {
    for key in file.as_object().into_iter().flat_map(Map::keys) {
        notices.extend(without_effect(TOP_KEYS, "-", key));
    }
}

/// Returns the report about a key that has no effect; none if it has an effect. Extensions are for
/// other programs.
fn without_effect(keys: &[Key], app: &str, name: &str) -> Option<Notice> {
    let has_effect = keys.iter().any(|key| key.name == name && !matches!(key.support, KeySupport::LeftOut(_)));
    let is_extension = name.rsplit('.').next().is_some_and(|last| last.starts_with("x-"));
    (!has_effect && !is_extension).then(|| skipped_key(keys, app, name))
}

/// Reports the keys of a table without effect, and those of its inner tables.
fn report_keys(app: &mut App<'_>, parent: &str, table: &Map<String, Value>) {
    for (key, value) in table {
        let name = if parent.is_empty() { key.clone() } else { format!("{parent}.{key}") };
        let has_keys = KEYS.iter().any(|key| key.name.strip_prefix(&name).is_some_and(|rest| rest.starts_with('.')));
        match (without_effect(KEYS, &app.name, &name), value) {
            (Some(notice), _) => app.notices.push(notice),
            (None, Value::Object(inner)) if has_keys => report_keys(app, &name, inner),
            _ => {}
        }
    }
}

/// Returns the ecosystem file that a service passes to the container runtime program.
pub(super) fn ecosystem_file(service: &Map<String, Value>) -> Option<String> {
    let words = words(service);
    let (first, rest) = words.split_first()?;
    let is_runtime = matches!(name_of(first), "pm2-runtime" | "pm2-docker" | "ostler" | "pm2");
    let file = rest.iter().find(|word| !word.starts_with('-') && !matches!(word.as_str(), "start" | "runtime"))?;
    let is_config = file.contains(".config.") || file.ends_with(".json") || file.ends_with(".yaml") || file.ends_with(".yml");
    (is_runtime && is_config).then(|| file.clone())
}

fn name_of(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

fn is_app(service: &Map<String, Value>) -> bool {
    !words(service).is_empty()
}

/// Returns the words of entry point and command.
fn words(service: &Map<String, Value>) -> Vec<String> {
    let of = |key: &str| match service.get(key) {
        Some(Value::String(text)) => split(text),
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    of("entrypoint").into_iter().chain(of("command")).collect()
}

pub(super) fn app(
    name: &str,
    service: &Map<String, Value>,
    all: &Map<String, Value>,
    keeps_references: bool,
    notices: &mut Vec<Notice>,
) -> Option<Map<String, Value>> {
    let mut app = App::new(name, notices);
    let mut words = words(service);
    // ostler itself replaces a process manager or an init in the container.
    let is_init = |word: &String| matches!(name_of(word), "ostler" | "pm2-runtime" | "pm2-docker" | "dumb-init" | "tini" | "docker-init");
    if words.first().is_some_and(is_init) {
        let first = words.remove(0);
        app.report(
            "command",
            message!("{program} is an init process, which ostler replaces: the command starts after it", program = first),
        );
        let options = words.iter().take_while(|word| word.starts_with('-') || *word == "runtime" || *word == "start").count();
        words.drain(..options);
    }
    // The image has its interpreter at another path than this machine.
    if let Some(first) = words.first_mut().filter(|first| first.starts_with("/usr/") && INTERPRETERS.contains(&name_of(first))) {
        *first = name_of(first).to_owned();
    }
    if !app.command(&words) {
        app.report("command", message!("the command is empty without it"));
        return None;
    }
    let mut expands = false;
    report_keys(&mut app, "", service);
    for (key, value) in service {
        one(&mut app, key, value, all, keeps_references, &mut expands);
    }
    restart(&mut app, service);
    for (key, default) in [("kill_signal", Value::from("SIGTERM")), ("kill_timeout", Value::from(GRACE_MS))] {
        app.map.entry(key).or_insert(default);
    }
    if expands {
        app.set("env_expand", true);
        // The variables of these keys are already resolved: a dollar sign in them is a plain
        // character.
        for key in ["script", "args"] {
            if let Some(value) = app.map.get_mut(key) {
                double_dollars(value);
            }
        }
    }
    Some(app.map)
}

fn double_dollars(value: &mut Value) {
    match value {
        Value::String(text) => *text = text.replace('$', "$$"),
        Value::Array(list) => list.iter_mut().for_each(double_dollars),
        _ => {}
    }
}

/// Sets when the app restarts. Compose restarts nothing by default, and `deploy.restart_policy`
/// takes precedence over `restart`.
fn restart(app: &mut App<'_>, service: &Map<String, Value>) {
    let policy = service.get("deploy").and_then(|deploy| deploy.get("restart_policy")).filter(|policy| policy.is_object());
    let (condition, attempts) = match policy {
        Some(policy) => (policy.get("condition").map_or_else(|| "any".into(), shown), policy.get("max_attempts").map(shown)),
        None => {
            let text = service.get("restart").filter(|value| !value.is_null()).map_or_else(|| "no".into(), shown);
            text.split_once(':').map_or((text.clone(), None), |(word, most)| (word.to_owned(), Some(most.to_owned())))
        }
    };
    let key = if policy.is_some() { "deploy.restart_policy" } else { "restart" };
    match condition.as_str() {
        "no" | "none" | "false" => return app.set("autorestart", false),
        "on-failure" => app.set("stop_exit_codes", vec![0]),
        "always" | "unless-stopped" | "any" | "true" => {}
        word => {
            return app
                .report(key, message!("expected no, always, on-failure or unless-stopped, found {found}", found = format!("{word:?}")));
        }
    }
    let time = |name: &str| policy.and_then(|policy| policy.get(name)).map(shown).and_then(|text| millis(&text));
    match time("delay") {
        Some(ms) => app.set("restart_delay", ms),
        // As in the engine: a growing delay. Without `max_restarts`, restarts are unlimited.
        None => app.set("exp_backoff_restart_delay", FIRST_DELAY_MS),
    }
    let attempts = attempts.and_then(|text| text.trim().parse::<u32>().ok()).filter(|most| *most > 0);
    match attempts {
        // `max_restarts` counts runs, so it includes the first start.
        Some(most) => app.set("max_restarts", most.saturating_add(1)),
        None if app.map.contains_key("restart_delay") => app.set("max_restarts", u32::MAX),
        None => {}
    }
    // A run of this length resets the count, as in the engine.
    if attempts.is_some() {
        app.set("min_uptime", time("window").filter(|ms| *ms > 0).unwrap_or(GRACE_MS));
    }
}

fn one(app: &mut App<'_>, key: &str, value: &Value, all: &Map<String, Value>, keeps_references: bool, expands: &mut bool) {
    match key {
        "command" | "entrypoint" => {}
        "build" => {
            let context = value.as_str().or_else(|| value.get("context")?.as_str());
            if let Some(context) = context.filter(|context| !matches!(*context, "." | "./")) {
                app.set("cwd", context);
            }
        }
        "working_dir" => app.report(key, message!("{folder} is a folder inside the container", folder = shown(value))),
        "environment" => environment(app, value, keeps_references, expands),
        "env_file" => {
            let paths: Vec<Value> = match value {
                Value::Array(list) => {
                    list.iter().filter_map(|item| item.as_str().or_else(|| item.get("path")?.as_str())).map(Value::from).collect()
                }
                Value::String(path) => vec![path.as_str().into()],
                _ => Vec::new(),
            };
            app.set("env_file", paths);
        }
        "depends_on" => depends_on(app, value, all),
        "restart" => {}
        "stop_grace_period" => match value.as_str().and_then(millis) {
            Some(ms) => app.set("kill_timeout", ms),
            None => app.report(key, message!("not a valid time")),
        },
        "stop_signal" => app.set("kill_signal", value.clone()),
        "user" => {
            let text = shown(value);
            let (user, group) = text.split_once(':').unwrap_or((&text, ""));
            app.set("uid", user);
            if !group.is_empty() {
                app.set("gid", group);
            }
        }
        "scale" => app.set("instances", number(value)),
        "cpus" => quota(app, value),
        "mem_limit" => memory(app, key, value),
        "pids_limit" => app.set("pids_max", number(value)),
        "deploy" => deploy(app, value),
        "healthcheck" => health(app, value),
        "ulimits" => ulimits(app, value),
        "profiles" => app.set("autostart", false),
        "ports" => {
            let odd = value.as_array().into_iter().flatten().filter_map(Value::as_str).find(|port| {
                let mut parts = port.rsplit(':');
                matches!((parts.next(), parts.next()), (Some(inside), Some(outside)) if inside != outside)
            });
            if let Some(port) = odd {
                app.report(key, message!("{port}: the app opens its port itself; no other port is mapped to it", port));
            }
        }
        "volumes" => {
            // A bind mount of this folder contains files that are already here.
            let is_here =
                |mount: &Value| mount.as_str().or_else(|| mount.get("source")?.as_str()).is_some_and(|path| path.starts_with('.'));
            if let Some(mount) = value.as_array().into_iter().flatten().find(|mount| !is_here(mount)) {
                app.report(
                    key,
                    message!("nothing is mounted: the app uses the folders of this machine instead of {mount}", mount = shown(mount)),
                );
            }
        }
        _ => {}
    }
}

/// Returns a number if the text is one; scalars of a compose file are texts.
fn number(value: &Value) -> Value {
    value.as_str().and_then(|text| text.trim().parse::<u64>().ok()).map_or_else(|| value.clone(), Value::from)
}

/// Returns true if a flag is set, in any spelling of YAML.
pub(super) fn is_true(value: Option<&Value>) -> bool {
    value.and_then(Value::as_str).is_some_and(|text| matches!(text, "true" | "True" | "TRUE"))
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn environment(app: &mut App<'_>, value: &Value, keeps_references: bool, expands: &mut bool) {
    let pairs: Vec<(String, Option<Value>)> = match value {
        Value::Object(map) => {
            map.iter().map(|(name, value)| (name.clone(), Some(value.clone()).filter(|value| !value.is_null()))).collect()
        }
        Value::Array(list) => {
            let pair = |text: &str| {
                text.split_once('=').map_or_else(|| (text.to_owned(), None), |(name, value)| (name.to_owned(), Some(value.into())))
            };
            list.iter().filter_map(Value::as_str).map(pair).collect()
        }
        _ => Vec::new(),
    };
    let mut pairs = pairs;
    for (name, value) in pairs.iter_mut().filter(|_| keeps_references) {
        let Some(Value::String(text)) = value else { continue };
        let kept = references::kept(text);
        *expands |= kept.has_reference;
        *text = kept.text;
        if let Some(why) = kept.differs {
            app.report("environment", format!("{name}: {why}"));
        }
    }
    for (name, value) in pairs {
        match value {
            // Without expansion `$$` is one dollar sign; with it `$$` means the same in both files.
            Some(Value::String(text)) if keeps_references && !*expands => app.variable(&name, text.replace("$$", "$")),
            Some(value) => app.variable(&name, value),
            // The app inherits it from its caller.
            None => {}
        }
    }
}

fn depends_on(app: &mut App<'_>, value: &Value, all: &Map<String, Value>) {
    let names: Vec<(String, Value)> = match value {
        Value::Array(list) => list.iter().filter_map(Value::as_str).map(|name| (name.to_owned(), "started".into())).collect(),
        Value::Object(map) => {
            map.iter().map(|(name, how)| (name.clone(), how.get("condition").cloned().unwrap_or("started".into()))).collect()
        }
        _ => Vec::new(),
    };
    let mut table = Map::new();
    for (name, condition) in names {
        if all.get(&name).and_then(Value::as_object).is_some_and(is_app) {
            let word =
                condition.as_str().unwrap_or("started").replace("service_completed_successfully", "completed").replace("service_", "");
            table.insert(name, word.into());
        } else {
            app.report("depends_on", message!("{name} is not an app of this file", name));
        }
    }
    if !table.is_empty() {
        app.set("depends_on", table);
    }
}

fn quota(app: &mut App<'_>, value: &Value) {
    let cpus =
        value.as_str().and_then(|text| text.trim().parse::<f64>().ok()).filter(|cpus| cpus.is_finite() && *cpus > 0.0 && *cpus < 10_000.0);
    match cpus {
        Some(cpus) => app.set("cpu_quota", (cpus * 100.0).round() as u64),
        None => app.report("cpus", message!("not a number")),
    }
}

fn memory(app: &mut App<'_>, key: &str, value: &Value) {
    match value.as_str().and_then(size) {
        Some(size) => app.set("memory_max", size),
        None => app.report(key, message!("not a valid size")),
    }
}

fn deploy(app: &mut App<'_>, value: &Value) {
    for (key, own) in value.as_object().into_iter().flatten() {
        match key.as_str() {
            "replicas" => app.set("instances", number(own)),
            "resources" => {
                for (key, limit) in own.get("limits").and_then(Value::as_object).into_iter().flatten() {
                    match key.as_str() {
                        "cpus" => quota(app, limit),
                        "memory" => memory(app, "deploy.resources.limits.memory", limit),
                        "pids" => app.set("pids_max", number(limit)),
                        _ => {}
                    }
                }
            }
            "update_config" => {
                if let Some(batch) = own.get("parallelism").map(number).filter(|batch| batch.as_u64().is_some_and(|batch| batch > 0)) {
                    app.set("reload_batch", batch);
                }
            }
            _ => {}
        }
    }
}

fn health(app: &mut App<'_>, value: &Value) {
    if is_true(value.get("disable")) {
        return;
    }
    let command: Vec<String> = match value.get("test") {
        Some(Value::String(text)) => vec!["sh".into(), "-c".into(), text.clone()],
        Some(Value::Array(list)) => {
            let words: Vec<String> = list.iter().filter_map(Value::as_str).map(str::to_owned).collect();
            match words.split_first() {
                Some((first, rest)) if first == "CMD" => rest.to_vec(),
                Some((first, rest)) if first == "CMD-SHELL" => {
                    ["sh".to_owned(), "-c".to_owned()].into_iter().chain(rest.iter().cloned()).collect()
                }
                _ => return,
            }
        }
        _ => return,
    };
    // The check would call ostler itself.
    if command.first().is_none_or(|program| program.rsplit('/').next() == Some("ostler")) {
        return;
    }
    let mut check = Map::new();
    check.insert("command".into(), command.into());
    let time = |key: &str| value.get(key).and_then(Value::as_str).and_then(millis).filter(|ms| *ms > 0);
    for key in ["interval", "timeout"] {
        check.insert(key.into(), time(key).unwrap_or(HEALTH_MS).into());
    }
    if let Some(retries) = value.get("retries").and_then(|retries| number(retries).as_u64()).filter(|retries| *retries > 0) {
        check.insert("failures".into(), retries.into());
    }
    let mut health = Map::new();
    health.insert("liveness".into(), check.into());
    // Compose's check only reports; it does not restart the service.
    health.insert("action".into(), "none".into());
    time("start_period").into_iter().for_each(|ms| drop(health.insert("grace".into(), ms.into())));
    app.set("health", health);
}

fn ulimits(app: &mut App<'_>, value: &Value) {
    let mut limits = Map::new();
    for (name, bound) in value.as_object().into_iter().flatten() {
        let own = |bound: &Value| if shown(bound) == "-1" { Value::from("unlimited") } else { number(bound) };
        match bound {
            Value::Object(pair) => {
                let pair = ["soft", "hard"].map(|key| pair.get(key).map_or(Value::from("unlimited"), own));
                limits.insert(name.clone(), Value::from(pair.to_vec()));
            }
            other => drop(limits.insert(name.clone(), own(other))),
        }
    }
    app.set("rlimits", limits);
}
