//! TOML, with the position of each key.

use serde_json::{Map, Number, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use ostler_core::message;

use super::positions::{Segment, join, position_at};
use super::{Document, Positions};
use crate::problem::{Problem, ProblemKind};

/// Parses a TOML document.
pub(crate) fn parse(text: &str) -> Result<Document, Problem> {
    let table = DeTable::parse(text).map_err(|error| {
        let position = error.span().map(|span| position_at(text, span.start));
        Problem::error(ProblemKind::Malformed, error.message().replace('\n', " ")).in_file(None, position)
    })?;
    let mut reader = Reader { text, positions: Positions::default() };
    let value = reader.table(table.get_ref(), "")?;
    Ok(Document { value, positions: reader.positions, ..Document::default() })
}

struct Reader<'a> {
    text: &'a str,
    positions: Positions,
}

impl Reader<'_> {
    fn table(&mut self, table: &DeTable<'_>, path: &str) -> Result<Value, Problem> {
        let mut out = Map::new();
        // The parser sorts by name; users expect the order of their file.
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            let path = join(path, &Segment::Key(key.get_ref().to_string()));
            self.positions.insert(path.clone(), position_at(self.text, key.span().start));
            out.insert(key.get_ref().to_string(), self.value(value, &path)?);
        }
        Ok(Value::Object(out))
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>, path: &str) -> Result<Value, Problem> {
        let bad = |message: String| {
            Problem::error(ProblemKind::Malformed, message).at(path).in_file(None, Some(position_at(self.text, value.span().start)))
        };
        Ok(match value.get_ref() {
            DeValue::String(text) => Value::String(text.to_string()),
            DeValue::Boolean(flag) => Value::Bool(*flag),
            DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
                .map(Value::from)
                .map_err(|_| bad(message!("the number {number} is too large", number = integer.as_str())))?,
            DeValue::Float(float) => {
                let number: f64 = float.as_str().parse().map_err(|_| bad(message!("{text} is not a number", text = float.as_str())))?;
                plain_number(number).ok_or_else(|| bad(message!("{number} is not a finite number", number = float.as_str())))?
            }
            DeValue::Datetime(date) => Value::String(date.to_string()),
            DeValue::Array(items) => {
                let mut out = Vec::new();
                for (index, item) in items.iter().enumerate() {
                    let path = join(path, &Segment::Index(index));
                    self.positions.insert(path.clone(), position_at(self.text, item.span().start));
                    out.push(self.value(item, &path)?);
                }
                Value::Array(out)
            }
            DeValue::Table(table) => self.table(table, path)?,
        })
    }
}

/// Returns a float as in JSON: an integral float is an integer (`2.0` → 2).
pub(crate) fn plain_number(number: f64) -> Option<Value> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= EXACT {
        #[expect(clippy::cast_possible_truncation, reason = "integral and within 2^53")]
        return Some(Value::from(number as i64));
    }
    Number::from_f64(number).map(Value::Number)
}
