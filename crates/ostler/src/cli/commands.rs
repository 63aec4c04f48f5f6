//! Every command of ostler and of PM2.

use super::options::call;
use super::own_options::{
    ALERTS, DEV, DOWN, EXPORT, IMPORT, INSTALL, LIST, LOGS, PLATFORMS, PROFILES, PUBLISH, RELOAD, ROLLOUT, RUNTIME, SAFE, SERVE, START,
    STARTUP, STOP, UP, UPDATE, USER_UNIT, WEB,
};
use super::table::{Arg, Command, Completes, Daemon, Section, State, exit};
use crate::error::Status;

const FILES: Completes = Completes::Files;
const NAMES: Completes = Completes::Names;
const NOTHING: Completes = Completes::Nothing;

/// Returns the entry for a command that works.
const fn works(name: &'static str, args: &'static str, min_args: usize, daemon: Daemon, section: Section, help: &'static str) -> Command {
    Command {
        name,
        aliases: &[],
        args,
        min_args,
        max_args: None,
        options: &[],
        help,
        examples: &[],
        daemon,
        exit_codes: &[],
        completes: NOTHING,
        section,
        state: State::Works,
    }
}

/// Returns the entry for a command of PM2 that ostler does not need. The command prints the
/// alternative and fails.
const fn elsewhere(
    name: &'static str,
    aliases: &'static [&'static str],
    args: &'static str,
    help: &'static str,
    what: &'static str,
) -> Command {
    Command {
        name,
        aliases,
        args,
        min_args: 0,
        max_args: None,
        options: &[],
        help,
        examples: &[],
        daemon: Daemon::Unused,
        exit_codes: &[],
        completes: NOTHING,
        section: Section::Later,
        state: State::Elsewhere(what),
    }
}

/// The vendor's monitoring service.
const SERVICE: &str = "ostler sends nothing to a monitoring service; its own dashboard shows apps, logs, figures and alerts: `ostler web enable`, then `ostler web open`";

/// Profiles of PM2's daemon, by V8.
const PROFILE: &str = "ostler's daemon is no Node program, `perf record -p` profiles it; `ostler profile <app>` profiles an app";

/// PM2's sample projects.
const SAMPLES: &str =
    "ostler brings no sample projects; `ostler ecosystem` writes a config file to start with, `ostler examples` shows commands";

/// Installation and updates of ostler itself.
const INSTALLED: &str =
    "ostler does not install itself; `ostler update --from <file>` puts a new program in the place of this one, without a restart of apps";

const fn control(name: &'static str, args: &'static str, min_args: usize, help: &'static str) -> Command {
    works(name, args, min_args, Daemon::Starts, Section::Control, help)
}

const fn reads(name: &'static str, args: &'static str, min_args: usize, help: &'static str) -> Command {
    works(name, args, min_args, Daemon::Reads, Section::Inspect, help)
}

const fn keeps(name: &'static str, args: &'static str, min_args: usize, daemon: Daemon, help: &'static str) -> Command {
    works(name, args, min_args, daemon, Section::Keep, help)
}

