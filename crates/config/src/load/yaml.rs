//! YAML 1.2 as PM2's parser reads it: only `true` and `false` are booleans, `1_000` is a text,
//! duplicate keys are errors.

use std::fmt;

use ostler_core::text::language::translated;
use ostler_core::{marked, message};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_saphyr::{Location, Spanned};

use super::positions::{Segment, join};
use super::toml::plain_number;
use super::{Document, Positions};
use crate::problem::{Position, Problem, ProblemKind};

/// Parses one YAML document.
pub(crate) fn parse(text: &str) -> Result<Document, Problem> {
    let options = serde_saphyr::options! {
        strict_booleans: true,
        budget: serde_saphyr::budget! { max_depth: 64, max_nodes: 100_000, max_aliases: 1_000, max_documents: 2 },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 50_000 },
    };
    let root: Spanned<Node> = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let position = error.location().and_then(position_of);
        let message = error.without_snippet().to_string();
        Problem::error(ProblemKind::Malformed, without_position(message.lines().next().unwrap_or_else(|| translated(marked!("not YAML")))))
            .in_file(None, position)
    })?;
    let mut positions = Positions::default();
    let value = plain(root, text, "", &mut positions)?;
    Ok(Document { value, positions, ..Document::default() })
}

/// Returns a message of the parser without ` at line 3, column 4`, which the problem already
/// contains.
fn without_position(message: &str) -> &str {
    let is_position = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || b", columnline".contains(&byte));
    match message.rsplit_once(" at line ") {
        Some((words, position)) if is_position(position) => words,
        _ => message,
    }
}

fn position_of(location: Location) -> Option<Position> {
    let position = Position { line: u32::try_from(location.line()).ok()?, column: u32::try_from(location.column()).ok()? };
    (position.line > 0).then_some(position)
}

enum Node {
    Plain(Value),
    List(Vec<Spanned<Node>>),
    Table(Vec<(Spanned<String>, Spanned<Node>)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Plain(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Plain(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Plain(value.into()))
    }

    fn visit_i128<E: serde::de::Error>(self, value: i128) -> Result<Node, E> {
        Err(E::custom(message!("the number {value} is too large", value)))
    }

    fn visit_u128<E: serde::de::Error>(self, value: u128) -> Result<Node, E> {
        Err(E::custom(message!("the number {value} is too large", value)))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Node, E> {
        plain_number(value).map(Node::Plain).ok_or_else(|| E::custom(message!("not a finite number")))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Plain(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Plain(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Plain(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_bytes<E: serde::de::Error>(self, _: &[u8]) -> Result<Node, E> {
        Err(E::custom(message!("binary values are not supported")))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let value = map.next_value()?;
            entries.push((key, value));
        }
        Ok(Node::Table(entries))
    }
}

fn plain(node: Spanned<Node>, text: &str, path: &str, positions: &mut Positions) -> Result<Value, Problem> {
    match node.value {
        Node::Plain(value) => Ok(as_written(value, node.defined, text)),
        Node::List(items) => {
            let mut out = Vec::with_capacity(items.len());
            for (index, item) in items.into_iter().enumerate() {
                let path = join(path, &Segment::Index(index));
                if let Some(position) = position_of(item.referenced) {
                    positions.insert(path.clone(), position);
                }
                out.push(plain(item, text, &path, positions)?);
            }
            Ok(Value::Array(out))
        }
        Node::Table(entries) => {
            let mut out = Map::new();
            for (key, value) in entries {
                let path = join(path, &Segment::Key(key.value.clone()));
                if let Some(position) = position_of(key.referenced) {
                    positions.insert(path.clone(), position);
                }
                let value = plain(value, text, &path, positions)?;
                out.insert(key.value, value);
            }
            Ok(Value::Object(out))
        }
    }
}

/// Returns the value as YAML 1.2 and PM2 read it: the parser reads `1_000` as a number, they do
/// not.
fn as_written(value: Value, at: Location, text: &str) -> Value {
    if !value.is_number() {
        return value;
    }
    let span = at.span();
    let (Some(start), Some(len)) = (span.byte_offset(), span.byte_len()) else { return value };
    let range = usize::try_from(start).ok().zip(usize::try_from(start + len).ok());
    match range.and_then(|(start, end)| text.get(start..end)) {
        Some(raw) if raw.contains('_') => Value::String(raw.trim().to_owned()),
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn scalars_are_read_as_pm2_reads_them() {
        let text = "a: yes\nb: 010\nc: 12:30:45\nd: 1_000\ne: true\nf: 1.5\ng: ~\nh: 2.0\ni: \"1_0\"\nj: 0x10\nk: no\nl: [1_0, x_1]\n";
        let expected = json!({"a": "yes", "b": 10, "c": "12:30:45", "d": "1_000", "e": true, "f": 1.5, "g": null, "h": 2, "i": "1_0", "j": 16, "k": "no", "l": ["1_0", "x_1"]});
        assert_eq!(parse(text).unwrap().value, expected);
    }

    #[test]
    fn merge_keys_and_aliases_work() {
        let text = "base: &b\n  env: {A: 1}\napps:\n  - <<: *b\n    name: x\n  - *b\n";
        assert_eq!(parse(text).unwrap().value["apps"], json!([{"name": "x", "env": {"A": 1}}, {"env": {"A": 1}}]));
    }

    #[test]
    fn bad_documents_are_rejected_with_a_position() {
        let bomb = "a: &a [1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n";
        let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
        for text in ["a: 1\na: 2\n", "a: [1\n", "a: .inf\n", bomb, &deep, "a: 1\n---\nb: 2\n---\nc: 3\n"] {
            let problem = parse(text).err().unwrap_or_else(|| panic!("accepted {text:?}"));
            assert_eq!(problem.kind, ProblemKind::Malformed);
        }
        assert_eq!(parse("a: 1\na: 2\n").unwrap_err().position.map(|position| position.line), Some(2));
    }

    #[test]
    fn keys_have_positions() {
        let document = parse("apps:\n  - name: x\n    env:\n      A: 1\n").unwrap();
        let position = document.positions.of("apps[0]", &Value::Null, &["env".into(), "A".into()]);
        assert_eq!(position, Some((None, Position { line: 4, column: 7 })));
    }
}
