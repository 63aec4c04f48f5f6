//! `cargo xtask fuzz`: feeds bytes to everything that reads bytes from outside (docs/fuzzing.md).

use crate::process::{cargo, must_run, on_path, option, root, target};
use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, File};
use std::process::{Command, Stdio};

/// Seconds for each target, unless the caller sets them.
const SECONDS: u64 = 60;
/// Options of cargo-fuzz. Safe code needs no address sanitizer, and is twice as fast without it.
const BUILD: [&str; 2] = ["--sanitizer", "none"];
/// Longest input, and the limits of a single one.
const LIMITS: [&str; 3] = ["-max_len=16384", "-timeout=25", "-rss_limit_mb=4096"];

/// Fuzzes the named targets, or all, for `--seconds N` each. libFuzzer does it if a nightly compiler
/// and cargo-fuzz are installed, otherwise the mutating loop of the tests.
pub(crate) fn run(words: &[String]) -> Result<()> {
    let seconds = option(words, "--seconds")?.map_or(Ok(SECONDS), |text| text.parse().context("--seconds needs a number"))?;
    let seed = option(words, "--seed")?;
    let targets = chosen(words, &all()?)?;
    if on_path("cargo-fuzz") && has_nightly() {
        return with_libfuzzer(&targets, seconds, seed);
    }
    eprintln!("cargo-fuzz or a nightly compiler is missing: the mutating loop of the tests runs instead, which sees no coverage");
    let mut failed = Vec::new();
    for name in &targets {
        let mut command = cargo(&["test", "--quiet", "--locked", "--profile", "fuzz", "--package", "ostler-fuzzing", "--test", "targets"]);
        command.args(["--", "--exact", "--nocapture", name]).env("OSTLER_FUZZ_SECONDS", seconds.to_string());
        command.envs(seed.map(|seed| ("OSTLER_SEED", seed)));
        if must_run(&mut command).is_err() {
            failed.push(name.as_str());
        }
    }
    report(&failed)
}

/// Returns the names of all targets.
fn all() -> Result<Vec<String>> {
    let folder = root().join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.path().file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

/// Returns the targets that the words name; all if they name none.
fn chosen(words: &[String], all: &[String]) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seconds" | "--seed" => drop(words.next()),
            word if word.starts_with("--seconds=") || word.starts_with("--seed=") => {}
            word => {
                ensure!(all.iter().any(|name| name == word), "unknown target `{word}`; the targets are {}", all.join(", "));
                names.push(word.to_owned());
            }
        }
    }
    Ok(if names.is_empty() { all.to_vec() } else { names })
}

/// Returns rustup's `cargo`: that of xtask itself belongs to one toolchain.
fn nightly() -> Command {
    let mut command = Command::new("cargo");
    command.arg("+nightly").current_dir(root());
    for name in ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN", "CARGO_TARGET_DIR"] {
        command.env_remove(name);
    }
    command
}

fn has_nightly() -> bool {
    nightly().arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn with_libfuzzer(targets: &[String], seconds: u64, seed: Option<&str>) -> Result<()> {
    let folder = target().join("fuzz");
    let mut failed = Vec::new();
    for name in targets {
        let (found, log) = (folder.join("corpus").join(name), folder.join(format!("{name}.log")));
        fs::create_dir_all(&found).with_context(|| format!("cannot create {}", found.display()))?;
        must_run(nightly().args(["fuzz", "build"]).args(BUILD).arg(name))?;
        let file = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        let mut command = nightly();
        // New inputs go to the first folder. The kept corpus is only read.
        command.args(["fuzz", "run"]).args(BUILD).arg(name).arg(&found).arg(root().join("fuzz/corpus").join(name)).arg("--").args(LIMITS);
        command.arg(format!("-max_total_time={seconds}")).arg("-print_final_stats=1").arg("-verbosity=1");
        command.arg(format!("-artifact_prefix={}/{name}-", folder.display()));
        command.args(seed.map(|seed| format!("-seed={seed}")));
        let status = command.stdout(Stdio::null()).stderr(file).status().context("cannot run cargo fuzz")?;
        let text = String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
        let inputs = stat(&text, "number_of_executed_units").unwrap_or_default();
        if status.success() {
            println!("{name}: {inputs} inputs in {seconds} s");
        } else {
            println!("{name}: FAILED after {inputs} inputs\n{}  log: {}", artifact(&text), log.display());
            failed.push(name.as_str());
        }
    }
    report(&failed)
}

/// Returns a number of libFuzzer's closing statistics.
fn stat(log: &str, name: &str) -> Option<String> {
    let line = log.lines().find(|line| line.starts_with("stat::") && line.contains(name))?;
    line.rsplit(' ').next().map(str::to_owned)
}

/// Returns the lines that tell where the failing input is, and why it fails.
fn artifact(log: &str) -> String {
    let tells = |line: &&str| line.contains("panicked at") || line.starts_with("SUMMARY") || line.contains("Test unit written to");
    log.lines().filter(tells).map(|line| format!("  {line}\n")).collect()
}

fn report(failed: &[&str]) -> Result<()> {
    if failed.is_empty() {
        return Ok(());
    }
    bail!("failed: {}; put each failing input into fuzz/corpus/TARGET under a name that tells what it is", failed.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_and_options_are_told_apart() {
        let all = ["cron".to_owned(), "glob".to_owned()];
        let chosen = |words: &[&str]| chosen(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>(), &all);
        assert_eq!(chosen(&["--seconds", "5"]).unwrap(), all);
        assert_eq!(chosen(&["glob", "--seconds=5", "--seed", "1"]).unwrap(), ["glob"]);
        assert!(chosen(&["globs"]).unwrap_err().to_string().contains("cron, glob"));
    }

    #[test]
    fn statistics_and_failures_are_found_in_the_log() {
        let log = "x\nstat::number_of_executed_units: 1234\nthread '<unnamed>' panicked at a.rs:1:2:\nSUMMARY: libFuzzer: deadly signal\n";
        assert_eq!(stat(log, "number_of_executed_units").as_deref(), Some("1234"));
        assert_eq!(artifact(log).lines().count(), 2);
    }
}
