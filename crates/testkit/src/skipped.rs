//! Report of skipped tests. A runner hides the output of passed tests, so each skip is also a line
//! in a file.

use std::fmt::Arguments;
use std::fs::File;
use std::io::Write;
use std::thread;

/// Variable with the file's path. `cargo xtask test` sets it, and prints the lines after the run.
const FILE: &str = "OSTLER_SKIPPED";

/// Reports that the test of this thread is skipped.
pub fn report_skip(why: Arguments<'_>) {
    eprintln!("skipped: {why}");
    let Some(file) = std::env::var_os(FILE) else { return };
    let line = format!("{}: {why}\n", thread::current().name().unwrap_or("?"));
    // Tests run in parallel, so each line is a single appending write.
    File::options().create(true).append(true).open(file).unwrap().write_all(line.as_bytes()).unwrap();
}
