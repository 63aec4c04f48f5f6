//! The global options: accepted before or after every command.

use super::table::{Arg, AttributeEffect, Group, Opt};

const fn opt(long: &'static str, short: Option<char>, arg: Arg, sets: AttributeEffect, group: Group, help: &'static str) -> Opt {
    Opt { long, short, aliases: &[], arg, sets, group, help }
}

pub(super) const fn alias(opt: Opt, aliases: &'static [&'static str]) -> Opt {
    Opt { aliases, ..opt }
}

/// Returns an option for an attribute with a text value.
const fn text(long: &'static str, short: Option<char>, value: &'static str, key: &'static str, group: Group, help: &'static str) -> Opt {
    opt(long, short, Arg::Required(value), AttributeEffect::Text(key), group, help)
}

/// Returns an option that turns an attribute on or off.
const fn switch(long: &'static str, short: Option<char>, key: &'static str, on: bool, group: Group, help: &'static str) -> Opt {
    opt(long, short, Arg::None, AttributeEffect::Bool(key, on), group, help)
}

/// Returns an option that changes the call, not the app.
pub(super) const fn call(long: &'static str, short: Option<char>, arg: Arg, help: &'static str) -> Opt {
    opt(long, short, arg, AttributeEffect::Nothing, Group::Call, help)
}

/// Returns an option of PM2 that has no meaning here.
pub(super) const fn known(long: &'static str, arg: Arg, help: &'static str) -> Opt {
    opt(long, None, arg, AttributeEffect::Nothing, Accepted, help)
}

use Group::{Accepted, App, Env, Lifecycle, Logs, Watch};

