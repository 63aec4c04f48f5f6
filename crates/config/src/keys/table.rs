//! The table itself. Order is the order of the reference page.

use super::Accept::{Bytes, Command, Flag, Millis, Mixed, Number, Numbers, OneOf, Table, Tables, Text, Texts, Words};
use super::{Accept, Group, Key, KeyState};

const COUNT: Accept = Number(0, u32::MAX as i64);
const PERCENT: Accept = Number(0, 1_000_000);

const fn key(group: Group, name: &'static str, accepts: &'static [Accept], default: &'static str, doc: &'static str) -> Key {
    Key { name, aliases: &[], accepts, default, doc, group, state: KeyState::Works, options: &[] }
}

/// Reason why options of probes have no effect.
const NO_PROBES: &str = "ostler does not inject probes; an app that loads @pm2/io chooses its own";

impl Key {
    const fn alias(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    const fn option(mut self, options: &'static [&'static str]) -> Self {
        self.options = options;
        self
    }

    const fn without_effect(mut self, why: &'static str) -> Self {
        self.state = KeyState::NoEffect(why);
        self
    }

    const fn not_needed(mut self, why: &'static str) -> Self {
        self.state = KeyState::Needless(why);
        self
    }
}

use Group::{Cron, Env, Health, Kept, Limits, Logs, Node, Ready, Restart, Run, Serving, Stop, Watch};

