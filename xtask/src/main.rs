//! What cargo cannot do by itself: `cargo xtask <task>`. Continuous integration runs the same tasks a person runs.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a developer's tool talks to a terminal")]

mod bench;
mod checks;
mod demo;
mod dist;
mod generate;
mod http;
mod layers;
mod parity;
mod paths;
mod process;
mod rooms;
mod rounds;
mod static_build;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask <task>

  demo [--keep]                        build ostler, start examples/shop, break things, show that nothing happens to the apps
  test [-- <filter>…]                  everything that must pass before a change is merged
  layers                               which crate may use which; the keeper stays small; no unsafe code outside of sys
  generate [--check]                   docs/reference/* from the program, docs/pm2-parity.md from its tables (--check: only tell what is out of date)
  bench [--quick] [--list] [<name>…]   ostler beside PM2, supervisor and the bare system calls
  static [--profile P] [--test]        a program that needs no library, for containers; --test runs the container tests with it
  dist [--arch A] [--profile P] [--out DIR] [--test]  everything that is published, the same bytes each time; --test installs, runs and removes it
  sim [--daemon] [--seed N] [--steps M]  a long run of the simulation: of the lifecycle, or of the whole daemon
  soak [--rounds N] [--fleets N] [--seed N]   thousands of SIGKILLs of the daemon under load
";

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let task = words.next().unwrap_or_default();
    let words: Vec<String> = words.collect();
    let done = match task.as_str() {
        "demo" => demo::run(&words),
        "test" => checks::run(&words),
        "layers" => layers::run(),
        "generate" => generate::run(&words),
        "bench" => bench::run(&words),
        "static" => static_build::run(&words),
        "dist" => dist::run(&words),
        "sim" => rounds::sim(&words),
        "soak" => rounds::soak(&words),
        "" | "help" | "-h" | "--help" => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        other => Err(anyhow::anyhow!("unknown task `{other}`\n\n{HELP}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
