//! Every command: ostler's, and those of PM2 that are still to come.

use super::options::{call, known};
use super::table::{Arg, Command, Completes, Daemon, Opt, Section, State};

const FILES: Completes = Completes::Files;
const NAMES: Completes = Completes::Names;
const NOTHING: Completes = Completes::Nothing;

/// A command that works.
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
        completes: NOTHING,
        section,
        state: State::Works,
    }
}

/// A command of PM2 that ostler does not need: it says what is there instead, and fails.
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
        completes: NOTHING,
        section: Section::Later,
        state: State::Elsewhere(what),
    }
}

/// The vendor's monitoring service.
const SERVICE: &str = "ostler sends nothing to a monitoring service; `ostler list`, `why`, `events` and `logs` show here what happens";

/// Profiles of PM2's daemon, by V8.
const PROFILE: &str = "ostler's daemon is no Node program, `perf record -p` profiles it; `ostler profile <app>` profiles an app";

/// PM2's sample projects.
const SAMPLES: &str =
    "ostler brings no sample projects; `ostler ecosystem` writes a config file to start with, `ostler examples` shows commands";

/// Its own update.
const UPDATE: &str = "ostler does not install itself; put the new program in the place of this one, and `ostler update` takes it over without a restart of apps";

const fn control(name: &'static str, args: &'static str, min_args: usize, help: &'static str) -> Command {
    works(name, args, min_args, Daemon::Starts, Section::Control, help)
}

const fn reads(name: &'static str, args: &'static str, min_args: usize, help: &'static str) -> Command {
    works(name, args, min_args, Daemon::Reads, Section::Inspect, help)
}

const fn keeps(name: &'static str, args: &'static str, min_args: usize, daemon: Daemon, help: &'static str) -> Command {
    works(name, args, min_args, daemon, Section::Keep, help)
}

const SERVE: &[Opt] = &[
    call("port", None, Arg::Required("port"), "port; 8080 unless given"),
    call("spa", None, Arg::None, "unknown paths show the home page"),
    call("ftp", None, Arg::None, "list folders that have no index.html"),
    call("basic-auth-username", None, Arg::Required("name"), "let in only this user"),
    call("basic-auth-password", None, Arg::Required("password"), "with this password"),
    known("monitor", Arg::Optional("app"), "no script is put into pages"),
];

const START: &[Opt] = &[
    call("strict", None, Arg::None, "warnings of the config file are errors"),
    known("fresh", Arg::None, "accepted"),
    known("daemon", Arg::None, "container: in the background"),
    known("container", Arg::None, "run in a container"),
    known("dist", Arg::None, "container: build for distribution"),
    known("image-name", Arg::Optional("name"), "container: name of the image"),
    known("node-version", Arg::Optional("major"), "container: version of Node"),
    known("dockerdaemon", Arg::None, "container: for debugging"),
];

const WEB: &[Opt] = &[
    call("port", None, Arg::Required("port"), "enable: port of the dashboard (9616)"),
    call("listen", None, Arg::Required("address"), "enable: address, or path of a unix socket (127.0.0.1)"),
    call("pm2-port", None, Arg::Required("port"), "enable: PM2's JSON page at this port, too (9615)"),
    call("behind-proxy", None, Arg::None, "enable: a proxy encrypts, and says for whom it asks"),
    call("tls-cert", None, Arg::Required("file"), "enable: encrypt with this certificate (PEM, with those above it)"),
    call("tls-key", None, Arg::Required("file"), "enable: and this private key"),
    call("no-tls", None, Arg::None, "enable: encrypt no more"),
    call("allow-host", None, Arg::Required("name"), "enable: browsers may call it by this name, too"),
    call("trust-origin", None, Arg::Required("origin"), "enable: pages of this origin may act, too"),
    call("history-mb", None, Arg::Required("mb"), "enable: megabytes of figures of the past at most (128)"),
    call("otlp-port", None, Arg::Required("port"), "enable: traces of apps are taken at this port (4318)"),
    call("no-otlp", None, Arg::None, "enable: no traces are taken"),
    call("traces-mb", None, Arg::Required("mb"), "enable: megabytes of traces at most (64)"),
    call("otlp-to", None, Arg::Required("url"), "enable: send figures and events by OTLP to this receiver"),
    call("otlp-header", None, Arg::Required("K=V"), "enable: with this header; again for more"),
    call("otlp-logs", None, Arg::None, "enable: and lines of logs"),
    call("no-otlp-to", None, Arg::None, "enable: send nothing any more"),
    call("role", None, Arg::Required("role"), "open, token: viewer, operator or admin"),
    call("revoke", None, Arg::Required("name"), "token: take this one away"),
    call("remove", None, Arg::None, "passwd: there is none any more"),
];

