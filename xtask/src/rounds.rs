//! Long runs: the simulation and the kill loop, with the caller's numbers instead of those of the
//! everyday tests.

use crate::process::{cargo, must_run, on_path, option};
use anyhow::{Context, Result};

/// Runs the simulation of the real daemon on a simulated machine: `--seed N` repeats one run,
/// `--steps M` sets its length. It is a test, so that no shipped program contains its hooks.
pub(crate) fn sim(words: &[String]) -> Result<()> {
    let mut command = cargo(&["test", "--quiet", "--locked", "--profile", "release", "--package", "ostler-daemon", "--lib"]);
    command.args(["simulation::runs_the_requested_steps", "--", "--nocapture"]);
    command.env("OSTLER_SIM_STEPS", number(words, "--steps")?.unwrap_or(10_000_000).to_string());
    command.env("OSTLER_SIM_SEED", number(words, "--seed")?.unwrap_or(1).to_string());
    must_run(&mut command)
}

/// Kills the daemon under load, `--rounds N` times (5,000) in all, in `--fleets N` homes at the
/// same time (4, because most of a round is waiting); `--seed N` repeats a run that failed.
pub(crate) fn soak(words: &[String]) -> Result<()> {
    let rounds = number(words, "--rounds")?.unwrap_or(5000);
    let fleets = number(words, "--fleets")?.unwrap_or(4);
    let seed = number(words, "--seed")?;
    let test = ["--locked", "--package", "ostler", "--test", "e2e"];
    let mut command =
        if on_path("cargo-nextest") { cargo(&["nextest", "run", "--profile", "soak", "--no-capture"]) } else { cargo(&["test"]) };
    command.args(test).arg("promise_1_random_kills");
    if !on_path("cargo-nextest") {
        command.args(["--", "--nocapture", "--test-threads=1"]);
    }
    command.env("OSTLER_KILL_ROUNDS", rounds.to_string()).env("OSTLER_KILL_FLEETS", fleets.to_string());
    if let Some(seed) = seed {
        command.env("OSTLER_KILL_SEED", seed.to_string());
    }
    must_run(&mut command)
}

/// Reads a number. An invalid one is an error here, because the test would treat it as "not given".
fn number(words: &[String], name: &str) -> Result<Option<u64>> {
    option(words, name)?.map(|text| text.parse().with_context(|| format!("{name} {text}: not a number"))).transpose()
}
