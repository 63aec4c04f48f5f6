//! Pages of the documentation: their code blocks with the marks for tests, their commands and
//! links.
//!
//! The marks are HTML comments, which readers do not see.
//! `<!-- test: ports=3000,3001 needs=node -->` anywhere in the page makes the page's commands run
//! in order in a new home ([`Page::test`]). Directly above a block:
//!
//! - `<!-- file: server.js -->`: the block is this file, and is written in its order;
//! - `<!-- not run: why -->`: the block is only parsed;
//! - `<!-- run where there is: go -->`: the block runs on machines that have the program;
//! - `<!-- again -->`: the block is repeated until its output equals the output below it, because
//!   the result takes a moment;
//! - `<!-- output -->`: each of its lines occurs in the output of the commands above it; `…`
//!   matches anything.
//!
//! `<!-- commands not run: why -->` sets `not run` for all blocks of a page.

use std::fs;
use std::path::{Path, PathBuf};

/// A Markdown file.
#[derive(Clone, Debug)]
pub struct Page {
    /// Path relative to the top of the checkout: `docs/reload.md`.
    pub path: String,
    /// Its whole text.
    pub text: String,
}

/// A code block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeBlock {
    /// Line of its first line of code, from 1.
    pub line: usize,
    /// First word after the fence; empty for an indented block.
    pub language: String,
    /// The code, without the indentation that makes it a block.
    pub code: String,
    /// Texts of the comments directly above it.
    pub marks: Vec<String>,
}

/// Word in the mark `test:` of a page that makes no sense; begins with the path of the page.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MarkError {
    /// Word without `=`.
    #[error("{0}: `{1}` is no key=values")]
    NoPair(String, String),
    /// Unknown key.
    #[error("{0}: a test knows ports, needs, files and links, not `{1}`")]
    Key(String, String),
}

/// Settings for a page's test run: `<!-- test: … -->`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageTest {
    /// Ports in the page's text; the test replaces them by free ones.
    pub ports: Vec<String>,
    /// Programs that the page requires.
    pub needs: Vec<String>,
    /// Files and folders of `tests/fixtures/docs` that the work folder contains from the start.
    pub files: Vec<String>,
    /// Names in the tests' cache (`examples/nest/node_modules`). The work folder gets a link to
    /// each, named after its last part.
    pub links: Vec<String>,
    /// Variables of the kit that the commands must not get.
    pub without: Vec<String>,
}

/// Returns the top of the checkout.
pub fn checkout() -> PathBuf {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    top.canonicalize().unwrap_or(top)
}

/// Returns all pages, sorted by path: those below `docs`, the READMEs, the contribution guide, and the
/// security policy.
pub fn pages() -> Vec<Page> {
    let top = checkout();
    let mut paths = vec!["README.md".to_owned(), "README.zh-CN.md".into(), "CONTRIBUTING.md".into(), "SECURITY.md".into()];
    let mut folders = vec!["docs".to_owned(), "examples".into()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(top.join(&folder)).unwrap().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{folder}/{name}");
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && name != "node_modules" => folders.push(path),
                Ok(kind) if kind.is_file() && name.ends_with(".md") => paths.push(path),
                _ => {}
            }
        }
    }
    paths.sort();
    let read = |path: String| Some(Page { text: fs::read_to_string(top.join(&path)).ok()?, path });
    paths.into_iter().filter_map(read).collect()
}

impl Page {
    /// Returns its code blocks, in order.
    pub fn blocks(&self) -> Vec<CodeBlock> {
        let mut blocks = Vec::new();
        let mut marks: Vec<String> = Vec::new();
        let mut lines = self.text.lines().enumerate().peekable();
        let (mut is_after_blank, mut is_in_list) = (true, false);
        while let Some((number, line)) = lines.next() {
            let trimmed = line.trim_start();
            let indent = line.len() - trimmed.len();
            if let Some(info) = trimmed.strip_prefix("```") {
                let language = info.split([' ', '{', '[']).next().unwrap_or_default().to_owned();
                let mut code = String::new();
                for (_, inner) in lines.by_ref() {
                    if inner.trim_start().starts_with("```") {
                        break;
                    }
                    code += without_indent(inner, indent);
                    code.push('\n');
                }
                blocks.push(CodeBlock { line: number + 2, language, code, marks: std::mem::take(&mut marks) });
            } else if let Some(mark) = comment(trimmed) {
                marks.push(mark.to_owned());
                continue;
            } else if indent >= 4 && is_after_blank && !is_in_list {
                let mut code = format!("{}\n", without_indent(line, 4));
                while let Some((_, inner)) = lines.next_if(|(_, inner)| inner.starts_with("    ") || inner.trim().is_empty()) {
                    code += without_indent(inner, 4);
                    code.push('\n');
                }
                let code = format!("{}\n", code.trim_end());
                blocks.push(CodeBlock { line: number + 1, language: String::new(), code, marks: std::mem::take(&mut marks) });
                is_after_blank = true;
                continue;
            }
            is_after_blank = trimmed.is_empty();
            if !is_after_blank {
                marks.clear();
                let number_ends = trimmed.trim_start_matches(|c: char| c.is_ascii_digit());
                is_in_list =
                    (is_in_list && indent > 0) || trimmed.starts_with("- ") || (number_ends != trimmed && number_ends.starts_with(". "));
            }
        }
        blocks
    }

