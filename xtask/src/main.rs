//! Tasks that cargo cannot do by itself: `cargo xtask <task>`. Continuous integration runs the same
//! tasks as a developer.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a developer's tool talks to a terminal")]

mod bench;
mod checks;
mod demo;
mod dist;
mod docs;
mod engines;
mod examples;
mod faults;
mod generate;
mod http;
mod layers;
mod parity;
mod paths;
mod process;
mod prose;
mod recording;
mod rooms;
mod rounds;
mod static_build;
mod texts;
mod translations;
mod untranslated;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask <task>

  demo [--keep]                        build ostler, start examples/shop, break things, show that nothing happens to the apps
  examples [<name>…]                   install, start, reload under load and stop the apps of examples/; what one needs has to be there
  test [-- <filter>…]                  everything that must pass before a change is merged
  layers                               which crate may use which; the keeper stays small; no unsafe code outside of sys
  prose [--list] [--write] [<path>…]   sentences that readers stumble over, and the budget of each area; --write lowers the budgets
  generate [--check]                   docs/reference/* from the program, docs/pm2-parity.md from its tables, the catalogue of translations from the sources (--check: only tell what is out of date)
  docs [--out DIR] [--base /PATH/] [--check] [--serve [--port N]]   the documentation as a site (Node 20, npm); --check: in a browser
  recording                            the picture of a session in the README
  translated <page>…                   the Chinese page is one of the English page as it is now
  bench [--quick] [--list] [<name>…]   ostler beside PM2, supervisor and the bare system calls
  static [--profile P] [--test]        a program that needs no library, for containers; --test runs the container tests with it
  engines [docker] [podman] [kubernetes] [trixie]  what `export` writes, built and run by real engines (root; tests/engines)
  dist [--arch A] [--profile P] [--out DIR] [--test]  everything that is published, the same bytes each time; --test installs, runs and removes it
  sim [--seed N] [--steps M]           a long run of the simulation of the daemon
  faults [--part P] [--call C] [--error E] [--phase P] [--all] [--seed N] [--jobs N] [--record]   system calls that fail: docs/fault-matrix.md
  soak [--rounds N] [--fleets N] [--seed N]   thousands of SIGKILLs of the daemon under load
";

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let task = words.next().unwrap_or_default();
    let words: Vec<String> = words.collect();
    let done = match task.as_str() {
        "demo" => demo::run(&words),
        "examples" => examples::run(&words),
        "test" => checks::run(&words),
        "docs" => docs::run(&words),
        "translated" => translations::note(&process::root(), &words),
        "layers" => layers::run(),
        "prose" => prose::run(&words),
        "recording" => recording::run(),
        "generate" => generate::run(&words),
        "bench" => bench::run(&words),
        "static" => static_build::run(&words),
        "engines" => engines::run(&words),
        "dist" => dist::run(&words),
        "faults" => faults::run(&words),
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
