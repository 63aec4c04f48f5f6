//! Report of tests that were skipped. A runner does not show the output of tests that pass, so each is also a line in a file.

use std::fmt::Arguments;
use std::fs::File;
use std::io::Write;
use std::thread;

/// Variable that names the file. `cargo xtask test` sets it, and prints the lines at its end.
const FILE: &str = "OSTLER_SKIPPED";

/// Reports that the test of this thread is skipped.
pub fn report_skip(why: Arguments<'_>) {
    eprintln!("skipped: {why}");
    let Some(file) = std::env::var_os(FILE) else { return };
    let line = format!("{}: {why}\n", thread::current().name().unwrap_or("?"));
    // Tests run at the same time: each line is one write at the end.
    File::options().create(true).append(true).open(file).unwrap().write_all(line.as_bytes()).unwrap();
}
