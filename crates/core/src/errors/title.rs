//! Type and message of an error, and the constant part of a message.

use super::{MESSAGE, cut};
use crate::logs::error_lines::ReportFormat;

/// Longest word with digits that counts as a name with a number rather than an id.
const NAME: usize = 5;
/// Shortest word of letters that counts as hexadecimal.
const HEX: usize = 8;

/// Returns the type and message in the head of a report.
pub(super) fn of(form: ReportFormat, head: &[String]) -> (String, String) {
    let first = head.first().map_or("", |line| line.trim());
    let second = head.get(1).map_or("", |line| line.trim());
    let (kind, message) = match form {
        ReportFormat::At => {
            named(first).map_or(("", first), |(kind, message)| if message.is_empty() { (kind, second) } else { (kind, message) })
        }
        ReportFormat::Python => first.split_once(": ").unwrap_or((first.trim_end_matches(':'), "")),
        ReportFormat::Php => php(first),
        ReportFormat::Ruby => {
            let error_text = first.split_once(":in ").and_then(|(_, rest)| rest.split_once("': ")).map_or(first, |(_, said)| said);
            match error_text.strip_suffix(')').and_then(|said| said.rsplit_once(" (")) {
                Some((message, kind)) => (kind, message),
                None => ("", error_text),
            }
        }
        ReportFormat::Go => first.split_once(": ").unwrap_or(("panic", first)),
        ReportFormat::Rust => {
            let old = first.split_once(" panicked at '").and_then(|(_, rest)| rest.rsplit_once("', "));
            ("panic", old.map_or(second, |(message, _)| message))
        }
        ReportFormat::Perl => ("die", first.rsplit_once(" at ").map_or(first, |(message, _)| message)),
    };
    (kind.to_owned(), message.to_owned())
}

/// Reads `RuntimeException: no host in /srv/a.php:2`, after PHP's prefix.
fn php(head: &str) -> (&str, &str) {
    let head = head.strip_prefix("PHP ").unwrap_or(head);
    let (kind, message) = match head.split_once("Uncaught ").map_or(head, |(_, rest)| rest).split_once(": ") {
        Some(parts) => parts,
        None => ("Fatal error", head),
    };
    (kind, message.rsplit_once(" in ").filter(|(_, place)| place.contains('/')).map_or(message, |(message, _)| message).trim())
}

/// Returns the type and the rest of lines like `TypeError: x`, `Uncaught TypeError [ERR_X]: x`,
/// `failed RangeError: x`, `DatabaseTimeout: x`.
fn named(line: &str) -> Option<(&str, &str)> {
    let ends = line.match_indices(": ").map(|(at, _)| at).chain([line.len()]);
    let word_before = |at: usize| {
        let before = line[..at].trim_end_matches(':');
        // Node prints its code between the two.
        let before = if before.ends_with(']') { before.rsplit_once(" [").map_or(before, |(before, _)| before) } else { before };
        before.rsplit([' ', '"', '\'']).next().unwrap_or_default()
    };
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._$".contains(&byte));
    let names = |word: &str| is_word(word) && (word.ends_with("Error") || word.ends_with("Exception"));
    let rest = |at: usize| line.get(at + 2..).unwrap_or_default();
    if let Some(at) = ends.clone().take(20).find(|at| names(word_before(*at))) {
        return Some((word_before(at), rest(at)));
    }
    // A class without such a suffix must be the first word.
    let first = ends.into_iter().next().filter(|at| *at < line.len())?;
    let word = &line[..first];
    (is_word(word) && word.starts_with(|c: char| c.is_ascii_uppercase())).then(|| (word, rest(first)))
}

/// Returns a text without its variable parts: numbers, ids, hexadecimal, UUIDs, quoted values.
pub fn pattern(text: &str) -> String {
    let text = cut(text, MESSAGE);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = ' ';
    while let Some(c) = rest.chars().next() {
        let word = rest.find(|c: char| !is_part(c)).unwrap_or(rest.len());
        let taken = if word > 0 {
            push_word(&mut out, &rest[..word]);
            word
        } else if let Some(quoted) = quoted(rest, c, before) {
            out.push_str("<text>");
            quoted
        } else {
            out.push(c);
            c.len_utf8()
        };
        before = rest[..taken].chars().next_back().unwrap_or(' ');
        rest = &rest[taken..];
    }
    out
}

/// Returns true for characters of names, numbers and ids.
fn is_part(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '-'
}

fn push_word(out: &mut String, word: &str) {
    let has_digit = word.bytes().any(|byte| byte.is_ascii_digit());
    let is_hex = word.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    if word.len() >= HEX && is_hex || has_digit && (word.len() > NAME || is_hex) {
        out.push('#');
    } else if has_digit {
        let mut in_number = false;
        for c in word.chars() {
            if !c.is_ascii_digit() || !in_number {
                out.push(if c.is_ascii_digit() { '#' } else { c });
            }
            in_number = c.is_ascii_digit();
        }
    } else {
        out.push_str(word);
    }
}

/// Returns the length of the quoted value that begins here; none = it is no quote, or the quote has
/// no end.
fn quoted(rest: &str, quote: char, before: char) -> Option<usize> {
    // The quote in `it's` does not begin a value.
    if !matches!(quote, '"' | '\'' | '`') || before.is_alphanumeric() {
        return None;
    }
    let inner = &rest[1..];
    let ends = inner.char_indices().filter(|(_, c)| *c == quote || quote == '`' && *c == '\'');
    let is_end = |at: usize| !inner[at + 1..].starts_with(char::is_alphanumeric);
    ends.map(|(at, _)| at).find(|at| is_end(*at)).map(|at| at + 2)
}
