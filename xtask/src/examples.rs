//! `cargo xtask examples`: runs the apps of `examples/` as their README.md files describe.

use crate::process::{cargo, must_run, on_path};
use anyhow::Result;

/// Runs the tests of these examples, or of all; an example with missing programs fails.
pub(crate) fn run(names: &[String]) -> Result<()> {
    let nextest = on_path("cargo-nextest");
    let words: &[&str] = if nextest { &["nextest", "run", "--no-fail-fast", "--success-output", "final"] } else { &["test"] };
    let mut command = cargo(words);
    command.args(["--locked", "--package", "ostler", "--test", "real_apps"]);
    if !nextest {
        command.args(["--no-fail-fast", "--", "--nocapture", "--test-threads=2"]);
    }
    if names.is_empty() {
        command.arg("examples::");
    } else {
        command.args(names.iter().map(|name| format!("examples::{name}")));
    }
    must_run(command.env("OSTLER_EXAMPLES", "all"))
}
