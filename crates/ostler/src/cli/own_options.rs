//! Options that belong to one command only.

use super::options::{alias, call, known};
use super::table::{Arg, Opt};

pub(super) const SERVE: &[Opt] = &[
    call("port", None, Arg::Required("port"), "port (8080)"),
    call("spa", None, Arg::None, "serve index.html for unknown paths"),
    call("ftp", None, Arg::None, "list folders without index.html"),
    call("basic-auth-username", None, Arg::Required("name"), "require this user name"),
    call("basic-auth-password", None, Arg::Required("password"), "require this password"),
    known("monitor", Arg::Optional("app"), "do not inject a script into pages"),
];

pub(super) const START: &[Opt] = &[
    call("strict", None, Arg::None, "treat warnings as errors"),
    known("fresh", Arg::None, "accepted"),
    known("daemon", Arg::None, "container: in the background"),
    known("container", Arg::None, "run in a container"),
    known("dist", Arg::None, "container: build for distribution"),
    known("image-name", Arg::Optional("name"), "container: name of the image"),
    known("node-version", Arg::Optional("major"), "container: version of Node"),
    known("dockerdaemon", Arg::None, "container: for debugging"),
];

pub(super) const UPDATE: &[Opt] = &[
    call("from", None, Arg::Required("file"), "install this program (or .tar.gz) first; needs SHA256SUMS beside it"),
    call("sha256", None, Arg::Required("hex"), "from: expected checksum"),
    call("downgrade", None, Arg::None, "from: allow an older version"),
];

pub(super) const WEB: &[Opt] = &[
    call("port", None, Arg::Required("port"), "enable: port of the dashboard (9616)"),
    call("listen", None, Arg::Required("address"), "enable: address, or path of a unix socket (127.0.0.1)"),
    call("pm2-port", None, Arg::Required("port"), "enable: serve PM2's JSON page at this port (9615)"),
    call("behind-proxy", None, Arg::None, "enable: a proxy terminates TLS and forwards the client address"),
    call("tls-cert", None, Arg::Required("file"), "enable: TLS certificate chain (PEM)"),
    call("tls-key", None, Arg::Required("file"), "enable: TLS private key (PEM)"),
    call("no-tls", None, Arg::None, "enable: turn TLS off"),
    call("allow-host", None, Arg::Required("name"), "enable: accept this host name"),
    call("trust-origin", None, Arg::Required("origin"), "enable: accept requests from pages of this origin"),
    call("history-mb", None, Arg::Required("mb"), "enable: disk limit of the metrics history, in MB (128)"),
    call("otlp-port", None, Arg::Required("port"), "enable: receive traces at this port (4318)"),
    call("no-otlp", None, Arg::None, "enable: do not receive traces"),
    call("traces-mb", None, Arg::Required("mb"), "enable: memory limit of traces, in MB (64)"),
    call("otlp-to", None, Arg::Required("url"), "enable: send metrics and events to this OTLP receiver"),
    call("otlp-header", None, Arg::Required("K=V"), "enable: header for the OTLP receiver; repeatable"),
    call("otlp-logs", None, Arg::None, "enable: send log lines to the OTLP receiver"),
    call("no-otlp-to", None, Arg::None, "enable: stop sending by OTLP"),
    call("role", None, Arg::Required("role"), "open, token: viewer, operator or admin"),
    call("revoke", None, Arg::Required("name"), "token: revoke this token"),
    call("remove", None, Arg::None, "passwd: remove the password"),
];

pub(super) const ALERTS: &[Opt] = &[
    call("for", None, Arg::Required("time"), "silence: duration (1h)"),
    call("rule", None, Arg::Required("name"), "silence: only this rule; `*` matches any text"),
    call("reason", None, Arg::Required("text"), "silence: why"),
];

pub(super) const EXPORT: &[Opt] = &[
    call("app", None, Arg::Required("name"), "only this app; repeatable"),
    call("out", None, Arg::Required("folder"), "output folder (default: the folder of the config file)"),
    call("check", None, Arg::None, "write nothing; exit code 1 if a file is out of date, 6 if a key has no equivalent"),
    call("image", None, Arg::Required("name"), "name of the image, such as registry.example.com/shop"),
    call("tag", None, Arg::Required("tag"), "tag of the image (latest)"),
    call("ostler-image", None, Arg::Required("name"), "image that contains /ostler (default: copy the file `ostler`)"),
    call("swarm", None, Arg::None, "compose: write for `docker stack deploy`"),
    call("kustomize", None, Arg::None, "kubernetes: write a base and an overlay per env_*"),
    call("helm", None, Arg::None, "kubernetes: write a Helm chart"),
    call("host", None, Arg::Required("name"), "kubernetes: add an Ingress for this host name"),
    call("network-policy", None, Arg::None, "kubernetes: add NetworkPolicies"),
    call("strict", None, Arg::None, "treat warnings as errors"),
];

