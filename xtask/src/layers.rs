//! Allowed dependencies between crates. The table is the architecture; a dependency that is not in
//! it fails this check, not a review.

use crate::process::{cargo, output, root};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Crates of the workspace, each with the workspace crates that it may use. An unlisted crate
/// fails.
const MAY_USE: &[(&str, Allowed)] = &[
    ("ostler-core", Allowed::Only(&[])),
    ("ostler-sys", Allowed::Only(&[])),
    ("ostler-alerts", Allowed::Only(&["ostler-core"])),
    ("ostler-config", Allowed::Only(&["ostler-core", "ostler-alerts"])),
    ("ostler-proto", Allowed::Only(&["ostler-core"])),
    ("ostler-keeper", Allowed::Only(&["ostler-sys"])),
    ("ostler-client", Allowed::Only(&["ostler-core", "ostler-proto", "ostler-sys"])),
    ("ostler-daemon", Allowed::Only(&["ostler-core", "ostler-proto", "ostler-keeper", "ostler-sys"])),
    (
        "ostler-web",
        Allowed::Only(&[
            "ostler-core",
            "ostler-proto",
            "ostler-client",
            "ostler-http",
            "ostler-history",
            "ostler-alerts",
            "ostler-otlp",
            "ostler-sys",
        ]),
    ),
    ("ostler-otlp", Allowed::Only(&["ostler-core"])),
    ("ostler-history", Allowed::Only(&[])),
    // Only its tests use `config`, for apps of realistic files.
    ("ostler-export", Allowed::Only(&["ostler-core", "ostler-config"])),
    ("ostler-fleet", Allowed::Only(&["ostler-core"])),
    ("ostler-http", Allowed::Only(&["ostler-sys"])),
    ("ostler-serve", Allowed::Only(&["ostler-http", "ostler-sys"])),
    ("ostler", Allowed::Shipped),
    ("ostler-fuzzing", Allowed::Shipped),
    ("ostler-testkit", Allowed::Shipped),
    ("ostler-bench", Allowed::Shipped),
    ("xtask", Allowed::Shipped),
];

/// Crates that never ship: only these crates and dev-dependencies may use them.
const TOOLS: &[&str] = &["ostler-testkit", "ostler-fuzzing", "ostler-bench", "xtask"];

/// Crates (by prefix) that a crate of the workspace must not depend on, even indirectly, and the
/// reason.
const NEVER_BELOW: &[(&str, &[&str], &str)] = &[
    ("ostler-keeper", &["ostler-core", "ostler-proto", "serde", "tokio"], "the keeper is the process that must not die: it stays small"),
    ("ostler-core", &["rustix", "libc", "tokio", "ostler-sys"], "core decides and touches nothing"),
    ("ostler-proto", &["rustix", "libc", "tokio"], "proto turns bytes into types and touches nothing"),
    ("ostler-daemon", &["ostler-config", "ostler-web", "rquickjs", "tokio"], "only the client evaluates configuration"),
    ("ostler-alerts", &["rustix", "tokio", "hyper"], "what is an alert is decided without touching anything"),
    (
        "ostler-otlp",
        &["rustix", "tokio", "hyper"],
        "what is kept of traces, and when something is sent, is decided without touching anything",
    ),
    ("ostler-export", &["rustix", "tokio", "rquickjs"], "apps go in and texts come out"),
    ("ostler-fleet", &["rustix", "tokio", "libc"], "which hosts, in which order, and what their answers are together touches nothing"),
    ("ostler", &["openssl-sys", "aws-lc-sys", "nix", "reqwest"], "see docs/adr"),
];

/// Names without information about the content.
const EMPTY_NAMES: &[&str] = &["utils", "util", "helpers", "common", "misc", "manager"];

/// The only crate with `unsafe`.
const UNSAFE: &str = "ostler-sys";

#[derive(Clone, Copy)]
enum Allowed {
    Only(&'static [&'static str]),
    /// Everything that ships.
    Shipped,
}

/// Fails with a list of all violations.
pub(crate) fn run() -> Result<()> {
    let metadata = output(&mut cargo(&["metadata", "--format-version", "1", "--locked"]))?;
    let graph = Graph::from_metadata(&serde_json::from_str(&metadata)?)?;
    let mut faults = graph.faults();
    for (name, dir) in &graph.folders {
        source_faults(name, dir, &mut faults)?;
    }
    faults.extend(crate::rooms::faults()?);
    if !faults.is_empty() {
        bail!("the layers are broken\n  {}", faults.join("\n  "));
    }
    println!("layers: {} crates, every arrow is in the tables", graph.members.len());
    Ok(())
}

