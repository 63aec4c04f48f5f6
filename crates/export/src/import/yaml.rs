//! YAML of a compose file. A scalar keeps its spelling: `NO`, `01234` and `1e3` are texts, because
//! Compose passes them on as texts.
//!
//! Only `x-ostler` has numbers and flags, because it contains attributes of an ecosystem file.

use std::collections::HashMap;

use ostler_core::message;
use serde_json::{Map, Value};
use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, StrInput, Tag};

use super::ImportError;

/// Largest number of values of a file, aliases included.
const MOST_VALUES: usize = 200_000;
/// Deepest nesting.
const DEEPEST: usize = 100;
/// Key of the object that represents a value with the tag `!override`.
pub(super) const OVERRIDE: &str = "!override";
/// Key of the object that represents a value with the tag `!reset`.
pub(super) const RESET: &str = "!reset";

/// A value, and the number of values in it.
type CountedValue = (Value, usize);

/// Reads the first document of a file.
///
/// # Errors
/// Returns an error if the text is not YAML, a key is defined twice, or aliases expand to too many
/// values.
pub(super) fn parse(text: &str) -> Result<Value, ImportError> {
    let mut reader = Reader { parser: Parser::new_from_str(text), anchors: HashMap::new(), count: 0, line: 1 };
    loop {
        match reader.next()? {
            Event::StreamStart | Event::DocumentStart(..) => {}
            Event::StreamEnd => return Ok(Value::Null),
            event => return Ok(reader.node(event, ScalarPosition::Value, false, 0)?.0),
        }
    }
}

/// Position of a scalar: in a list of words, a null keeps its spelling.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ScalarPosition {
    Value,
    Item,
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, CountedValue>,
    count: usize,
    line: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Event<'a>, ImportError> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => {
                self.line = span.start.line();
                Ok(event)
            }
            Some(Err(error)) => {
                let at = error.marker();
                Err(ImportError::Malformed(message!(
                    "line {line} column {column}: {reason}",
                    line = at.line(),
                    column = at.col() + 1,
                    reason = error.info()
                )))
            }
            None => Ok(Event::StreamEnd),
        }
    }

    fn error<T>(&self, why: impl std::fmt::Display) -> Result<T, ImportError> {
        Err(ImportError::Malformed(message!("line {line}: {reason}", line = self.line, reason = why)))
    }

    fn add(&mut self, count: usize) -> Result<(), ImportError> {
        self.count = self.count.saturating_add(count);
        if self.count > MOST_VALUES { self.error(message!("more than {most} values", most = MOST_VALUES)) } else { Ok(()) }
    }

    fn node(&mut self, event: Event<'a>, place: ScalarPosition, is_typed: bool, depth: usize) -> Result<CountedValue, ImportError> {
        if depth > DEEPEST {
            return self.error(message!("more than {most} levels", most = DEEPEST));
        }
        let (anchor, tag, node) = match event {
            Event::Alias(id) => {
                let Some((value, count)) = self.anchors.get(&id).cloned() else {
                    return self.error(message!("an alias within its own anchor"));
                };
                self.add(count)?;
                return Ok((value, count));
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.add(1)?;
                let tag = tag.map(std::borrow::Cow::into_owned);
                let is_text = style != ScalarStyle::Plain || tag.as_ref().is_some_and(|tag| tag.suffix() == "str");
                (anchor, tag, (if is_text { Value::from(&*text) } else { plain(&text, place, is_typed) }, 1))
            }
            Event::SequenceStart(_, anchor, tag) => (anchor, tag.map(std::borrow::Cow::into_owned), self.list(is_typed, depth)?),
            Event::MappingStart(_, anchor, tag) => (anchor, tag.map(std::borrow::Cow::into_owned), self.map(is_typed, depth)?),
            _ => return self.error(message!("expected a value")),
        };
        let node = tagged(tag.as_ref(), node);
        if anchor > 0 {
            self.add(node.1)?;
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, is_typed: bool, depth: usize) -> Result<CountedValue, ImportError> {
        self.add(1)?;
        let (mut items, mut count) = (Vec::new(), 1);
        loop {
            match self.next()? {
                Event::SequenceEnd => return Ok((Value::from(items), count)),
                event => {
                    let (item, more) = self.node(event, ScalarPosition::Item, is_typed, depth + 1)?;
                    items.push(item);
                    count += more;
                }
            }
        }
    }

    fn map(&mut self, is_typed: bool, depth: usize) -> Result<CountedValue, ImportError> {
        self.add(1)?;
        let (mut map, mut merged, mut count) = (Map::new(), Vec::new(), 1);
        loop {
            let key = match self.next()? {
                Event::MappingEnd => break,
                Event::Scalar(text, ..) => text.into_owned(),
                _ => return self.error(message!("expected a key")),
            };
            let event = self.next()?;
            let (value, more) = self.node(event, ScalarPosition::Value, is_typed || key == "x-ostler", depth + 1)?;
            count += more;
            if key == "<<" {
                merged.extend(if let Value::Array(list) = value { list } else { vec![value] });
            } else if map.contains_key(&key) {
                return self.error(message!("the key {key} is defined twice", key));
            } else {
                map.insert(key, value);
            }
        }
        // The map's own keys take precedence, then the earlier maps.
        for value in merged {
            let Value::Object(other) = value else { return self.error(message!("expected a map after <<")) };
            for (key, value) in other {
                map.entry(key).or_insert(value);
            }
        }
        Ok((Value::Object(map), count))
    }
}

