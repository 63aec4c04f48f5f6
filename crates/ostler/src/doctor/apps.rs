//! Packages of apps that break if the app runs several instances, or a server with several workers,
//! without further measures.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ostler_core::app::AppSpec;
use ostler_core::serving::interception::OwnSocket;
use ostler_core::text::language::translated;
use ostler_core::{marked, message};
use ostler_proto::control::Detail;
use serde_json::Value;

use super::{Finding, Level};
use crate::app_files::{text, with_rights_of};

/// Number of parent folders in which a `package.json` is searched for.
const MAX_FOLDERS: usize = 8;

/// Package that keeps state in its own process.
struct Pattern {
    packages: &'static [&'static str],
    /// Packages that move this state out of the process.
    unless: &'static [&'static str],
    /// Whether sticky sessions are enough.
    sticky: bool,
    level: Level,
    what: &'static str,
    remedy: &'static str,
}

/// Packages that are known to break in clusters.
const PATTERNS: &[Pattern] = &[
    Pattern {
        packages: &["node-cron", "cron", "node-schedule", "@nestjs/schedule", "toad-scheduler", "croner"],
        unless: &[],
        sticky: false,
        level: Level::Warning,
        what: marked!("runs its schedules in every instance"),
        remedy: marked!("make them jobs of ostler (docs/cron-and-jobs.md), or move them to an app with one instance"),
    },
    Pattern {
        packages: &["express-session"],
        unless: &[
            "connect-redis",
            "connect-mongo",
            "connect-pg-simple",
            "express-mysql-session",
            "connect-memcached",
            "session-file-store",
            "better-sqlite3-session-store",
        ],
        sticky: true,
        level: Level::Warning,
        what: marked!("keeps sessions in the memory of one instance"),
        remedy: marked!("use a store that all instances share (connect-redis, …), or sticky: \"cookie\" (docs/cluster.md)"),
    },
    Pattern {
        packages: &["socket.io"],
        unless: &[
            "@socket.io/redis-adapter",
            "@socket.io/cluster-adapter",
            "@socket.io/mongo-adapter",
            "@socket.io/postgres-adapter",
            "socket.io-redis",
        ],
        sticky: false,
        level: Level::Warning,
        what: marked!("knows only the connections of its own instance"),
        remedy: marked!("use an adapter (@socket.io/redis-adapter, …) and sticky sessions (docs/cluster.md)"),
    },
    Pattern {
        packages: &["ws", "@nestjs/platform-ws"],
        unless: &["ioredis", "redis", "nats", "amqplib", "kafkajs"],
        sticky: false,
        level: Level::Warning,
        what: marked!("may know only the WebSockets of its own instance"),
        remedy: marked!("send messages for all connections through a broker that all instances share (Redis, …)"),
    },
    Pattern {
        packages: &["express-rate-limit", "rate-limiter-flexible", "@nestjs/throttler"],
        unless: &["rate-limit-redis", "rate-limit-memcached", "ioredis", "redis", "nestjs-throttler-storage-redis"],
        sticky: false,
        level: Level::Warning,
        what: marked!("counts requests in each instance separately"),
        remedy: marked!("use a store that all instances share, or divide the limits by the number of instances"),
    },
    Pattern {
        packages: &["node-cache", "memory-cache", "lru-cache"],
        unless: &[],
        sticky: false,
        level: Level::Note,
        what: marked!("has a separate cache in each instance"),
        remedy: marked!("fine for data that may be stale or fetched twice; otherwise use a shared cache"),
    },
];

/// Reports apps that share their port, but have processes with their own sockets.
fn own_sockets(details: &[Detail]) -> impl Iterator<Item = Finding> {
    let mut apps: BTreeMap<&str, (&OwnSocket, usize)> = BTreeMap::new();
    for detail in details {
        if let Some(own) = detail.learned.own_sockets.first() {
            apps.entry(&detail.spec.name).or_insert((own, 0)).1 += 1;
        }
    }
    apps.into_iter().map(|(name, (own, count))| {
        let reason = own.reason;
        let found = match count {
            1 => message!("1 instance keeps a socket of its own: {reason}", reason),
            _ => message!("{count} instances keep sockets of their own: {reason}", count, reason),
        };
        let remedy =
            message!("its instances cannot share a port; declare the port in `listen`, or use `increment_var` (docs/any-program.md)");
        Finding::new(Level::Warning, format!("app {name}"), found, remedy)
    })
}

