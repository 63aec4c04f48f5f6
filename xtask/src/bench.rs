//! `cargo xtask bench`: builds ostler and the harness, fetches the peers into a cache outside of the checkout, and runs.

use crate::process::{build, must_run, on_path};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

const PM2: &str = "pm2@7.0.4";

/// Words go to the harness as they are (`--help` lists them).
pub(crate) fn run(words: &[String]) -> Result<()> {
    let has = |name: &str| words.iter().any(|word| word == name);
    let bench = build("ostler-bench", "bench", "release")?;
    for binary in ["floor", "tiny"] {
        build("ostler-bench", binary, "release")?;
    }
    let mut command = Command::new(bench);
    command.args(words);
    if !has("--list") && !has("--help") {
        let cache = cache()?;
        command.env("OSTLER_BENCH_OSTLER", build("ostler", "ostler", "release")?);
        // A peer that cannot be had is left out, and the table says so.
        for (variable, peer) in [("OSTLER_BENCH_PM2", pm2(&cache)), ("OSTLER_BENCH_OXMGR", oxmgr(&cache))] {
            match peer {
                Ok(path) => drop(command.env(variable, path)),
                Err(error) => eprintln!("{error:#}: left out"),
            }
        }
    }
    must_run(&mut command)
}

/// `OSTLER_CACHE`, else the user's cache folder.
fn cache() -> Result<PathBuf> {
    let given = std::env::var_os("OSTLER_CACHE").map(PathBuf::from);
    let standard = || {
        let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        base.or_else(|| std::env::home_dir().map(|home| home.join(".cache"))).map(|dir| dir.join("ostler-dev"))
    };
    let dir = given.or_else(standard).context("neither OSTLER_CACHE nor HOME is set")?;
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    Ok(dir)
}

fn pm2(cache: &Path) -> Result<PathBuf> {
    let path = cache.join("node_modules/.bin/pm2");
    if !path.exists() {
        eprintln!("installing {PM2} into {}", cache.display());
        must_run(Command::new("npm").args(["install", "--no-audit", "--no-fund", "--prefix"]).arg(cache).arg(PM2))
            .context("PM2 cannot be installed")?;
    }
    Ok(path)
}

fn oxmgr(cache: &Path) -> Result<PathBuf> {
    let path = cache.join("bin/oxmgr");
    if !path.exists() {
        eprintln!("building OxMgr into {} (some minutes)", cache.display());
        let nice = if on_path("nice") { Command::new("nice") } else { Command::new("env") };
        let mut command = nice;
        // Its own target folder: nothing of ours is built anew because of it.
        command.args(["cargo", "install", "oxmgr", "--locked", "--root"]).arg(cache).env("CARGO_TARGET_DIR", cache.join("target"));
        must_run(command.current_dir(cache)).context("OxMgr cannot be installed")?;
    }
    Ok(path)
}
