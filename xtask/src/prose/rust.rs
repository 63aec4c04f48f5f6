//! Comments and string literals of a Rust source.

/// Texts of one source, each with the number of its first line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Texts {
    /// Blocks of comments: consecutive lines of `//`, `///` or `//!`, without code examples.
    pub(super) comments: Vec<(usize, String)>,
    /// String literals.
    pub(super) strings: Vec<(usize, String)>,
}

/// Reads the comments and string literals of `source`.
pub(super) fn texts(source: &str) -> Texts {
    let mut texts = Texts::default();
    let mut block: Vec<(usize, &str)> = Vec::new();
    let mut rest = source;
    let mut line = 1;
    // A comment continues a block only if it is alone on the line after the last one.
    let mut only_space_since_newline = true;
    while let Some(c) = rest.chars().next() {
        let end = if rest.starts_with("//") {
            let end = rest.find('\n').unwrap_or(rest.len());
            let continues = only_space_since_newline && block.last().is_some_and(|(last, _)| last + 1 == line);
            if !continues {
                close(&mut block, &mut texts);
            }
            block.push((line, rest[..end].trim_start_matches('/').trim_start_matches('!')));
            end
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |at| at + 2)
        } else if let Some((text, end)) = string(rest) {
            texts.strings.push((line, text));
            end
        } else if c == '\'' {
            character(rest)
        } else if c.is_alphanumeric() || c == '_' {
            // A word as a whole, so the `r` of `for` does not open a raw string.
            rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len())
        } else {
            c.len_utf8()
        };
        only_space_since_newline = match c {
            '\n' => true,
            c if c.is_whitespace() => only_space_since_newline,
            _ => false,
        };
        line += rest[..end].matches('\n').count();
        rest = &rest[end..];
    }
    close(&mut block, &mut texts);
    texts
}

/// Ends the block of comments and keeps its text without examples.
fn close(block: &mut Vec<(usize, &str)>, texts: &mut Texts) {
    let Some(&(first, _)) = block.first() else { return };
    let mut in_example = false;
    let mut words = String::new();
    for (_, line) in block.drain(..) {
        let line = line.trim();
        if line.starts_with("```") {
            in_example = !in_example;
        } else if !in_example {
            words.push_str(line.trim_start_matches(['-', '#']));
            words.push(' ');
        }
    }
    if !words.trim().is_empty() {
        texts.comments.push((first, words.trim().to_owned()));
    }
}

/// Returns the string literal that `rest` begins with, and its length in bytes.
fn string(rest: &str) -> Option<(String, usize)> {
    let prefix = ["br", "cr", "r", "b", "c", ""].into_iter().find(|prefix| {
        rest.strip_prefix(prefix)
            .is_some_and(|after| after.starts_with('"') || (prefix.ends_with('r') && after.trim_start_matches('#').starts_with('"')))
    })?;
    let after = &rest[prefix.len()..];
    if prefix.ends_with('r') {
        let hashes = after.len() - after.trim_start_matches('#').len();
        let body = &after[hashes + 1..];
        let close = format!("\"{}", "#".repeat(hashes));
        let end = body.find(&close).unwrap_or(body.len());
        return Some((body[..end].to_owned(), (prefix.len() + hashes + 1 + end + close.len()).min(rest.len())));
    }
    let mut text = String::new();
    let mut chars = after[1..].char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((text, prefix.len() + 1 + at + 1)),
            '\\' => match chars.next() {
                // A backslash at the end of a line joins it with the next.
                Some((_, '\n')) => while chars.next_if(|(_, c)| c.is_whitespace()).is_some() {},
                Some((_, 'n' | 't' | 'r')) => text.push(' '),
                Some((_, escaped)) => text.push(escaped),
                None => {}
            },
            c => text.push(c),
        }
    }
    Some((text, rest.len()))
}

/// Length of the character literal or of the quote of a lifetime that `rest` begins with.
fn character(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match (chars.next(), chars.next(), chars.next()) {
        (Some((_, '\\')), Some((second, escaped)), _) => {
            let from = second + escaped.len_utf8();
            rest[from..].find('\'').map_or(rest.len(), |at| from + at + 1)
        }
        (Some(_), Some((close, '\'')), _) => close + 1,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_read_in_blocks_without_examples() {
        let source = "//! First\n//! and second.\n\n/// Returns 1.\n///\n/// ```\n/// nobody();\n/// ```\nfn f() {} // trailing\n// next\n";
        let Texts { comments, .. } = texts(source);
        assert_eq!(comments, [(1, "First and second.".into()), (4, "Returns 1.".into()), (9, "trailing next".into())]);
    }

    #[test]
    fn strings_are_read_with_their_escapes() {
        let source = "let a = \"say \\\"no\\\" \\\n    twice\";\nlet b = r#\"raw \"text\"\"#;\nlet c = b'\"';\nlet d = '\\'';\nfor x in y::<'a>() {}\nlet e = \"// no comment\";";
        let Texts { comments, strings } = texts(source);
        assert_eq!(comments, []);
        assert_eq!(strings, [(1, "say \"no\" twice".into()), (3, "raw \"text\"".into()), (7, "// no comment".into())]);
    }

    #[test]
    fn parsing_terminates_on_truncated_sources() {
        for source in ["\"open", "r#\"open", "'", "'\\", "//", "/* open", "b", "r#", "\"\\"] {
            let _ = texts(source);
        }
    }
}
