//! `cargo xtask dist --twice`: builds two fresh clones in folders of different names, one after the
//! other, and compares every byte of the results.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::archive::sha256;
use crate::process::{cargo, must_run, root, target};

/// Names of the clones. Properties that must not affect the program differ: the length of the path,
/// and a space in it.
const CLONES: [&str; 2] = ["one", "another clone"];

/// Builds the packages of `words` in both clones. The packages of the first one become those of
/// this checkout, in `out`.
pub(super) fn run(words: &[String], out: &Path) -> Result<()> {
    let folder = target().join("packages/twice");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut made = Vec::new();
    for name in CLONES {
        let clone = folder.join(name);
        must_run(Command::new("git").args(["clone", "--quiet"]).arg(root()).arg(&clone))?;
        let mut dist = cargo(&["run", "--quiet", "--locked", "--package", "xtask", "--", "dist"]);
        // The first of two equal options applies.
        dist.args(["--out", "made"]).args(words.iter().filter(|word| *word != "--twice"));
        must_run(dist.current_dir(&clone).env("CARGO_TARGET_DIR", clone.join("target")))?;
        made.push(clone.join("made"));
    }
    let [one, another] = [files(&made[0])?, files(&made[1])?];
    ensure!(!one.is_empty(), "nothing was made in {}", made[0].display());
    let differs = differences(&one, &another);
    if !differs.is_empty() {
        bail!("not the same from two clones: {} (they are in {})", differs.join(", "), folder.display());
    }
    let _ = fs::remove_dir_all(out);
    if let Some(parent) = out.parent() {
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    }
    fs::rename(&made[0], out).with_context(|| format!("cannot move {} to {}", made[0].display(), out.display()))?;
    let _ = fs::remove_dir_all(&folder);
    println!("{} files, the same from both clones: {}", one.len(), out.display());
    Ok(())
}

/// Returns the names below a folder and the checksums of the files.
fn files(folder: &Path) -> Result<BTreeMap<PathBuf, String>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(&at).with_context(|| format!("cannot read {}", at.display()))? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                let bytes = fs::read(entry.path()).with_context(|| format!("cannot read {}", entry.path().display()))?;
                found.insert(entry.path().strip_prefix(folder)?.to_path_buf(), sha256(&bytes));
            }
        }
    }
    Ok(found)
}

/// Returns the names of files that are in only one of them or have other bytes.
fn differences(one: &BTreeMap<PathBuf, String>, another: &BTreeMap<PathBuf, String>) -> Vec<String> {
    let names: std::collections::BTreeSet<&PathBuf> = one.keys().chain(another.keys()).collect();
    names.into_iter().filter(|name| one.get(*name) != another.get(*name)).map(|name| name.display().to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_or_missing_files_are_listed() {
        let of = |files: &[(&str, &str)]| files.iter().map(|(name, sum)| (PathBuf::from(name), (*sum).to_owned())).collect();
        let one = of(&[("a", "1"), ("b", "1"), ("c", "1")]);
        assert_eq!(differences(&one, &one), [""; 0]);
        assert_eq!(differences(&one, &of(&[("a", "1"), ("b", "2"), ("d", "1")])), ["b", "c", "d"]);
    }
}
