//! `ostler.container.yaml`: the apps as they run in an image.
//!
//! Paths are those of the image. Variables are left out, because the engine sets them. Log files
//! are left out, because the output is the log. The engine also controls the number of instances
//! and the times of jobs.

use ostler_core::serving::{AutoscaleSettings, ReadyBy};
use serde_json::Value;

use crate::project::Project;
use crate::service::{Lifecycle, Service};
use crate::yaml::{Map, Yaml};

/// Name of the file.
pub(crate) const FILE: &str = "ostler.container.yaml";
/// Folder of the secrets in engines that mount them as files. It is not `/run/secrets`, because
/// Kubernetes has its own files below that.
pub(crate) const SECRETS: &str = "/run/app-secrets";

/// Attributes that apply unchanged in a container.
const KEYS: &[&str] = &[
    "args",
    "exec_mode",
    "execute_command",
    "autorestart",
    "stop_exit_codes",
    "max_restarts",
    "min_uptime",
    "max_lifetime",
    "restart_delay",
    "exp_backoff_restart_delay",
    "restart_budget",
    "pre_start",
    "post_start",
    "on_crash",
    "pre_stop",
    "post_stop",
    "kill_timeout",
    "kill_signal",
    "kill_mode",
    "treekill",
    "shutdown_with_message",
    "drain_timeout",
    "listen",
    "scheduling",
    "sticky",
    "max_connection_age",
    "retire_connections",
    "reload_batch",
    "canary",
    "ready",
    "watchdog",
    "wait_ready",
    "listen_timeout",
    "ready_timeout_action",
    "nice",
    "umask",
    "rlimits",
    "max_cpu",
    "max_cpu_unit",
    "max_cpu_window",
    "max_memory_restart",
    "job",
    "overlap",
    "catch_up",
    "run_on",
    "http",
    "health",
    "error",
    "autokill",
    "log_type",
    "log_date_format",
    "time",
    "disable_source_map_support",
    "pmx",
    "automation",
    "trace",
    "instance_var",
    "increment_var",
];

/// Additions of one engine to the file of the image.
#[derive(Default)]
pub(crate) struct EngineAdditions<'a> {
    /// Variables whose values are files in [`SECRETS`]; all others are variables of the container.
    pub secrets: Vec<&'a String>,
    /// Range of instances that ostler keeps in the container.
    pub range: Option<&'a AutoscaleSettings>,
}

/// Returns the file for these services.
pub(crate) fn file(project: &Project, services: &[&Service<'_>], own: impl for<'a> Fn(&'a Service<'_>) -> EngineAdditions<'a>) -> Map {
    let mut map = Map::new();
    map.comment("The apps of this image. The engine sets variables, the number of instances and limits, and receives the output.");
    map.put("apps", services.iter().map(|service| app(project, service, &own(service)).into()).collect::<Vec<Yaml>>());
    map
}

fn app(project: &Project, service: &Service<'_>, own: &EngineAdditions<'_>) -> Map {
    let spec = service.spec;
    let given = spec.given.open();
    let mut app = Map::new();
    app.put("name", &service.name);
    let script = match project.inside(&spec.script) {
        Some(inside) if !spec.shell => crate::project::below_app(inside),
        // A command line, or a program of the image.
        _ => text_of(given.get("script")).map_or_else(|| spec.script.clone(), |text| in_image(project, &text)),
    };
    app.put("script", script);
    app.put("cwd", service.workdir(project));
    if !spec.shell {
        if let Some(interpreter) = &spec.interpreter {
            app.put("interpreter", interpreter.rsplit('/').next().unwrap_or(interpreter));
        } else if project.inside(&spec.script).is_some() {
            app.put("interpreter", "none");
        }
        if !spec.interpreter_args.is_empty() {
            app.put("node_args", Yaml::words(&spec.interpreter_args));
        }
    }
    for (key, value) in given.iter().filter(|(key, _)| KEYS.contains(&key.as_str())) {
        app.put(key.as_str(), if key == "listen" { yaml(project, &outward(value)) } else { yaml(project, value) });
    }
    if service.kind == Lifecycle::Job
        && let Some(zone) = spec.cron.as_ref().and_then(|cron| cron.zone.as_ref())
    {
        app.put("timezone", zone);
    }
    if !matches!(spec.ready.proof(), Some(ReadyBy::Log(_))) {
        app.put("disable_logs", true);
    }
    if let Some(range) = own.range {
        app.put("instances", Map::new().with("min", range.min).with("max", range.max).with("cpu", range.cpu));
    }
    if !own.secrets.is_empty() {
        let mut map = Map::new();
        for name in &own.secrets {
            map.put(name.as_str(), format!("{SECRETS}/{name}"));
        }
        app.put("secrets", map);
    }
    app
}

/// Replaces sockets at local addresses by sockets at all addresses: a container has its own
/// addresses, and clients connect from outside.
fn outward(value: &Value) -> Value {
    const OWN: &[&str] = &["127.0.0.1", "localhost", "::1", "[::1]"];
    match value {
        Value::Array(list) => list.iter().map(outward).collect(),
        Value::Object(table) => {
            let mut table = table.clone();
            if table.get("host").and_then(Value::as_str).is_some_and(|host| OWN.contains(&host)) {
                table.shift_remove("host");
            }
            table.into()
        }
        Value::String(text) => match text.rsplit_once(':') {
            Some((host, port)) if OWN.contains(&host) => format!(":{port}").into(),
            _ => value.clone(),
        },
        other => other.clone(),
    }
}

fn text_of(value: Option<&Value>) -> Option<String> {
    value.and_then(Value::as_str).map(str::to_owned)
}

/// Returns a text with the path of the project's folder at its start as a path in the image.
pub(crate) fn in_image(project: &Project, text: &str) -> String {
    match text.strip_prefix(&project.dir) {
        Some("") => "/app".to_owned(),
        Some(rest) if rest.starts_with('/') => format!("/app{rest}"),
        _ => text.to_owned(),
    }
}

fn yaml(project: &Project, value: &Value) -> Yaml {
    match value {
        Value::Null => Yaml::Verbatim("null".into()),
        Value::Bool(flag) => (*flag).into(),
        Value::Number(number) => number.as_i64().map_or_else(|| Yaml::Verbatim(number.to_string()), Yaml::Int),
        Value::String(text) => in_image(project, text).into(),
        Value::Array(list) if list.iter().all(|item| !item.is_object() && !item.is_array()) => {
            Yaml::Words(list.iter().map(|item| yaml(project, item)).collect())
        }
        Value::Array(list) => Yaml::List(list.iter().map(|item| yaml(project, item)).collect()),
        Value::Object(table) => {
            let mut map = Map::new();
            for (key, value) in table {
                map.put(key, yaml(project, value));
            }
            map.into()
        }
    }
}