pub(super) fn inspect(details: &[Detail], findings: &mut Vec<Finding>) {
    findings.extend(own_sockets(details));
    let mut copies: BTreeMap<&str, (&AppSpec, usize)> = BTreeMap::new();
    for detail in details {
        copies.entry(&detail.spec.name).or_insert((&detail.spec, 0)).1 += 1;
    }
    let several: Vec<(&AppSpec, usize)> = copies.into_values().filter(|(spec, count)| *count > 1 || spec.has_workers()).collect();
    let before = findings.len();
    for (spec, count) in &several {
        let packages = with_rights_of(spec, || packages(spec)).unwrap_or_default();
        findings.extend(judge(&packages, spec.sticky.is_some()).into_iter().map(|(package, pattern)| {
            let problem = translated(pattern.what);
            let found = match *count {
                1 => message!("{package} {problem} (1 instance)", package, problem),
                _ => message!("{package} {problem} ({count} instances)", package, problem, count),
            };
            Finding::new(pattern.level, format!("app {}", spec.name), found, translated(pattern.remedy))
        }));
    }
    if findings.len() == before {
        let found = if several.is_empty() {
            message!("no app runs several instances")
        } else {
            message!("no package with known problems in clusters")
        };
        findings.push(Finding::fine("apps", found));
    }
}

/// Returns the patterns that match, each with the package that matched.
fn judge(packages: &BTreeSet<String>, sticky: bool) -> Vec<(&'static str, &'static Pattern)> {
    let has = |name: &&str| packages.contains(*name);
    let fits = |pattern: &&Pattern| !(pattern.unless.iter().any(&has) || pattern.sticky && sticky);
    PATTERNS.iter().filter(fits).filter_map(|pattern| Some((*pattern.packages.iter().find(|name| has(name))?, pattern))).collect()
}

/// Returns the packages that the app depends on, and those that its script names.
fn packages(spec: &AppSpec) -> Option<BTreeSet<String>> {
    let script = Path::new(&spec.script);
    let manifest = script.ancestors().skip(1).take(MAX_FOLDERS).find_map(|folder| text(&folder.join("package.json")));
    let mut all: BTreeSet<String> = manifest.as_deref().map(dependencies).unwrap_or_default();
    if spec.runs_in_node() {
        all.extend(text(script).as_deref().map(named).unwrap_or_default());
    }
    Some(all)
}

fn dependencies(manifest: &str) -> BTreeSet<String> {
    let manifest: Value = serde_json::from_str(manifest).unwrap_or_default();
    manifest["dependencies"].as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
}

/// Returns the packages that a source file names by `require("…")`, `import "…"` or `from "…"`.
fn named(source: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for mark in ["require(", "from ", "import "] {
        for rest in source.split(mark).skip(1) {
            let Some(quote) = rest.chars().next().filter(|c| matches!(c, '"' | '\'' | '`')) else { continue };
            let name = rest[1..].split(quote).next().unwrap_or_default();
            if !name.is_empty() && name.len() <= 214 && !name.starts_with(['.', '/']) {
                all.insert(name.to_owned());
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn packages_unsafe_with_several_instances_are_reported() {
        let shown = |names: &[&str], sticky: bool| judge(&set(names), sticky).into_iter().map(|(package, _)| package).collect::<Vec<_>>();
        assert_eq!(shown(&["express", "pg"], false), Vec::<&str>::new());
        assert_eq!(shown(&["express-session"], false), ["express-session"]);
        assert_eq!(shown(&["express-session"], true), Vec::<&str>::new());
        assert_eq!(shown(&["express-session", "connect-redis"], false), Vec::<&str>::new());
        assert_eq!(shown(&["@nestjs/schedule", "socket.io"], true), ["@nestjs/schedule", "socket.io"]);
        assert_eq!(shown(&["ws", "ioredis"], false), Vec::<&str>::new());
    }

    #[test]
    fn packages_are_read_from_source_and_manifest() {
        let source = "const a = require('node-cron'); import x from \"ws\";\nimport 'lru-cache'\nrequire(`./own`); require(x); from '";
        assert_eq!(named(source), set(&["node-cron", "ws", "lru-cache"]));
        assert_eq!(dependencies(r#"{"dependencies": {"cron": "1"}, "devDependencies": {"ws": "1"}}"#), set(&["cron"]));
        assert_eq!(dependencies("no json"), set(&[]));
    }
}