    /// Returns the settings for its test run, if its commands are run.
    ///
    /// # Errors
    /// Returns an unknown word of the comment.
    pub fn test(&self) -> Result<Option<PageTest>, MarkError> {
        let Some(words) = self.comment_value("test:") else { return Ok(None) };
        let mut test = PageTest::default();
        for word in words.split_whitespace() {
            let (key, values) = word.split_once('=').ok_or_else(|| MarkError::NoPair(self.path.clone(), word.to_owned()))?;
            let values = values.split(',').map(str::to_owned).collect();
            match key {
                "ports" => test.ports = values,
                "needs" => test.needs = values,
                "files" => test.files = values,
                "links" => test.links = values,
                "without" => test.without = values,
                _ => return Err(MarkError::Key(self.path.clone(), key.to_owned())),
            }
        }
        Ok(Some(test))
    }

    /// Returns the reason why none of its commands is run.
    pub fn why_not_run(&self) -> Option<&str> {
        self.comment_value("commands not run:")
    }

    /// Returns the rest of the first comment that starts with this word.
    pub fn comment_value(&self, word: &str) -> Option<&str> {
        self.text.lines().filter_map(|line| comment(line.trim())).find_map(|text| text.strip_prefix(word)).map(str::trim)
    }

    /// Returns the targets of its links `[text](target)`, with their lines, outside of code.
    pub fn links(&self) -> Vec<(usize, &str)> {
        let mut links = Vec::new();
        let mut is_code = false;
        for (number, line) in self.text.lines().enumerate() {
            if line.trim_start().starts_with("```") {
                is_code = !is_code;
            }
            if is_code || line.starts_with("    ") {
                continue;
            }
            // Every other part is between backticks: an apparent link there is code.
            for text in line.split('`').step_by(2) {
                let mut rest = text;
                while let Some(found) = rest.find("](") {
                    rest = &rest[found + 2..];
                    let Some(end) = rest.find(')') else { break };
                    links.push((number + 1, &rest[..end]));
                    rest = &rest[end..];
                }
            }
        }
        links
    }

    /// Returns the anchors (`#…`) of its headings, as GitHub generates them.
    pub fn anchors(&self) -> Vec<String> {
        let mut anchors: Vec<String> = Vec::new();
        let mut is_code = false;
        for line in self.text.lines() {
            if line.trim_start().starts_with("```") {
                is_code = !is_code;
            }
            let title = line.trim_start_matches('#');
            if is_code || title.len() == line.len() || !title.starts_with(' ') {
                continue;
            }
            let kept = |c: char| match c {
                ' ' => Some('-'),
                '-' | '_' => Some(c),
                c if c.is_alphanumeric() => c.to_lowercase().next(),
                _ => None,
            };
            let anchor: String = title.trim().chars().filter_map(kept).collect();
            let same = anchors.iter().filter(|other| **other == anchor).count();
            anchors.push(if same == 0 { anchor } else { format!("{anchor}-{same}") });
        }
        anchors
    }
}

impl CodeBlock {
    /// Returns true if the block contains shell commands. Either its language is a shell, or it is
    /// an indented block without a drawing and one of its lines starts with a known program.
    pub fn is_commands(&self) -> bool {
        const PROGRAMS: [&str; 8] = ["ostler ", "pm2 ", "npm ", "docker ", "sudo ", "curl ", "cargo ", "git "];
        match self.language.as_str() {
            "sh" | "bash" | "console" | "shell" => true,
            "" if self.code.contains(['─', '►', '▼']) => false,
            "" => self.code.lines().any(|line| PROGRAMS.iter().any(|program| line.starts_with(program))),
            _ => false,
        }
    }

