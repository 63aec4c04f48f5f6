//! Generates `docs/reference/` from the program itself, so that it always matches the program;
//! `docs/pm2-parity.md` from its tables; `docs/zh/untranslated.txt` from the pages.

use crate::parity;
use crate::process::{build, output, root};
use crate::translations;
use anyhow::{Context, Result, bail};
use std::fs;
use std::process::Command;

/// A file below `docs/reference` and the words that make ostler print it.
const FILES: &[(&str, &[&str])] = &[
    ("cli.md", &["help", "--reference"]),
    ("ecosystem.md", &["validate", "--reference"]),
    ("import.md", &["help", "import", "--reference"]),
    ("ecosystem.schema.json", &["validate", "--schema"]),
];

/// Tables of `docs/pm2-parity.md`.
const PARITY: &str = "tests/compat/parity.toml";

/// Writes the files; with `--check`, only reports the files that would change, and fails if there
/// are any.
pub(crate) fn run(words: &[String]) -> Result<()> {
    let check = words.iter().any(|word| word == "--check");
    let program = build("ostler", "ostler", "dev")?;
    let docs = root().join("docs");
    fs::create_dir_all(docs.join("reference")).with_context(|| format!("cannot make {}", docs.join("reference").display()))?;
    let mut made = Vec::new();
    for (name, arguments) in FILES {
        let text = output(Command::new(&program).args(*arguments).env("NO_COLOR", "1").env("OSTLER_HOME", "/nonexistent"))?;
        made.push((format!("reference/{name}"), text));
    }
    let tables = root().join(PARITY);
    let tables = fs::read_to_string(&tables).with_context(|| format!("cannot read {}", tables.display()))?;
    made.push(("pm2-parity.md".into(), parity::document(&tables)?));
    made.push(("zh/untranslated.txt".into(), translations::list(&root())?));
    let mut stale = Vec::new();
    for (name, text) in made {
        let path = docs.join(&name);
        if fs::read_to_string(&path).is_ok_and(|old| old == text) {
            continue;
        }
        if !check {
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        stale.push(name);
    }
    match (stale.is_empty(), check) {
        (true, _) => println!("docs: all that is made by programs is up to date"),
        (false, false) => println!("docs: wrote {}", stale.join(", ")),
        (false, true) => bail!("docs: out of date ({}): run `cargo xtask generate`", stale.join(", ")),
    }
    Ok(())
}
