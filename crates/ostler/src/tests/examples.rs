//! Commands in the README.md files of `examples/`. The parser checks each command, even if the
//! requirements of an example are missing and it cannot run.

use std::fs;
use std::path::Path;

use crate::cli::{self, Parsed};

#[test]
fn commands_in_examples_parse() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let readme = entry.path().join("README.md");
        let text = fs::read_to_string(&readme).unwrap_or_default();
        for line in text.lines().filter_map(|line| line.strip_prefix("    ostler ")) {
            let line = line.split_once(" #").map_or(line, |(line, _)| line);
            let parsed = cli::parse(line.split_whitespace().map(Into::into).collect());
            assert!(matches!(parsed, Ok(Parsed::Run(_))), "{}: ostler {line}", readme.display());
            seen += 1;
        }
    }
    assert!(seen >= 40, "only {seen} commands were found");
}