/// Every attribute.
pub static KEYS: &[Key] = &[
    key(Run, "script", &[Text], "none", "File, program on `PATH`, or command line (anything with a blank that is not a file).")
        .alias(&["exec", "cmd", "command"]),
    key(Run, "name", &[Text], "file name of the script", "Name of the app.").option(&["-n", "--name"]),
    key(Run, "namespace", &[Text], "`default`", "Groups apps, so that one command acts on all of them. Two namespaces may have an app of the same name.").option(&["--namespace"]),
    key(Run, "cwd", &[Text], "directory of the caller", "Working directory; relative to the caller's, else to the file's.")
        .option(&["--cwd"]),
    key(Run, "args", &[Words], "none", "Arguments after the script."),
    key(Run, "exec_interpreter", &[Text], "by extension or `#!` line", "Program that runs the script; `none` runs the file itself.")
        .alias(&["interpreter"])
        .option(&["--interpreter"]),
    key(Run, "node_args", &[Words], "none", "Arguments of the interpreter, before the script.")
        .alias(&["interpreter_args"])
        .option(&["--node-args", "--interpreter-args"]),
    key(
        Run,
        "exec_mode",
        &[OneOf(&["fork", "cluster", "fork_mode", "cluster_mode"])],
        "cluster for Node with `instances` and for several instances of other programs, else fork",
        "Ordinary child processes, or workers that share ports.",
    ),
    key(Run, "execute_command", &[Flag], "false", "Always fork mode.").option(&["-x", "--execute-command"]),
    key(
        Run,
        "instances",
        &[Number(-10_000, 10_000), OneOf(&["max"]), Table],
        "1",
        "Number of instances; `max` or 0: one per CPU; a negative number: that many fewer; a table `{min, max, cpu}`: starts `min` and \
         scales with the load.",
    )
    .option(&["-i", "--instances"]),
    key(Run, "force", &[Flag], "false", "Start even if the app is already running.").option(&["-f", "--force"]),
    key(
        Run,
        "depends_on",
        &[Texts, Table],
        "none",
        "Apps that have to start first: names, or a table of names and conditions (`started`, `ready`, `healthy`, `completed`) \
         ([how](../order-and-hooks.md)).",
    ),
    key(Run, "depends_timeout", &[Millis], "60000", "Time for which a start waits for them."),
    key(Env, "env", &[Table], "none", "Environment variables."),
    key(
        Env,
        "env_file",
        &[Texts, Table, Mixed],
        "none",
        "Files with `NAME=value` lines, read before `env`, never run by a shell; a file that may be missing, or has the syntax of `systemd` or `foreman`: `{path, required: false, format}` ([how](../environment.md#variables-from-files)).",
    )
    .option(&["--env-file"]),
    key(
        Env,
        "env_policy",
        &[OneOf(&["inherit", "clean", "user"])],
        "`user`; as `pm2` `inherit`",
        "`clean` starts without the caller's variables, `user` does so for an app of another user.",
    )
        .option(&["--env-policy"]),
    key(Env, "env_expand", &[Flag], "false", "Resolves `${NAME}`, `${NAME:-default}` and `${NAME:?message}` in variables, arguments and paths; `$$` is a `$`."),
    key(Env, "secrets", &[Table], "none", "Variables whose values come from files, commands or credentials of systemd at each start, and are never shown."),
    key(Env, "filter_env", &[Flag, Texts], "none", "Drops the caller's variables whose names contain a word of the list.")
        .option(&["--filter-env"]),
    key(Env, "append_env_to_name", &[Flag], "false", "With `--env x`, the name becomes `<name>-x`."),
    key(Env, "instance_var", &[Text], "`NODE_APP_INSTANCE`", "Variable that holds the number of the instance."),
    key(Env, "increment_var", &[Text], "none", "Variable that increases by one from instance to instance."),
    key(Env, "port", &[Number(0, 65_535)], "none", "Sets the variable `PORT`.").option(&["--port"]),
    key(Logs, "out_file", &[Text], "`<home>/logs/<name>-out.log`", "File for standard output.")
        .alias(&["out", "output", "out_log"])
        .option(&["-o", "--output"]),
    key(Logs, "error_file", &[Text], "`<home>/logs/<name>-error.log`", "File for standard error.")
        .alias(&["err", "err_file", "err_log"])
        .option(&["-e", "--error"]),
    key(Logs, "log_file", &[Flag, Text], "none", "File for both; `true` is `<home>/logs/<name>.log`.")
        .alias(&["log"])
        .option(&["-l", "--log"]),
    key(Logs, "merge_logs", &[Flag], "true for one fork instance", "All instances share the files.")
        .alias(&["combine_logs"])
        .option(&["--merge-logs"]),
    key(Logs, "disable_logs", &[Flag], "false", "No log files and no live output.").option(&["--disable-logs"]),
    key(Logs, "log_type", &[Text], "none", "`json` writes one JSON object per line.").option(&["--log-type"]),
    key(Logs, "log_date_format", &[Text], "none", "Date before each line, in day.js tokens.").option(&["--log-date-format"]),
    key(Logs, "time", &[Flag], "false", "Date before each line as `YYYY-MM-DDTHH:mm:ss`.").option(&["--time"]),
    key(
        Logs,
        "log_rotate",
        &[Flag, Table],
        "on: at 100M, 10 old files, 1G per app",
        "Log rotation: `{max_size, interval, cron, retain, compress, date_format, tz, total_size}`; false turns it off ([how](../logs.md)).",
    ),
    key(Logs, "max_log_size", &[Bytes], "100M", "Rotate a log at this size; the same as `log_rotate: {max_size}`.").option(&["--max-log-size"]),
    key(Logs, "pid_file", &[Text], "`<home>/pids/<name>-<id>.pid`", "File that holds the process id.")
        .alias(&["pid"])
        .option(&["-p", "--pid"]),
    key(Restart, "autostart", &[Flag], "true", "If false, the app is added to the list without being started.").option(&["--no-autostart"]),
    key(Restart, "autorestart", &[Flag], "true", "Restart after an unexpected exit.").option(&["--no-autorestart"]),
    key(Restart, "stop_exit_codes", &[Numbers], "none", "Exit codes after which the app stays stopped.").option(&["--stop-exit-codes"]),
    key(Restart, "max_restarts", &[COUNT], "16; none with `exp_backoff_restart_delay`", "Unstable restarts in a row before `errored`.").option(&["--max-restarts"]),
    key(Restart, "min_uptime", &[Millis], "1000", "A run shorter than this is unstable.").option(&["--min-uptime"]),
    key(Restart, "max_lifetime", &[Millis], "none", "Maximum age of a process. An older one is replaced, without a gap if its instances share their ports."),
    key(Restart, "restart_delay", &[Millis], "0", "Wait before each restart.").option(&["--restart-delay"]),
    key(Restart, "exp_backoff_restart_delay", &[Millis], "0", "First delay of a growing wait before restarts.")
        .option(&["--exp-backoff-restart-delay"]),
    key(
        Restart,
        "restart_budget",
        &[Table],
        "none",
        "At most `n` restarts within a `window`, for any reason, then `errored`: `{n: 5, window: \"10m\"}`.",
    ),
    key(Restart, "pre_start", &[Command, Table], "none", "Command to run before each start of an instance; if it fails, the start fails ([how](../order-and-hooks.md))."),
    key(Restart, "post_start", &[Command, Table], "none", "Command to run when an instance is ready, before it counts as online."),
    key(Restart, "on_crash", &[Command, Table], "none", "Command to run after an unexpected exit."),
    key(Stop, "pre_stop", &[Command, Table], "none", "Command to run before the stop signal."),
    key(Stop, "post_stop", &[Command, Table], "none", "Command to run after all processes of an instance have exited."),
    key(Stop, "kill_timeout", &[Millis], "1600", "Time from the stop signal to SIGKILL.").option(&["-k", "--kill-timeout"]),
    key(Stop, "kill_signal", &[Text, Number(1, 64)], "`SIGINT`; `SIGTERM` with `listen` and no Node", "Signal that asks the app to exit, by name or number.").option(&["--kill-signal"]),
    key(Stop, "kill_retry_time", &[Millis], "100", "Poll interval while stopping.")
        .not_needed("ostler waits for the exit itself, it never polls"),
    key(
        Stop,
        "kill_mode",
        &[OneOf(&["tree", "control-group", "mixed", "process"])],
        "`mixed`; `tree` for Node, Bun, Deno, shells, and under the name `pm2`",
        "Processes that receive the stop signal. `mixed`: signal the main process, then kill its remaining children. `tree` (also `control-group`): signal every process. \
         `process`: signal only the main process. Takes precedence over `treekill`.",
    )
    .option(&["--kill-mode"]),
    key(Stop, "treekill", &[Flag], "true", "Signal the whole tree, not only the main process.").option(&["--no-treekill"]),
    key(Stop, "shutdown_with_message", &[Flag], "false", "Stop with the IPC message `shutdown` instead of a signal.")
        .option(&["--shutdown-with-message"]),
    key(Stop, "drain_timeout", &[Millis], "30000, or `kill_timeout` if that is more", "Time for requests in flight when an instance is drained: by `reload`, `scale` to fewer, `stop --drain` ([how](../reload.md#draining)).").option(&["--drain-timeout"]),
    key(
        Serving,
        "listen",
        &[Number(0, 65_535), Text, Table, Mixed],
        "none",
        "Sockets that ostler opens and passes to every instance: port, `host:port`, `:port`, path, or `{port, host, path, name, backlog, mode}`; \
         `{fd}` and `{fd:name}` in `args` and `env` are their numbers ([how](../sockets-and-readiness.md)).",
    ),
    key(
        Serving,
        "scheduling",
        &[OneOf(&["round_robin", "rr", "reuseport", "shared", "none"])],
        "`round_robin`, or `NODE_CLUSTER_SCHED_POLICY`",
        "How connections are spread in cluster mode: to each worker in turn, by the kernel's queues, or to the first worker that accepts.",
    ),
    key(
        Serving,
        "sticky",
        &[Flag, OneOf(&["address", "cookie"]), Table],
        "false",
        "Keep each client on one worker, by its address or the address that a proxy reports (`true`), or by a cookie (`\"cookie\"`, `{cookie: name}`); round robin in cluster mode only.",
    ),
    key(
        Serving,
        "max_connection_age",
        &[Millis],
        "none",
        "Maximum age of a keep-alive connection. An older connection is closed after its next response, so its client can reconnect to another worker; Node apps only ([how](../cluster.md#kept-connections)).",
    ),
    key(
        Serving,
        "retire_connections",
        &[Flag],
        "false",
        "Before the stop signal, the server is made to close the keep-alive connections in use, between two requests; not for Node ([how](../any-program.md#kept-connections)).",
    ),
    key(Serving, "reload_batch", &[Number(1, 10_000)], "1, 2 from three instances on", "Instances that a reload replaces at the same time."),
    key(Serving, "canary", &[Millis], "none", "Time for which a reload watches one new instance before it replaces the others."),
    key(
        Ready,
        "ready",
        &[OneOf(&["message", "listening", "notify", "http"]), Table],
        "none, `message` with `wait_ready`",
        "Condition that makes an instance ready: the message `ready`, a listening cluster worker, sd_notify, `{descriptor: 4}` (a newline), \
         `{tcp: port}`, `{http: {…}}`, `{log: \"regex\"}`, `{uptime: \"2s\"}`.",
    ),
    key(
        Ready,
        "watchdog",
        &[Millis],
        "none",
        "Restart the app unless it sends `WATCHDOG=1` by sd_notify at least this often.",
    ),
    key(Ready, "wait_ready", &[Flag], "false", "A start is complete when the app sends `ready`.").option(&["--wait-ready"]),
    key(Ready, "listen_timeout", &[Millis], "none", "A start that takes longer fails. Without it, a start that takes longer than 3 s continues in the background, and a reload waits for one minute.").option(&["--listen-timeout"]),
    key(
        Ready,
        "ready_timeout_action",
        &[OneOf(&["fail", "accept"])],
        "`fail`; as `pm2` `accept`",
        "Action if a start is not ready in time: `accept` treats it as ready after `listen_timeout` (or 3 s), as PM2 does; `fail`: see \
         `listen_timeout`.",
    ),
    key(Limits, "uid", &[Text, COUNT], "user of the caller", "User to run as, by name or number; needs root.")
        .alias(&["user"])
        .option(&["--uid", "-u", "--user"]),
    key(Limits, "gid", &[Text, COUNT], "group of `uid`", "Group to run as, by name or number; needs root.").option(&["--gid"]),
    key(Limits, "nice", &[Number(-20, 20)], "0", "Scheduling priority, -20 (first) to 19; 20 counts as 19.").option(&["--nice"]),
    key(Limits, "umask", &[Text, Number(0, 0o777)], "of the daemon", "File mode mask; a string is octal (`\"027\"`).").option(&["--umask"]),
    key(
        Limits,
        "rlimits",
        &[Table],
        "of the daemon",
        "Resource limits as in ulimit: `{nofile: 65536, core: \"unlimited\", nproc: [100, 200]}` (soft, hard).",
    ),
    key(
        Limits,
        "sandbox",
        &[OneOf(&["web", "strict", "none"]), Table, Flag],
        "none",
        "Confinement: `web` reads the system and its own directory, writes what it declares, and binds its ports; `strict` also restricts connections and system calls; or a table ([how](../sandbox.md)).",
    )
    .option(&["--sandbox"]),
    key(
        Limits,
        "max_cpu",
        &[PERCENT],
        "none",
        "Soft limit of CPU use in percent of one core: if an instance exceeds it for half of `max_cpu_window`, ostler logs it; for all of it, ostler replaces the instance.",
    )
    .option(&["--max-cpu"]),
    key(Limits, "max_cpu_unit", &[OneOf(&["core", "machine"])], "`core`", "Unit of `max_cpu`: 100 percent is one CPU core, or all CPUs of the machine."),
    key(Limits, "max_cpu_window", &[Millis], "60 s", "Period over which `max_cpu` is measured."),
    key(Limits, "cpu_quota", &[Text, PERCENT], "none", "Hard limit of CPU use in percent of one core, by cgroup."),
    key(Limits, "memory_max", &[Bytes], "none", "Hard limit of memory, by cgroup; a percentage (`\"25%\"`) is of the memory of the machine or of ostler's cgroup."),
    key(Limits, "pids_max", &[Number(1, 4_194_304)], "none", "Hard limit of processes and threads, by cgroup."),
    key(Limits, "io_weight", &[Number(1, 10_000)], "none", "Relative I/O weight (default 100), by cgroup."),
    key(
        Cron,
        "cron_restart",
        &[Text, Number(0, 0)],
        "none",
        "Restart at these times (a reload if two processes can share the ports); 5 or 6 cron fields, 0 turns it off.",
    )
    .alias(&["cron"])
    .option(&["-c", "--cron", "--cron-restart"]),
    key(
        Cron,
        "job",
        &[Text, Table],
        "none",
        "Run as a job at these times: a schedule, or `{schedule, retries, retry_delay, timeout, history}`.",
    )
    .option(&["--job"]),
    key(
        Cron,
        "jobs",
        &[Table, Tables],
        "none",
        "Jobs with the directory, user and variables of the app: `{name, cron, command}` and the settings of a `job`. Also allowed beside `apps`.",
    ),
    key(Cron, "timezone", &[Text], "of the machine", "Time zone of the schedule, such as `Europe/Berlin`.")
        .alias(&["cron_timezone"])
        .option(&["--timezone"]),
    key(
        Cron,
        "overlap",
        &[OneOf(&["skip", "kill", "queue"])],
        "`kill`, `skip` for a job",
        "If the previous run is still active: skip the new run, kill the previous run, or queue the new run.",
    )
    .alias(&["cron_overlap"]),
    key(Cron, "catch_up", &[Flag], "false", "Run once for the runs that were missed while the machine was asleep or off.")
        .alias(&["cron_catch_up"]),
    key(Cron, "run_on", &[OneOf(&["all", "one"])], "`all`, `one` for a job", "Run on all instances, or only on the first."),
    key(
        Watch,
        "max_memory_restart",
        &[Bytes],
        "none",
        "Replace an instance that, with its child processes, uses more memory than this; a percentage (`\"25%\"`) is of the memory of the machine or of ostler's cgroup.",
    )
    .option(&["--max-memory-restart"]),
    key(Watch, "watch", &[Flag, Texts], "false", "Restart when files change: all of `cwd`, or these paths and patterns.").option(&["--watch"]),
    key(
        Watch,
        "ignore_watch",
        &[Words],
        "dot files, `logs`, `*.log`",
        "Folders, patterns and regular expressions to ignore (`node_modules` and `.git` are always ignored).",
    )
    .option(&["--ignore-watch"]),
    key(Watch, "watch_delay", &[Millis], "0", "Minimum time from the first change to the restart.").option(&["--watch-delay"]),
    key(
        Watch,
        "watch_options",
        &[Table],
        "none",
        "As in chokidar: `followSymlinks`, `usePolling`, `interval`, `ignored`, `awaitWriteFinish`, `depth`, `cwd`, `disableGlobbing`; and \
         `gitignore: false`.",
    ),
    key(Watch, "ext", &[Text], "all", "Watch only files with these extensions: `js,json`.").option(&["--ext"]),
    key(
        Health,
        "http",
        &[Table],
        "none",
        "Health check by HTTP, for readiness and liveness: `{host, port, path, method, headers, expect_status, interval, timeout, retries, grace, \
         action}` ([how](../health.md)).",
    ),
    key(
        Health,
        "health",
        &[Table],
        "none",
        "Health checks by phase: `{startup, readiness, liveness}`, each with `http`, `tcp` or `command`; and `heartbeat`, `grace`, `action`.",
    ),
    key(
        Health,
        "alerts",
        &[Mixed, Text, Table],
        "none",
        "Alert rules of this app: names of events (`crash`) or tables such as `{metric: \"memory\", above: \"400M\", for: \"5m\"}` ([all](../alerts.md)).",
    ),
    key(
        Health,
        "scrape",
        &[Number(1, 65_535), Table],
        "none",
        "Port of the app's Prometheus metrics, or `{port, path, increment}`: read from each instance and added up in the dashboard's `/metrics` ([how](../metrics.md#custom-metrics)).",
    ),
    key(
        Health,
        "error",
        &[Text, Table],
        "none",
        "Too many errors: `{error_threshold, restart_on_error, window}`; a string is `error_file`.",
    ),
    key(
        Health,
        "autokill",
        &[Flag],
        "false",
        "Handle an unhealthy instance, or one over its limits, as a crash: SIGKILL after `kill_timeout`, then the restart policy.",
    ),
    key(Node, "disable_source_map_support", &[Flag], "false", "No source maps in stack traces of Node apps.")
        .option(&["--disable-source-map-support"]),
    key(Node, "source_map_support", &[Flag], "true", "Source maps are on unless disabled.")
        .not_needed("also without effect in PM2 7")
        .option(&["--source-map-support"]),
    key(Node, "pmx", &[Flag, Text], "true", "Load ostler's preload into Node apps; it drains their connections.").option(&["--no-pmx"]),
    key(Node, "automation", &[Flag], "true", "False turns `pmx` off.").option(&["--no-automation"]),
    key(Node, "vizion", &[Flag], "true", "Show the commit of the app's folder in `describe` and `jlist`.").option(&["--no-vizion"]),
    key(Node, "trace", &[Flag], "false", "Send traces to the dashboard, or to the endpoint in the app's environment. Node apps load OpenTelemetry from the folder of `ostler install-otel`.").option(&["--trace"]),
    key(Node, "disable_trace", &[Flag], "false", "Turns `trace` off.").option(&["--disable-trace"]),
    key(Node, "v8", &[Flag], "false", "Garbage collector metrics.").without_effect(NO_PROBES).option(&["--v8"]),
    key(Node, "event_loop_inspector", &[Flag], "false", "Event loop metrics.").without_effect(NO_PROBES).option(&["--event-loop-inspector"]),
    key(Node, "deep_monitoring", &[Flag], "false", "All metrics.").without_effect(NO_PROBES).option(&["--deep-monitoring"]),
    key(Node, "io", &[Table], "none", "Settings of the metrics preload.").without_effect(NO_PROBES),
    key(
        Kept,
        "export",
        &[Table],
        "none",
        "Settings of `ostler export`: `{requests: {cpu, memory}, service_port, mirrors: {npm, pip, debian, alpine}}` ([how](../export.md#settings-for-exports)).",
    ),
    key(Kept, "post_update", &[Texts], "none", "Commands to run after `pull`, `forward` and `backward`, before the reload."),
    key(Kept, "exec_timeout", &[Millis], "none", "Time limit of each of these commands."),
    key(Kept, "write", &[Flag], "false", "Write the resolved options to a file.")
        .not_needed("it is an option of the command line")
        .option(&["-w", "--write"]),
    key(Kept, "username", &[Text], "current user", "Shown only.").not_needed("the real user is shown"),
    key(Kept, "windowsHide", &[Flag], "true", "Windows only.").not_needed("it applies to Windows only"),
    key(Kept, "install_url", &[Text], "none", "Source of a module.").not_needed("it applies to modules only"),
    key(Kept, "name_prefix", &[Text], "none", "Prefix of module names.").not_needed("it applies to modules only"),
    key(Kept, "started_as_module", &[Flag], "false", "Internal to modules.").not_needed("it applies to modules only"),
    key(Kept, "pmx_module", &[Flag], "false", "Marks a module of PM2: `pm2-logrotate:rotateModule false` spares its logs."),
];