/// Every global option, in the order of the help.
pub(super) const GLOBAL: &[Opt] = &[
    text("name", Some('n'), "name", "name", App, "name of the app (renames it on restart)"),
    text("namespace", None, "ns", "namespace", App, "group of apps; commands act only on this group"),
    text("instances", Some('i'), "number", "instances", App, "number of instances; `max` or 0: one per CPU, -1: one less"),
    switch("execute-command", Some('x'), "execute_command", true, App, "run in fork mode"),
    alias(
        text("interpreter", None, "program", "exec_interpreter", App, "program that runs the script; `none`: execute it directly"),
        &["exec-interpreter"],
    ),
    alias(text("node-args", None, "args", "node_args", App, "arguments for the interpreter, before the script"), &["interpreter-args"]),
    text("cwd", None, "path", "cwd", App, "working directory of the app"),
    text("uid", None, "user", "uid", App, "run as this user (root only)"),
    text("gid", None, "group", "gid", App, "run as this group (root only)"),
    text("user", Some('u'), "user", "uid", App, "as --uid; for startup and logrotate: the owner of the apps or logs"),
    text("nice", None, "n", "nice", App, "scheduling priority, -20 to 19"),
    text("umask", None, "mask", "umask", App, "file mode creation mask, octal"),
    text("sandbox", None, "profile", "sandbox", App, "confine the app: web or strict"),
    opt("env", None, Arg::Required("name|K=V,.."), AttributeEffect::Nothing, Env, "use `env_<name>` of the config file, or set variables"),
    opt("update-env", Some('a'), Arg::None, AttributeEffect::Nothing, Env, "restart/reload: pass on the environment of this shell"),
    opt(
        "filter-env",
        None,
        Arg::Optional("text"),
        AttributeEffect::List("filter_env"),
        Env,
        "drop inherited variables whose name contains this text",
    ),
    text("env-file", None, "file", "env_file", Env, "read variables from a dotenv file"),
    text("env-policy", None, "policy", "env_policy", Env, "inherited variables of the app: inherit, clean or user"),
    alias(text("output", Some('o'), "file", "out_file", Logs, "log file of standard output"), &["out-file"]),
    alias(text("error", Some('e'), "file", "error_file", Logs, "log file of standard error"), &["error-file"]),
    opt("log", Some('l'), Arg::Optional("file"), AttributeEffect::Text("log_file"), Logs, "combined log file"),
    text("pid", Some('p'), "file", "pid_file", Logs, "pid file"),
    switch("merge-logs", None, "merge_logs", true, Logs, "use one log file for all instances"),
    text("log-type", None, "type", "log_type", Logs, "`json`: one JSON object per line"),
    text("log-date-format", None, "format", "log_date_format", Logs, "date before each line, e.g. `YYYY-MM-DD HH:mm:ss`"),
    switch("time", None, "time", true, Logs, "date before each line in the standard format"),
    text("max-log-size", None, "size", "max_log_size", Logs, "rotate a log at this size (100M)"),
    switch("disable-logs", None, "disable_logs", true, Logs, "write no logs"),
    opt(
        "max-restarts",
        None,
        Arg::OptionalNumber("n"),
        AttributeEffect::Text("max_restarts"),
        Lifecycle,
        "unstable restarts before giving up (16)",
    ),
    text("min-uptime", None, "time", "min_uptime", Lifecycle, "a shorter run is unstable (1s)"),
    text("restart-delay", None, "ms", "restart_delay", Lifecycle, "wait before each restart"),
    text("exp-backoff-restart-delay", None, "ms", "exp_backoff_restart_delay", Lifecycle, "first delay; grows with each unstable restart"),
    opt(
        "stop-exit-codes",
        None,
        Arg::Numbers("codes"),
        AttributeEffect::List("stop_exit_codes"),
        Lifecycle,
        "exit codes after which the app stays stopped",
    ),
    switch("no-autorestart", None, "autorestart", false, Lifecycle, "do not restart the app when it exits"),
    switch("autorestart", None, "autorestart", true, Lifecycle, "restart the app when it exits (default)"),
    switch("no-autostart", None, "autostart", false, Lifecycle, "add the app to the list without starting it"),
    switch("autostart", None, "autostart", true, Lifecycle, "start the app immediately (default)"),
    text("kill-timeout", Some('k'), "ms", "kill_timeout", Lifecycle, "time to exit before SIGKILL (1600)"),
    text("kill-signal", None, "signal", "kill_signal", Lifecycle, "signal that asks the app to exit (SIGINT)"),
    text("drain-timeout", None, "ms", "drain_timeout", Lifecycle, "time for requests in flight in reload, scale and stop --drain (30000)"),
    text("kill-mode", None, "mode", "kill_mode", Lifecycle, "processes that receive the stop signal: mixed, tree or process"),
    switch("no-treekill", None, "treekill", false, Lifecycle, "stop only the main process, not its children"),
    switch("treekill", None, "treekill", true, Lifecycle, "stop the whole process tree (default)"),
    switch(
        "shutdown-with-message",
        None,
        "shutdown_with_message",
        true,
        Lifecycle,
        "stop Node apps with the message `shutdown`, not a signal",
    ),
    switch("wait-ready", None, "wait_ready", true, Lifecycle, "a start is complete when the app sends `ready`"),
    text("listen-timeout", None, "ms", "listen_timeout", Lifecycle, "fail a start that is not ready within this time"),
    text("max-memory-restart", None, "size", "max_memory_restart", Lifecycle, "restart above this memory, e.g. 300M or 25%"),
    text("max-cpu", None, "percent", "max_cpu", Lifecycle, "restart above this percentage of one core for a minute, e.g. 80"),
    alias(
        text("cron-restart", Some('c'), "pattern", "cron_restart", Lifecycle, "restart at these times (cron); 0 turns it off"),
        &["cron"],
    ),
    text("job", None, "schedule", "job", Lifecycle, "run as a job at these times (cron)"),
    text("timezone", None, "zone", "timezone", Lifecycle, "time zone of the schedule, e.g. `Europe/Berlin`"),
    opt("watch", None, Arg::Optional("path"), AttributeEffect::List("watch"), Watch, "restart when files change"),
    opt("ignore-watch", None, Arg::Required("paths"), AttributeEffect::Text("ignore_watch"), Watch, "paths that are not watched"),
    opt(
        "watch-delay",
        None,
        Arg::Required("s"),
        AttributeEffect::Seconds("watch_delay"),
        Watch,
        "delay after a change; seconds, or with a unit",
    ),
    text("ext", None, "list", "ext", Watch, "watch only files with these extensions, e.g. `js,json`"),
    call("only", None, Arg::Required("names"), "only these apps of the config file (a,b)"),
    call("force", Some('f'), Arg::None, "start a running script again; save an empty list; overwrite"),
    call("allow-foreign-file", None, Arg::None, "accept a config file that other users can change"),
    call("parallel", None, Arg::Required("n"), "instances at the same time; with --hosts: hosts (8)"),
    call("no-wait", None, Arg::None, "return without waiting for the result"),
    call("yes", None, Arg::None, "allow more instances than is plausible for this machine"),
    call("hosts", Some('H'), Arg::Required("hosts"), "run on these hosts over ssh: a,b, groups, user@host"),
    call("batch", None, Arg::Required("n"), "with --hosts: batch size; stop at the first batch that fails"),
    call("attach", None, Arg::None, "stream the logs after start or restart"),
    call("mini-list", Some('m'), Arg::None, "list as text blocks"),
    call("sort", None, Arg::Required("field[:desc]"), "sort by name, id, pid, cpu, memory, uptime, status, namespace"),
    call("json", None, Arg::None, "print JSON on stdout"),
    call("silent", Some('s'), Arg::None, "print nothing"),
    call("no-color", None, Arg::None, "no colours"),
    call("color", None, Arg::None, "use colours even if stdout is not a terminal"),
    call("write", Some('w'), Arg::None, "write the resolved options to `<name>-pm2.json`"),
    call("no-daemon", None, Arg::None, "stay in the foreground"),
    call("help", Some('h'), Arg::None, "help"),
    alias(call("version", Some('v'), Arg::None, "version"), &[]),
    call("V", Some('V'), Arg::None, "version"),
    switch("no-pmx", None, "pmx", false, App, "do not load ostler's preload into Node apps"),
    switch("no-automation", None, "automation", false, App, "as --no-pmx"),
    switch("no-vizion", None, "vizion", false, App, "do not show the commit in `describe`"),
    switch("source-map-support", None, "source_map_support", true, Accepted, "on anyway"),
    switch("disable-source-map-support", None, "disable_source_map_support", true, Accepted, "no source maps in stack traces"),
    switch("trace", None, "trace", true, Accepted, "tracing"),
    switch("disable-trace", None, "disable_trace", true, Accepted, "no tracing"),
    switch("v8", None, "v8", true, Accepted, "probe flag"),
    switch("event-loop-inspector", None, "event_loop_inspector", true, Accepted, "probe flag"),
    switch("deep-monitoring", None, "deep_monitoring", true, Accepted, "probe flag"),
    call("hp", None, Arg::Required("path"), "startup, logrotate: home directory of the user"),
    call("service-name", None, Arg::Required("name"), "startup: name of the service"),
    call("wait-ip", None, Arg::None, "startup: wait until the network is up"),
];
