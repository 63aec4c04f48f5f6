//! Compares ostler with PM2, supervisor and the bare system calls: same machine, same apps, in
//! turns, medians.
//!
//! ```text
//! bench [--quick] [--list] [--out FILE] [NAME…]
//! ```
//! `OSTLER_BENCH_OSTLER`, `OSTLER_BENCH_PM2` and `OSTLER_BENCH_SUPERVISOR` hold the paths of the
//! programs; for supervisor it is `supervisord` or the folder with it and `supervisorctl`. A
//! manager without its variable is left out, and so is gunicorn without `OSTLER_BENCH_GUNICORN`.
//! `cargo xtask bench` sets the variables. With `OSTLER_BENCH_ERRORS` the first failed requests are printed.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a tool that talks to a terminal")]

mod cluster;
mod contender;
mod cores;
mod floor;
mod lab;
mod measure;
mod nginx;
mod program;
mod report;
mod scenario;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use std::process::ExitCode;
use std::time::Instant;

/// Heading of the table in a document.
const RESULTS: &str = "## Results\n";

/// Tables, and the scenarios of each.
const TABLES: [(report::Table, &[scenario::Scenario]); 4] = [
    (report::APPS, scenario::APPS),
    (report::CLUSTERS, scenario::cluster::ALL),
    (report::PROGRAM_COSTS, scenario::program::COSTS),
    (report::PROGRAMS, scenario::program::SERVERS),
];

fn main() -> ExitCode {
    // A shell starts background processes with SIGINT ignored. Apps inherit that, and then none
    // obeys a stop.
    for signal in [Signal::INT, Signal::QUIT] {
        ostler_sys::process::signal::reset(signal.as_raw());
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let (mut quick, mut out, mut names) = (false, None, Vec::new());
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--quick" => quick = true,
            "--out" => out = Some(words.next().context("--out needs a file")?),
            "--list" | "--help" => {
                println!("bench [--quick] [--list] [--out FILE] [NAME…]\n");
                for (name, about, _) in all() {
                    println!("  {name:<10} {about}");
                }
                return Ok(());
            }
            option if option.starts_with('-') => bail!("unknown option {option}"),
            name => names.push(name.to_owned()),
        }
    }
    if let Some(name) = names.iter().find(|name| !all().any(|(known, ..)| known == name)) {
        bail!("no benchmark is called {name} (--list shows them)");
    }
    let lab = lab::Lab::new(quick)?;
    let mut tables = Vec::new();
    for (table, scenarios) in TABLES {
        let mut benchmarks = Vec::new();
        for (name, about, measure) in scenarios {
            if names.is_empty() || names.iter().any(|wanted| wanted == name) {
                eprintln!("== {name}: {about}");
                let begin = Instant::now();
                benchmarks.push((*name, measure(&lab).with_context(|| format!("{name} failed"))?));
                eprintln!("   {} s", begin.elapsed().as_secs());
            }
        }
        tables.push((table, benchmarks));
    }
    let text = report::markdown(&tables, &report::Machine::here(), quick);
    println!("{text}");
    if let Some(path) = out {
        // The text above the results is written by hand.
        let head = std::fs::read_to_string(&path).unwrap_or_default();
        let head = head.split_once(RESULTS).map_or("", |(head, _)| head);
        std::fs::write(&path, format!("{head}{RESULTS}\n{text}")).with_context(|| format!("cannot write {path}"))?;
    }
    Ok(())
}

/// Returns the scenarios of all tables.
fn all() -> impl Iterator<Item = &'static scenario::Scenario> {
    TABLES.into_iter().flat_map(|(_, scenarios)| scenarios)
}
