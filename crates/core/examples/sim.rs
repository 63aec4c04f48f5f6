//! Runs the simulation: `sim [--seed N] [--steps M] [--episode N]`. Exit code 1 and a trace when a
//! promise breaks.
#![expect(clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods, reason = "a program, not the core")]

use std::process::ExitCode;
use std::time::Instant;

use ostler_core::sim;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (mut seed, mut steps, mut episode) = (1, 10_000_000, None);
    while let Some(name) = args.next() {
        let Some(value) = args.next().and_then(|value| value.parse::<u64>().ok()) else {
            eprintln!("error: {name} needs a number");
            return ExitCode::from(2);
        };
        match name.as_str() {
            "--seed" => seed = value,
            "--steps" => steps = value,
            "--episode" => episode = Some(value),
            _ => {
                eprintln!("error: unknown option {name}\nusage: sim [--seed N] [--steps M] [--episode N]");
                return ExitCode::from(2);
            }
        }
    }
    let begin = Instant::now();
    match episode.map_or_else(|| sim::run(seed, steps), sim::run_episode) {
        Ok(tally) => {
            let seconds = begin.elapsed().as_secs_f64();
            println!("seed {seed}: {tally:?}, {:.2} million steps/s", tally.steps as f64 / seconds / 1e6);
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("seed {seed}: {failure}");
            ExitCode::FAILURE
        }
    }
}