/// Packages by id, and their dependencies.
#[derive(Default)]
struct Graph {
    members: BTreeSet<String>,
    folders: BTreeMap<String, PathBuf>,
    names: BTreeMap<String, String>,
    dependencies: BTreeMap<String, Vec<Dependency>>,
}

struct Dependency {
    to: String,
    /// Whether only tests, examples and benches use the dependency.
    dev_only: bool,
}

impl Graph {
    fn from_metadata(metadata: &Value) -> Result<Graph> {
        let mut graph = Graph::default();
        let text = |value: &Value| value.as_str().map(str::to_owned).context("cargo metadata has an unknown shape");
        let list = |value: &Value| value.as_array().cloned().context("cargo metadata has an unknown shape");
        for id in list(&metadata["workspace_members"])? {
            graph.members.insert(text(&id)?);
        }
        for package in list(&metadata["packages"])? {
            let (id, name) = (text(&package["id"])?, text(&package["name"])?);
            if graph.members.contains(&id) {
                let manifest = PathBuf::from(text(&package["manifest_path"])?);
                graph.folders.insert(name.clone(), manifest.parent().unwrap_or(&manifest).to_path_buf());
            }
            graph.names.insert(id, name);
        }
        for node in list(&metadata["resolve"]["nodes"])? {
            let mut dependencies = Vec::new();
            for dep in list(&node["deps"])? {
                let dev_only = list(&dep["dep_kinds"])?.iter().all(|kind| kind["kind"] == "dev");
                dependencies.push(Dependency { to: text(&dep["pkg"])?, dev_only });
            }
            graph.dependencies.insert(text(&node["id"])?, dependencies);
        }
        Ok(graph)
    }

    fn name<'a>(&'a self, id: &'a str) -> &'a str {
        self.names.get(id).map_or(id, String::as_str)
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for id in &self.members {
            let from = self.name(id);
            let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == from) else {
                faults.push(format!("{from} is not in the table of xtask/src/layers.rs"));
                continue;
            };
            for arrow in self.dependencies.get(id).into_iter().flatten().filter(|arrow| self.members.contains(&arrow.to)) {
                let to = self.name(&arrow.to);
                let tool = TOOLS.contains(&to);
                let in_table = match allowed {
                    Allowed::Only(names) => names.contains(&to),
                    Allowed::Shipped => !tool,
                };
                // Tests may use the same crates, and the test kit.
                let for_tests = arrow.dev_only && to == "ostler-testkit";
                let among_tools = tool && TOOLS.contains(&from);
                if !(in_table || for_tests || among_tools) {
                    faults.push(format!("{from} must not use {to}"));
                }
            }
        }
        for (top, banned, why) in NEVER_BELOW {
            let Some(start) = self.members.iter().find(|id| self.name(id) == *top) else { continue };
            for path in self.paths_below(start) {
                let last = path.last().copied().unwrap_or_default();
                if banned.iter().any(|name| last == *name || last.strip_prefix(*name).is_some_and(|rest| rest.starts_with(['-', '_']))) {
                    faults.push(format!("{} ({why})", path.join(" -> ")));
                }
            }
        }
        faults
    }

    /// Returns one path to each crate that `start` links (names, `start` first).
    fn paths_below<'a>(&'a self, start: &'a str) -> Vec<Vec<&'a str>> {
        let mut seen = BTreeSet::from([start]);
        let mut queue = vec![(start, vec![self.name(start)])];
        let mut paths = Vec::new();
        while let Some((id, path)) = queue.pop() {
            for arrow in self.dependencies.get(id).into_iter().flatten().filter(|arrow| !arrow.dev_only) {
                if seen.insert(&arrow.to) {
                    let mut longer = path.clone();
                    longer.push(self.name(&arrow.to));
                    queue.push((&arrow.to, longer.clone()));
                    paths.push(longer);
                }
            }
        }
        paths
    }
}