/// Marks a value for the merge of files.
fn tagged(tag: Option<&Tag>, (value, count): CountedValue) -> CountedValue {
    let of = |key: &str, value: Value| Value::Object(Map::from_iter([(key.to_owned(), value)]));
    match tag.filter(|tag| tag.handle() == "!").map(Tag::suffix) {
        Some("override") => (of(OVERRIDE, value), count),
        Some("reset") => (of(RESET, Value::Null), count),
        _ => (value, count),
    }
}

/// Returns the value of a scalar without quotes.
fn plain(text: &str, place: ScalarPosition, is_typed: bool) -> Value {
    match text {
        "" => Value::Null,
        "~" | "null" | "Null" | "NULL" if place == ScalarPosition::Value || is_typed => Value::Null,
        "true" | "True" | "TRUE" if is_typed => Value::Bool(true),
        "false" | "False" | "FALSE" if is_typed => Value::Bool(false),
        // A text with a leading zero or a plus sign is no plain number.
        text if is_typed && text.starts_with(|c: char| c.is_ascii_digit() || c == '-') => {
            serde_json::from_str(text).ok().filter(Value::is_number).unwrap_or_else(|| text.into())
        }
        text => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn scalars_keep_their_spelling() {
        for text in [
            "NO",
            "y",
            "on",
            "True",
            "false",
            "01234",
            "0x1F",
            "0o17",
            "1_000",
            "1e3",
            "1.10",
            "12345678901234567890123",
            ".inf",
            "-.INF",
            ".nan",
            "2024-01-01",
            "2024-01-01T10:00:00Z",
            "12:30:45",
            "+5",
            "nULL",
        ] {
            assert_eq!(
                parse(&format!("{{a: {text}, b: '{text}', c: [{text}]}}")),
                Ok(json!({"a": text, "b": text, "c": [text]})),
                "{text}"
            );
        }
        assert_eq!(parse("{a: ~, b: null, c: , d: '~', e: [~, null, '']}"), {
            Ok(json!({"a": null, "b": null, "c": null, "d": "~", "e": ["~", "null", ""]}))
        });
        assert_eq!(parse("a: |\n  x\n  y\nb: >-\n  x\n  y\n"), Ok(json!({"a": "x\ny\n", "b": "x y"})));
        assert_eq!(parse("{5: x, true: y}"), Ok(json!({"5": "x", "true": "y"})));
        assert_eq!(
            parse("x-ostler: {a: true, b: 3, c: '3', d: 1.5, e: 012, f: ~, g: -1}"),
            Ok(json!({"x-ostler": {"a": true, "b": 3, "c": "3", "d": 1.5, "e": "012", "f": null, "g": -1}}))
        );
        assert_eq!(parse(""), Ok(Value::Null));
    }

    #[test]
    fn anchors_merge_keys_and_tags_resolve() {
        assert_eq!(
            parse("a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\nc: {<<: [*a, *b], x: 5}\nd: {<<: *a}\ne: *b\n"),
            Ok(json!({
                "a": {"x": "1", "y": "2"}, "b": {"y": "3", "z": "4"}, "c": {"x": "5", "y": "2", "z": "4"}, "d": {"x": "1", "y": "2"},
                "e": {"y": "3", "z": "4"}
            }))
        );
        assert_eq!(
            parse("a: !reset null\nb: !override [1]\nc: !reset []\nd: !!str 5\n"),
            Ok(json!({"a": {RESET: null}, "b": {OVERRIDE: ["1"]}, "c": {RESET: null}, "d": "5"}))
        );
        for (text, why) in [
            ("a: 1\na: 2\n", "line 2: the key a is defined twice"),
            ("a: &a [*a]", "alias"),
            ("a: *none", "line 1"),
            ("a: {<<: 5}", "expected a map after <<"),
            ("a: [", "line 1"),
            ("? [a]\n: b\n", "expected a key"),
        ] {
            let error = parse(text).map_err(|error| error.to_string());
            assert!(error.as_ref().is_err_and(|error| error.contains(why)), "{text}: {error:?}");
        }
        assert!(parse(&"[".repeat(100_000)).is_err());
        assert!(parse(&"- ".repeat(100_000)).is_err());
    }
}