const ALERTS: &[Opt] = &[
    call("for", None, Arg::Required("time"), "silence: for so long (1h)"),
    call("rule", None, Arg::Required("name"), "silence: only this rule; `*` is any text"),
    call("reason", None, Arg::Required("text"), "silence: why"),
];

const EXPORT: &[Opt] = &[
    call("app", None, Arg::Required("name"), "only this app; again for more"),
    call("out", None, Arg::Required("folder"), "into this folder (that of the config file)"),
    call("check", None, Arg::None, "write nothing; exit code 1 if a file would be written, 6 if something has no equal there"),
    call("image", None, Arg::Required("name"), "name of the image, such as registry.example.com/shop"),
    call("tag", None, Arg::Required("tag"), "its tag (latest)"),
    call("ostler-image", None, Arg::Required("name"), "image with ostler as /ostler; else a file `ostler` beside the Dockerfile is copied"),
    call("swarm", None, Arg::None, "compose: for `docker stack deploy`"),
    call("kustomize", None, Arg::None, "kubernetes: a base, and an overlay for each env_*"),
    call("helm", None, Arg::None, "kubernetes: a chart"),
    call("host", None, Arg::Required("name"), "kubernetes: an Ingress for this name"),
    call("network-policy", None, Arg::None, "kubernetes: NetworkPolicies, too"),
    call("strict", None, Arg::None, "warnings of the config file are errors"),
];

const IMPORT: &[Opt] = &[call("out", None, Arg::Required("file"), "into this file (ecosystem.config.js); `-` prints it")];

const RUNTIME: &[Opt] = &[
    call("raw", None, Arg::None, "lines as the app writes them, error output on stderr (default)"),
    call("formatted", None, Arg::None, "`id|name  | ` before each line"),
    call("format", None, Arg::None, "key=value lines"),
    call("no-auto-exit", None, Arg::None, "stay although nothing runs any more"),
    call("auto-exit", None, Arg::None, "end with the app's exit code when nothing runs any more (default)"),
    call("delay", None, Arg::Required("s"), "wait before the start; seconds, or with unit"),
    call("forward-signals", None, Arg::Required("list"), "signals that go on to all apps (HUP,USR1,USR2,WINCH), or `none`"),
    call("stop-timeout", None, Arg::Required("time"), "after so long of stopping what still runs is killed"),
    known("web", Arg::OptionalNumber("port"), "accepted"),
    known("secret", Arg::Required("key"), "accepted"),
    known("public", Arg::Required("key"), "accepted"),
    known("machine-name", Arg::Required("name"), "accepted"),
    call("strict", None, Arg::None, "warnings of the config file are errors"),
];

const INSTALL: &[Opt] = &[
    call("npm", None, Arg::None, "the real one, although its work is built in"),
    call("tarball", None, Arg::None, "from a tar file"),
    call("install", None, Arg::None, "a tar file: what its package.json needs, too, by npm"),
    known("docker", Arg::None, "in a container"),
    known("v1", Arg::None, "first format"),
    call("safe", None, Arg::OptionalNumber("ms"), "the former one comes back when it restarts more than twice in that time (3000)"),
];