/// Finds faults that the dependency graph does not show: `unsafe`, and file names without
/// information.
fn source_faults(name: &str, dir: &Path, faults: &mut Vec<String>) -> Result<()> {
    let shown = |path: &Path| path.strip_prefix(root()).unwrap_or(path).display().to_string();
    for file in rust_files(&dir.join("src"))? {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let folder = file.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
        if EMPTY_NAMES.contains(&stem.as_str()) || EMPTY_NAMES.contains(&folder.as_str()) {
            faults.push(format!("{}: the name says nothing about what is inside", shown(&file)));
        }
        let is_root = ["lib", "main"].contains(&stem.as_str()) && folder == "src" || folder == "bin";
        if is_root && name != UNSAFE {
            let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            if !text.contains("#![forbid(unsafe_code)]") {
                faults.push(format!("{}: #![forbid(unsafe_code)] is missing", shown(&file)));
            }
        }
    }
    Ok(())
}

pub(crate) fn rust_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Returns the faults of a workspace in cargo's form; `!name` is a dev-dependency, names
    /// without `ostler`/`xtask` are external crates.
    fn faults(crates: &[(&str, &[&str])]) -> Vec<String> {
        let member = |name: &str| name.starts_with("ostler") || name == "xtask";
        let mut names: BTreeSet<&str> = crates.iter().map(|(name, _)| *name).collect();
        names.extend(crates.iter().flat_map(|(_, deps)| deps.iter().map(|dep| dep.trim_start_matches('!'))));
        let packages: Vec<Value> =
            names.iter().map(|n| json!({"id": n, "name": n, "manifest_path": format!("/w/{n}/Cargo.toml")})).collect();
        let members: Vec<&&str> = names.iter().filter(|name| member(name)).collect();
        let nodes: Vec<Value> = crates
            .iter()
            .map(|(name, deps)| {
                let deps: Vec<Value> = deps
                    .iter()
                    .map(|dep| match dep.strip_prefix('!') {
                        Some(dev) => json!({"pkg": dev, "dep_kinds": [{"kind": "dev"}]}),
                        None => json!({"pkg": dep, "dep_kinds": [{"kind": null}, {"kind": "dev"}]}),
                    })
                    .collect();
                json!({"id": name, "deps": deps})
            })
            .collect();
        let metadata = json!({"packages": packages, "workspace_members": members, "resolve": {"nodes": nodes}});
        Graph::from_metadata(&metadata).unwrap().faults()
    }

    #[test]
    fn allowed_dependencies_pass() {
        let found = faults(&[
            ("ostler", &["ostler-config", "ostler-daemon", "ostler-keeper", "!ostler-testkit"]),
            ("ostler-config", &["ostler-core", "rquickjs"]),
            ("ostler-daemon", &["ostler-core", "ostler-proto", "ostler-keeper", "ostler-sys"]),
            ("ostler-keeper", &["ostler-sys"]),
            ("ostler-proto", &["ostler-core", "serde"]),
            ("ostler-sys", &["rustix", "libc"]),
            ("ostler-core", &["serde", "!proptest"]),
            ("ostler-testkit", &["ostler-core", "ostler-sys"]),
            ("xtask", &["anyhow"]),
        ]);
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn forbidden_dependency_fails() {
        for (from, to) in [
            ("ostler-core", "ostler-sys"),
            ("ostler-sys", "ostler-core"),
            ("ostler-proto", "ostler-config"),
            ("ostler-keeper", "ostler-daemon"),
            ("ostler-daemon", "ostler-config"),
            ("ostler-config", "ostler"),
            ("ostler", "ostler-testkit"),
            ("ostler", "xtask"),
        ] {
            let found = faults(&[(from, &[to]), (to, &[])]);
            assert!(found.contains(&format!("{from} must not use {to}")), "{from} -> {to}: {found:?}");
        }
    }

    #[test]
    fn transitive_keeper_dependency_fails_with_its_path() {
        let found = faults(&[("ostler-keeper", &["ostler-sys"]), ("ostler-sys", &["foreign"]), ("foreign", &["serde_json"])]);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("ostler-keeper -> ostler-sys -> foreign -> serde_json"), "{found:?}");
    }

    #[test]
    fn dev_dependencies_are_allowed() {
        assert_eq!(faults(&[("ostler-keeper", &["!serde_json", "!ostler-testkit"])]), Vec::<String>::new());
    }

    #[test]
    fn unknown_crate_fails() {
        assert_eq!(faults(&[("ostler-extra", &[])]), ["ostler-extra is not in the table of xtask/src/layers.rs"]);
    }
}
