//! Generates `docs/reference/` from the program itself, so that it always matches the program;
//! `docs/pm2-parity.md` from its tables; the tables of `docs/trusted-core.md` and the catalogue of
//! translations from the sources; `docs/zh/untranslated.txt` from the pages.

use crate::parity;
use crate::process::{build, output, root};
use crate::texts::{self, Catalogue};
use crate::translations;
use crate::trusted_core;
use crate::untranslated;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
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

/// A file and its expected text.
type Made = Vec<(PathBuf, String)>;

/// Writes the files; with `--check`, only reports the files that would change, and fails if there
/// are any. `--pages` leaves out the files that need a build of the program.
pub(crate) fn run(words: &[String]) -> Result<()> {
    let has = |option: &str| words.iter().any(|word| word == option);
    let check = has("--check");
    let parity = root().join(PARITY);
    let parity = fs::read_to_string(&parity).with_context(|| format!("cannot read {}", parity.display()))?;
    let of_parity = texts::of_parity(&parity::texts(&parity)?)?;
    let mut made = pages(&parity, &of_parity)?;
    if has("--pages") {
        return settle(made, check);
    }
    let program = build("ostler", "ostler", "dev")?;
    made.extend(reference(&program)?);
    let tables = output(Command::new(&program).args(["help", "--texts"]).env("LC_ALL", "C"))?;
    let of_program = texts::of_program(&serde_json::from_str::<Vec<String>>(&tables)?)?;
    for catalogue in [&of_program, &of_parity] {
        made.push((catalogue.path.clone(), catalogue.text()));
    }
    settle(made, check)?;
    untranslated::check().and(of_program.check()).and(of_parity.check())
}

/// Returns the pages that are generated from the sources.
fn pages(parity: &str, of_parity: &Catalogue) -> Result<Made> {
    let docs = root().join("docs");
    let mut made = vec![
        (docs.join("pm2-parity.md"), parity::document(parity, str::to_owned)?),
        (docs.join("zh/pm2-parity.md"), parity::document(parity, |text| of_parity.translated(text))?),
        (docs.join("zh/untranslated.txt"), translations::list(&root())?),
    ];
    made.extend(trusted_core::pages(&root())?.into_iter().map(|(name, page)| (docs.join(name), page)));
    Ok(made)
}

/// Returns the pages that the program prints.
fn reference(program: &Path) -> Result<Made> {
    let docs = root().join("docs");
    fs::create_dir_all(docs.join("reference")).with_context(|| format!("cannot make {}", docs.join("reference").display()))?;
    let mut made = Vec::new();
    for (name, arguments) in FILES {
        let printed = |locale: &str| {
            output(Command::new(program).args(*arguments).env("NO_COLOR", "1").env("OSTLER_HOME", "/nonexistent").env("LC_ALL", locale))
        };
        made.push((docs.join("reference").join(name), printed("C")?));
        if TRANSLATED.contains(name) {
            made.push((docs.join("zh/reference").join(name), printed("zh_CN.UTF-8")?));
        }
    }
    Ok(made)
}

/// Writes the files that differ, or fails if one differs and nothing may be written.
fn settle(made: Made, check: bool) -> Result<()> {
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
    Ok(())
}