const SAFE: &[Opt] = &[call("safe", None, Arg::OptionalNumber("ms"), "as of install")];

const PUBLISH: &[Opt] = &[
    call("npm", None, Arg::None, "to npm's registry; there is no other"),
    call("dry-run", None, Arg::None, "only show what would be published"),
];

const PROFILES: &[Opt] = &[
    call("memory", None, Arg::None, "what is allocated where, instead of CPU time"),
    call("heap", None, Arg::None, "a snapshot of all that is in memory; the app stands still meanwhile"),
    call("for", None, Arg::Required("time"), "for so long (10s)"),
    call("into", None, Arg::Required("folder"), "into this folder instead of the present one"),
];

const DEV: &[Opt] = &[
    call("raw", None, Arg::None, "the lines as they are"),
    call("timestamp", None, Arg::Optional("format"), "time before each line (YYYY-MM-DD-HH:mm:ss)"),
    call("ignore", None, Arg::Required("files"), "do not watch these (a,b)"),
    call("post-exec", None, Arg::Required("command"), "run this after each restart"),
    call("silent-exec", None, Arg::None, "without its output"),
    call("auto-exit", None, Arg::None, "end when nothing runs any more"),
    call("test-mode", None, Arg::None, "start, and leave it running"),
];

const STOP: &[Opt] = &[call("drain", None, Arg::None, "let it finish its requests first (as --wait-ready)")];

const RELOAD: &[Opt] =
    &[call("canary", None, Arg::Optional("time"), "watch the first new instance for so long (10s) before the others follow")];

const USER_UNIT: Opt = call("user-unit", None, Arg::None, "in the user's own systemd; needs no root");
const STARTUP: &[Opt] = &[USER_UNIT, call("check", None, Arg::None, "would a boot bring everything back? changes nothing")];

const PLATFORMS: Completes = Completes::Words(&["systemd", "upstart", "systemv", "openrc", "launchd", "rcd", "rcd-openbsd", "smf"]);

const ROLLOUT: &[Opt] = &[call("to", None, Arg::Required("release"), "undo: to this release instead of the one before")];

