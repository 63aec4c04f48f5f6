//! The IPC channel of a Node child: one JSON value per line, in both directions.
//!
//! ```text
//! "ready"\n
//! {"node_version":"20.20.2"}\n
//! {"type":"axm:monitor","data":{"Heap Size":{"value":"9.48","unit":"MiB",
//!  "type":"internal/v8/heap/total","historic":true}}}\n
//! ```
//!
//! Any program may write anything here. Each line is a value or an error of that line alone, and
//! has no other effect. (In PM2, an app that sends `null` crashes the daemon.)

use serde_json::{Map, Value};

/// Default limit of one line.
pub const MAX_LINE_BYTES: usize = 1 << 20;

/// Reason why a line is not a message. The decoder continues with the next line.
#[derive(Debug, thiserror::Error)]
pub enum IpcError {
    /// The line is longer than the limit; it is skipped to its end.
    #[error("message longer than {limit} bytes")]
    TooLong {
        /// The limit.
        limit: usize,
    },
    /// Not JSON, or nested deeper than 128 levels.
    #[error("message is not JSON")]
    Malformed(#[source] serde_json::Error),
}

/// Decoder that collects bytes and splits them into messages. It holds at most one line of maximum
/// length, plus the last pushed bytes.
#[derive(Debug)]
pub struct Decoder {
    buffer: Vec<u8>,
    start: usize,
    /// Position up to which the buffer contains no newline.
    searched: usize,
    limit: usize,
    /// Whether it is inside a line that is too long.
    skipping: bool,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::with_limit(MAX_LINE_BYTES)
    }
}

impl Decoder {
    /// Creates a decoder that accepts lines of up to `limit` bytes.
    pub const fn with_limit(limit: usize) -> Self {
        Self { buffer: Vec::new(), start: 0, searched: 0, limit, skipping: false }
    }

    /// Adds more bytes. Call [`Self::next`] until it returns `None` before you push again.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the next complete message, or `None` if more bytes are needed.
    ///
    /// # Errors
    /// Returns an error if the line is not a message; the next call continues after it.
    #[expect(clippy::should_implement_trait, reason = "it is not an iterator: more may come after None")]
    pub fn next(&mut self) -> Option<Result<Value, IpcError>> {
        loop {
            let Some(found) = memchr::memchr(b'\n', &self.buffer[self.searched..]) else {
                self.searched = self.buffer.len();
                return self.overlong();
            };
            let end = self.searched + found;
            let line = &self.buffer[self.start..end];
            let skipped = std::mem::take(&mut self.skipping);
            // Count the blanks, too, as for a line that arrives in pieces.
            let too_long = line.len() > self.limit;
            let result = match line.trim_ascii() {
                _ if skipped => None,
                _ if too_long => Some(Err(IpcError::TooLong { limit: self.limit })),
                [] => None,
                line => Some(serde_json::from_slice(line).map_err(IpcError::Malformed)),
            };
            self.start = end + 1;
            self.searched = self.start;
            if result.is_some() {
                return result;
            }
        }
    }

    /// Rejects an incomplete line that is already too long.
    fn overlong(&mut self) -> Option<Result<Value, IpcError>> {
        if self.buffer.len() - self.start <= self.limit && !self.skipping {
            return None;
        }
        let first = !std::mem::replace(&mut self.skipping, true);
        self.buffer.clear();
        self.buffer.shrink_to(64 << 10);
        (self.start, self.searched) = (0, 0);
        first.then_some(Err(IpcError::TooLong { limit: self.limit }))
    }
}

/// Returns one message as bytes.
pub fn encode(message: &Value) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).expect("keys are text and numbers are finite");
    line.push(b'\n');
    line
}

/// Message of an app.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// `"ready"`: the app accepts traffic from now on.
    Ready,
    /// `{node_version}`: version of Node.
    NodeVersion(String),
    /// `axm:monitor`: metrics to merge into the known ones.
    Metrics(Map<String, Value>),
    /// `axm:action`: a custom action, which is new if its `action_name` is new.
    Action(Map<String, Value>),
    /// `axm:option:configuration`: keys to copy into the options. (In PM2 a key `name` renames the
    /// process.)
    Options(Map<String, Value>),
    /// `{type, data}`, both truthy: published on the bus under its type.
    Typed {
        /// The type.
        topic: String,
        /// The data.
        data: Value,
    },
    /// `{cmd: "NODE_…"}`: Node's internal messages, which are never published.
    Internal(Map<String, Value>),
    /// Anything else, `null` included: published on the bus as `process:msg`.
    Raw(Value),
}

/// Classifies a message (`app-ipc`): typed if both `type` and `data` are truthy, otherwise by its
/// keys, otherwise raw.
pub fn classify(value: Value) -> Message {
    let map = match value {
        Value::String(text) if text == "ready" => return Message::Ready,
        Value::Object(map) => map,
        other => return Message::Raw(other),
    };
    if map.get("cmd").and_then(Value::as_str).is_some_and(|cmd| cmd.starts_with("NODE_")) {
        return Message::Internal(map);
    }
    if map.get("type").is_some_and(is_truthy) && map.get("data").is_some_and(is_truthy) {
        return typed(map);
    }
    match map.get("node_version") {
        Some(Value::String(version)) => Message::NodeVersion(version.clone()),
        _ => Message::Raw(Value::Object(map)),
    }
}

