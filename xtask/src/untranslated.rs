//! Texts for people that are in no catalogue: literals that are printed, or that are the text of an
//! error, outside `message!` and `marked!`.
//!
//! The check knows the places where such texts usually are. It cannot find a text that a function
//! returns and another function prints.

use crate::process::root;
use crate::texts::{shipped_code, sources};
use anyhow::{Context, Result, bail};
use regex::Regex;
use std::collections::BTreeMap;
use std::fs;

/// Crates whose texts the program prints.
const CRATES: [&str; 6] = ["alerts", "client", "config", "export", "fleet", "ostler"];

/// Files that only write files in the language of another program.
const OTHER_LANGUAGES: &[&str] = &["crates/export/src/dockerfile.rs"];

/// Places of texts: attributes of errors, output functions, and fields and functions that take a
/// reason.
const PLACES: &str = concat!(
    r"#\[error\(",
    r"|\.(?:info|warn|warn_err|error|hint|line|err_line|text)\(",
    r"|\b(?:reason|hint|what|why|instead|text|message):",
    r#"|\b(?:Err|system|NotFound|unknown|malformed|report|failed|bad|usage)\((?:[^"'()]*,)?"#,
    r#"|Problem::(?:error|warning)\([^"'()]*,"#,
    r"|\bok_or\(|\bok_or_else\(\|\|",
);

/// Files with texts that stay English, and their number: texts that only the name `pm2` prints,
/// state words, commands. A number may only fall.
const KNOWN: &[(&str, usize)] = &[
    ("crates/ostler/src/commands/down.rs", 1),
    ("crates/ostler/src/commands/env.rs", 1),
    ("crates/ostler/src/commands/files.rs", 3),
    ("crates/ostler/src/commands/flush.rs", 1),
    ("crates/ostler/src/commands/launch.rs", 2),
    ("crates/ostler/src/commands/otel.rs", 1),
    ("crates/ostler/src/commands/report.rs", 1),
    ("crates/ostler/src/commands/request.rs", 1),
    ("crates/ostler/src/commands/reset.rs", 1),
    ("crates/ostler/src/commands/save.rs", 4),
    ("crates/ostler/src/commands/send_signal.rs", 3),
    ("crates/ostler/src/commands/validate.rs", 1),
    ("crates/ostler/src/render/face/list.rs", 1),
    ("crates/ostler/src/render/out.rs", 2),
    ("crates/ostler/src/render/progress/mod.rs", 8),
    ("crates/ostler/src/run.rs", 9),
];

/// Texts of one file, each with the number of its line.
type FileTexts = Vec<(usize, String)>;

/// Fails if a file has a new text outside the catalogue, or fewer of them than are known.
pub(crate) fn check() -> Result<()> {
    let root = root();
    let mut found = BTreeMap::new();
    for name in CRATES {
        for file in sources(&root.join("crates").join(name).join("src"))? {
            let shown = file.strip_prefix(&root).unwrap_or(&file).display().to_string();
            if is_shipped(&shown) {
                let source = fs::read_to_string(&file).with_context(|| format!("cannot read {shown}"))?;
                found.insert(shown, texts(&source)?);
            }
        }
    }
    let faults = judge(&found, KNOWN);
    if faults.is_empty() {
        return Ok(());
    }
    bail!("texts outside the catalogue: put each into `message!` or `marked!`\n{}", faults.join("\n"))
}

fn is_shipped(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    !(name.ends_with("tests.rs") || name.starts_with("tests_") || OTHER_LANGUAGES.contains(&path))
}

fn judge(found: &BTreeMap<String, FileTexts>, known: &[(&str, usize)]) -> Vec<String> {
    let mut faults = Vec::new();
    for (file, texts) in found {
        let limit = known.iter().find(|(name, _)| name == file).map_or(0, |(_, count)| *count);
        if texts.len() > limit {
            let note = if limit == 0 { String::new() } else { format!(" ({limit} of this file are known)") };
            faults.extend(texts.iter().map(|(line, text)| format!("{file}:{line}: {text:?}{note}")));
        }
    }
    for (file, count) in known {
        let now = found.get(*file).map_or(0, Vec::len);
        if now < *count {
            faults.push(format!("{file} has {now} of these texts, not {count}: lower the number in xtask/src/untranslated.rs"));
        }
    }
    faults
}

