//! Catalogue of translated texts: `crates/ostler/texts/zh.po`, collected from the sources.

use crate::process::root;
use anyhow::{Context, Result, bail};
use ostler_core::text::po::{self, Entry};
use regex::Regex;
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

/// The catalogue, from the root of the repository.
const CATALOGUE: &str = "crates/ostler/texts/zh.po";

const HEADER: &str = "Language: zh_CN\nContent-Type: text/plain; charset=UTF-8\n";

/// Catalogue of the texts of `docs/pm2-parity.md`, which the program does not need.
const PARITY: &str = "tests/compat/parity.zh.po";

/// A catalogue as it has to be: its path, and its entries. Translations of texts that no source has
/// any more are left out.
pub(crate) struct Catalogue {
    pub(crate) path: PathBuf,
    entries: Vec<Entry>,
}

/// Returns the catalogue with every text of the sources in their order, then those of the tables
/// that the program prints.
pub(crate) fn of_program(tables: &[String]) -> Result<Catalogue> {
    let mut collector = Collector::default();
    collector.add_sources(&root())?;
    tables.iter().for_each(|text| collector.add(text, "the tables of commands and keys"));
    Catalogue::with(CATALOGUE, collector)
}

/// Returns the catalogue of these texts of `docs/pm2-parity.md`.
pub(crate) fn of_parity(texts: &[String]) -> Result<Catalogue> {
    let mut collector = Collector::default();
    texts.iter().for_each(|text| collector.add(text, "tests/compat/parity.toml"));
    Catalogue::with(PARITY, collector)
}

impl Catalogue {
    /// Adds the translations that the file has.
    fn with(name: &str, Collector { mut entries, .. }: Collector) -> Result<Self> {
        let path = root().join(name);
        let known = po::parse(&fs::read_to_string(&path).unwrap_or_default()).with_context(|| format!("cannot read {name}"))?;
        let mut known: HashMap<String, String> = known.into_iter().map(|entry| (entry.id, entry.translation)).collect();
        for entry in &mut entries {
            entry.translation = known.remove(&entry.id).unwrap_or_default();
        }
        Ok(Self { path, entries })
    }

    /// Returns the text of the file.
    pub(crate) fn text(&self) -> String {
        po::format(HEADER, &self.entries)
    }

    /// Returns the translation; an untranslated text is returned unchanged.
    pub(crate) fn translated(&self, text: &str) -> String {
        let entry = self.entries.iter().find(|entry| entry.id == text && !entry.translation.is_empty());
        entry.map_or(text, |entry| &entry.translation).to_owned()
    }

    /// Fails if a text has no translation, or a translation has a parameter that its text lacks.
    pub(crate) fn check(&self) -> Result<()> {
        let faults: Vec<String> = self.entries.iter().filter_map(fault).collect();
        if faults.is_empty() {
            return Ok(());
        }
        bail!("{}: {} texts\n{}", self.path.display(), faults.len(), faults.join("\n"))
    }
}

fn fault(entry: &Entry) -> Option<String> {
    let Entry { id, translation, sources } = entry;
    let source = sources.join(", ");
    if translation.is_empty() {
        return Some(format!("{source}: no translation: {id:?}"));
    }
    let unknown: Vec<String> = parameters(translation).difference(&parameters(id)).cloned().collect();
    (!unknown.is_empty()).then(|| format!("{source}: parameters that the text lacks ({}): {translation:?}", unknown.join(", ")))
}

/// Returns the names in braces.
fn parameters(text: &str) -> BTreeSet<String> {
    let plain = text.replace("{{", "").replace("}}", "");
    plain.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name.to_owned()).collect()
}

/// Texts, each once, with the files that show it.
#[derive(Default)]
struct Collector {
    entries: Vec<Entry>,
    places: HashMap<String, usize>,
}

impl Collector {
    fn add_sources(&mut self, root: &Path) -> Result<()> {
        for file in sources(&root.join("crates"))? {
            let source = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            let shown = file.strip_prefix(root).unwrap_or(&file).display().to_string();
            texts(&source)?.iter().for_each(|id| self.add(id, &shown));
        }
        Ok(())
    }

    fn add(&mut self, id: &str, source: &str) {
        let at = *self.places.entry(id.to_owned()).or_insert(self.entries.len());
        match self.entries.get_mut(at) {
            Some(entry) if entry.sources.iter().any(|known| known == source) => {}
            Some(entry) => entry.sources.push(source.to_owned()),
            None => self.entries.push(Entry { id: id.to_owned(), translation: String::new(), sources: vec![source.to_owned()] }),
        }
    }
}

/// Returns every source below the folder, sorted. Folders of tests are left out.
pub(crate) fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() && path.file_name().is_none_or(|name| name != "tests" && name != "testkit") {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Returns the code in front of the tests, with empty lines instead of comments.
pub(crate) fn shipped_code(source: &str) -> String {
    let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let is_comment = |line: &str| line.trim_start().starts_with("//");
    code.lines().flat_map(|line| [if is_comment(line) { "" } else { line }, "\n"]).collect()
}

/// Returns the literals of `message!` and `marked!`, without those of tests and comments.
fn texts(source: &str) -> Result<Vec<String>> {
    let code = shipped_code(source);
    let call = Regex::new(r##"\b(?:message|marked)!\(\s*(?:r#"(?s:(.*?))"#|"((?:[^"\\]|(?s:\\.))*)")"##)?;
    Ok(call
        .captures_iter(&code)
        .filter_map(|found| match (found.get(1), found.get(2)) {
            (Some(raw), _) => Some(raw.as_str().to_owned()),
            (None, Some(text)) => Some(unescaped(text.as_str())),
            (None, None) => None,
        })
        .collect())
}

/// Returns the characters that a string literal stands for.
fn unescaped(literal: &str) -> String {
    let mut out = String::with_capacity(literal.len());
    let mut chars = literal.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                // A backslash at the end of a line joins it with the next.
                Some('\n') => while chars.next_if(|c| c.is_whitespace()).is_some() {},
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('u') => {
                    let code: String = chars.by_ref().skip(1).take_while(|c| *c != '}').collect();
                    out.extend(u32::from_str_radix(&code, 16).ok().and_then(char::from_u32));
                }
                other => out.extend(other),
            },
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_collected_as_rust_reads_them() -> Result<()> {
        let source = "// message!(\"comment\")\nlet a = message!(\"say \\\"no\\\" \\\n    twice\", app);\nmarked!(\n  \"a\\u{2192}b\\n\");\n\
                      message!(r#\"raw \"text\"\"#); commessage!(\"no\");\n#[cfg(test)]\nmod tests {\n message!(\"test\")\n}\n";
        assert_eq!(texts(source)?, ["say \"no\" twice", "a\u{2192}b\n", "raw \"text\""]);
        Ok(())
    }

    #[test]
    fn missing_translations_and_unknown_parameters_are_faults() {
        let entry = |id: &str, translation: &str| Entry { id: id.into(), translation: translation.into(), sources: vec!["a.rs".into()] };
        assert_eq!(fault(&entry("{count} apps{s} {{x}}", "{count} 个应用 {{x}}")), None);
        assert_eq!(fault(&entry("stop", "")), Some("a.rs: no translation: \"stop\"".into()));
        assert_eq!(fault(&entry("{a}", "{a} {b}")), Some("a.rs: parameters that the text lacks (b): \"{a} {b}\"".into()));
    }
}