const LOGS: &[Opt] = &[
    call("lines", None, Arg::Required("n"), "how many of the last lines first (15)"),
    call("nostream", None, Arg::None, "the last lines only, then end"),
    call("grep", None, Arg::Required("text"), "lines with this text only, the last of them also from rotated files"),
    call("regex", None, Arg::None, "the text of --grep is a regular expression"),
    call("ignore-case", None, Arg::None, "it may be in capitals or not"),
    call("since", None, Arg::Required("time"), "lines since then: 10m, 14:30, \"2026-11-24 14:30\""),
    call("until", None, Arg::Required("time"), "lines until then; nothing is followed"),
    call("raw", None, Arg::None, "the lines as they are"),
    call("err", None, Arg::None, "standard error only"),
    call("out", None, Arg::None, "standard output only"),
    call("format", None, Arg::None, "key=value lines"),
    call("timestamp", None, Arg::Optional("format"), "time before each line (YYYY-MM-DD-HH:mm:ss)"),
    call("highlight", None, Arg::Optional("word"), "mark this word"),
    call("after", None, Arg::Optional("places"), "with --json: the place of each line, too; only what comes after these"),
];

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
        options: &[],
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
        ..keeps("logrotate", "", 0, Daemon::Unused, "have the system's logrotate rotate the logs; as root")
    },
    Command { aliases: &["dump"], max_args: Some(0), ..keeps("save", "", 0, Daemon::Starts, "save the list for `resurrect`") },
    Command { max_args: Some(0), ..keeps("cleardump", "", 0, Daemon::Unused, "empty the saved list") },
    Command { max_args: Some(0), ..keeps("resurrect", "", 0, Daemon::Starts, "start what was saved") },
    Command { max_args: Some(0), ..keeps("kill", "", 0, Daemon::Unused, "stop all apps and the daemon") },
    Command { aliases: &["updatePM2"], ..keeps("update", "", 0, Daemon::Unused, "replace the running daemon by this program; apps go on") },
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
        ..keeps("startup", "[platform]", 0, Daemon::Unused, "have the saved apps started at boot")
    },
    Command {
        options: &[USER_UNIT],
        completes: PLATFORMS,
        ..keeps("unstartup", "[platform]", 0, Daemon::Unused, "undo startup; apps that run go on")
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
        ..keeps("validate", "[file]", 0, Daemon::Unused, "check a config file without starting anything")
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
            Daemon::Unused,
            "files for other engines of a config file: dockerfile, compose, kubernetes, systemd, nomad, github-actions, gitlab-ci; what was edited stays",
        )
    },
    Command {
        options: IMPORT,
        completes: Completes::Words(&["compose", "systemd", "procfile", "supervisor"]),
        max_args: Some(2),
        examples: &["import compose", "import systemd /etc/systemd/system/api.service", "import procfile --out -"],
        ..keeps("import", "<compose|systemd|procfile|supervisor> [file]", 1, Daemon::Unused, "a config file of the files of other programs")
    },
    Command {
        aliases: &["init"],
        completes: Completes::Words(&["simple"]),
        ..keeps("ecosystem", "[simple]", 0, Daemon::Unused, "write a sample config file")
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
    Command { ..keeps("module:generate", "[name]", 0, Daemon::Unused, "a module to begin with, in a new folder") },
    Command { completes: FILES, ..keeps("package", "[folder]", 0, Daemon::Unused, "pack a module into a tar file") },
    Command {
        aliases: &["module:publish"],
        options: PUBLISH,
        completes: FILES,
        examples: &["publish --dry-run", "publish ./my-module -- --access public"],
        ..keeps("publish", "[folder]", 0, Daemon::Unused, "publish a module by npm")
    },
    Command {
        completes: Completes::Words(&["install", "uninstall", "bash", "zsh", "fish"]),
        options: &[
            call("complete", None, Arg::None, "used by the shell scripts"),
            call("shell", None, Arg::Required("shell"), "bash, zsh or fish; else by $SHELL"),
        ],
        examples: &["completion install", "completion fish > ~/.config/fish/completions/ostler.fish"],
        ..keeps("completion", "[install|uninstall|bash|zsh|fish]", 0, Daemon::Unused, "completion script of the shell")
    },
    Command {
        completes: Completes::Words(&["install", "uninstall", "status"]),
        options: &[call("dir", None, Arg::Required("folder"), "where the links are made: beside this program, if nothing is said")],
        examples: &["compat install", "compat install --dir /usr/local/bin", "compat status", "compat uninstall"],
        ..keeps(
            "compat",
            "<install|uninstall|status>",
            1,
            Daemon::Unused,
            "the names pm2, pm2-runtime, pm2-docker and pm2-dev for this program",
        )
    },
    Command {
        options: &[call("reference", None, Arg::None, "the whole reference as Markdown: `cli` or `ecosystem`")],
        ..keeps("help", "[command]", 0, Daemon::Unused, "help")
    },
    Command { ..keeps("examples", "", 0, Daemon::Unused, "examples of use") },
    elsewhere("profile:cpu", &[], "[ms]", "profile the daemon", PROFILE),
    elsewhere("profile:mem", &[], "[ms]", "profile the memory of the daemon", PROFILE),
    elsewhere("deepUpdate", &[], "", "update by npm", UPDATE),
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

/// The name of a command that was perhaps meant.
pub(crate) fn closest_name(word: &str) -> Option<&'static str> {
    let names = COMMANDS.iter().flat_map(|command| std::iter::once(command.name).chain(command.aliases.iter().copied()));
    ostler_config::keys::closest(word, names)
}

/// Every command.
#[cfg(test)]
pub(crate) fn commands() -> &'static [Command] {
    COMMANDS
}

/// The command of this name.
pub(crate) fn find(word: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name == word || command.aliases.contains(&word))
}