/// Returns the literals with words that are at the known places of a source.
fn texts(source: &str) -> Result<FileTexts> {
    let code = shipped_code(source);
    // Each literal matches, so that the end of one is never the start of another.
    let literal = Regex::new(&format!(
        r##"(?:(?P<place>{PLACES})\s*(?:&?format(?:_args)?!\(\s*)?)?(?:r#"(?s:.*?)"#|"(?P<text>(?:[^"\\]|(?s:\\.))*)")|'(?:\\.|[^\\'])'"##
    ))?;
    let found = literal.captures_iter(&code).filter_map(|found| {
        let text = found.name("place").and(found.name("text")).filter(|text| has_words(text.as_str()))?;
        let line = code.get(..text.start())?.matches('\n').count() + 1;
        Some((line, text.as_str().to_owned()))
    });
    Ok(found.collect())
}

/// Returns true for a literal with two words, one of them in lower case. Parameters and code between
/// backquotes are no words.
fn has_words(literal: &str) -> bool {
    let prose: String = literal.split('`').step_by(2).collect::<Vec<_>>().join(" ").replace("\\n", " ").replace("\\t", " ");
    let mut depth = 0_usize;
    let mut plain = String::new();
    for letter in prose.chars() {
        match letter {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            letter if depth == 0 => plain.push(letter),
            _ => {}
        }
    }
    let words: Vec<&str> = plain
        .split_whitespace()
        .map(|word| word.trim_matches(|c: char| ".,:;!?()[]\"'\\".contains(c)))
        .filter(|word| word.starts_with(|c: char| c.is_ascii_alphabetic()))
        .filter(|word| word.chars().all(|c| c.is_ascii_alphabetic() || matches!(c, '-' | '\'')))
        .collect();
    words.len() >= 2 && words.iter().any(|word| word.len() >= 2 && word.chars().all(|c| c.is_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_of_outputs_and_errors_are_found() -> Result<()> {
        let source = "// out.info(\"a comment here\")\nout.info(\"two words\");\nout.warn(message!(\"two words\"));\n\
                      #[error(\"no app: {0}\")]\n#[error(\"{}\", message!(\"no app\"))]\nErr(format!(\n    \"expected {x}, found {y}\"))\n\
                      let quote = '\"'; out.line(format_args!(\"$ {program} save\")); table(\"a text here\");\n\
                      Problem::error(ProblemKind::Other, \"the file is empty\")\nlet why = marked!(\"is not read\");\n\
                      #[cfg(test)]\nmod tests {\n out.info(\"of a test\")\n}\n";
        let found: Vec<(usize, String)> = texts(source)?;
        let expected = [(2, "two words"), (4, "no app: {0}"), (7, "expected {x}, found {y}"), (9, "the file is empty")];
        assert_eq!(found, expected.map(|(line, text)| (line, text.to_owned())));
        Ok(())
    }

    #[test]
    fn words_are_prose() {
        for (literal, expected) in [
            ("no daemon", true),
            ("Nothing to do", true),
            ("{path}: it is empty", true),
            ("line\\nbreak", true),
            ("{place}: {line}", false),
            ("`pm2 save` {x}", false),
            ("--lines={n} --raw", false),
            ("App Name", false),
            ("restart", false),
        ] {
            assert_eq!(has_words(literal), expected, "{literal}");
        }
    }

    #[test]
    fn number_of_known_texts_may_only_fall() {
        let found = BTreeMap::from([("a.rs".to_owned(), vec![(3, "no app".to_owned())]), ("b.rs".to_owned(), Vec::new())]);
        assert_eq!(judge(&found, &[("a.rs", 1)]), [""; 0]);
        assert_eq!(judge(&found, &[]), ["a.rs:3: \"no app\""]);
        assert_eq!(judge(&found, &[("a.rs", 2)]).len(), 1);
        assert_eq!(judge(&found, &[("a.rs", 1), ("b.rs", 1)]).len(), 1);
    }

    #[test]
    fn sources_of_tests_are_not_shipped() {
        for (path, expected) in
            [("crates/a/src/b.rs", true), ("crates/a/src/b_tests.rs", false), ("crates/a/src/tests.rs", false), (OTHER_LANGUAGES[0], false)]
        {
            assert_eq!(is_shipped(path), expected, "{path}");
        }
    }
}