    /// Returns the rest of the mark that starts with this word.
    pub fn mark(&self, word: &str) -> Option<&str> {
        self.marks.iter().find_map(|mark| mark.strip_prefix(word)).map(str::trim)
    }

    /// Returns the typed lines, each with its line number in the page. Continued lines are joined.
    pub fn typed(&self) -> Vec<(usize, String)> {
        let mut typed: Vec<(usize, String)> = Vec::new();
        let mut is_continued = false;
        for (number, line) in self.code.lines().enumerate() {
            let line = match (self.language.as_str(), line.strip_prefix("$ ")) {
                ("console", None) if !is_continued => continue,
                ("console", Some(command)) => command,
                _ => line,
            };
            let (text, more) = line.strip_suffix('\\').map_or((line, false), |text| (text, true));
            match typed.last_mut() {
                Some((_, last)) if is_continued => last.push_str(text.trim_start()),
                _ => typed.push((self.line + number, text.to_owned())),
            }
            is_continued = more;
        }
        typed
    }

    /// Returns the code without comments and trailing blanks: the part that has to be equal in
    /// every translation.
    pub fn bare(&self) -> String {
        let marks: &[&str] = match self.language.as_str() {
            "js" | "ts" | "json5" | "go" | "php" => &["//"],
            // An indented block may be shell or an ecosystem file.
            "" => &["#", "//"],
            _ => &["#"],
        };
        let begins = |line: &str, at: usize| at == 0 || line[..at].ends_with([' ', '\t']);
        let comment =
            |line: &str| marks.iter().filter_map(|mark| line.match_indices(mark).map(|(at, _)| at).find(|at| begins(line, *at))).min();
        let bare = self.code.lines().map(|line| line[..comment(line).unwrap_or(line.len())].trim_end());
        bare.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
    }
}

fn comment(line: &str) -> Option<&str> {
    Some(line.strip_prefix("<!--")?.strip_suffix("-->")?.trim())
}

fn without_indent(line: &str, most: usize) -> &str {
    let blanks = line.len() - line.trim_start_matches(' ').len();
    &line[blanks.min(most)..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> Page {
        Page { path: "docs/x.md".into(), text: text.into() }
    }

    #[test]
    fn blocks_carry_marks_and_typed_lines() {
        let page = page(
            "# T\n<!-- test: ports=3000,3001 needs=node -->\n\n<!-- file: a.js -->\n```js\nx(); // y\n```\n\ntext\n\n    ostler list # all\n    ostler logs\n\n- item\n\n    no block\n\n```console\n$ ostler \\\n  list\nout\n```\n",
        );
        let blocks = page.blocks();
        assert_eq!(
            blocks.iter().map(|block| (block.line, block.language.as_str())).collect::<Vec<_>>(),
            [(6, "js"), (11, ""), (19, "console")]
        );
        assert_eq!(blocks[0].mark("file:"), Some("a.js"));
        assert_eq!(blocks[0].bare(), "x();");
        assert_eq!(blocks[1].code, "ostler list # all\nostler logs\n");
        assert!(blocks[1].is_commands() && blocks[1].marks.is_empty());
        assert_eq!(blocks[2].typed(), [(19, "ostler list".to_owned())]);
        assert_eq!(page.test().unwrap().unwrap().ports, ["3000", "3001"]);
    }

    #[test]
    fn bare_drops_comments_and_keeps_code() {
        let bare =
            |language: &str, code: &str| CodeBlock { line: 1, language: language.into(), code: code.into(), marks: Vec::new() }.bare();
        assert_eq!(bare("sh", "# all\nostler list # 全部\ncurl x/#a\n"), "ostler list\ncurl x/#a");
        assert_eq!(bare("", "  a: 'http://x', // 说明\n"), "  a: 'http://x',");
        assert_eq!(bare("js", "x(); # no\n"), "x(); # no");
    }

    #[test]
    fn links_and_anchors_match_github() {
        let page =
            page("## Who gets a `connection`?\n## Who gets a connection\n[a](b.md#c) `[no](link)` [`code`](d.md)\n\n    [no](link)\n");
        assert_eq!(page.links(), [(3, "b.md#c"), (3, "d.md")]);
        assert_eq!(page.anchors(), ["who-gets-a-connection", "who-gets-a-connection-1"]);
    }
}
