//! `cargo xtask faults`: the fault matrix, system calls × errors (`docs/fault-matrix.md`).

use crate::process::{cargo, must_run, on_path, option, root};
use anyhow::{Result, bail};

/// Parts with cells; each is a test of `tests/faults`.
const PARTS: [&str; 6] = ["command", "daemon", "keeper", "standby", "dashboard", "child"];

/// Runs cells of the matrix: a share of each part, all (`--all`), or those that options name.
/// `--record` adds the calls of this machine to the table instead.
pub(crate) fn run(words: &[String]) -> Result<()> {
    let has = |name: &str| words.iter().any(|word| word == name);
    let mut command = match on_path("cargo-nextest") {
        true => cargo(&[
            "nextest",
            "run",
            "--profile",
            "soak",
            "--no-capture",
            "--no-fail-fast",
            "--run-ignored",
            "all",
            "--locked",
            "--package",
            "ostler",
            "--test",
            "faults",
        ]),
        false => cargo(&[
            "test",
            "--no-fail-fast",
            "--locked",
            "--package",
            "ostler",
            "--test",
            "faults",
            "--",
            "--nocapture",
            "--include-ignored",
            "--test-threads=1",
        ]),
    };
    if has("--record") {
        return must_run(command.arg("record_calls").env("OSTLER_FAULTS_RECORD", "1"));
    }
    match option(words, "--part")? {
        Some(part) if PARTS.contains(&part) => _ = command.arg(part),
        Some(part) => bail!("no part is named {part}; the parts are {}", PARTS.join(", ")),
        None => {}
    }
    for (name, variable) in [
        ("--call", "OSTLER_FAULTS_CALL"),
        ("--error", "OSTLER_FAULTS_ERROR"),
        ("--phase", "OSTLER_FAULTS_PHASE"),
        ("--seed", "OSTLER_FAULTS_SEED"),
        ("--jobs", "OSTLER_FAULTS_JOBS"),
    ] {
        if let Some(value) = option(words, name)? {
            command.env(variable, value);
        }
    }
    if has("--all") {
        command.env("OSTLER_FAULTS_ALL", "1");
    }
    let results = root().join("target/faults.txt");
    drop(std::fs::remove_file(&results));
    let ran = must_run(command.env("OSTLER_FAULTS_RESULTS", &results));
    println!("{}", summary(&std::fs::read_to_string(&results).unwrap_or_default()));
    println!("verdict of each cell: {}", results.display());
    ran
}

/// Returns the numbers of each part as a table in Markdown.
fn summary(results: &str) -> String {
    let mut text = "| part | cells | green | not reached | red |\n|---|---|---|---|---|".to_owned();
    for part in PARTS {
        let of_part = |verdict: &str| {
            let prefix = format!("{verdict} {part} ");
            results.lines().filter(|line| line.starts_with(&prefix)).count()
        };
        let [green, untouched, red] = ["green", "untouched", "red"].map(of_part);
        text += &format!("\n| {part} | {} | {green} | {untouched} | {red} |", green + untouched + red);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::summary;

    #[test]
    fn summary_counts_verdicts_by_part() {
        let text = summary("green daemon steady read EIO\nred daemon steady read EPERM: hangs\nuntouched keeper first bind EIO\n");
        assert!(text.contains("| daemon | 2 | 1 | 0 | 1 |") && text.contains("| keeper | 1 | 0 | 1 | 0 |"), "{text}");
    }
}
