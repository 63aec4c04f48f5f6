//! Responses to senders, in the encoding of the request.

use prost::encoding::{WireType, encode_key, encode_varint};
use serde_json::{Value, json};

use crate::decode::{BodyEncoding, Signal};

/// Returns the response to a request that was read. Without refused items it is an empty message.
pub fn taken(form: BodyEncoding, signal: Signal, refused: usize, why: &str) -> Vec<u8> {
    if refused == 0 && why.is_empty() {
        return match form {
            BodyEncoding::Protobuf => Vec::new(),
            BodyEncoding::Json => b"{}".to_vec(),
        };
    }
    match form {
        BodyEncoding::Json => {
            let key = match signal {
                Signal::Traces => "rejectedSpans",
                Signal::Metrics => "rejectedDataPoints",
                Signal::Logs => "rejectedLogRecords",
            };
            // JSON in this protocol encodes 64-bit numbers as strings.
            json!({ "partialSuccess": { key: refused.to_string(), "errorMessage": why } }).to_string().into_bytes()
        }
        BodyEncoding::Protobuf => {
            let mut partial = Vec::new();
            encode_key(1, WireType::Varint, &mut partial);
            encode_varint(refused as u64, &mut partial);
            bytes(2, why.as_bytes(), &mut partial);
            let mut out = Vec::new();
            bytes(1, &partial, &mut out);
            out
        }
    }
}

/// Returns the response to a request that was refused: a `google.rpc.Status`, whose code the
/// standard leaves open.
pub fn refused(form: BodyEncoding, why: &str) -> Vec<u8> {
    match form {
        BodyEncoding::Json => json!({ "message": why }).to_string().into_bytes(),
        BodyEncoding::Protobuf => {
            let mut out = Vec::new();
            bytes(2, why.as_bytes(), &mut out);
            out
        }
    }
}

fn bytes(number: u32, value: &[u8], out: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

/// Returns the number of items that a receiver refused, and its reason. Returns `None` if it
/// accepted all of them.
pub fn partial(body: &[u8]) -> Option<(u64, String)> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let partial = value.get("partialSuccess")?.as_object()?;
    let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
    let refused = partial.iter().find(|(key, _)| key.starts_with("rejected")).and_then(|(_, value)| number(value)).unwrap_or(0);
    let why = partial.get("errorMessage").and_then(Value::as_str).unwrap_or_default();
    (refused > 0).then(|| (refused, crate::span::cut(why, 200)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Fields, Value as Field};

    #[test]
    fn rejected_items_are_reported_in_the_response() {
        assert_eq!(taken(BodyEncoding::Json, Signal::Traces, 0, ""), b"{}");
        assert!(taken(BodyEncoding::Protobuf, Signal::Traces, 0, "").is_empty());
        let answer: Value = serde_json::from_slice(&taken(BodyEncoding::Json, Signal::Metrics, 7, "no")).unwrap();
        assert_eq!(answer, json!({ "partialSuccess": { "rejectedDataPoints": "7", "errorMessage": "no" } }));
        assert_eq!(partial(answer.to_string().as_bytes()), Some((7, "no".into())));
        let bytes = taken(BodyEncoding::Protobuf, Signal::Logs, 300, "no");
        let Some(Ok((1, Field::Bytes(inner)))) = Fields::of(&bytes).next() else { panic!("{bytes:?}") };
        let fields: Vec<_> = Fields::of(inner).map(Result::unwrap).collect();
        assert_eq!(fields, [(1, Field::Varint(300)), (2, Field::Bytes(b"no"))]);
        assert_eq!(Fields::of(&refused(BodyEncoding::Protobuf, "x")).next(), Some(Ok((2, Field::Bytes(b"x")))));
        for body in ["", "{}", "{\"partialSuccess\":{}}", "{\"partialSuccess\":{\"errorMessage\":\"slow\"}}"] {
            assert_eq!(partial(body.as_bytes()), None, "{body}");
        }
    }
}
