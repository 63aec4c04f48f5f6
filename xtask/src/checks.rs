//! `cargo xtask test`: all checks. The test runner comes last; only the list of skipped tests
//! follows its closing line.

use crate::process::{cargo, must_run, on_path, root};
use crate::static_build::{self, Variable};
use crate::{generate, layers, prose};
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

/// Runs all checks, even after a failed one: a formatting error must not hide a failing test. Words
/// select tests.
pub(crate) fn run(words: &[String]) -> Result<()> {
    let mut failed = Vec::new();
    let filter: Vec<&str> = words.iter().map(String::as_str).filter(|word| *word != "--").collect();
    if filter.is_empty() {
        check(&mut failed, "format", || must_run(&mut cargo(&["fmt", "--all", "--check"])));
        check(&mut failed, "clippy", || {
            must_run(&mut cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))
        });
        // The other parts must build without an omitted part.
        check(&mut failed, "clippy without features", || {
            let words = ["clippy", "--quiet", "--package", "ostler", "--bin", "ostler", "--no-default-features", "--locked"];
            must_run(cargo(&words).args(["--", "-D", "warnings"]))
        });
        check(&mut failed, "layers", layers::run);
        check(&mut failed, "prose", || prose::run(&[]));
        check(&mut failed, "generated files", || generate::run(&["--check".into()]));
        check(&mut failed, "doctests", || must_run(cargo(&["test", "--workspace", "--locked", "--doc", "--quiet"]).stdout(Stdio::null())));
    }
    if !failed.is_empty() {
        eprintln!("\nfailed so far: {} (see above); the tests run all the same\n", failed.join(", "));
    }
    let mut with = Vec::new();
    // The static build takes a minute, so it runs only in CI, without a filter.
    if filter.is_empty() && std::env::var_os("CI").is_some() {
        check(&mut failed, "static program", || {
            with = static_build::for_tests("dev")?;
            Ok(())
        });
    }
    let skipped = root().join("target/skipped-tests");
    drop(std::fs::remove_file(&skipped));
    with.push(("OSTLER_SKIPPED", skipped.clone()));
    let tests = if on_path("cargo-nextest") { nextest(&filter, &with) } else { cargo_test(&filter, &with) };
    if tests.is_err() {
        failed.push("tests");
    }
    eprintln!("{}", skips(&std::fs::read_to_string(&skipped).unwrap_or_default()));
    if failed.is_empty() {
        return Ok(());
    }
    bail!("failed: {}", failed.join(", "))
}

/// Returns the number of the skipped tests, and each with its reason.
fn skips(lines: &str) -> String {
    let mut lines: Vec<&str> = lines.lines().collect();
    lines.sort_unstable();
    std::iter::once(format!("{} tests were skipped", lines.len()))
        .chain(lines.iter().map(|line| format!("  {line}")))
        .collect::<Vec<_>>()
        .join("\n")
}

fn check(failed: &mut Vec<&'static str>, name: &'static str, action: impl FnOnce() -> Result<()>) {
    eprintln!("== {name}");
    if let Err(error) = action() {
        eprintln!("{name}: {error:#}");
        failed.push(name);
    }
}

fn nextest(filter: &[&str], with: &[Variable]) -> Result<()> {
    eprintln!("== tests (nextest)");
    must_run(cargo(&["nextest", "run", "--workspace", "--locked", "--no-fail-fast"]).args(filter).envs(with.iter().cloned()))
}

/// Runs `cargo test`. Without nextest, each test binary prints its own closing line; they are added
/// up into one.
fn cargo_test(filter: &[&str], with: &[Variable]) -> Result<()> {
    eprintln!("== tests (cargo test)");
    let begin = Instant::now();
    let mut command = cargo(&["test", "--workspace", "--locked", "--no-fail-fast", "--lib", "--bins", "--tests", "--examples", "--"]);
    let mut child = command.args(filter).envs(with.iter().cloned()).stdout(Stdio::piped()).spawn().context("cannot run cargo test")?;
    let mut total = Total::default();
    for line in BufReader::new(child.stdout.take().context("no stdout")?).split(b'\n') {
        let line = line?;
        let text = String::from_utf8_lossy(&line);
        total.add(&text);
        writeln!(std::io::stdout(), "{text}")?;
    }
    let status = child.wait()?;
    println!("{}", total.line(status.success(), begin.elapsed().as_secs_f64()));
    if status.success() { Ok(()) } else { bail!("{} ended with {status}", Command::get_program(&command).display()) }
}

#[derive(Debug, Default, PartialEq)]
struct Total {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Total {
    /// Adds a line like `test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered
    /// out; finished in 0.01s`.
    fn add(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else { return };
        for part in result.split(['.', ';']) {
            match part.trim().split_once(' ') {
                Some((number, "passed")) => self.passed += number.parse().unwrap_or(0),
                Some((number, "failed")) => self.failed += number.parse().unwrap_or(0),
                Some((number, "ignored")) => self.ignored += number.parse().unwrap_or(0),
                _ => {}
            }
        }
    }

    fn line(&self, ok: bool, seconds: f64) -> String {
        let word = if ok { "ok" } else { "FAILED" };
        let Total { passed, failed, ignored } = self;
        format!(
            "test result: {word}. {passed} passed; {failed} failed; {ignored} ignored; 0 measured; 0 filtered out; finished in {seconds:.2}s"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipped_tests_are_counted_and_listed() {
        assert_eq!(skips(""), "0 tests were skipped");
        assert_eq!(
            skips("limits::b: needs root\nbun::a: bun is not installed\n"),
            "2 tests were skipped\n  bun::a: bun is not installed\n  limits::b: needs root"
        );
    }

    #[test]
    fn test_results_are_summed() {
        let mut total = Total::default();
        total.add("test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s");
        total.add("test layers::tests::x ... ok");
        total.add("test result: FAILED. 2 passed; 3 failed; 0 ignored; 0 measured; 7 filtered out; finished in 1.50s");
        assert_eq!(total, Total { passed: 7, failed: 3, ignored: 1 });
        assert_eq!(
            total.line(false, 1.5),
            "test result: FAILED. 7 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 1.50s"
        );
    }
}
