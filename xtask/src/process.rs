//! Runs programs, and finds folders.

use anyhow::{Context, Result, bail, ensure};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns the root of the checkout.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Returns cargo's target folder.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// Returns the cargo that runs xtask, at the root of the checkout. It does not get the package
/// variables of `cargo run`. Build scripts read such variables, so their output from a manual cargo
/// call would be rebuilt each time.
pub(crate) fn cargo(words: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let of_our_package =
        |name: &OsString| name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"));
    std::env::vars_os().map(|(name, _)| name).filter(of_our_package).for_each(|name| _ = command.env_remove(name));
    command.current_dir(root()).args(words);
    command
}

/// Runs a command to its end; an exit code other than 0 is an error.
pub(crate) fn must_run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {}", command.get_program().display()))?;
    ensure!(status.success(), "{} ended with {status}", shown(command));
    Ok(())
}

/// Runs a command to its end and returns its stdout; an exit code other than 0 is an error that
/// shows its stderr.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let out = command.output().with_context(|| format!("cannot run {}", command.get_program().display()))?;
    if !out.status.success() {
        bail!("{} ended with {}\n{}", shown(command), out.status, String::from_utf8_lossy(&out.stderr).trim_end());
    }
    String::from_utf8(out.stdout).with_context(|| format!("{} wrote something that is not UTF-8", shown(command)))
}

/// Returns true if a program of this name is on `PATH`.
pub(crate) fn on_path(name: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(name).is_file()))
}

/// Builds one package with a profile and returns the path of its binary.
pub(crate) fn build(package: &str, binary: &str, profile: &str) -> Result<PathBuf> {
    must_run(&mut cargo(&["build", "--locked", "--package", package, "--bin", binary, "--profile", profile]))?;
    Ok(target().join(if profile == "dev" { "debug" } else { profile }).join(binary))
}

fn shown(command: &Command) -> String {
    let mut text = command.get_program().display().to_string();
    for word in command.get_args() {
        text.push(' ');
        text.push_str(&word.to_string_lossy());
    }
    text
}

/// Returns the value of `--name value` or `--name=value`.
pub(crate) fn option<'a>(words: &'a [String], name: &str) -> Result<Option<&'a str>> {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == name {
            return words.next().map(|value| Some(value.as_str())).with_context(|| format!("{name} needs a value"));
        }
        if let Some(value) = word.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')) {
            return Ok(Some(value));
        }
    }
    Ok(None)
}
