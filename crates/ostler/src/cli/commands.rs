//! Every command of ostler and of PM2.

use super::arguments;
use super::elsewhere::{INSTALLED, PROFILE, SAMPLES, SERVICE};
use super::options::call;
use super::own_options::{
    ALERTS, DELETE, DEV, DOWN, EXPORT, IMPORT, INSTALL, LIST, LOGS, PROFILES, PUBLISH, RELOAD, ROLLOUT, RUNTIME, SAFE, SERVE, START,
    STARTUP, STOP, TOP, UP, UPDATE, USER_UNIT, WEB,
};
use super::shared_options::{APP_FILE, LAUNCH, MODULE, TABLE};
use super::table::AppOptions::{Attributes, AttributesAndArguments};
use super::table::{Arg, Command, DaemonUse, Section, control, elsewhere, exit, keeps, reads, works};
use crate::error::Status;

/// Every command, in the order of the help.
pub(crate) const COMMANDS: &[Command] = &[
    Command {
        options: START,
        completes: arguments::START,
        examples: &[
            "start app.js --name api -- --port 3000",
            "start app.js -i max",
            "start ecosystem.config.js --env production",
            "start \"npm run build\"",
            "start api",
        ],
        shared: &[APP_FILE, LAUNCH, TABLE, &["update-env", "force", "no-wait", "attach", "no-daemon"]],
        app_options: AttributesAndArguments,
        ..control("start", "[name|namespace|file|ecosystem|id...]", 0, "start apps, or start stopped apps again")
    },
    Command {
        options: DEV,
        completes: arguments::FILES,
        examples: &["dev app.js", "dev ecosystem.config.js --timestamp", "dev app.js --post-exec \"make docs\""],
        shared: &[APP_FILE, &["env"]],
        app_options: AttributesAndArguments,
        ..control("dev", "[file]", 0, "development mode: watch, restart and show logs")
    },
    Command {
        completes: arguments::PROJECT,
        options: UP,
        examples: &["up", "up -d --wait", "up api --scale api=3", "up -f compose.yaml --profile debug"],
        shared: &[APP_FILE, &["env"]],
        ..control("up", "[app...]", 0, "run the ecosystem or compose file of this folder, as Compose does")
    },
    Command {
        completes: arguments::PROJECT,
        options: DOWN,
        examples: &["down", "down -f compose.yaml", "down --project-name shop"],
        shared: &[APP_FILE],
        ..works("down", "[app...]", 0, DaemonUse::Unused, Section::Control, "stop and delete the apps that `up` started from this file")
    },
    Command {
        options: STOP,
        completes: arguments::TARGETS_OR_FILE,
        examples: &["stop api", "stop all", "stop 0 1", "stop api --drain"],
        shared: &[APP_FILE, TABLE, &["namespace", "parallel", "attach", "no-daemon"]],
        ..control("stop", "<id|name|namespace|all|file|stdin...>", 1, "stop apps and keep them in the list")
    },
    Command {
        completes: arguments::TARGETS_OR_FILE,
        examples: &["restart api --update-env", "restart all", "restart api -- --new --arguments"],
        shared: &[APP_FILE, LAUNCH, TABLE, &["update-env", "parallel", "no-wait", "attach", "no-daemon"]],
        app_options: AttributesAndArguments,
        ignores: &["force"],
        ..control("restart", "<id|name|namespace|all|file|stdin...>", 1, "restart apps (stop, then start)")
    },
    Command {
        aliases: &["gracefulReload"],
        options: RELOAD,
        completes: arguments::TARGETS_OR_FILE,
        examples: &["reload api", "reload ecosystem.config.js", "reload api --canary 30s", "reload api --update-env"],
        shared: &[APP_FILE, LAUNCH, &["update-env", "parallel", "no-wait", "attach", "no-daemon", "sort"]],
        app_options: AttributesAndArguments,
        ignores: &["force", "mini-list"],
        ..control("reload", "<id|name|namespace|all|file>", 1, "replace instances without losing requests; roll back on failure")
    },
    Command {
        completes: arguments::ROLLOUT,
        options: ROLLOUT,
        examples: &["rollout status api", "rollout history api", "rollout undo api", "rollout undo api --to 3"],
        ..control("rollout", "<status|history|undo> [name]", 1, "show the progress and history of releases; roll back")
    },
    Command {
        options: DELETE,
        aliases: &["del"],
        completes: arguments::TARGETS_OR_FILE,
        examples: &["delete api", "delete all"],
        shared: &[APP_FILE, TABLE, &["namespace", "parallel", "attach", "no-daemon"]],
        ..control("delete", "<id|name|namespace|all|file|stdin...>", 1, "stop apps and remove them from the list")
    },
    Command {
        completes: arguments::CONFIG_FILES,
        shared: &[APP_FILE, LAUNCH, TABLE, &["no-wait", "no-daemon"]],
        app_options: AttributesAndArguments,
        ignores: &["update-env", "force"],
        ..control("startOrRestart", "<file>", 1, "start the apps of a config file; restart running apps")
    },
    Command {
        aliases: &["startOrGracefulReload"],
        options: RELOAD,
        completes: arguments::CONFIG_FILES,
        shared: &[APP_FILE, LAUNCH, TABLE, &["parallel", "no-wait", "no-daemon"]],
        app_options: AttributesAndArguments,
        ignores: &["update-env", "force"],
        ..control("startOrReload", "<file>", 1, "start the apps of a config file; reload running apps")
    },
    Command {
        options: RUNTIME,
        completes: arguments::FILES,
        examples: &["runtime ecosystem.config.js", "runtime app.js -i max --json", "runtime \"npm start\" --stop-timeout 8s"],
        shared: &[APP_FILE, LAUNCH],
        app_options: AttributesAndArguments,
        ignores: &["update-env", "force", "no-daemon"],
        ..works(
            "runtime",
            "[start] <file|script|command>",
            0,
            DaemonUse::Unused,
            Section::Control,
            "run apps as the main process of a container",
        )
    },
    Command {
        completes: arguments::APPS,
        examples: &["scale api 4", "scale api +2", "scale api -1"],
        shared: &[TABLE, &["no-wait", "yes", "no-daemon"]],
        ..control("scale", "<name> <number>", 2, "change the number of instances")
    },
    Command {
        aliases: &["expose"],
        options: SERVE,
        completes: arguments::FOLDERS,
        examples: &["serve", "serve dist 8080 --spa", "serve /srv/files 80 --ftp -i 2 --name files"],
        shared: &[LAUNCH, TABLE, &["allow-foreign-file", "force", "attach", "no-daemon"]],
        app_options: Attributes,
        ignores: &["update-env"],
        ..control("serve", "[path] [port]", 0, "serve a folder over HTTP as an app")
    },
    Command {
        completes: arguments::INSTANCES_OR_ALL,
        shared: &[TABLE, &["namespace"]],
        ..control("reset", "<id|name|all>", 1, "reset the restart counters")
    },
    Command {
        completes: arguments::SIGNALLED,
        examples: &["sendSignal SIGUSR1 api"],
        shared: &[TABLE],
        ..control("sendSignal", "<signal> <id|name>", 2, "send a signal to the main process of an app")
    },
    Command {
        completes: arguments::TRIGGERED,
        max_args: Some(3),
        options: &[call("timeout", None, Arg::Required("time"), "time to wait for an answer (default 10s)")],
        examples: &["trigger api gc", "trigger api db:slow 200 --timeout 1m"],
        ..control("trigger", "<id|name|namespace|all> <action> [params]", 2, "call an action of an app")
    },
    Command {
        completes: arguments::INSTANCES,
        examples: &["send 0 reload-config", "send api \"hello there\""],
        shared: &[TABLE],
        ..control("send", "<id|name> <line>", 2, "write a line to the standard input of an app")
    },
    Command {
        completes: arguments::INSTANCES,
        max_args: Some(2),
        examples: &["attach 0", "attach api"],
        ignores: &["no-daemon"],
        ..reads("attach", "<id|name> [separator]", 1, "attach to an app's output and stdin")
    },
    Command {
        aliases: &["ls", "l", "ps", "status"],
        completes: arguments::SELECTED,
        options: LIST,
        examples: &["list", "list api worker", "list --sort memory:desc", "list --json"],
        shared: &[TABLE, &["allow-foreign-file"]],
        ..reads("list", "[id|name|namespace...]", 0, "list all apps in a table")
    },
    Command {
        options: &[call("all", None, Arg::None, "also list the checks that passed")],
        examples: &["doctor", "doctor --all", "doctor --json"],
        ..reads("doctor", "", 0, "check this machine for problems and suggest fixes")
    },
    Command { ..reads("jlist", "", 0, "print all apps as JSON in PM2's format") },
    Command {
        completes: arguments::SELECTED,
        max_args: Some(1),
        examples: &["inspect api"],
        ..reads("inspect", "<id|name|namespace>", 1, "enable the inspector of a running Node app and show its address")
    },
    Command {
        options: PROFILES,
        completes: arguments::SELECTED,
        max_args: Some(1),
        examples: &["profile api", "profile api --memory --for 1m", "profile api --heap --into /tmp"],
        ..reads("profile", "<id|name|namespace>", 1, "record a CPU, memory or heap profile of running Node apps")
    },
    Command { max_args: Some(0), ..reads("prettylist", "", 0, "print all apps as readable JSON") },
    Command {
        max_args: Some(0),
        examples: &["report", "report --json"],
        ..works("report", "", 0, DaemonUse::Unused, Section::Inspect, "collect diagnostics for a bug report, with secrets masked")
    },
    Command {
        aliases: &["desc", "info", "show"],
        completes: arguments::INSTANCES,
        examples: &["describe api"],
        ..reads("describe", "<id|name>", 1, "show all details of an app")
    },
    Command {
        completes: arguments::JOBS,
        examples: &["jobs", "jobs backup", "jobs run backup"],
        ..reads("jobs", "[run] [id|name...]", 0, "list jobs with their schedules and last runs; run a job now")
    },
    Command {
        options: &[call("all", None, Arg::None, "every exit and event")],
        completes: arguments::INSTANCES,
        examples: &["why api", "why api --all"],
        ..reads("why", "<id|name>", 1, "show why an instance last exited")
    },
    Command {
        options: &[
            call("for", None, Arg::Required("time"), "period of the observation (30s)"),
            call("strict", None, Arg::None, "propose the profile `strict`"),
        ],
        completes: arguments::SANDBOX,
        max_args: Some(2),
        examples: &["sandbox learn api", "sandbox learn api --for 5m --strict"],
        ..reads("sandbox", "learn <id|name>", 1, "propose a sandbox from the behaviour of an app")
    },
    Command {
        options: &[
            call("since", None, Arg::Required("time"), "events of this period: 90s, 10m, 2h"),
            call("follow", None, Arg::None, "keep following new events"),
            call("all", None, Arg::None, "every event; do not fold repeats"),
            call("app", None, Arg::Required("name"), "only this app, or this instance if given by id"),
        ],
        completes: arguments::INSTANCES,
        examples: &["events", "events api --since 10m", "events --all", "events --follow", "events --follow --json"],
        ..reads("events", "[id|name...]", 0, "show events of apps with their causes")
    },
    Command {
        options: &[
            call("resolve", None, Arg::Required("id"), "mark as resolved; a recurrence alerts as a regression"),
            call("all", None, Arg::None, "include resolved errors"),
        ],
        completes: arguments::ERRORS,
        max_args: Some(1),
        examples: &["errors", "errors api", "errors 3f9a1c02", "errors --resolve 3f9a1c02", "errors --json"],
        ..reads("errors", "[name|id]", 0, "show exceptions of apps in groups")
    },
    Command {
        aliases: &["log"],
        options: LOGS,
        completes: arguments::SELECTED,
        examples: &["logs", "logs api --lines 100", "logs --err --nostream", "logs api --grep timeout --since 2h"],
        shared: &[&["allow-foreign-file"]],
        ignores: &["no-daemon"],
        ..reads("logs", "[id|name|namespace]", 0, "show and follow logs")
    },
    Command {
        aliases: &["dashboard", "dash", "imonit"],
        completes: arguments::NAMED,
        examples: &["monit", "monit api --sort cpu:desc"],
        shared: &[&["sort"]],
        ignores: &["no-daemon"],
        ..reads("monit", "[name]", 0, "full-screen monitor: apps, logs, usage and events")
    },
    Command {
        completes: arguments::APPS,
        options: &[
            call("since", None, Arg::Required("time"), "metrics of this period: 10m, 2h, 30d (1h)"),
            call("csv", None, Arg::None, "print CSV"),
        ],
        examples: &["stats api", "stats api --since 7d", "stats api --since 2h --csv"],
        ..works("stats", "<name>", 1, DaemonUse::Unused, Section::Inspect, "show historical metrics of an app")
    },
    Command {
        options: TOP,
        examples: &["top", "top --since 24h", "top --once --all"],
        ..works("top", "", 0, DaemonUse::Unused, Section::Inspect, "show live CPU and memory usage of all apps")
    },
    Command { completes: arguments::INSTANCES, ..reads("env", "<id>", 1, "show the environment of an app") },
    Command { completes: arguments::APPS, ..reads("pid", "[name]", 0, "process ids") },
    Command { completes: arguments::APPS, ..reads("id", "<name>", 1, "print the ids of an app") },
    Command {
        completes: arguments::TARGETS,
        options: &[
            call("min", None, Arg::Required("n"), "number of healthy instances that suffice"),
            call("wait", None, Arg::Required("time"), "wait until all apps are healthy, at most this long"),
        ],
        examples: &["health", "health api", "health api --min 2", "health --wait 30s"],
        ..works(
            "health",
            "[id|name|namespace|all...]",
            0,
            DaemonUse::Unused,
            Section::Inspect,
            "check app health (exit code 0 if healthy, 1 if not)",
        )
    },
    Command {
        aliases: &["sysinfos"],
        options: &[call("tree", Some('t'), Arg::None, "as a tree")],
        ..reads("slist", "", 0, "show CPU, memory, network and disks of the machine")
    },
    Command { ..reads("ping", "", 0, "check that the daemon answers") },
    Command { completes: arguments::INSTANCES, ..keeps("flush", "[id|name]", 0, DaemonUse::Starts, "empty the log files") },
    Command { ..keeps("reloadLogs", "", 0, DaemonUse::Starts, "reopen the log files") },
    Command {
        max_args: Some(0),
        examples: &["logrotate", "logrotate -u deploy --hp /home/deploy"],
        shared: &[&["user", "hp"]],
        ..keeps("logrotate", "", 0, DaemonUse::NoHome, "let the system's logrotate rotate the logs (root)")
    },
    Command {
        aliases: &["dump"],
        max_args: Some(0),
        shared: &[&["force"]],
        ..keeps("save", "", 0, DaemonUse::Starts, "save the list of apps for `resurrect`")
    },
    Command { max_args: Some(0), ..keeps("cleardump", "", 0, DaemonUse::Unused, "clear the saved list") },
    Command { max_args: Some(0), shared: &[TABLE, &["no-daemon"]], ..keeps("resurrect", "", 0, DaemonUse::Starts, "start the saved apps") },
    Command { max_args: Some(0), ..keeps("kill", "", 0, DaemonUse::Unused, "stop all apps and the daemon") },
    Command {
        aliases: &["updatePM2"],
        options: UPDATE,
        examples: &["update", "update --from ostler-0.2.0-x86_64-linux.tar.gz"],
        shared: &[TABLE],
        ..keeps("update", "", 0, DaemonUse::Unused, "replace the running daemon by this program; apps keep running")
    },
    Command {
        options: STARTUP,
        completes: arguments::PLATFORMS,
        examples: &[
            "startup",
            "startup systemd -u deploy --hp /home/deploy",
            "startup --wait-ip --service-name shop",
            "startup --user-unit",
            "startup --check",
        ],
        shared: &[&["user", "hp", "service-name", "wait-ip"]],
        ..keeps("startup", "[platform]", 0, DaemonUse::NoHome, "start the saved apps at boot")
    },
    Command {
        options: &[USER_UNIT],
        completes: arguments::PLATFORMS,
        shared: &[&["user", "hp", "service-name"]],
        ignores: &["wait-ip"],
        ..keeps("unstartup", "[platform]", 0, DaemonUse::NoHome, "undo startup; running apps keep running")
    },
    Command {
        options: &[USER_UNIT],
        completes: arguments::SERVICE,
        ..keeps("service", "<run|reload> [unit]", 1, DaemonUse::Starts, "internal: called by the service manager")
    },
    Command {
        options: &[
            call("strict", None, Arg::None, "warnings are errors"),
            call("schema", None, Arg::None, "print the JSON schema of config files"),
            call("reference", None, Arg::None, "print all config keys as Markdown"),
        ],
        completes: arguments::CONFIG_FILES,
        examples: &["validate", "validate ecosystem.config.js --strict", "validate --schema > ostler.schema.json"],
        shared: &[APP_FILE, &["env"]],
        ..keeps("validate", "[file]", 0, DaemonUse::NoHome, "check a config file without starting anything")
    },
    Command {
        options: &[
            call("show-values", None, Arg::None, "show values of variables except likely secrets"),
            call("exit-code", None, Arg::None, "exit code 1 if something differs"),
            call("strict", None, Arg::None, "warnings are errors"),
        ],
        completes: arguments::CONFIG_FILES,
        examples: &["diff", "diff ecosystem.config.js --env production", "diff --exit-code --json"],
        shared: &[APP_FILE, &["env"]],
        ..keeps("diff", "[file]", 0, DaemonUse::Unused, "show what starting a config file would change")
    },
    Command {
        options: EXPORT,
        exit_codes: &[exit(
            Status::Incomplete,
            "partly exported",
            "`export --check`: all files are current, and something has no equal there",
        )],
        completes: arguments::EXPORT,
        max_args: Some(2),
        examples: &[
            "export dockerfile",
            "export compose --env production",
            "export kubernetes --kustomize --host shop.example.com",
            "export systemd --app api --out /tmp/units",
            "export compose --check",
        ],
        shared: &[APP_FILE, &["env"]],
        ..keeps(
            "export",
            "<target> [file]",
            1,
            DaemonUse::NoHome,
            "generate files for other engines: dockerfile, compose, kubernetes, systemd, nomad, github-actions, gitlab-ci",
        )
    },
    Command {
        options: IMPORT,
        completes: arguments::IMPORT,
        max_args: Some(2),
        examples: &["import compose", "import systemd /etc/systemd/system/api.service", "import procfile --out -"],
        shared: &[&["allow-foreign-file", "force"]],
        ..keeps(
            "import",
            "<compose|systemd|procfile|supervisor|oxmgr> [file]",
            1,
            DaemonUse::NoHome,
            "convert files of other programs to a config file",
        )
    },
    Command {
        aliases: &["init"],
        completes: arguments::ECOSYSTEM,
        shared: &[&["force"]],
        ..keeps("ecosystem", "[simple]", 0, DaemonUse::NoHome, "write a sample config file")
    },
    Command {
        options: &[
            call("dry-run", None, Arg::None, "show the steps without running them"),
            call("in-place", None, Arg::None, "use PM2's own home, and stop PM2: for the name pm2"),
            call("timeout", None, Arg::Required("time"), "time for each app to become healthy (default 60s)"),
            call("back", None, Arg::None, "move all apps back to PM2"),
            call("finish", None, Arg::None, "stop PM2 after all apps have moved"),
        ],
        completes: arguments::FOLDERS,
        max_args: Some(1),
        examples: &["migrate --dry-run", "migrate", "migrate --back", "migrate --finish"],
        ..keeps("migrate", "[folder]", 0, DaemonUse::Starts, "take over the apps of a running PM2, one by one")
    },
    Command { ..keeps("install-otel", "", 0, DaemonUse::Unused, "install OpenTelemetry's npm packages for apps with trace") },
    Command { ..keeps("uninstall-otel", "", 0, DaemonUse::Unused, "remove them") },
    Command {
        options: &[call("force", Some('f'), Arg::None, "deploy although local changes are not committed or pushed")],
        completes: arguments::DEPLOY,
        exit_codes: &[exit(
            Status::RolledBack,
            "went back",
            "`deploy`: the new release did not become healthy; the previous release was restored",
        )],
        examples: &["deploy production setup", "deploy production", "deploy production revert 1", "deploy production exec \"npm ls\""],
        shared: &[APP_FILE],
        ..keeps("deploy", "<file|environment> [env] [command]", 0, DaemonUse::Unused, "deploy releases to hosts by ssh and git")
    },
    Command {
        completes: arguments::APPS,
        max_args: Some(2),
        examples: &["pull api", "pull api v1.4"],
        shared: &[&["parallel"]],
        ..control("pull", "<name> [commit]", 1, "git pull in the folder of an app, then reload")
    },
    Command {
        completes: arguments::APPS,
        max_args: Some(1),
        shared: &[&["parallel"]],
        ..control("forward", "<name>", 1, "check out the next commit, then reload")
    },
    Command {
        completes: arguments::APPS,
        max_args: Some(1),
        shared: &[&["parallel"]],
        ..control("backward", "<name>", 1, "check out the previous commit, then reload")
    },
    Command {
        completes: arguments::SETTING_AND_VALUE,
        examples: &["set log_rotate:max_size 50M", "set pm2-logrotate:compress true", "set api:LEVEL debug"],
        ..keeps("set", "[key] [value]", 0, DaemonUse::Unused, "change a setting of log rotation, a module or an app")
    },
    Command { completes: arguments::SETTING, ..keeps("get", "[key]", 0, DaemonUse::Unused, "show a setting") },
    Command {
        examples: &["multiset \"pm2-logrotate:max_size 10M pm2-logrotate:retain 30\""],
        ..keeps("multiset", "<pairs>", 1, DaemonUse::Unused, "change several settings")
    },
    Command {
        completes: arguments::CHANGED_SETTING,
        examples: &["unset api:LEVEL"],
        ..keeps("unset", "<key>", 1, DaemonUse::Unused, "remove a setting")
    },
    Command {
        completes: arguments::SETTING_AND_VALUE,
        ..keeps("config", "<key> [value]", 1, DaemonUse::Unused, "show or change a setting")
    },
    Command { completes: arguments::SETTING_AND_VALUE, ..keeps("conf", "[key] [value]", 0, DaemonUse::Unused, "show all settings") },
    Command {
        aliases: &["module:install"],
        options: INSTALL,
        completes: arguments::FILES,
        examples: &["install pm2-logrotate", "install pm2-metrics@latest --safe", "install ./my-module", "install ."],
        shared: &[TABLE, MODULE],
        ..keeps("install", "<module>", 1, DaemonUse::Starts, "install a module from npm, a folder, a tar file or git")
    },
    Command {
        completes: arguments::MODULES,
        aliases: &["module:uninstall"],
        shared: &[TABLE],
        ..keeps("uninstall", "<module>", 1, DaemonUse::Unused, "remove a module")
    },
    Command {
        options: WEB,
        max_args: Some(2),
        completes: arguments::WEB,
        examples: &[
            "web enable",
            "web open",
            "web token ci --role operator",
            "web enable --otlp-to https://otel.example.com:4318 --otlp-header X-Key=k",
            "web enable --listen 0.0.0.0 --behind-proxy --allow-host ops.example.com",
        ],
        shared: &[&["namespace"]],
        ..keeps("web", "[enable|disable|open|status|passwd|token|port]", 0, DaemonUse::Starts, "set up and open the dashboard")
    },
    Command {
        options: ALERTS,
        completes: arguments::ALERTS,
        examples: &[
            "alerts channel add slack url=https://hooks.slack.com/services/T0/B0/x",
            "alerts test",
            "alerts silence api --for 2h --reason migration",
        ],
        ..keeps("alerts", "[list|history|test|silence|unsilence|channel]", 0, DaemonUse::Unused, "firing alerts and their channels")
    },
    Command { ..keeps("module:list", "", 0, DaemonUse::Unused, "list installed modules") },
    Command {
        completes: arguments::MODULES_OR_ALL,
        options: SAFE,
        shared: &[TABLE, MODULE],
        ..keeps("module:update", "<module|all>", 1, DaemonUse::Starts, "update a module to its newest version")
    },
    Command { ..keeps("module:generate", "[name]", 0, DaemonUse::NoHome, "create a sample module in a new folder") },
    Command { completes: arguments::FOLDERS, ..keeps("package", "[folder]", 0, DaemonUse::NoHome, "pack a module into a tar file") },
    Command {
        aliases: &["module:publish"],
        options: PUBLISH,
        completes: arguments::FOLDERS,
        examples: &["publish --dry-run", "publish ./my-module -- --access public"],
        ..keeps("publish", "[folder]", 0, DaemonUse::NoHome, "publish a module by npm")
    },
    Command {
        completes: arguments::COMPLETION,
        options: &[
            call("complete", None, Arg::None, "used by the shell scripts"),
            call("shell", None, Arg::Required("shell"), "bash, zsh or fish (default: from $SHELL)"),
        ],
        examples: &["completion install", "completion fish > ~/.config/fish/completions/ostler.fish"],
        ..keeps("completion", "[install|uninstall|bash|zsh|fish]", 0, DaemonUse::NoHome, "print or install shell completion")
    },
    Command {
        completes: arguments::COMPAT,
        options: &[call("dir", None, Arg::Required("folder"), "folder of the links (default: the folder of this program)")],
        examples: &["compat install", "compat install --dir /usr/local/bin", "compat status", "compat uninstall"],
        shared: &[&["force"]],
        ..keeps(
            "compat",
            "<install|uninstall|status>",
            1,
            DaemonUse::NoHome,
            "link pm2, pm2-runtime, pm2-docker and pm2-dev to this program",
        )
    },
    Command {
        completes: arguments::COMMAND,
        options: &[
            call("reference", None, Arg::None, "print a reference as Markdown: cli, ecosystem or import"),
            call("man", None, Arg::None, "print the reference as a man page"),
            call("texts", None, Arg::None, "print the texts of the tables as JSON, for translators"),
            call("all", None, Arg::None, "every command and option"),
        ],
        ..keeps("help", "[command]", 0, DaemonUse::NoHome, "help")
    },
    Command { ..keeps("examples", "", 0, DaemonUse::NoHome, "show examples") },
    elsewhere("profile:cpu", &[], "[ms]", "profile the daemon", PROFILE),
    elsewhere("profile:mem", &[], "[ms]", "profile the memory of the daemon", PROFILE),
    elsewhere("deepUpdate", &[], "", "update by npm", INSTALLED),
    Command {
        options: &[call("info-node", None, Arg::Required("url"), "its address")],
        ..elsewhere("link", &[], "[secret] [public] [name]", "connect to the vendor's service", SERVICE)
    },
    elsewhere("unlink", &[], "", "disconnect from it", SERVICE),
    elsewhere("monitor", &[], "[name]", "watch an app there", SERVICE),
    elsewhere("unmonitor", &[], "[name]", "do not", SERVICE),
    elsewhere("open", &[], "", "open its dashboard", SERVICE),
    Command {
        options: &[
            call("info-node", None, Arg::Required("url"), "its address"),
            call("discrete", None, Arg::None, "less words"),
            call("install-all", None, Arg::None, "all modules"),
        ],
        ..elsewhere("plus", &["register"], "[command] [option]", "the vendor's service", SERVICE)
    },
    elsewhere("login", &[], "", "log in there", SERVICE),
    elsewhere("logout", &[], "", "log out", SERVICE),
    elsewhere("create", &[], "", "sample project", SAMPLES),
    elsewhere(
        "autoinstall",
        &[],
        "",
        "install missing programs",
        "ostler does not install programs; `ostler install <module>` installs a module",
    ),
];