pub(super) const IMPORT: &[Opt] = &[
    call("out", None, Arg::Required("file"), "output file (ecosystem.config.js); `-`: stdout"),
    call("port", Some('p'), Arg::Required("port"), "procfile: port of the first process (5000)"),
];

pub(super) const RUNTIME: &[Opt] = &[
    call("raw", None, Arg::None, "print lines unchanged, error output on stderr (default)"),
    call("formatted", None, Arg::None, "`id|name  | ` before each line"),
    call("format", None, Arg::None, "print key=value lines"),
    call("no-auto-exit", None, Arg::None, "keep running when no app runs"),
    call("auto-exit", None, Arg::None, "exit with the app's exit code when no app runs (default)"),
    call("delay", None, Arg::Required("s"), "delay before the start; seconds, or with a unit"),
    call("forward-signals", None, Arg::Required("list"), "signals forwarded to all apps (HUP,USR1,USR2,WINCH), or `none`"),
    call("stop-timeout", None, Arg::Required("time"), "kill apps that are not stopped within this time"),
    known("web", Arg::OptionalNumber("port"), "accepted"),
    known("secret", Arg::Required("key"), "accepted"),
    known("public", Arg::Required("key"), "accepted"),
    known("machine-name", Arg::Required("name"), "accepted"),
    call("strict", None, Arg::None, "treat warnings as errors"),
];

pub(super) const INSTALL: &[Opt] = &[
    call("npm", None, Arg::None, "install the module although ostler has its function built in"),
    call("tarball", None, Arg::None, "install from a tar file"),
    call("install", None, Arg::None, "tar file: also install its npm dependencies"),
    known("docker", Arg::None, "in a container"),
    known("v1", Arg::None, "first format"),
    call("safe", None, Arg::OptionalNumber("ms"), "roll back if the module restarts more than twice in this time (3000)"),
];

pub(super) const SAFE: &[Opt] = &[call("safe", None, Arg::OptionalNumber("ms"), "as for install")];

pub(super) const PUBLISH: &[Opt] = &[
    call("npm", None, Arg::None, "publish to npm's registry (the only one)"),
    call("dry-run", None, Arg::None, "show what would be published"),
];

pub(super) const PROFILES: &[Opt] = &[
    call("memory", None, Arg::None, "profile allocations instead of CPU time"),
    call("heap", None, Arg::None, "heap snapshot; the app pauses while it is taken"),
    call("for", None, Arg::Required("time"), "duration (10s)"),
    call("into", None, Arg::Required("folder"), "output folder (default: the current folder)"),
];

pub(super) const DEV: &[Opt] = &[
    call("raw", None, Arg::Attached("bytes"), "print lines without prefix; =bytes: unescaped"),
    call("timestamp", None, Arg::Optional("format"), "time before each line (YYYY-MM-DD-HH:mm:ss)"),
    call("ignore", None, Arg::Required("files"), "paths that are not watched (a,b)"),
    call("post-exec", None, Arg::Required("command"), "command to run after each restart"),
    call("silent-exec", None, Arg::None, "hide the output of --post-exec"),
    call("auto-exit", None, Arg::None, "exit when no app runs"),
    call("test-mode", None, Arg::None, "start and return, leaving apps running"),
];

const DRAIN: Opt = call("drain", None, Arg::None, "finish requests first");
const WAIT_READY: Opt = call("wait-ready", None, Arg::None, "as --drain");

pub(super) const STOP: &[Opt] = &[DRAIN, WAIT_READY, call("watch", None, Arg::None, "also stop watching the files of the app")];

pub(super) const DELETE: &[Opt] = &[DRAIN, WAIT_READY];

pub(super) const RELOAD: &[Opt] =
    &[call("canary", None, Arg::Optional("time"), "replace one instance first and watch it for this time (10s)")];