fn typed(mut map: Map<String, Value>) -> Message {
    let topic = match map.shift_remove("type") {
        Some(Value::String(text)) => text,
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let data = map.shift_remove("data").unwrap_or_default();
    match (topic.as_str(), data) {
        ("axm:monitor", Value::Object(metrics)) => Message::Metrics(metrics),
        ("axm:action", Value::Object(action)) if action.get("action_name").is_some_and(Value::is_string) => Message::Action(action),
        ("axm:option:configuration", Value::Object(options)) => Message::Options(options),
        (_, data) => Message::Typed { topic, data },
    }
}

/// Returns whether the value is truthy in JavaScript.
fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn all(decoder: &mut Decoder) -> Vec<Result<Value, String>> {
        std::iter::from_fn(|| decoder.next()).map(|result| result.map_err(|error| error.to_string())).collect()
    }

    #[test]
    fn messages_are_classified_by_content() {
        let cases = [
            (json!("ready"), Message::Ready),
            (json!("Ready"), Message::Raw(json!("Ready"))),
            (json!(null), Message::Raw(json!(null))),
            (json!([1]), Message::Raw(json!([1]))),
            (json!({"node_version": "20.1.0"}), Message::NodeVersion("20.1.0".into())),
            (json!({"node_version": 20}), Message::Raw(json!({"node_version": 20}))),
            (json!({"type": "x"}), Message::Raw(json!({"type": "x"}))),
            (json!({"type": "x", "data": 0}), Message::Raw(json!({"type": "x", "data": 0}))),
            (json!({"type": "x", "data": {}}), Message::Typed { topic: "x".into(), data: json!({}) }),
            (
                json!({"type": "axm:monitor", "data": {"a": {"value": 1}}}),
                Message::Metrics(json!({"a": {"value": 1}}).as_object().unwrap().clone()),
            ),
            (json!({"type": "axm:monitor", "data": "no"}), Message::Typed { topic: "axm:monitor".into(), data: json!("no") }),
            (json!({"type": "axm:action", "data": {"x": 1}}), Message::Typed { topic: "axm:action".into(), data: json!({"x": 1}) }),
            (
                json!({"type": "axm:action", "data": {"action_name": "gc"}}),
                Message::Action(json!({"action_name": "gc"}).as_object().unwrap().clone()),
            ),
            (json!({"type": "axm:option:configuration", "data": {"k": 1}}), Message::Options(json!({"k": 1}).as_object().unwrap().clone())),
            (
                json!({"cmd": "NODE_CLUSTER", "type": "a", "data": 1}),
                Message::Internal(json!({"cmd": "NODE_CLUSTER", "type": "a", "data": 1}).as_object().unwrap().clone()),
            ),
        ];
        for (value, meaning) in cases {
            assert_eq!(classify(value.clone()), meaning, "{value}");
        }
    }

    #[test]
    fn bad_line_does_not_affect_other_lines() {
        let mut decoder = Decoder::with_limit(1000);
        let deep = "[".repeat(500);
        decoder.push(format!("nonsense\n\n  \r\n{deep}\n\"ready\"\n{}\n1\n{}", "x".repeat(1001), "y".repeat(1001)).as_bytes());
        let seen = all(&mut decoder);
        assert_eq!(seen.len(), 6, "{seen:?}");
        assert_eq!(seen[2], Ok(json!("ready")));
        assert_eq!(seen[4], Ok(json!(1)));
        assert!(seen[3].as_ref().is_err_and(|text| text.contains("longer than 1000")) && seen[5].is_err());
        decoder.push(b"still the long one");
        assert!(all(&mut decoder).is_empty());
        decoder.push(b" and its end\n{\"a\":1}\n");
        assert_eq!(all(&mut decoder), [Ok(json!({"a": 1}))]);
    }

    #[test]
    fn endless_line_uses_bounded_memory() {
        let mut decoder = Decoder::with_limit(10_000);
        for _ in 0..1000 {
            decoder.push(&[b'x'; 4096]);
            while decoder.next().is_some() {}
            assert!(decoder.buffer.len() <= 10_000);
        }
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_messages(texts in prop::collection::vec(".{0,40}", 0..20), step in 1_usize..50) {
            let bytes: Vec<u8> = texts.iter().flat_map(|text| encode(&json!({"text": text}))).collect();
            let mut decoder = Decoder::default();
            let mut seen = Vec::new();
            for chunk in bytes.chunks(step) {
                decoder.push(chunk);
                seen.extend(all(&mut decoder));
            }
            let sent: Vec<_> = texts.iter().map(|text| Ok(json!({"text": text}))).collect();
            prop_assert_eq!(seen, sent);
        }

        #[test]
        fn any_bytes_never_panic(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..20), limit in 0_usize..40) {
            let mut decoder = Decoder::with_limit(limit);
            for chunk in chunks {
                decoder.push(&chunk);
                while let Some(result) = decoder.next() {
                    drop(result.map(classify));
                }
            }
        }
    }
}
