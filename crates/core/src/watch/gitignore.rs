//! `.gitignore` files: their verdict on a path.

use super::glob::{Dialect, Glob, parts};

/// Largest number of lines that are read.
const MAX_LINES: usize = 10_000;

/// One `.gitignore`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GitIgnore {
    lines: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    glob: Glob,
    negated: bool,
    only_folders: bool,
}

impl GitIgnore {
    /// Reads a file. An invalid line is ignored, as in git.
    pub fn parse(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        Self { lines: text.trim_start_matches('\u{feff}').lines().take(MAX_LINES).filter_map(line).collect() }
    }

    /// Returns true if it has no rules.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Returns the verdict on this path, relative to the folder of the file. None: no line matches.
    pub fn verdict(&self, path: &[u8], is_folder: bool) -> Option<bool> {
        let parts = parts(path);
        let last_match = self.lines.iter().rev().find(|line| (is_folder || !line.only_folders) && line.glob.matches_parts(&parts));
        last_match.map(|line| !line.negated)
    }
}

fn line(text: &str) -> Option<Line> {
    let text = without_trailing_blanks(text);
    if text.is_empty() || text.starts_with('#') || text.len() > 1000 {
        return None;
    }
    let (negated, text) = match text.strip_prefix('!') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (only_folders, text) = match text.strip_suffix('/') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let glob = Glob::parse(text, Dialect::Git).ok()?;
    if text.is_empty() {
        return None;
    }
    let glob = if text.contains('/') { glob } else { glob.anywhere() };
    Some(Line { glob, negated, only_folders })
}

/// Returns the text without trailing blanks, unless the last of them is escaped.
fn without_trailing_blanks(text: &str) -> &str {
    let text = text.strip_suffix('\r').unwrap_or(text);
    let trimmed = text.trim_end_matches([' ', '\t']);
    if trimmed.ends_with('\\') && trimmed.len() < text.len() { &text[..=trimmed.len()] } else { trimmed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gitignore_lines_match_as_in_git() {
        let file = "# comment\n\n\\#real\n*.tmp\n!keep.tmp\n/dist\nbuild/\na/b\n**/gen/**\nspace\\ \ntrail   \r\n[\n*.js\n!src/*.js\ndeep/**\n!deep/a\n";
        let git = GitIgnore::parse(file.as_bytes());
        for (path, is_folder, expected) in [
            ("#real", false, Some(true)),
            ("comment", false, None),
            ("a.tmp", false, Some(true)),
            ("x/a.tmp", false, Some(true)),
            ("x/keep.tmp", false, Some(false)),
            ("dist", true, Some(true)),
            ("x/dist", true, None),
            ("build", true, Some(true)),
            ("x/build", true, Some(true)),
            ("build", false, None),
            ("a/b", false, Some(true)),
            ("x/a/b", false, None),
            ("x/gen/y", false, Some(true)),
            ("x/gen", true, None),
            ("space ", false, Some(true)),
            ("trail", false, Some(true)),
            ("x.js", false, Some(true)),
            ("src/x.js", false, Some(false)),
            ("deep", true, None),
            ("deep/a", false, Some(false)),
            ("deep/b", false, Some(true)),
        ] {
            assert_eq!(git.verdict(path.as_bytes(), is_folder), expected, "{path}");
        }
        assert!(GitIgnore::parse(b"# only\n\xff[\n!\n/\n").is_empty());
    }
}
