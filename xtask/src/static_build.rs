//! `cargo xtask static`: builds ostler without any shared library, for images `FROM scratch`, and
//! runs the container tests with that program.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::process::{cargo, must_run, on_path, option, output, target};

/// An environment variable.
pub(crate) type Variable = (&'static str, PathBuf);

/// Runs the task. `--profile P` (dist) sets the profile; `--test` runs the container tests with the
/// program, in the profile `dev` if no other is named.
pub(crate) fn run(words: &[String]) -> Result<()> {
    let tests = words.iter().any(|word| word == "--test");
    let profile = option(words, "--profile")?.unwrap_or(if tests { "dev" } else { "dist" });
    if !tests {
        println!("{}", ostler(profile)?.display());
        return Ok(());
    }
    let with = for_tests(profile)?;
    let runner: &[&str] = if on_path("cargo-nextest") { &["nextest", "run"] } else { &["test"] };
    must_run(
        cargo(
            &[runner, &["--locked", "--package", "ostler", "--test", "e2e", "--", "container::", "static_program::", "least_program::"]]
                .concat(),
        )
        .envs(with),
    )
}

/// Builds the programs for the container tests; returns the variables with their paths.
pub(crate) fn for_tests(profile: &str) -> Result<Vec<Variable>> {
    // This comes before the complete build, which overwrites it.
    let built = build("ostler", "ostler", profile, &["--no-default-features", "--features", "yaml"])?;
    let least = built.with_file_name("ostler-least");
    fs::copy(&built, &least).with_context(|| format!("cannot write {}", least.display()))?;
    Ok(vec![
        ("OSTLER_LEAST", least),
        ("OSTLER_STATIC", ostler(profile)?),
        ("OSTLER_STATIC_FIXTURE", build("ostler-testkit", "ostler-fixture", profile, &[])?),
    ])
}

/// Builds the program; returns its path.
pub(crate) fn ostler(profile: &str) -> Result<PathBuf> {
    let ostler = build("ostler", "ostler", profile, &[])?;
    let text = output(Command::new("file").arg("-L").arg(&ostler)).unwrap_or_default();
    ensure!(!text.contains("dynamically linked"), "{} is linked dynamically: {text}", ostler.display());
    Ok(ostler)
}

/// Builds for musl if its target and its compiler are installed, otherwise with glibc's static
/// library. It uses a separate folder, because other flags would discard the results of all other
/// builds.
fn build(package: &str, binary: &str, profile: &str, features: &[&str]) -> Result<PathBuf> {
    let host = host()?;
    let musl = host.replace("-gnu", "-musl");
    let installed = output(Command::new("rustup").args(["target", "list", "--installed"])).unwrap_or_default();
    let has_target = installed.lines().any(|line| line.trim() == musl);
    // The embedded engine is C, and needs musl's headers.
    let has_compiler = ["musl-gcc", &format!("{}-gcc", musl.replace("-unknown", ""))].iter().any(|name| on_path(name));
    let triple = if has_target && has_compiler {
        musl
    } else {
        let missing = if has_target { "musl-gcc (package musl-tools)".to_owned() } else { format!("`rustup target add {musl}`") };
        eprintln!("SKIPPED: the musl build, for want of {missing}; the static program is linked with glibc instead");
        host
    };
    let flags = format!("CARGO_TARGET_{}_RUSTFLAGS", triple.to_uppercase().replace('-', "_"));
    let folder = target().join("static");
    let mut command = cargo(&["build", "--locked", "--package", package, "--bin", binary, "--profile", profile, "--target", &triple]);
    command.args(features);
    // Only for the target: programs that run during the build are linked normally.
    must_run(command.arg("--target-dir").arg(&folder).env(flags, "-C target-feature=+crt-static"))?;
    Ok(folder.join(triple).join(if profile == "dev" { "debug" } else { profile }).join(binary))
}

fn host() -> Result<String> {
    let version = output(Command::new("rustc").arg("-vV"))?;
    let line = version.lines().find_map(|line| line.strip_prefix("host: "));
    line.map(str::to_owned).context("rustc does not tell for which machine it builds")
}
