//! Generates `docs/reference/` from the program itself, so that it always matches the program;
//! `docs/pm2-parity.md` from its tables; `docs/zh/untranslated.txt` from the pages; the catalogue
//! of translations from the sources.

use crate::parity;
use crate::process::{build, output, root};
use crate::texts;
use crate::translations;
use crate::untranslated;
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

/// The files that are also generated in Chinese, below `docs/zh/reference`.
const TRANSLATED: &[&str] = &["cli.md", "ecosystem.md"];

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
        let printed = |locale: &str| {
            output(Command::new(&program).args(*arguments).env("NO_COLOR", "1").env("OSTLER_HOME", "/nonexistent").env("LC_ALL", locale))
        };
        made.push((docs.join("reference").join(name), printed("C")?));
        if TRANSLATED.contains(name) {
            made.push((docs.join("zh/reference").join(name), printed("zh_CN.UTF-8")?));
        }
    }
    let tables = root().join(PARITY);
    let tables = fs::read_to_string(&tables).with_context(|| format!("cannot read {}", tables.display()))?;
    let of_parity = texts::of_parity(&parity::texts(&tables)?)?;
    made.push((docs.join("pm2-parity.md"), parity::document(&tables, str::to_owned)?));
    made.push((docs.join("zh/pm2-parity.md"), parity::document(&tables, |text| of_parity.translated(text))?));
    made.push((docs.join("zh/untranslated.txt"), translations::list(&root())?));
    let tables = output(Command::new(&program).args(["help", "--texts"]).env("LC_ALL", "C"))?;
    let of_program = texts::of_program(&serde_json::from_str::<Vec<String>>(&tables)?)?;
    for catalogue in [&of_program, &of_parity] {
        made.push((catalogue.path.clone(), catalogue.text()));
    }
    let mut stale = Vec::new();
    for (path, text) in made {
        if fs::read_to_string(&path).is_ok_and(|old| old == text) {
            continue;
        }
        if !check {
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        stale.push(path.strip_prefix(root()).unwrap_or(&path).display().to_string());
    }
    match (stale.is_empty(), check) {
        (true, _) => println!("all generated files are up to date"),
        (false, false) => println!("wrote {}", stale.join(", ")),
        (false, true) => bail!("out of date ({}): run `cargo xtask generate`", stale.join(", ")),
    }
    untranslated::check().and(of_program.check()).and(of_parity.check())
}
