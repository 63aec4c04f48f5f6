//! `docs/reference/`: made from the program itself, so that it cannot say anything else than the program does.

use crate::process::{build, output, root};
use anyhow::{Context, Result, bail};
use std::fs;
use std::process::Command;

/// A file below `docs/reference` and the words that make ostler print it.
const FILES: &[(&str, &[&str])] = &[
    ("cli.md", &["help", "--reference"]),
    ("ecosystem.md", &["validate", "--reference"]),
    ("ecosystem.schema.json", &["validate", "--schema"]),
];

/// Writes the files; with `--check` only says which would change, and fails.
pub(crate) fn run(words: &[String]) -> Result<()> {
    let check = words.iter().any(|word| word == "--check");
    let program = build("ostler", "ostler", "dev")?;
    let folder = root().join("docs/reference");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut stale = Vec::new();
    for (name, arguments) in FILES {
        let text = output(Command::new(&program).args(*arguments).env("NO_COLOR", "1").env("OSTLER_HOME", "/nonexistent"))?;
        let path = folder.join(name);
        if fs::read_to_string(&path).is_ok_and(|old| old == text) {
            continue;
        }
        stale.push(*name);
        if !check {
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    match (stale.is_empty(), check) {
        (true, _) => println!("docs/reference is up to date"),
        (false, false) => println!("docs/reference: wrote {}", stale.join(", ")),
        (false, true) => bail!("docs/reference is out of date ({}): run `cargo xtask generate`", stale.join(", ")),
    }
    Ok(())
}
