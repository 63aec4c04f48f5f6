//! Areas that have a budget, and which texts of a file belong to which area.

use super::{markdown, rust};
use crate::process::{output, root};
use anyhow::{Context, Result};
use std::process::{Command, Stdio};

/// Texts of one area, each with the number of its line.
type AreaTexts = (String, Vec<(usize, String)>);

/// Fewest words that make a string literal a message.
const MESSAGE_WORDS: usize = 3;

/// Returns the files that git knows, as paths below the root of the checkout.
pub(super) fn tracked_files() -> Result<Vec<String>> {
    let list = output(Command::new("git").args(["ls-files", "-z"]).current_dir(root()))?;
    Ok(list.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect())
}

/// Returns the subjects of the commits since the last tag. Without a tag there is no release whose changelog they would become.
pub(super) fn commit_subjects() -> Result<Vec<String>> {
    let git = |words: &[&str]| output(Command::new("git").args(words).current_dir(root()).stderr(Stdio::null()));
    let Ok(tag) = git(&["describe", "--tags", "--abbrev=0"]) else { return Ok(Vec::new()) };
    let subjects = git(&["log", "--no-merges", "--format=%s", &format!("{}..HEAD", tag.trim())])?;
    Ok(subjects.lines().map(str::to_owned).collect())
}

/// Reads the texts of the file at `path` by area. A file without prose has none.
pub(super) fn texts(path: &str) -> Result<Vec<AreaTexts>> {
    let Some(kind) = FileKind::of(path) else { return Ok(Vec::new()) };
    let content = std::fs::read_to_string(root().join(path)).with_context(|| format!("cannot read {path}"))?;
    Ok(match kind {
        FileKind::Page(area) => vec![(area.to_owned(), markdown::texts(&content))],
        FileKind::Script => vec![("messages".into(), messages(scripts_strings(&content)))],
        FileKind::Rust { area, ships } => {
            let shipped = if ships { before_tests(&content) } else { "" };
            vec![(format!("comments {area}"), rust::texts(&content).comments), ("messages".into(), messages(rust::texts(shipped).strings))]
        }
    })
}

/// Kind of a file with prose.
enum FileKind<'a> {
    /// Markdown of an area.
    Page(&'static str),
    /// JavaScript of the dashboard.
    Script,
    /// Rust source of a crate, `tests`, `xtask` or `benches`. Strings are messages if the source ships.
    Rust { area: &'a str, ships: bool },
}

impl<'a> FileKind<'a> {
    fn of(path: &'a str) -> Option<Self> {
        let translated = path.starts_with("docs/zh/") || path.ends_with(".zh-CN.md");
        match path {
            "README.md" => Some(Self::Page("README.md")),
            "CHANGELOG.md" => Some(Self::Page("CHANGELOG.md")),
            "CONTRIBUTING.md" => Some(Self::Page("CONTRIBUTING.md")),
            "SECURITY.md" => Some(Self::Page("SECURITY.md")),
            _ if translated => None,
            _ if path.starts_with("docs/adr/") && path.ends_with(".md") => Some(Self::Page("docs/adr")),
            _ if path.starts_with("docs/") && path.ends_with(".md") => Some(Self::Page("docs")),
            _ if path.starts_with("crates/web/page/") && path.ends_with(".js") && !path.contains("/vendor/") => Some(Self::Script),
            _ if path.ends_with(".rs") => {
                let area = path.strip_prefix("crates/").unwrap_or(path).split('/').next()?;
                let test =
                    ["/tests/", "/tests.rs", "/tests_", "_tests.rs", "/simulation/", "/testkit/"].iter().any(|part| path.contains(part));
                Some(Self::Rust { area, ships: path.starts_with("crates/") && !test })
            }
            _ => None,
        }
    }
}

/// Returns the source in front of its module of tests.
fn before_tests(source: &str) -> &str {
    source.find("#[cfg(test)]\nmod tests {").map_or(source, |at| &source[..at])
}

/// Keeps the strings that look like sentences or phrases.
fn messages(strings: Vec<(usize, String)>) -> Vec<(usize, String)> {
    let word = |text: &&str| text.chars().filter(|c| c.is_ascii_alphabetic()).count() >= 2;
    strings.into_iter().filter(|(_, text)| text.split(' ').filter(word).count() >= MESSAGE_WORDS).collect()
}

/// Reads the string literals of a script. Comments are left out line by line.
fn scripts_strings(source: &str) -> Vec<(usize, String)> {
    let mut strings = Vec::new();
    for (number, line) in source.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
        let mut rest = line;
        while let Some(open) = rest.find(['\'', '"', '`']) {
            let quote = &rest[open..=open];
            let body = &rest[open + 1..];
            let Some(close) = body.find(quote) else { break };
            strings.push((number + 1, body[..close].to_owned()));
            rest = &body[close + 1..];
        }
    }
    strings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(path: &str) -> Option<(&str, bool)> {
        match FileKind::of(path)? {
            FileKind::Page(area) => Some((area, false)),
            FileKind::Script => Some(("script", false)),
            FileKind::Rust { area, ships } => Some((area, ships)),
        }
    }

    #[test]
    fn area_is_derived_from_path() {
        for (path, expected) in [
            ("README.md", Some(("README.md", false))),
            ("README.zh-CN.md", None),
            ("docs/logs.md", Some(("docs", false))),
            ("docs/zh/logs.md", None),
            ("docs/adr/0001-workspace.md", Some(("docs/adr", false))),
            ("crates/web/page/i18n.js", Some(("script", false))),
            ("crates/web/page/vendor/htm.js", None),
            ("crates/daemon/src/boot.rs", Some(("daemon", true))),
            ("crates/daemon/src/simulation/mod.rs", Some(("daemon", false))),
            ("crates/daemon/src/logs/tests.rs", Some(("daemon", false))),
            ("tests/e2e/main.rs", Some(("tests", false))),
            ("xtask/src/main.rs", Some(("xtask", false))),
            ("Cargo.toml", None),
        ] {
            assert_eq!(area(path), expected, "{path}");
        }
    }

    #[test]
    fn messages_are_strings_of_three_words() {
        let strings = ["no", "two words", "cannot read {path}", "{a} {b} {c}", "GET / HTTP/1.1"].map(|text| (1, text.to_owned()));
        assert_eq!(messages(strings.into()), [(1, "cannot read {path}".to_owned())]);
    }

    #[test]
    fn strings_of_a_script_are_read() {
        let strings = scripts_strings("// it's a comment\nconst a = {'Sign in': \"登录\"}\nb(`x y`)");
        assert_eq!(strings, [(2, "Sign in".to_owned()), (2, "登录".to_owned()), (3, "x y".to_owned())]);
    }
}
