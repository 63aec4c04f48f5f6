//! Options that belong to one command only.

use super::options::{alias, call, known};
use super::table::{Arg, Completes, Opt};

pub(super) const SERVE: &[Opt] = &[
    call("port", None, Arg::Required("port"), "port; 8080 unless given"),
    call("spa", None, Arg::None, "unknown paths show the home page"),
    call("ftp", None, Arg::None, "list folders that have no index.html"),
    call("basic-auth-username", None, Arg::Required("name"), "let in only this user"),
    call("basic-auth-password", None, Arg::Required("password"), "with this password"),
    known("monitor", Arg::Optional("app"), "no script is put into pages"),
];

pub(super) const START: &[Opt] = &[
    call("strict", None, Arg::None, "warnings of the config file are errors"),
    known("fresh", Arg::None, "accepted"),
    known("daemon", Arg::None, "container: in the background"),
    known("container", Arg::None, "run in a container"),
    known("dist", Arg::None, "container: build for distribution"),
    known("image-name", Arg::Optional("name"), "container: name of the image"),
    known("node-version", Arg::Optional("major"), "container: version of Node"),
    known("dockerdaemon", Arg::None, "container: for debugging"),
];

pub(super) const UPDATE: &[Opt] = &[
    call(
        "from",
        None,
        Arg::Required("file"),
        "first put this program (or .tar.gz) in the place of this one; its checksum is in SHA256SUMS beside it",
    ),
    call("sha256", None, Arg::Required("hex"), "from: its checksum is this"),
    call("downgrade", None, Arg::None, "from: it may be older"),
];