/// Every command, in the order of the help.
pub(crate) const COMMANDS: &[Command] = &[
    Command {
        options: START,
        completes: FILES,
        examples: &[
            "start app.js --name api -- --port 3000",
            "start app.js -i max",
            "start ecosystem.config.js --env production",
            "start \"npm run build\"",
            "start api",
        ],
        ..control("start", "[name|namespace|file|ecosystem|id...]", 0, "start apps, or start stopped ones again")
    },
    Command {
        options: DEV,
        completes: FILES,
        examples: &["dev app.js", "dev ecosystem.config.js --timestamp", "dev app.js --post-exec \"make docs\""],
        ..control("dev", "[file]", 0, "for development: watch, restart, show the logs; Ctrl-C ends it all")
    },
    Command {
        options: UP,
        examples: &["up", "up -d --wait", "up api --scale api=3", "up -f compose.yaml --profile debug"],
        ..control("up", "[app...]", 0, "run the ecosystem or compose file of this folder, as Compose does; Ctrl-C stops it")
    },
    Command {
        options: DOWN,
        examples: &["down", "down -f compose.yaml", "down --project-name shop"],
        ..works("down", "[app...]", 0, Daemon::Unused, Section::Control, "stop and delete what `up` started from it, nothing else")
    },
    Command {
        options: STOP,
        completes: NAMES,
        examples: &["stop api", "stop all", "stop 0 1", "stop api --drain"],
        ..control("stop", "<id|name|namespace|all|file|stdin...>", 1, "stop, but keep in the list")
    },
    Command {
        completes: NAMES,
        examples: &["restart api --update-env", "restart all", "restart api -- --new --arguments"],
        ..control("restart", "<id|name|namespace|all|file|stdin...>", 1, "stop and start")
    },
    Command {
        aliases: &["gracefulReload"],
        options: RELOAD,
        completes: NAMES,
        examples: &["reload api", "reload ecosystem.config.js", "reload api --canary 30s", "reload api --update-env"],
        ..control(
            "reload",
            "<id|name|namespace|all|file>",
            1,
            "replace instances without losing a request; back to the old release if the new one fails",
        )
    },
    Command {
        completes: Completes::Words(&["status", "history", "undo"]),
        options: ROLLOUT,
        examples: &["rollout status api", "rollout history api", "rollout undo api", "rollout undo api --to 3"],
        ..control("rollout", "<status|history|undo> [name]", 1, "releases: what is being replaced, what served before, go back")
    },
    Command {
        options: STOP,
        aliases: &["del"],
        completes: NAMES,
        examples: &["delete api", "delete all"],
        ..control("delete", "<id|name|namespace|all|file|stdin...>", 1, "stop and forget")
    },
    Command { completes: FILES, ..control("startOrRestart", "<file>", 1, "start the apps of a config file, restart those that run") },
    Command {
        aliases: &["startOrGracefulReload"],
        options: RELOAD,
        completes: FILES,
        ..control("startOrReload", "<file>", 1, "start the apps of a config file, reload those that run")
    },
    Command {
        options: RUNTIME,
        completes: FILES,
        examples: &["runtime ecosystem.config.js", "runtime app.js -i max --json", "runtime \"npm start\" --stop-timeout 8s"],
        ..works(
            "runtime",
            "[start] <file|script|command>",
            0,
            Daemon::Unused,
            Section::Control,
            "first process of a container: run apps, show their output, end with their exit code",
        )
    },
    Command {
        completes: NAMES,
        examples: &["scale api 4", "scale api +2", "scale api -1"],
        ..control("scale", "<name> <number>", 2, "change the number of instances")
    },
    Command {
        aliases: &["expose"],
        options: SERVE,
        completes: FILES,
        examples: &["serve", "serve dist 8080 --spa", "serve /srv/files 80 --ftp -i 2 --name files"],
        ..control("serve", "[path] [port]", 0, "serve a folder over HTTP, as an app of its own")
    },
    Command { completes: NAMES, ..control("reset", "<id|name|all>", 1, "counters to zero") },
    Command {
        completes: NAMES,
        examples: &["sendSignal SIGUSR1 api"],
        ..control("sendSignal", "<signal> <id|name>", 2, "send a signal to the main process")
    },
    Command {
        completes: NAMES,
        max_args: Some(3),
        options: &[call("timeout", None, Arg::Required("time"), "longest wait for an answer (default 10s)")],
        examples: &["trigger api gc", "trigger api db:slow 200 --timeout 1m"],
        ..control("trigger", "<id|name|namespace|all> <action> [params]", 2, "call an action that the app offers")
    },
    Command {
        completes: NAMES,
        examples: &["send 0 reload-config", "send api \"hello there\""],
        ..control("send", "<id|name> <line>", 2, "write a line to the standard input of an app")
    },
    Command {
        completes: NAMES,
        max_args: Some(2),
        examples: &["attach 0", "attach api"],
        ..reads("attach", "<id|name> [separator]", 1, "what an app writes is shown, what is typed it gets")
    },
    Command {
        aliases: &["ls", "l", "ps", "status"],
        options: LIST,
        examples: &["list", "list -m", "list --sort memory:desc", "list --json"],
        ..reads("list", "", 0, "all apps in a table")
    },
    Command {
        examples: &["doctor", "doctor --json"],
        ..reads("doctor", "", 0, "what stands in the way on this machine, and what to do about it")
    },
    Command { ..reads("jlist", "", 0, "all apps as JSON, in PM2's shape") },
    Command {
        completes: NAMES,
        max_args: Some(1),
        examples: &["inspect api"],
        ..reads("inspect", "<id|name|namespace>", 1, "open the debugger of a running Node app, and tell where it listens")
    },
    Command {
        options: PROFILES,
        completes: NAMES,
        max_args: Some(1),
        examples: &["profile api", "profile api --memory --for 1m", "profile api --heap --into /tmp"],
        ..reads("profile", "<id|name|namespace>", 1, "profile running Node apps: CPU, memory or heap, into a file")
    },
    Command { max_args: Some(0), ..reads("prettylist", "", 0, "the same, easier to read") },
    Command {
        max_args: Some(0),
        examples: &["report", "report --json"],
        ..works("report", "", 0, Daemon::Unused, Section::Inspect, "daemon, machine, apps and log for an issue, with secrets masked")
    },
    Command {
        aliases: &["desc", "info", "show"],
        completes: NAMES,
        examples: &["describe api"],
        ..reads("describe", "<id|name>", 1, "everything about an app")
    },
    Command {
        completes: NAMES,
        examples: &["jobs", "jobs backup", "jobs run backup"],
        ..reads("jobs", "[run] [id|name...]", 0, "jobs: when they run, how the last runs went; run one now")
    },
    Command {
        completes: NAMES,
        examples: &["why api"],
        ..reads("why", "<id|name>", 1, "why it ended: who, when, signal or code, last lines")
    },
    Command {
        options: &[
            call("since", None, Arg::Required("time"), "what happened since so long ago: 90s, 10m, 2h"),
            call("follow", None, Arg::None, "go on with what happens from now on"),
            call("app", None, Arg::Required("name"), "of this app only; its id is one instance of it"),
        ],
        completes: NAMES,
        examples: &["events", "events api --since 10m", "events --follow", "events --follow --json"],
        ..reads("events", "[id|name...]", 0, "what happened to apps, when and why: by whom, by which policy")
    },
    Command {
        options: &[
            call("resolve", None, Arg::Required("id"), "mark as resolved; the next one is told as one that came back"),
            call("all", None, Arg::None, "also those that are resolved"),
        ],
        completes: NAMES,
        max_args: Some(1),
        examples: &["errors", "errors api", "errors 3f9a1c02", "errors --resolve 3f9a1c02", "errors --json"],
        ..reads("errors", "[name|id]", 0, "exceptions of apps in groups: how often, where, since which release")
    },
    Command {
        aliases: &["log"],
        options: LOGS,
        completes: NAMES,
        examples: &["logs", "logs api --lines 100", "logs --err --nostream", "logs api --grep timeout --since 2h"],
        ..reads("logs", "[id|name|namespace]", 0, "show and follow logs")
    },
    Command {
        aliases: &["dashboard", "dash", "imonit"],
        completes: NAMES,
        examples: &["monit", "monit api --sort cpu:desc"],
        ..reads("monit", "[name]", 0, "everything on the whole terminal: list, logs, usage, events; keys to restart, reload, stop, scale")
    },
    Command {
        completes: NAMES,
        options: &[
            call("since", None, Arg::Required("time"), "figures since so long ago: 10m, 2h, 30d (1h)"),
            call("csv", None, Arg::None, "for spreadsheets"),
        ],
        examples: &["stats api", "stats api --since 7d", "stats api --since 2h --csv"],
        ..works(
            "stats",
            "<name>",
            1,
            Daemon::Unused,
            Section::Inspect,
            "figures of the past of an app: processor, memory, restarts, requests",
        )
    },
    Command {
        options: &[
            call("since", None, Arg::Required("time"), "figures since so long ago: 10m, 2h, 30d (15m)"),
            call("once", None, Arg::None, "print it once, also at a terminal"),
        ],
        examples: &["top", "top --since 24h", "top --once"],
        ..works("top", "", 0, Daemon::Unused, Section::Inspect, "processor and memory of all apps, now and over time, live at a terminal")
    },
    Command { completes: NAMES, ..reads("env", "<id>", 1, "environment of an app") },
    Command { completes: NAMES, ..reads("pid", "[name]", 0, "process ids") },
    Command { completes: NAMES, ..reads("id", "<name>", 1, "ids of an app") },
    Command {
        completes: NAMES,
        options: &[
            call("min", None, Arg::Required("n"), "so many healthy instances are enough"),
            call("wait", None, Arg::Required("time"), "wait until all are well and stay so, at most for this time"),
        ],
        examples: &["health", "health api", "health api --min 2", "health --wait 30s"],
        ..works(
            "health",
            "[id|name|namespace|all...]",
            0,
            Daemon::Unused,
            Section::Inspect,
            "exit code 0 if all instances are online and well, else 1: for HEALTHCHECK",
        )
    },
    Command {
        aliases: &["sysinfos"],
        options: &[call("tree", Some('t'), Arg::None, "as a tree")],
        ..reads("slist", "", 0, "figures of the machine: CPU, memory, network, disks")
    },
    Command { ..reads("ping", "", 0, "is the daemon there?") },
    Command { completes: NAMES, ..keeps("flush", "[id|name]", 0, Daemon::Starts, "empty the log files") },
    Command { ..keeps("reloadLogs", "", 0, Daemon::Starts, "open the log files anew") },
    Command {
        max_args: Some(0),
        examples: &["logrotate", "logrotate -u deploy --hp /home/deploy"],
        ..keeps("logrotate", "", 0, Daemon::NoHome, "have the system's logrotate rotate the logs; as root")
    },
    Command { aliases: &["dump"], max_args: Some(0), ..keeps("save", "", 0, Daemon::Starts, "save the list for `resurrect`") },
    Command { max_args: Some(0), ..keeps("cleardump", "", 0, Daemon::Unused, "empty the saved list") },
    Command { max_args: Some(0), ..keeps("resurrect", "", 0, Daemon::Starts, "start what was saved") },
    Command { max_args: Some(0), ..keeps("kill", "", 0, Daemon::Unused, "stop all apps and the daemon") },
    Command {
        aliases: &["updatePM2"],
        options: UPDATE,
        examples: &["update", "update --from ostler-0.2.0-x86_64-linux.tar.gz"],
        ..keeps("update", "", 0, Daemon::Unused, "replace the running daemon by this program; apps go on")
    },
    Command {
        options: STARTUP,
        completes: PLATFORMS,
        examples: &[
            "startup",
            "startup systemd -u deploy --hp /home/deploy",
            "startup --wait-ip --service-name shop",
            "startup --user-unit",
            "startup --check",
        ],
        ..keeps("startup", "[platform]", 0, Daemon::NoHome, "have the saved apps started at boot")
    },
    Command {
        options: &[USER_UNIT],
        completes: PLATFORMS,
        ..keeps("unstartup", "[platform]", 0, Daemon::NoHome, "undo startup; apps that run go on")
    },
    Command {
        options: &[USER_UNIT],
        completes: Completes::Words(&["run", "reload"]),
        ..keeps("service", "<run|reload> [unit]", 1, Daemon::Starts, "what the service manager calls; not for people")
    },
    Command {
        options: &[
            call("strict", None, Arg::None, "warnings are errors"),
            call("schema", None, Arg::None, "print the JSON schema of config files"),
            call("reference", None, Arg::None, "print all config keys as Markdown"),
        ],
        completes: FILES,
        examples: &["validate", "validate ecosystem.config.js --strict", "validate --schema > ostler.schema.json"],
        ..keeps("validate", "[file]", 0, Daemon::NoHome, "check a config file without starting anything")
    },
    Command {
        options: &[
            call("show-values", None, Arg::None, "show values of variables, unless their names look secret"),
            call("exit-code", None, Arg::None, "exit code 1 if something differs"),
            call("strict", None, Arg::None, "warnings are errors"),
        ],
        completes: FILES,
        examples: &["diff", "diff ecosystem.config.js --env production", "diff --exit-code --json"],
        ..keeps("diff", "[file]", 0, Daemon::Unused, "what starting a config file would change")
    },
    Command {
        options: EXPORT,
        exit_codes: &[exit(
            Status::Incomplete,
            "partly exported",
            "`export --check`: all files are current, and something has no equal there",
        )],
        completes: Completes::Words(&["dockerfile", "compose", "kubernetes", "systemd", "nomad", "github-actions", "gitlab-ci"]),
        max_args: Some(2),
        examples: &[
            "export dockerfile",
            "export compose --env production",
            "export kubernetes --kustomize --host shop.example.com",
            "export systemd --app api --out /tmp/units",
            "export compose --check",
        ],
        ..keeps(
            "export",
            "<target> [file]",
            1,
            Daemon::NoHome,
            "files for other engines of a config file: dockerfile, compose, kubernetes, systemd, nomad, github-actions, gitlab-ci; what was edited stays",
        )
    },
    Command {
        options: IMPORT,
        completes: Completes::Words(&["compose", "systemd", "procfile", "supervisor"]),
        max_args: Some(2),
        examples: &["import compose", "import systemd /etc/systemd/system/api.service", "import procfile --out -"],
        ..keeps(
            "import",
            "<compose|systemd|procfile|supervisor|oxmgr> [file]",
            1,
            Daemon::NoHome,
            "a config file of the files of other programs",
        )
    },
    Command {
        aliases: &["init"],
        completes: Completes::Words(&["simple"]),
        ..keeps("ecosystem", "[simple]", 0, Daemon::NoHome, "write a sample config file")
    },
    Command {
        options: &[
            call("dry-run", None, Arg::None, "show what would be done"),
            call("in-place", None, Arg::None, "into PM2's own folder, and end PM2: for the name pm2"),
            call("timeout", None, Arg::Required("time"), "time within which each app has to be well (default 60s)"),
            call("back", None, Arg::None, "give everything back to PM2"),
            call("finish", None, Arg::None, "end PM2, of which nothing runs any more"),
        ],
        completes: FILES,
        max_args: Some(1),
        examples: &["migrate --dry-run", "migrate", "migrate --back", "migrate --finish"],
        ..keeps("migrate", "[folder]", 0, Daemon::Starts, "take over the apps of a running PM2, one after the other")
    },
    Command { ..keeps("install-otel", "", 0, Daemon::Unused, "OpenTelemetry's packages for apps with trace, by npm") },
    Command { ..keeps("uninstall-otel", "", 0, Daemon::Unused, "remove them") },
    Command {
        completes: FILES,
        exit_codes: &[exit(Status::WentBack, "went back", "`deploy`: the new release did not get well, the former one is back")],
        examples: &["deploy production setup", "deploy production", "deploy production revert 1", "deploy production exec \"npm ls\""],
        ..keeps(
            "deploy",
            "<file|environment> [env] [command]",
            0,
            Daemon::Unused,
            "bring a release onto hosts by ssh and git: setup, update, revert [n], curr, prev, exec, list, ref",
        )
    },
    Command {
        completes: NAMES,
        max_args: Some(2),
        examples: &["pull api", "pull api v1.4"],
        ..control("pull", "<name> [commit]", 1, "git: the newest commit in the folder of an app, then reload")
    },
    Command { completes: NAMES, max_args: Some(1), ..control("forward", "<name>", 1, "git: the next commit, then reload") },
    Command { completes: NAMES, max_args: Some(1), ..control("backward", "<name>", 1, "git: the commit before, then reload") },
    Command {
        examples: &["set log_rotate:max_size 50M", "set pm2-logrotate:compress true", "set api:LEVEL debug"],
        ..keeps("set", "[key] [value]", 0, Daemon::Unused, "keep a setting: of log rotation, of a module, of an app")
    },
    Command { ..keeps("get", "[key]", 0, Daemon::Unused, "show a setting") },
    Command {
        examples: &["multiset \"pm2-logrotate:max_size 10M pm2-logrotate:retain 30\""],
        ..keeps("multiset", "<pairs>", 1, Daemon::Unused, "keep several settings")
    },
    Command { examples: &["unset api:LEVEL"], ..keeps("unset", "<key>", 1, Daemon::Unused, "forget a setting") },
    Command { ..keeps("config", "<key> [value]", 1, Daemon::Unused, "keep or show a setting") },
    Command { ..keeps("conf", "[key] [value]", 0, Daemon::Unused, "show all settings") },
    Command {
        aliases: &["module:install"],
        options: INSTALL,
        completes: FILES,
        examples: &["install pm2-logrotate", "install pm2-metrics@latest --safe", "install ./my-module", "install ."],
        ..keeps("install", "<module>", 1, Daemon::Starts, "install a module: by npm, from a folder, a tar file or a git address")
    },
    Command { aliases: &["module:uninstall"], ..keeps("uninstall", "<module>", 1, Daemon::Unused, "remove a module") },
    Command {
        options: WEB,
        max_args: Some(2),
        completes: Completes::Words(&["enable", "disable", "open", "status", "passwd", "token"]),
        examples: &[
            "web enable",
            "web open",
            "web token ci --role operator",
            "web enable --otlp-to https://otel.example.com:4318 --otlp-header X-Key=k",
            "web enable --listen 0.0.0.0 --behind-proxy --allow-host ops.example.com",
        ],
        ..keeps("web", "[enable|disable|open|status|passwd|token|port]", 0, Daemon::Starts, "dashboard in the browser")
    },
    Command {
        options: ALERTS,
        completes: Completes::Words(&["list", "history", "test", "silence", "unsilence", "channel"]),
        examples: &[
            "alerts channel add slack url=https://hooks.slack.com/services/T0/B0/x",
            "alerts test",
            "alerts silence api --for 2h --reason migration",
        ],
        ..keeps("alerts", "[list|history|test|silence|unsilence|channel]", 0, Daemon::Unused, "what fires, and who is told")
    },
    Command { ..keeps("module:list", "", 0, Daemon::Unused, "installed modules") },
    Command { options: SAFE, ..keeps("module:update", "<module|all>", 1, Daemon::Starts, "the newest version of a module") },
    Command { ..keeps("module:generate", "[name]", 0, Daemon::NoHome, "a module to begin with, in a new folder") },
    Command { completes: FILES, ..keeps("package", "[folder]", 0, Daemon::NoHome, "pack a module into a tar file") },
    Command {
        aliases: &["module:publish"],
        options: PUBLISH,
        completes: FILES,
        examples: &["publish --dry-run", "publish ./my-module -- --access public"],
        ..keeps("publish", "[folder]", 0, Daemon::NoHome, "publish a module by npm")
    },
    Command {
        completes: Completes::Words(&["install", "uninstall", "bash", "zsh", "fish"]),
        options: &[
            call("complete", None, Arg::None, "used by the shell scripts"),
            call("shell", None, Arg::Required("shell"), "bash, zsh or fish; else by $SHELL"),
        ],
        examples: &["completion install", "completion fish > ~/.config/fish/completions/ostler.fish"],
        ..keeps("completion", "[install|uninstall|bash|zsh|fish]", 0, Daemon::NoHome, "completion script of the shell")
    },
    Command {
        completes: Completes::Words(&["install", "uninstall", "status"]),
        options: &[call("dir", None, Arg::Required("folder"), "where the links are made: beside this program, if nothing is said")],
        examples: &["compat install", "compat install --dir /usr/local/bin", "compat status", "compat uninstall"],
        ..keeps(
            "compat",
            "<install|uninstall|status>",
            1,
            Daemon::NoHome,
            "the names pm2, pm2-runtime, pm2-docker and pm2-dev for this program",
        )
    },
    Command {
        options: &[
            call("reference", None, Arg::None, "the whole reference as Markdown: `cli`, `ecosystem` or `import`"),
            call("man", None, Arg::None, "the whole reference as a page for man"),
        ],
        ..keeps("help", "[command]", 0, Daemon::NoHome, "help")
    },
    Command { ..keeps("examples", "", 0, Daemon::NoHome, "examples of use") },
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
        "install what is missing",
        "nothing installs itself here; `ostler install <module>` installs a module",
    ),
];

/// Returns the name of the command that the user probably meant.
pub(crate) fn closest_name(word: &str) -> Option<&'static str> {
    let names = COMMANDS.iter().flat_map(|command| std::iter::once(command.name).chain(command.aliases.iter().copied()));
    ostler_config::keys::closest(word, names)
}

/// Returns the command of this name.
pub(crate) fn find(word: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name == word || command.aliases.contains(&word))
}
