//! Catalogues of translations in the PO format of gettext, which editors of translations read.

use std::fmt::Write as _;

use thiserror::Error;

/// One text, its translation, and the files that show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// English text.
    pub id: String,
    /// Translation; empty if it is missing.
    pub translation: String,
    /// Sources of the text, for translators.
    pub sources: Vec<String>,
}

/// Line of a catalogue that cannot be read.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("line {line}: expected msgid, msgstr, a string or a comment")]
pub struct PoError {
    /// Number of the line, from 1.
    pub line: usize,
}

/// Part of an entry to which a line with only a string belongs.
#[derive(Clone, Copy)]
enum Part {
    Id,
    Translation,
}

/// Reads a catalogue. The header, whose text is empty, is left out.
///
/// # Errors
/// A line that is none of the format.
pub fn parse(text: &str) -> Result<Vec<Entry>, PoError> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut sources = Vec::new();
    let mut part = None;
    for (at, line) in text.lines().enumerate() {
        let error = || PoError { line: at + 1 };
        let line = line.trim();
        let string = if let Some(comment) = line.strip_prefix('#') {
            sources.extend(comment.strip_prefix(':').map(|source| source.trim().to_owned()));
            continue;
        } else if line.is_empty() {
            continue;
        } else if let Some(string) = line.strip_prefix("msgid ") {
            entries.push(Entry { id: String::new(), translation: String::new(), sources: std::mem::take(&mut sources) });
            part = Some(Part::Id);
            string
        } else if let Some(string) = line.strip_prefix("msgstr ") {
            part = Some(Part::Translation);
            string
        } else {
            line
        };
        let words = unquoted(string).ok_or_else(error)?;
        let entry = entries.last_mut().ok_or_else(error)?;
        match part.ok_or_else(error)? {
            Part::Id => entry.id.push_str(&words),
            Part::Translation => entry.translation.push_str(&words),
        }
    }
    entries.retain(|entry| !entry.id.is_empty());
    Ok(entries)
}

/// Writes entries in the form that [`parse`] reads.
pub fn format(header: &str, entries: &[Entry]) -> String {
    let mut out = format!("msgid \"\"\nmsgstr {}\n", quoted(header));
    for Entry { id, translation, sources } in entries {
        out.push('\n');
        for source in sources {
            let _ = writeln!(out, "#: {source}");
        }
        let _ = writeln!(out, "msgid {}\nmsgstr {}", quoted(id), quoted(translation));
    }
    out
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").replace('\t', "\\t"))
}

fn unquoted(string: &str) -> Option<String> {
    let body = string.strip_prefix('"')?.strip_suffix('"')?;
    let mut out = String::with_capacity(body.len());
    let mut chars = body.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return None,
            '\\' => out.push(match chars.next()? {
                'n' => '\n',
                't' => '\t',
                other => other,
            }),
            c => out.push(c),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn entry(id: &str, translation: &str) -> Entry {
        Entry { id: id.into(), translation: translation.into(), sources: vec!["crates/ostler/src/run.rs".into()] }
    }

    #[test]
    fn strings_continue_on_the_next_line() {
        let text = "msgid \"\"\nmsgstr \"Language: zh\\n\"\n\n# a comment\n#: crates/ostler/src/run.rs\nmsgid \"a \"\n\"\\\"b\\\"\"\nmsgstr \"\"\n\"甲\\n\"\n\"乙\"\n";
        assert_eq!(parse(text), Ok(vec![entry("a \"b\"", "甲\n乙")]));
    }

    #[test]
    fn other_lines_are_errors() {
        for (text, line) in [("msgid \"a\"\nmsgstr \"b", 2), ("\"a\"", 1), ("msgid \"a\"\n\nmsgctxt \"b\"", 3), ("msgid \"a\"b\"", 1)] {
            assert_eq!(parse(text), Err(PoError { line }), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_round_trips(texts in prop::collection::vec(("[^\r\u{0}]{1,20}", "\\PC*"), 0..5)) {
            let entries: Vec<Entry> = texts.iter().map(|(id, translation)| entry(id, translation)).collect();
            prop_assert_eq!(parse(&format("Language: zh\n", &entries)).unwrap(), entries);
        }
    }
}
