//! Keys of a file of OxMgr.

use super::{Format, Key, differs, done, left_out};

pub(super) const FORMAT: Format = Format {
    title: "OxMgr",
    source: "docs/OXFILE.md and docs/CLI.md of OxMgr: keys of `[[apps]]`, `[defaults]` and profiles. A stop is SIGTERM and 5 s.",
    keys: KEYS,
};

const DEPLOY: &str = "see `ostler deploy` and `ostler pull`";

pub(in crate::import) const KEYS: &[Key] = &[
    done("name", "name"),
    done("command", "script, args"),
    done("disabled", "none: the app is skipped"),
    done("restart_policy", "autorestart, stop_exit_codes; `on_failure` without it"),
    differs("max_restarts", "max_restarts, one more, because it counts starts, and only short runs; 10 without it"),
    done("crash_restart_limit", "restart_budget within 5 minutes; 3 without it"),
    done("cwd", "cwd"),
    done("env", "env"),
    done("stop_signal", "kill_signal; SIGTERM without it"),
    done("stop_timeout_secs", "kill_timeout; 5 s without it"),
    done("restart_delay_secs", "restart_delay"),
    left_out("start_delay_secs", "declare the dependency in `depends_on` or `pre_start`"),
    done("cluster_mode", "exec_mode: cluster"),
    done("cluster_instances", "instances; `max` without it"),
    done("namespace", "namespace"),
    left_out("start_order", "`depends_on` names the apps that start before this one"),
    done("depends_on", "depends_on"),
    differs("instances", "instances; they share one name"),
    done("instance_var", "instance_var"),
    done("health_cmd", "health.liveness.command"),
    done("health_interval_secs", "health.liveness.interval"),
    done("health_timeout_secs", "health.liveness.timeout"),
    done("health_max_failures", "health.liveness.failures"),
    done("watch", "watch"),
    left_out("ignore_watch", "these are regular expressions; `ignore_watch` has names and patterns like `*.log`"),
    done("watch_delay_secs", "watch_delay"),
    done("wait_ready", "health.startup"),
    done("ready_timeout_secs", "listen_timeout; 30 s without it, if `wait_ready` is set"),
    done("max_memory_mb", "max_memory_restart; memory_max with `cgroup_enforce`"),
    done("max_cpu_percent", "max_cpu; cpu_quota with `cgroup_enforce`"),
    done("cgroup_enforce", "memory_max and cpu_quota"),
    left_out("deny_gpu", "set CUDA_VISIBLE_DEVICES and similar variables in `env`"),
    done("reuse_port", "env: SO_REUSEPORT, OXMGR_REUSEPORT"),
    left_out("pre_reload_cmd", "build before `ostler reload`, or on each start by `pre_start`"),
    done("cron_restart", "cron_restart"),
    left_out("log_date_format", "it uses strftime tokens: set `log_date_format` with day.js tokens"),
    left_out("git_repo", DEPLOY),
    left_out("git_ref", DEPLOY),
    left_out("pull_secret", DEPLOY),
    differs("profiles", "env_<name>; a profile has variables only"),
];
