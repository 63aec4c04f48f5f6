//! Values as Node prints them (`util.inspect` with unlimited depth): `prettylist`, `id`, and the id
//! lists of messages.
//!
//! Source: the behaviour of Node 20's `util.inspect` with its defaults `compact: 3`,
//! `breakLength: 80`. PM2 differs: here arrays and strings are never cut (`... 1 more item`),
//! because users read the whole list.

use serde_json::{Map, Value};
use unicode_width::UnicodeWidthStr;

/// Width beyond which a value is broken over lines.
const BREAK_LENGTH: usize = 80;
/// Inner levels that may share one line.
const COMPACT: usize = 3;

/// Formats the value as text.
pub(crate) fn inspect(value: &Value) -> String {
    Printer::default().value(value, 0)
}

/// Formats `[ 0, 1 ]`, with quotes if the user typed the ids.
pub(crate) fn id_list(ids: &[u32], typed: bool) -> String {
    let ids = ids.iter().map(|id| if typed { Value::String(id.to_string()) } else { Value::from(*id) });
    inspect(&Value::Array(ids.collect()))
}

#[derive(Default)]
struct Printer {
    indentation: usize,
    /// Level of the container that was entered last. The distance to it gives the depth of nesting
    /// below a container.
    current_level: usize,
}

impl Printer {
    fn value(&mut self, value: &Value, level: usize) -> String {
        match value {
            Value::Null => "null".into(),
            Value::Bool(on) => on.to_string(),
            Value::Number(number) => self::number(number),
            Value::String(text) => self.long_text(text),
            Value::Array(list) => self.array(list, level),
            Value::Object(map) => self.object(map, level),
        }
    }

    fn array(&mut self, list: &[Value], level: usize) -> String {
        if list.is_empty() {
            return "[]".into();
        }
        self.current_level = level;
        let parts: Vec<String> = list.iter().map(|item| self.indented(item, level)).collect();
        let grouped = if parts.len() > 6 { self.in_columns(&parts, list) } else { parts.clone() };
        self.join(&grouped, parts.len() == grouped.len(), ['[', ']'], level)
    }

    fn object(&mut self, map: &Map<String, Value>, level: usize) -> String {
        if map.is_empty() {
            return "{}".into();
        }
        self.current_level = level;
        let parts: Vec<String> = map.iter().map(|(key, item)| format!("{}: {}", self::key(key), self.indented(item, level))).collect();
        self.join(&parts, true, ['{', '}'], level)
    }

    fn indented(&mut self, value: &Value, level: usize) -> String {
        self.indentation += 2;
        let text = self.value(value, level + 1);
        self.indentation -= 2;
        text
    }

    /// Joins the parts in one line if it is short and shallow, else with one line per part.
    fn join(&self, parts: &[String], may_share: bool, [open, close]: [char; 2], level: usize) -> String {
        if may_share && self.current_level - level < COMPACT {
            let start = parts.len() + self.indentation + 1 + 10;
            let total = start + parts.len() + parts.iter().map(|part| units(part)).sum::<usize>();
            if total <= BREAK_LENGTH && !parts.iter().any(|part| part.contains('\n')) {
                return format!("{open} {} {close}", parts.join(", "));
            }
        }
        let indent = " ".repeat(self.indentation);
        format!("{open}\n{indent}  {}\n{indent}{close}", parts.join(&format!(",\n{indent}  ")))
    }

