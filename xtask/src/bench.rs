//! `cargo xtask bench`: builds ostler and the harness, fetches the peers into a cache outside of
//! the checkout, and runs.

use crate::process::{build, must_run};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

const PM2: &str = "pm2@7.0.4";
const SUPERVISOR: &str = "4.3.0";
const GUNICORN: &str = "27.0.1";
const EXPORTER: &str = "pm2-prometheus-exporter@0.1.1";

/// Runs the harness. The words are passed to it unchanged (`--help` lists them).
pub(crate) fn run(words: &[String]) -> Result<()> {
    let has = |name: &str| words.iter().any(|word| word == name);
    let bench = build("ostler-bench", "bench", "dist")?;
    for binary in ["floor", "tiny"] {
        build("ostler-bench", binary, "dist")?;
    }
    let mut command = Command::new(bench);
    command.args(words);
    if !has("--list") && !has("--help") {
        let cache = cache()?;
        command.env("OSTLER_BENCH_OSTLER", build("ostler", "ostler", "dist")?);
        // An unavailable peer is left out, and the table shows that.
        for (variable, peer) in [
            ("OSTLER_BENCH_PM2", pm2(&cache)),
            ("OSTLER_BENCH_SUPERVISOR", python_programs(&cache, "supervisor", SUPERVISOR, "supervisord")),
            ("OSTLER_BENCH_GUNICORN", python_programs(&cache, "gunicorn", GUNICORN, "gunicorn").map(|programs| programs.join("gunicorn"))),
            ("OSTLER_BENCH_EXPORTER", exporter(&cache)),
        ] {
            match peer {
                Ok(path) => drop(command.env(variable, path)),
                Err(error) => eprintln!("{error:#}: left out"),
            }
        }
    }
    must_run(&mut command)
}

/// Returns `OSTLER_CACHE`, or else the user's cache folder.
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

/// Returns the script of PM2's exporter for Prometheus, beside the old PM2 library that it needs.
fn exporter(cache: &Path) -> Result<PathBuf> {
    let folder = cache.join("exporter");
    let path = folder.join("node_modules/pm2-prometheus-exporter/exporter.js");
    if !path.exists() {
        eprintln!("installing {EXPORTER} into {}", folder.display());
        must_run(Command::new("npm").args(["install", "--no-audit", "--no-fund", "--prefix"]).arg(&folder).arg(EXPORTER))
            .context("the exporter cannot be installed")?;
    }
    Ok(path)
}

/// Returns the folder with the programs of a Python package, in a separate virtual environment.
fn python_programs(cache: &Path, package: &str, version: &str, program: &str) -> Result<PathBuf> {
    let environment = cache.join(format!("{package}-{version}"));
    let programs = environment.join("bin");
    if !programs.join(program).exists() {
        eprintln!("installing {package} {version} into {}", environment.display());
        must_run(Command::new("python3").args(["-m", "venv"]).arg(&environment))
            .and_then(|()| {
                let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
                must_run(Command::new(programs.join("python")).args(pip).arg(format!("{package}=={version}")))
            })
            .with_context(|| format!("{package} cannot be installed"))?;
    }
    Ok(programs)
}
