//! Long runs: the simulation and the kill loop, with the numbers of the caller instead of those of the everyday tests.

use crate::process::{cargo, must_run, on_path, option};
use anyhow::Result;

/// Runs the lifecycle simulation: `--seed N` repeats one run, `--steps M` says how long.
pub(crate) fn sim(words: &[String]) -> Result<()> {
    let mut command = cargo(&["run", "--quiet", "--locked", "--profile", "e2e", "--package", "ostler-core"]);
    command.args(["--features", "sim", "--example", "sim", "--"]).args(words);
    must_run(&mut command)
}

/// Kills the daemon under load, `--rounds N` times (5,000).
pub(crate) fn soak(words: &[String]) -> Result<()> {
    let rounds = option(words, "--rounds")?.unwrap_or("5000");
    let test = ["--locked", "--package", "ostler", "--test", "e2e"];
    let mut command =
        if on_path("cargo-nextest") { cargo(&["nextest", "run", "--profile", "soak", "--no-capture"]) } else { cargo(&["test"]) };
    command.args(test).arg("promise_1_random_kills");
    if !on_path("cargo-nextest") {
        command.args(["--", "--nocapture", "--test-threads=1"]);
    }
    must_run(command.env("OSTLER_KILL_ROUNDS", rounds))
}