    /// Sets more than six short parts in columns.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "lengths are small")]
    fn in_columns(&self, parts: &[String], list: &[Value]) -> Vec<String> {
        const SEPARATOR: usize = 2;
        let lengths: Vec<usize> = parts.iter().map(|part| part.width()).collect();
        let total: usize = lengths.iter().map(|length| length + SEPARATOR).sum();
        let longest = lengths.iter().max().copied().unwrap_or(0);
        let widest = longest + SEPARATOR;
        let worth_it = total as f64 / widest as f64 > 5.0 || longest <= 6;
        if widest * 3 + self.indentation >= BREAK_LENGTH || !worth_it {
            return parts.to_vec();
        }
        let bias = (widest as f64 - total as f64 / parts.len() as f64).sqrt();
        let biased = (widest as f64 - 3.0 - bias).max(1.0);
        let square = ((2.5 * biased * parts.len() as f64).sqrt() / biased).round() as usize;
        let columns = square.min((BREAK_LENGTH - self.indentation) / widest).min(COMPACT * 4).min(15);
        if columns <= 1 {
            return parts.to_vec();
        }
        let width_of = |column: usize| lengths.iter().skip(column).step_by(columns).max().copied().unwrap_or(0) + SEPARATOR;
        let widths: Vec<usize> = (0..columns).map(width_of).collect();
        let right = list.iter().all(Value::is_number);
        let row = |row: &[String]| {
            let mut line = String::new();
            for (at, part) in row.iter().enumerate() {
                let last = at + 1 == row.len();
                let cell = if last { part.clone() } else { format!("{part}, ") };
                let width = if last { widths[at] - SEPARATOR } else { widths[at] };
                let pad = " ".repeat(width.saturating_sub(cell.width()));
                match (right, last) {
                    (true, _) => line.extend([pad.as_str(), cell.as_str()]),
                    (false, false) => line.extend([cell.as_str(), pad.as_str()]),
                    (false, true) => line.push_str(&cell),
                }
            }
            line
        };
        parts.chunks(columns).map(row).collect()
    }

    /// Breaks long text after its newlines.
    fn long_text(&self, text: &str) -> String {
        if units(text) <= 16 || units(text) as isize <= BREAK_LENGTH as isize - self.indentation as isize - 4 {
            return quoted(text);
        }
        let lines: Vec<String> = text.split_inclusive('\n').map(quoted).collect();
        lines.join(&format!(" +\n{}", " ".repeat(self.indentation + 2)))
    }
}

/// Counts UTF-16 units, as JavaScript does.
fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

/// Formats a number as JavaScript does: without `.0`.
fn number(number: &serde_json::Number) -> String {
    match number.as_f64() {
        Some(value) if number.is_f64() && value == 0.0 && value.is_sign_negative() => "-0".into(),
        Some(value) if number.is_f64() && value.abs() < 1e-6 && value != 0.0 => format!("{value:e}"),
        Some(value) if number.is_f64() && value.abs() < 1e21 => format!("{value}"),
        _ => number.to_string(),
    }
}

/// Formats a key, without quotes if it is an identifier.
fn key(key: &str) -> String {
    let mut chars = key.chars();
    let bare = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_') && chars.all(|c| c.is_ascii_alphanumeric() || c == '_');
    if bare { key.into() } else { quoted(key) }
}

/// Quotes a text: with single quotes unless the text contains some, then with double quotes, then
/// with backticks.
fn quoted(text: &str) -> String {
    let quote = match text {
        _ if !text.contains('\'') => '\'',
        _ if !text.contains('"') => '"',
        _ if !text.contains('`') && !text.contains("${") => '`',
        _ => '\'',
    };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\u{b}' => out.push_str("\\v"),
            '\\' => out.push_str("\\\\"),
            '\'' if quote == '\'' => out.push_str("\\'"),
            c if u32::from(c) < 0x20 || (0x7f..=0x9f).contains(&u32::from(c)) => out.push_str(&format!("\\x{:02X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Created with Node 20: pairs of a value and `util.inspect(value, { depth: null,
    /// maxArrayLength: null, maxStringLength: null })`.
    const GOLDEN: &str = include_str!("inspect.golden.json");

    #[test]
    fn inspect_output_matches_node() {
        let cases: Vec<(Value, String)> = serde_json::from_str(GOLDEN).unwrap();
        assert!(cases.len() > 80);
        for (value, expected) in cases {
            assert_eq!(inspect(&value), expected, "{value}");
        }
    }

    #[test]
    fn id_list_is_formatted_as_in_pm2() {
        assert_eq!(id_list(&[0, 1], false), "[ 0, 1 ]");
        assert_eq!(id_list(&[7], true), "[ '7' ]");
        assert_eq!(id_list(&[], false), "[]");
    }
}
