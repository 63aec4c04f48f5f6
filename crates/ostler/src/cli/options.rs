//! The global options: accepted before or after every command.

use super::table::{Arg, Group, Opt, Sets};

const fn opt(long: &'static str, short: Option<char>, arg: Arg, sets: Sets, group: Group, help: &'static str) -> Opt {
    Opt { long, short, aliases: &[], arg, sets, group, help }
}

pub(super) const fn alias(opt: Opt, aliases: &'static [&'static str]) -> Opt {
    Opt { aliases, ..opt }
}

/// Returns an option for an attribute with a text value.
const fn text(long: &'static str, short: Option<char>, value: &'static str, key: &'static str, group: Group, help: &'static str) -> Opt {
    opt(long, short, Arg::Required(value), Sets::Text(key), group, help)
}

/// Returns an option that turns an attribute on or off.
const fn switch(long: &'static str, short: Option<char>, key: &'static str, on: bool, group: Group, help: &'static str) -> Opt {
    opt(long, short, Arg::None, Sets::Bool(key, on), group, help)
}

/// Returns an option that changes the call, not the app.
pub(super) const fn call(long: &'static str, short: Option<char>, arg: Arg, help: &'static str) -> Opt {
    opt(long, short, arg, Sets::Nothing, Group::Call, help)
}

/// Returns an option of PM2 that has no meaning here.
pub(super) const fn known(long: &'static str, arg: Arg, help: &'static str) -> Opt {
    opt(long, None, arg, Sets::Nothing, Accepted, help)
}

use Group::{Accepted, App, Env, Lifecycle, Logs, Watch};