pub(super) const USER_UNIT: Opt = call("user-unit", None, Arg::None, "install a systemd user unit; needs no root");
pub(super) const STARTUP: &[Opt] = &[USER_UNIT, call("check", None, Arg::None, "check that a boot would start all apps; change nothing")];

pub(super) const ROLLOUT: &[Opt] = &[call("to", None, Arg::Required("release"), "undo: roll back to this release")];

pub(super) const LOGS: &[Opt] = &[
    alias(call("lines", None, Arg::Required("n"), "number of past lines to show (15)"), &["tail"]),
    call("nostream", None, Arg::None, "show past lines and exit"),
    call("grep", None, Arg::Required("text"), "only lines with this text; searches rotated files, too"),
    call("regex", None, Arg::None, "treat the text of --grep as a regular expression"),
    call("ignore-case", None, Arg::None, "case-insensitive search"),
    call("since", None, Arg::Required("time"), "lines since this time: 10m, 14:30, \"2026-11-24 14:30\""),
    call("until", None, Arg::Required("time"), "lines until this time; do not follow"),
    call("raw", None, Arg::Attached("bytes"), "print lines without prefix; =bytes: unescaped"),
    call("err", None, Arg::None, "standard error only"),
    call("out", None, Arg::None, "standard output only"),
    call("format", None, Arg::None, "print key=value lines"),
    call("timestamp", None, Arg::Optional("format"), "time before each line (YYYY-MM-DD-HH:mm:ss)"),
    call("timestamps", Some('t'), Arg::None, "as --timestamp, in the default format"),
    call("highlight", None, Arg::Optional("word"), "highlight this word"),
    call("file", None, Arg::Required("file"), "only the project of this file"),
    call("project-name", None, Arg::Required("name"), "only this project"),
    call("after", None, Arg::Optional("places"), "with --json: add a cursor to each line; resume after a cursor"),
];

pub(super) const TOP: &[Opt] = &[
    call("since", None, Arg::Required("time"), "metrics of this period: 10m, 2h, 30d (15m)"),
    call("once", None, Arg::None, "print once, even at a terminal"),
    call("all", Some('a'), Arg::None, "one line per instance"),
];

const FILE: Opt = call("file", Some('f'), Arg::Required("file"), "ecosystem or compose file; repeat it to merge files");
const PROJECT: Opt = call("project-name", Some('p'), Arg::Required("name"), "project name (default: COMPOSE_PROJECT_NAME, `name`, folder)");

pub(super) const UP: &[Opt] = &[
    call("detach", Some('d'), Arg::None, "run in the background"),
    FILE,
    PROJECT,
    call("scale", None, Arg::Required("app=n"), "number of instances of an app; repeatable"),
    call("abort-on-container-exit", None, Arg::None, "stop all when an app exits; exit with its code"),
    call("abort-on-exit", None, Arg::None, "same as --abort-on-container-exit"),
    call("abort-on-container-failure", None, Arg::None, "stop all when an app fails; exit with its code"),
    call("exit-code-from", None, Arg::Required("app"), "stop all when an app exits; exit with the code of this app"),
    call("wait", None, Arg::None, "start in the background; return when all apps are healthy"),
    call("wait-timeout", None, Arg::Required("time"), "time limit of --wait (5m)"),
    call("profile", None, Arg::Required("name"), "compose: enable this profile; repeatable"),
    call("remove-orphans", None, Arg::None, "delete apps that are no longer in the file"),
    call("build", None, Arg::None, "rejected: ostler does not build images"),
    call("raw", None, Arg::Attached("bytes"), "print lines without prefix; =bytes: unescaped"),
    call("timestamp", None, Arg::Optional("format"), "time before each line (YYYY-MM-DD-HH:mm:ss)"),
    call("strict", None, Arg::None, "treat warnings as errors"),
];

pub(super) const DOWN: &[Opt] = &[FILE, PROJECT, call("volumes", Some('v'), Arg::None, "accepted; data stays in its folders")];

pub(super) const LIST: &[Opt] = &[
    call("file", Some('f'), Arg::Optional("file"), "ps: only the project of this file"),
    call("project-name", None, Arg::Required("name"), "ps: only this project"),
    call("quiet", Some('q'), Arg::None, "the ids only"),
    call("all", Some('a'), Arg::None, "one line per instance"),
    call("watch", None, Arg::None, "repeat the list every second"),
];
