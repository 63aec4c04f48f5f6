//! Pages without a Chinese translation, and outdated translations: `docs/zh/untranslated.txt`.
//!
//! The first line of a translation names its source: `<!-- translation of reload.md, 1f0c33a9 -->`.
//! The number is the checksum of the English page at that time.

use crate::trusted_core::without_tables;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Pages that are generated, in both languages or in English only, and pages for developers of
/// ostler.
const NOT_TRANSLATED_BY_HAND: &[&str] = &["reference/", "adr/", "pm2-parity.md"];

const HEAD: &str = "\
# Pages of docs/ (and the README) without a Chinese translation, and translations that are older than their page. Made by `cargo xtask generate`;
# the shorter the better. After a translation was brought up to date: `cargo xtask translated <page>`, then `cargo xtask generate`.
";

/// Pages of a language, by name (`reload.md`), as texts, including the README.
type Pages = BTreeMap<String, String>;

/// Returns the expected list.
pub(crate) fn list(root: &Path) -> Result<String> {
    let (english, chinese) = read(root)?;
    listed(&english, &chinese)
}

/// Marks the translation as one of the present page (`cargo xtask translated <page>…`).
pub(crate) fn note(root: &Path, names: &[String]) -> Result<()> {
    if names.is_empty() {
        bail!("which pages? `cargo xtask translated reload.md`");
    }
    let (english, chinese) = read(root)?;
    for name in names {
        let (Some(page), Some(text)) = (english.get(name), chinese.get(name)) else { bail!("{name} is not there in both languages") };
        let rest = text.split_once('\n').filter(|(first, _)| noted_sum(name, first).is_some()).map_or(text.as_str(), |(_, rest)| rest);
        let path = if name == "README.md" { root.join("README.zh-CN.md") } else { root.join("docs/zh").join(name) };
        fs::write(&path, format!("<!-- translation of {name}, {} -->\n{rest}", sum(page)))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn read(root: &Path) -> Result<(Pages, Pages)> {
    let mut english = Pages::new();
    let mut chinese = Pages::new();
    below(&root.join("docs"), "", &mut |name, text| {
        match name.strip_prefix("zh/") {
            Some(name) => chinese.insert(name.to_owned(), text),
            None => english.insert(name.to_owned(), text),
        };
    })?;
    for pages in [&mut english, &mut chinese] {
        pages.retain(|name, _| !NOT_TRANSLATED_BY_HAND.iter().any(|only| name.starts_with(only)));
    }
    english.insert("README.md".into(), text_of(&root.join("README.md"))?);
    if let Ok(text) = fs::read_to_string(root.join("README.zh-CN.md")) {
        chinese.insert("README.md".into(), text);
    }
    Ok((english, chinese))
}

fn below(folder: &Path, prefix: &str, take: &mut impl FnMut(&str, String)) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().display());
        if entry.file_type()?.is_dir() {
            below(&entry.path(), &format!("{name}/"), take)?;
        } else if name.ends_with(".md") {
            take(&name, text_of(&entry.path())?);
        }
    }
    Ok(())
}

fn text_of(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn listed(english: &Pages, chinese: &Pages) -> Result<String> {
    let mut list = HEAD.to_owned();
    for (name, text) in english {
        match chinese.get(name) {
            None => list += &format!("missing {name}\n"),
            Some(translation) => {
                let first = translation.lines().next().unwrap_or_default();
                let Some(noted) = noted_sum(name, first) else {
                    bail!(
                        "the translation of {name} does not begin with `<!-- translation of {name}, <sum> -->`: cargo xtask translated {name}"
                    )
                };
                if noted != sum(text) {
                    list += &format!("older {name}\n");
                }
            }
        }
    }
    match chinese.keys().find(|name| !english.contains_key(*name)) {
        Some(name) => bail!("{name} is translated and has no English page"),
        None => Ok(list),
    }
}

fn noted_sum<'a>(name: &str, line: &'a str) -> Option<&'a str> {
    line.strip_prefix("<!-- translation of ")?.strip_prefix(name)?.strip_prefix(", ")?.strip_suffix(" -->")
}

/// Returns the checksum of a page. Generated tables change without a need to translate.
fn sum(text: &str) -> String {
    format!("{:08x}", crc32fast::hash(without_tables(text).as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_page_marks_translation_as_older() {
        let pages = |pages: &[(&str, &str)]| pages.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect::<Pages>();
        let english = pages(&[("a.md", "new\n"), ("b.md", "b\n"), ("c.md", "c\n")]);
        let of_a = format!("<!-- translation of a.md, {} -->\n旧\n", sum("old\n"));
        let of_b = format!("<!-- translation of b.md, {} -->\n乙\n", sum("b\n"));
        let list = listed(&english, &pages(&[("a.md", &of_a), ("b.md", &of_b)])).expect("a list");
        assert_eq!(list, format!("{HEAD}older a.md\nmissing c.md\n"));
        assert!(listed(&english, &pages(&[("a.md", "旧\n")])).is_err(), "it does not say of what it is one");
        assert!(listed(&english, &pages(&[("d.md", "丁\n")])).is_err(), "it has no page");
    }
}