pub(super) const WEB: &[Opt] = &[
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

pub(super) const ALERTS: &[Opt] = &[
    call("for", None, Arg::Required("time"), "silence: for so long (1h)"),
    call("rule", None, Arg::Required("name"), "silence: only this rule; `*` is any text"),
    call("reason", None, Arg::Required("text"), "silence: why"),
];

pub(super) const EXPORT: &[Opt] = &[
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

pub(super) const IMPORT: &[Opt] = &[
    call("out", None, Arg::Required("file"), "into this file (ecosystem.config.js); `-` prints it"),
    call("port", Some('p'), Arg::Required("port"), "procfile: port of the first process (5000)"),
];

pub(super) const RUNTIME: &[Opt] = &[
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

pub(super) const INSTALL: &[Opt] = &[
    call("npm", None, Arg::None, "the real one, although its work is built in"),
    call("tarball", None, Arg::None, "from a tar file"),
    call("install", None, Arg::None, "a tar file: what its package.json needs, too, by npm"),
    known("docker", Arg::None, "in a container"),
    known("v1", Arg::None, "first format"),
    call("safe", None, Arg::OptionalNumber("ms"), "the former one comes back when it restarts more than twice in that time (3000)"),
];

pub(super) const SAFE: &[Opt] = &[call("safe", None, Arg::OptionalNumber("ms"), "as of install")];

pub(super) const PUBLISH: &[Opt] = &[
    call("npm", None, Arg::None, "to npm's registry; there is no other"),
    call("dry-run", None, Arg::None, "only show what would be published"),
];

pub(super) const PROFILES: &[Opt] = &[
    call("memory", None, Arg::None, "what is allocated where, instead of CPU time"),
    call("heap", None, Arg::None, "a snapshot of all that is in memory; the app stands still meanwhile"),
    call("for", None, Arg::Required("time"), "for so long (10s)"),
    call("into", None, Arg::Required("folder"), "into this folder instead of the present one"),
];

pub(super) const DEV: &[Opt] = &[
    call("raw", None, Arg::Attached("bytes"), "the lines alone; =bytes: to a terminal as they are"),
    call("timestamp", None, Arg::Optional("format"), "time before each line (YYYY-MM-DD-HH:mm:ss)"),
    call("ignore", None, Arg::Required("files"), "do not watch these (a,b)"),
    call("post-exec", None, Arg::Required("command"), "run this after each restart"),
    call("silent-exec", None, Arg::None, "without its output"),
    call("auto-exit", None, Arg::None, "end when nothing runs any more"),
    call("test-mode", None, Arg::None, "start, and leave it running"),
];

pub(super) const STOP: &[Opt] = &[call("drain", None, Arg::None, "let it finish its requests first (as --wait-ready)")];

pub(super) const RELOAD: &[Opt] =
    &[call("canary", None, Arg::Optional("time"), "watch the first new instance for so long (10s) before the others follow")];

pub(super) const USER_UNIT: Opt = call("user-unit", None, Arg::None, "in the user's own systemd; needs no root");
pub(super) const STARTUP: &[Opt] = &[USER_UNIT, call("check", None, Arg::None, "would a boot bring everything back? changes nothing")];

pub(super) const PLATFORMS: Completes =
    Completes::Words(&["systemd", "upstart", "systemv", "openrc", "launchd", "rcd", "rcd-openbsd", "smf"]);

pub(super) const ROLLOUT: &[Opt] = &[call("to", None, Arg::Required("release"), "undo: to this release instead of the one before")];

pub(super) const LOGS: &[Opt] = &[
    alias(call("lines", None, Arg::Required("n"), "how many of the last lines first (15)"), &["tail"]),
    call("nostream", None, Arg::None, "the last lines only, then end"),
    call("grep", None, Arg::Required("text"), "lines with this text only, the last of them also from rotated files"),
    call("regex", None, Arg::None, "the text of --grep is a regular expression"),
    call("ignore-case", None, Arg::None, "it may be in capitals or not"),
    call("since", None, Arg::Required("time"), "lines since then: 10m, 14:30, \"2026-11-24 14:30\""),
    call("until", None, Arg::Required("time"), "lines until then; nothing is followed"),
    call("raw", None, Arg::Attached("bytes"), "the lines alone; =bytes: to a terminal as they are"),
    call("err", None, Arg::None, "standard error only"),
    call("out", None, Arg::None, "standard output only"),
    call("format", None, Arg::None, "key=value lines"),
    call("timestamp", None, Arg::Optional("format"), "time before each line (YYYY-MM-DD-HH:mm:ss)"),
    call("timestamps", Some('t'), Arg::None, "as --timestamp, in its usual form"),
    call("highlight", None, Arg::Optional("word"), "mark this word"),
    call("file", None, Arg::Required("file"), "the project of this file only"),
    call("project-name", None, Arg::Required("name"), "this project only"),
    call("after", None, Arg::Optional("places"), "with --json: the place of each line, too; only what comes after these"),
];

const FILE: Opt = call("file", Some('f'), Arg::Required("file"), "ecosystem or compose file of the project; again: merged over it");
const PROJECT: Opt =
    call("project-name", Some('p'), Arg::Required("name"), "name of the project (COMPOSE_PROJECT_NAME, `name` of the file, the folder)");

pub(super) const UP: &[Opt] = &[
    call("detach", Some('d'), Arg::None, "in the background"),
    FILE,
    PROJECT,
    call("scale", None, Arg::Required("app=n"), "so many instances of this app; again for more"),
    call("abort-on-container-exit", None, Arg::None, "stop all when an app exits, with its exit code"),
    call("abort-on-exit", None, Arg::None, "the same as --abort-on-container-exit"),
    call("abort-on-container-failure", None, Arg::None, "stop all when an app fails, with its exit code"),
    call("exit-code-from", None, Arg::Required("app"), "stop all when an app exits, with the exit code of this one"),
    call("wait", None, Arg::None, "in the background; done when all are well"),
    call("wait-timeout", None, Arg::Required("time"), "--wait, no longer than this (5m)"),
    call("profile", None, Arg::Required("name"), "compose: also the services of this profile; again for more"),
    call("remove-orphans", None, Arg::None, "delete apps of the project that are in its file no more"),
    call("build", None, Arg::None, "refused: no images are built here"),
    call("raw", None, Arg::Attached("bytes"), "the lines alone; =bytes: to a terminal as they are"),
    call("timestamp", None, Arg::Optional("format"), "time before each line (YYYY-MM-DD-HH:mm:ss)"),
    call("strict", None, Arg::None, "warnings of the config file are errors"),
];

pub(super) const DOWN: &[Opt] =
    &[FILE, PROJECT, call("volumes", Some('v'), Arg::None, "no volumes are made here: the data stays in its folders")];

pub(super) const LIST: &[Opt] = &[
    call("file", Some('f'), Arg::Optional("file"), "ps: the project of this file only"),
    call("project-name", None, Arg::Required("name"), "ps: this project only"),
    call("quiet", Some('q'), Arg::None, "the ids only"),
];
