//! Paths of keys, such as `apps[1].env.PORT`, and positions in a text.

use serde_json::Value;

use crate::problem::Position;

/// Segment of a key path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    /// Into a table.
    Key(String),
    /// Into a list.
    Index(usize),
}

impl From<&str> for Segment {
    fn from(key: &str) -> Self {
        Self::Key(key.to_owned())
    }
}

impl From<usize> for Segment {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

/// Appends a segment to a path: `apps[1]` + `env` → `apps[1].env`; keys that are no identifiers are
/// quoted.
pub(crate) fn join(path: &str, segment: &Segment) -> String {
    match segment {
        Segment::Index(index) => format!("{path}[{index}]"),
        Segment::Key(key) if !is_identifier(key) => format!("{path}[{}]", Value::from(key.as_str())),
        Segment::Key(key) if path.is_empty() => key.clone(),
        Segment::Key(key) => format!("{path}.{key}"),
    }
}

fn is_identifier(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_alphabetic() || c == '_' || c == '$') && chars.all(|c| c.is_alphanumeric() || c == '_' || c == '$')
}

/// Returns the line and column of a byte offset.
pub(crate) fn position_at(text: &str, offset: usize) -> Position {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    Position { line: u32::try_from(line).unwrap_or(u32::MAX), column: u32::try_from(column).unwrap_or(u32::MAX) }
}
