//! JSON and JSON5.

use serde_json::Value;

use ostler_core::message;

use super::{Document, Positions};
use crate::problem::{Position, Problem, ProblemKind};

/// Deepest nesting; a deeper text is rejected before a recursive parser reads it.
const MAX_NESTING: usize = 100;

/// Parses JSON, or else JSON5 (comments, trailing commas, bare keys).
pub(crate) fn json(text: &str) -> Result<Document, Problem> {
    check_nesting(text)?;
    let value = match serde_json::from_str::<Value>(text) {
        Ok(value) => value,
        Err(_) => json5::from_str::<Value>(text).map_err(|error| {
            if error.code().is_some_and(|code| code.to_string().starts_with("EOF")) {
                return truncated(text);
            }
            let position = error.position().map(|at| Position { line: number(at.line + 1), column: number(at.column + 1) });
            let message = error.code().map_or_else(|| error.to_string(), |code| code.to_string());
            Problem::error(ProblemKind::Malformed, message).in_file(None, position)
        })?,
    };
    Ok(Document { value, positions: Positions::scan(text), ..Document::default() })
}

/// Returns the problem of a text that ends too early: the position of the end, with the unclosed
/// bracket.
fn truncated(text: &str) -> Problem {
    let (mut open, mut quote) = (Vec::new(), None);
    let mut characters = text.chars().scan(1_u32, |line, character| {
        let at = *line;
        *line += u32::from(character == '\n');
        Some((at, character))
    });
    while let Some((line, character)) = characters.next() {
        match (quote, character) {
            (Some(_), '\\') => _ = characters.next(),
            (Some((mark, _)), _) if character == mark => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some((character, line)),
            (None, '{' | '[') => open.push((character, line)),
            (None, '}' | ']') => _ = open.pop(),
            (None, _) => {}
        }
    }
    let message = match quote.or(open.pop()) {
        Some((mark, line)) => message!("the file ends before the {character} of line {line} is closed", character = mark, line),
        None => message!("the file ends too early"),
    };
    let end = text.trim_end();
    let line = number(end.matches('\n').count() + 1);
    let column = number(end.rsplit('\n').next().unwrap_or_default().chars().count() + 1);
    Problem::error(ProblemKind::Malformed, message).in_file(None, Some(Position { line, column }))
}

fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// Checks the nesting by counting brackets, including those in texts: a rough upper bound is enough
/// to protect the stack.
fn check_nesting(text: &str) -> Result<(), Problem> {
    let mut depth = 0usize;
    let mut deepest = 0usize;
    for byte in text.bytes() {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    if deepest > MAX_NESTING {
        Err(Problem::error(ProblemKind::Malformed, message!("nested deeper than {most} levels", most = MAX_NESTING)))
    } else {
        Ok(())
    }
}