/// Every global option, in the order of the help.
pub(super) const GLOBAL: &[Opt] = &[
    text("name", Some('n'), "name", "name", App, "name of the app (renames it on restart)"),
    text("namespace", None, "ns", "namespace", App, "group of apps; stop, restart and others: act on this group only"),
    text("instances", Some('i'), "number", "instances", App, "how many instances; `max` or 0 = one per CPU, -1 = one less"),
    switch("execute-command", Some('x'), "execute_command", true, App, "run in fork mode"),
    alias(
        text("interpreter", None, "program", "exec_interpreter", App, "program that runs the script; `none` = run it itself"),
        &["exec-interpreter"],
    ),
    alias(text("node-args", None, "args", "node_args", App, "arguments for the interpreter, before the script"), &["interpreter-args"]),
    text("cwd", None, "path", "cwd", App, "working directory of the app"),
    text("uid", None, "user", "uid", App, "run as this user (root only)"),
    text("gid", None, "group", "gid", App, "run as this group (root only)"),
    text("user", Some('u'), "user", "uid", App, "as --uid; for startup and logrotate: the user whose apps or logs are meant"),
    text("nice", None, "n", "nice", App, "scheduling priority, -20 to 19"),
    text("umask", None, "mask", "umask", App, "file mode creation mask, octal"),
    opt("env", None, Arg::Required("name|K=V,.."), Sets::Nothing, Env, "use `env_<name>` of the config file, or set variables"),
    opt("update-env", Some('a'), Arg::None, Sets::Nothing, Env, "restart/reload: pass on the environment of this shell"),
    opt("filter-env", None, Arg::Optional("text"), Sets::List("filter_env"), Env, "drop inherited variables whose name contains this text"),
    text("env-file", None, "file", "env_file", Env, "read variables from a dotenv file"),
    text("env-policy", None, "policy", "env_policy", Env, "which inherited variables it gets: inherit, clean or user"),
    alias(text("output", Some('o'), "file", "out_file", Logs, "log file of standard output"), &["out-file"]),
    alias(text("error", Some('e'), "file", "error_file", Logs, "log file of standard error"), &["error-file"]),
    opt("log", Some('l'), Arg::Optional("file"), Sets::Text("log_file"), Logs, "combined log file"),
    text("pid", Some('p'), "file", "pid_file", Logs, "pid file"),
    switch("merge-logs", None, "merge_logs", true, Logs, "one file for all instances"),
    text("log-type", None, "type", "log_type", Logs, "`json`: one JSON object per line"),
    text("log-date-format", None, "format", "log_date_format", Logs, "date before each line, e.g. `YYYY-MM-DD HH:mm:ss`"),
    switch("time", None, "time", true, Logs, "date before each line in the standard form"),
    text("max-log-size", None, "size", "max_log_size", Logs, "rotate a log at this size (100M)"),
    switch("disable-logs", None, "disable_logs", true, Logs, "write no logs at all"),
    opt("max-restarts", None, Arg::OptionalNumber("n"), Sets::Text("max_restarts"), Lifecycle, "unstable restarts before giving up (16)"),
    text("min-uptime", None, "time", "min_uptime", Lifecycle, "a shorter run is unstable (1s)"),
    text("restart-delay", None, "ms", "restart_delay", Lifecycle, "wait before each restart"),
    text("exp-backoff-restart-delay", None, "ms", "exp_backoff_restart_delay", Lifecycle, "wait that grows with each unstable restart"),
    opt(
        "stop-exit-codes",
        None,
        Arg::Numbers("codes"),
        Sets::List("stop_exit_codes"),
        Lifecycle,
        "exit codes after which the app stays stopped",
    ),
    switch("no-autorestart", None, "autorestart", false, Lifecycle, "do not restart it when it ends"),
    switch("autorestart", None, "autorestart", true, Lifecycle, "restart it when it ends (default)"),
    switch("no-autostart", None, "autostart", false, Lifecycle, "add it to the list without starting it"),
    switch("autostart", None, "autostart", true, Lifecycle, "start it at once (default)"),
    text("kill-timeout", Some('k'), "ms", "kill_timeout", Lifecycle, "time to end before it is killed (1600)"),
    text("kill-signal", None, "signal", "kill_signal", Lifecycle, "polite signal to stop it (SIGINT)"),
    text(
        "drain-timeout",
        None,
        "ms",
        "drain_timeout",
        Lifecycle,
        "time for the requests under way in reload, scale and stop --drain (30000)",
    ),
    text("kill-mode", None, "mode", "kill_mode", Lifecycle, "whom a stop asks to end: mixed, tree or process"),
    switch("no-treekill", None, "treekill", false, Lifecycle, "stop only the main process, not what it started"),
    switch("treekill", None, "treekill", true, Lifecycle, "stop everything it started (default)"),
    switch(
        "shutdown-with-message",
        None,
        "shutdown_with_message",
        true,
        Lifecycle,
        "stop Node apps by the message `shutdown`, not by a signal",
    ),
    switch("wait-ready", None, "wait_ready", true, Lifecycle, "a start is done when the app says `ready`"),
    text("listen-timeout", None, "ms", "listen_timeout", Lifecycle, "what is ready later than that has failed"),
    text("max-memory-restart", None, "size", "max_memory_restart", Lifecycle, "restart above this memory, e.g. 300M or 25%"),
    text("max-cpu", None, "percent", "max_cpu", Lifecycle, "restart above this use of one core over a minute, e.g. 80"),
    alias(text("cron-restart", Some('c'), "pattern", "cron_restart", Lifecycle, "restart by this pattern; 0 switches it off"), &["cron"]),
    text("job", None, "schedule", "job", Lifecycle, "run it at these times, and not between them"),
    text("timezone", None, "zone", "timezone", Lifecycle, "time zone of the schedule, e.g. `Europe/Berlin`"),
    opt("watch", None, Arg::Optional("path"), Sets::List("watch"), Watch, "restart when files change"),
    opt("ignore-watch", None, Arg::Required("paths"), Sets::Text("ignore_watch"), Watch, "do not watch these"),
    opt("watch-delay", None, Arg::Required("s"), Sets::Seconds("watch_delay"), Watch, "wait after a change; seconds, or with unit"),
    text("ext", None, "list", "ext", Watch, "watch only files with these endings, e.g. `js,json`"),
    call("only", None, Arg::Required("names"), "config file: only these apps (a,b)"),
    call("force", Some('f'), Arg::None, "start although it runs; save although empty; overwrite"),
    call("allow-foreign-file", None, Arg::None, "obey a config file that other users can change"),
    call("parallel", None, Arg::Required("n"), "how many instances at the same time; with --hosts: how many hosts (8)"),
    call("no-wait", None, Arg::None, "return as soon as the daemon has the order"),
    call("yes", None, Arg::None, "start as many instances as are asked for, however many"),
    call("hosts", Some('H'), Arg::Required("hosts"), "on these hosts, over ssh: a,b, groups of the hosts file, user@host"),
    call("batch", None, Arg::Required("n"), "with --hosts: so many at a time, no further than one that does not get well"),
    call("attach", None, Arg::None, "after start/restart: stream the logs"),
    call("mini-list", Some('m'), Arg::None, "list as blocks of text"),
    call("sort", None, Arg::Required("field[:desc]"), "order of the list: name, id, pid, cpu, memory, uptime, status, namespace"),
    call("json", None, Arg::None, "data on stdout as JSON, nothing else"),
    call("silent", Some('s'), Arg::None, "print nothing"),
    call("no-color", None, Arg::None, "no colours"),
    call("color", None, Arg::None, "colours although stdout is not a terminal"),
    call("write", Some('w'), Arg::None, "write the resolved options to `<name>-pm2.json`"),
    call("no-daemon", None, Arg::None, "stay in the foreground"),
    call("help", Some('h'), Arg::None, "help"),
    alias(call("version", Some('v'), Arg::None, "version"), &[]),
    call("V", Some('V'), Arg::None, "version"),
    switch("no-pmx", None, "pmx", false, App, "no preload in Node apps"),
    switch("no-automation", None, "automation", false, App, "as --no-pmx"),
    switch("no-vizion", None, "vizion", false, App, "no commit in `describe`"),
    switch("source-map-support", None, "source_map_support", true, Accepted, "on anyway"),
    switch("disable-source-map-support", None, "disable_source_map_support", true, Accepted, "no source maps in stack traces"),
    switch("trace", None, "trace", true, Accepted, "tracing"),
    switch("disable-trace", None, "disable_trace", true, Accepted, "no tracing"),
    switch("v8", None, "v8", true, Accepted, "probe flag"),
    switch("event-loop-inspector", None, "event_loop_inspector", true, Accepted, "probe flag"),
    switch("deep-monitoring", None, "deep_monitoring", true, Accepted, "probe flag"),
    call("hp", None, Arg::Required("path"), "startup, logrotate: folder of the user, in which the home is"),
    call("service-name", None, Arg::Required("name"), "startup: name of the service"),
    call("wait-ip", None, Arg::None, "startup: begin when the network is up"),
];
