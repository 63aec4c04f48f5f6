//! Table of every attribute and its meaning in each target. It provides the list of attributes
//! without an equivalent, and a table of `docs/export.md`.

use ostler_core::app::{AppSpec, ExecMode};
use ostler_core::text::language::translated;
use serde_json::Value;

use crate::Target;

/// Meaning of an attribute in a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// The target has an equivalent, in these words.
    By(&'static str),
    /// ostler does it in the container.
    InContainer,
    /// It is not needed, for this reason.
    NotNeeded(&'static str),
    /// It has no equivalent, or behaves differently; this is reported.
    Reported(&'static str),
}

/// A row: the attribute, then Compose, Kubernetes, Nomad, systemd.
pub type Row = (&'static str, [Support; 4]);

use Support::{By, InContainer, NotNeeded, Reported};

const NO_CALLER: Support = NotNeeded("there is no caller with variables");
const ONE_PROCESS: Support = NotNeeded("one process in a container");
const FIRST: Support = Reported("each container has instance 0");
const OUTPUT: Support = Reported("log lines go to the output of the container");
const NO_CHANGE: Support = Reported("deployed files do not change");
const WAITS: Support = Reported("everything starts at once: the app itself must wait for its dependencies");
const USER: Support = Reported("images run as 1001");
const NO_METRICS: Support = NotNeeded("without effect in ostler, too");
const KEPT: Support = NotNeeded("stored only");
const NO_IPC: Support = Reported("systemd has no IPC channel to Node");

const fn inside(systemd: Support) -> [Support; 4] {
    [InContainer, InContainer, InContainer, systemd]
}

const fn all(how: Support) -> [Support; 4] {
    [how, how, how, how]
}

const fn containers(how: Support, systemd: Support) -> [Support; 4] {
    [how, how, how, systemd]
}

/// Every attribute, in the order of the reference.
pub static ROWS: &[Row] = &[
    ("script", containers(By("image"), By("ExecStart"))),
    ("name", [By("service"), By("name of all objects"), By("group"), By("unit")]),
    ("namespace", [By("label"), By("label part-of"), By("meta"), By("Slice")]),
    ("cwd", containers(By("folder below /app"), By("WorkingDirectory"))),
    ("args", inside(By("ExecStart"))),
    ("exec_interpreter", containers(By("base image"), By("ExecStart"))),
    ("node_args", inside(By("ExecStart"))),
    ("exec_mode", inside(Reported("workers of a cluster share ports through ostler; each instance opens its own"))),
    ("execute_command", inside(NotNeeded("there is no cluster mode"))),
    ("instances", [By("-i, or replicas with --swarm"), By("replicas, HorizontalPodAutoscaler"), By("count"), By("template unit, target")]),
    ("force", all(NotNeeded("no app is running before the deployment"))),
    ("depends_on", [By("depends_on"), WAITS, WAITS, By("After, Wants")]),
    (
        "depends_timeout",
        [Reported("Compose waits without a time limit"), WAITS, WAITS, NotNeeded("systemd waits for TimeoutStartSec of the other unit")],
    ),
    ("env", [By("environment"), By("ConfigMap"), By("env"), By("Environment")]),
    (
        "env_file",
        [
            By("env_file"),
            By("Secret, envFrom"),
            Reported("the file is not read: put its variables into the job or into Nomad variables"),
            By("EnvironmentFile"),
        ],
    ),
    ("env_policy", all(NO_CALLER)),
    ("env_expand", all(Reported("references are resolved at the export"))),
    ("secrets", [By("secrets"), By("secretKeyRef"), By("template of variables"), By("LoadCredential")]),
    ("filter_env", all(NO_CALLER)),
    ("append_env_to_name", all(By("name"))),
    ("instance_var", containers(FIRST, By("%i"))),
    ("increment_var", containers(FIRST, Reported("systemd does not number instances in variables"))),
    ("port", [By("ports, PORT"), By("Service, PORT"), By("network, PORT"), By("PORT")]),
    ("out_file", containers(OUTPUT, By("StandardOutput"))),
    ("error_file", containers(OUTPUT, By("StandardError"))),
    ("log_file", containers(OUTPUT, Reported("log lines go to the journal"))),
    ("merge_logs", all(NotNeeded("each instance has its output"))),
    (
        "disable_logs",
        [By("logging: none"), Reported("the engine keeps the output"), Reported("the engine keeps the output"), By("StandardOutput=null")],
    ),
    ("log_type", inside(Reported("log lines stay as the app writes them"))),
    ("log_date_format", inside(NotNeeded("the journal records the time of each line"))),
    ("time", inside(NotNeeded("the journal records the time of each line"))),
    (
        "log_rotate",
        [
            By("logging options"),
            Reported("the kubelet rotates by its own settings"),
            By("logs"),
            Reported("journald rotates by its own settings"),
        ],
    ),
    (
        "max_log_size",
        [
            By("logging options"),
            Reported("the kubelet rotates by its own settings"),
            By("logs"),
            Reported("journald rotates by its own settings"),
        ],
    ),
    ("pid_file", all(Reported("no pid file is written"))),
    ("autostart", [By("profile manual"), By("replicas: 0"), By("count = 0"), By("no WantedBy")]),
    ("autorestart", [By("restart"), By("Job"), By("restart, type batch"), By("Restart")]),
    ("stop_exit_codes", containers(Reported("the engine starts the container again"), By("RestartPreventExitStatus"))),
    ("max_restarts", inside(By("StartLimitBurst"))),
    ("min_uptime", inside(By("StartLimitIntervalSec"))),
    ("max_lifetime", inside(By("RuntimeMaxSec"))),
    ("restart_delay", inside(By("RestartSec"))),
    ("exp_backoff_restart_delay", inside(By("RestartSteps, from systemd 254 on"))),
    ("restart_budget", inside(By("StartLimitBurst"))),
    ("pre_start", inside(By("ExecStartPre"))),
    ("post_start", inside(By("ExecStartPost"))),
    ("on_crash", inside(Reported("ExecStopPost is the closest, but it runs at every exit"))),
    ("pre_stop", inside(By("ExecStop"))),
    ("post_stop", inside(By("ExecStopPost"))),
    ("kill_timeout", [By("stop_grace_period"), By("terminationGracePeriodSeconds"), By("kill_timeout"), By("TimeoutStopSec")]),
    ("kill_signal", inside(By("KillSignal"))),
    ("kill_retry_time", all(NotNeeded("the engine does not poll"))),
    ("kill_mode", inside(By("KillMode"))),
    ("treekill", inside(By("KillMode"))),
    ("shutdown_with_message", inside(NO_IPC)),
    (
        "drain_timeout",
        [By("stop_grace_period"), By("terminationGracePeriodSeconds"), By("kill_timeout"), Reported("requests are not drained")],
    ),
    ("listen", [By("ports"), By("Service"), By("network"), By("socket unit")]),
    ("scheduling", [InContainer, ONE_PROCESS, ONE_PROCESS, Reported("each instance opens its own ports")]),
    (
        "sticky",
        [
            InContainer,
            By("sessionAffinity: ClientIP"),
            Reported("its services have no sticky sessions"),
            Reported("each instance opens its own ports"),
        ],
    ),
    ("max_connection_age", inside(NotNeeded("one process serves all connections"))),
    ("retire_connections", inside(NotNeeded("one process serves all connections"))),
    ("reload_batch", [By("update_config.parallelism"), By("maxSurge"), By("max_parallel"), Reported("a restart is not rolling")]),
    ("canary", [By("update_config.monitor"), By("minReadySeconds"), By("canary"), Reported("a restart is not rolling")]),
    ("ready", [By("healthcheck"), By("startupProbe"), By("check"), By("Type=notify for \"notify\"")]),
    ("watchdog", inside(By("WatchdogSec"))),
    ("wait_ready", inside(NO_IPC)),
    ("listen_timeout", [By("start_period"), By("startupProbe"), By("healthy_deadline"), By("TimeoutStartSec")]),
    ("ready_timeout_action", inside(Reported("a late start always fails"))),
    ("uid", containers(USER, By("User"))),
    ("gid", containers(USER, By("Group"))),
    ("nice", inside(By("Nice"))),
    ("umask", inside(By("UMask"))),
    ("rlimits", [By("ulimits"), InContainer, By("ulimit"), By("Limit…")]),
    (
        "sandbox",
        [
            By("read_only, tmpfs, cap_add"),
            By("readOnlyRootFilesystem, capabilities"),
            Reported("add readonly_rootfs and cap_add to the driver's configuration"),
            By("ProtectSystem, ReadWritePaths, SystemCallFilter, …"),
        ],
    ),
    ("max_cpu", inside(Reported("there is no soft limit of CPU; cpu_quota is a hard one"))),
    ("max_cpu_unit", inside(Reported("there is no soft limit of CPU"))),
    ("max_cpu_window", inside(Reported("there is no soft limit of CPU"))),
    ("cpu_quota", [By("limits.cpus"), By("limits.cpu"), By("cpu_cfs_period, cpu_hard_limit"), By("CPUQuota")]),
    ("memory_max", [By("limits.memory"), By("limits.memory"), By("memory"), By("MemoryMax")]),
    ("pids_max", [By("limits.pids"), Reported("the kubelet has one limit for all (podPidsLimit)"), By("pids_limit"), By("TasksMax")]),
    (
        "io_weight",
        [
            Reported("the weight differs from that of blkio_config"),
            Reported("there is no I/O weight"),
            Reported("there is no I/O weight"),
            By("IOWeight"),
        ],
    ),
    ("cron_restart", [InContainer, By("CronJob that restarts the rollout"), InContainer, By("timer")]),
    ("job", [InContainer, By("CronJob"), By("periodic"), By("timer")]),
    ("jobs", [InContainer, By("CronJob"), By("periodic"), By("timer")]),
    ("timezone", [InContainer, By("timeZone"), By("time_zone"), By("OnCalendar")]),
    (
        "overlap",
        [InContainer, By("concurrencyPolicy"), By("prohibit_overlap"), Reported("a run is skipped while the previous run is active")],
    ),
    ("catch_up", [InContainer, By("startingDeadlineSeconds"), Reported("missed runs are skipped"), By("Persistent")]),
    ("run_on", [InContainer, ONE_PROCESS, ONE_PROCESS, NotNeeded("a timer starts one")]),
    (
        "max_memory_restart",
        [
            InContainer,
            By("limits.memory is a quarter higher; ostler restarts the app first"),
            InContainer,
            Reported("MemoryMax kills at that limit; there is no graceful replacement"),
        ],
    ),
    ("watch", all(NO_CHANGE)),
    ("ignore_watch", all(NotNeeded("files are not watched"))),
    ("watch_delay", all(NotNeeded("files are not watched"))),
    ("watch_options", all(NotNeeded("files are not watched"))),
    ("ext", all(NotNeeded("files are not watched"))),
    (
        "http",
        [By("healthcheck"), By("readinessProbe, livenessProbe"), By("check"), Reported("systemd does not probe services; see watchdog")],
    ),
    ("health", [By("healthcheck"), By("probes"), By("check"), Reported("systemd does not probe services; see watchdog")]),
    ("alerts", all(Reported("alerts come from the dashboard, which must run beside the apps"))),
    ("scrape", all(Reported("add the app's metrics page to the Prometheus configuration"))),
    ("error", inside(Reported("errors are not counted"))),
    ("autokill", inside(Reported("CPU is not measured"))),
    ("disable_source_map_support", inside(NotNeeded("not available without ostler"))),
    ("source_map_support", inside(NotNeeded("without effect in ostler, too"))),
    ("pmx", inside(NotNeeded("there is no preload"))),
    ("automation", inside(NotNeeded("there is no preload"))),
    ("vizion", all(NotNeeded("images have versions"))),
    ("trace", all(Reported("the OpenTelemetry packages must be dependencies of the app"))),
    ("disable_trace", all(NO_METRICS)),
    ("v8", all(NO_METRICS)),
    ("event_loop_inspector", all(NO_METRICS)),
    ("deep_monitoring", all(NO_METRICS)),
    ("io", all(NO_METRICS)),
    (
        "export",
        [
            By("mirrors; reservations with --swarm"),
            By("requests, Service, mirrors"),
            By("resources, mirrors"),
            NotNeeded("a unit is not an image"),
        ],
    ),
    ("post_update", containers(Reported("images are replaced; nothing is pulled inside a container"), Reported("nothing is pulled"))),
    ("exec_timeout", all(NotNeeded("see post_update"))),
    ("write", all(KEPT)),
    ("username", all(KEPT)),
    ("windowsHide", all(KEPT)),
    ("install_url", all(KEPT)),
    ("name_prefix", all(KEPT)),
    ("started_as_module", all(KEPT)),
    ("pmx_module", all(KEPT)),
];

/// Returns the meaning of an attribute; none for an unknown attribute, and for targets that
/// describe no app.
pub fn support(key: &str, target: Target) -> Option<Support> {
    let column = match target {
        Target::Compose => 0,
        Target::Kubernetes => 1,
        Target::Nomad => 2,
        Target::Systemd => 3,
        Target::Dockerfile | Target::GithubActions | Target::GitlabCi => return None,
    };
    ROWS.iter().find(|(name, _)| *name == key).and_then(|(_, columns)| columns.get(column)).copied()
}

/// Returns the attributes of an app without an equivalent in the target, with the reason.
pub(crate) fn unsupported(spec: &AppSpec, target: Target) -> Vec<(String, String)> {
    let given = spec.given.open();
    let notices = |(key, value): (&String, &Value)| match support(key, target) {
        Some(Support::Reported(why)) if matters(key, value, spec) => Some((key.clone(), translated(why).to_owned())),
        _ => None,
    };
    given.iter().filter_map(notices).collect()
}

/// Returns the reasons that are shown to users.
pub(crate) fn texts() -> impl Iterator<Item = &'static str> {
    ROWS.iter().flat_map(|(_, columns)| columns).filter_map(|support| match support {
        Reported(why) => Some(*why),
        By(_) | InContainer | NotNeeded(_) => None,
    })
}

/// Returns true if the value has an effect.
fn matters(key: &str, value: &Value, spec: &AppSpec) -> bool {
    let is_off = matches!(value, Value::Null | Value::Bool(false)) || value.as_str().is_some_and(str::is_empty) || value == &Value::from(0);
    let has_several = spec.instances > 1 || spec.autoscale.is_some();
    match key {
        "exec_mode" => spec.mode == ExecMode::Cluster && has_several,
        "instance_var" | "increment_var" | "scheduling" => has_several,
        "run_on" => false,
        "error" => value.is_object(),
        "ready_timeout_action" => value == "accept",
        "log_type" => value == "json",
        "log_rotate" => !matches!(value, Value::Bool(true) | Value::Null),
        // The path of standard output is also valid in a container.
        "out_file" | "error_file" | "log_file" => {
            !is_off && !value.as_str().is_some_and(|path| path.starts_with("/dev/") || path.starts_with("/proc/"))
        }
        "stop_exit_codes" => !is_off && value.as_array().is_none_or(|codes| !codes.is_empty()),
        "overlap" => value != "skip" && spec.cron.as_ref().is_some_and(|cron| cron.job.is_some()),
        _ => !is_off,
    }
}

/// Returns the table in Markdown.
pub fn reference() -> String {
    let cell = |how: &Support| match how {
        Support::By(words) => words.replace('|', "\\|"),
        Support::InContainer => "ostler inside".to_owned(),
        Support::NotNeeded(_) => "–".to_owned(),
        Support::Reported(why) => format!("**no**: {}", why.replace('|', "\\|")),
    };
    let mut out = String::from("| attribute | Compose | Kubernetes | Nomad | systemd |\n|---|---|---|---|---|\n");
    for (key, columns) in ROWS {
        let cells: Vec<String> = columns.iter().map(cell).collect();
        out.push_str(&format!("| `{key}` | {} |\n", cells.join(" | ")));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_config::keys::KEYS;
    use serde_json::json;

    #[test]
    fn every_attribute_has_exactly_one_row() {
        let keys: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
        let rows: Vec<&str> = ROWS.iter().map(|(key, _)| *key).collect();
        assert_eq!(rows, keys);
    }

    /// `INSTA_UPDATE=always` rewrites the table.
    #[test]
    fn documentation_contains_the_generated_table() {
        const BEGIN: &str = "| attribute | Compose |";
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/export.md");
        let text = std::fs::read_to_string(path).unwrap();
        let start = text.find(BEGIN).unwrap();
        let end = start + text[start..].find("\n\n").unwrap() + 1;
        let new = format!("{}{}{}", &text[..start], reference(), &text[end..]);
        if std::env::var("INSTA_UPDATE").is_ok_and(|how| how == "always") {
            std::fs::write(path, new).unwrap();
        } else {
            assert_eq!(text, new, "run the test with INSTA_UPDATE=always");
        }
    }

    #[test]
    fn inactive_attributes_are_not_reported() {
        let spec = |given: Value| AppSpec { given: given.as_object().cloned().unwrap().into(), ..AppSpec::default() };
        let notices = |given, target| unsupported(&spec(given), target).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
        assert_eq!(notices(json!({"watch": false, "increment_var": "PORT", "uid": "www"}), Target::Kubernetes), ["uid"]);
        assert_eq!(notices(json!({"watch": true, "http": {}, "kill_timeout": 3}), Target::Systemd), ["watch", "http"]);
        assert_eq!(notices(json!({"watch": true}), Target::GithubActions), [""; 0]);
    }
}
