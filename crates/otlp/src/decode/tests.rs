use prost::encoding::{WireType, encode_key, encode_varint};
use serde_json::json;

use super::*;
use crate::span::{ATTRIBUTES, EVENTS, KEY, NAME, SpanKind, VALUE};

/// Protobuf message builder.
#[derive(Clone, Default)]
struct Message(Vec<u8>);

impl Message {
    fn bytes(mut self, number: u32, value: &[u8]) -> Self {
        encode_key(number, WireType::LengthDelimited, &mut self.0);
        encode_varint(value.len() as u64, &mut self.0);
        self.0.extend_from_slice(value);
        self
    }

    fn with(self, number: u32, message: &Self) -> Self {
        self.bytes(number, &message.0)
    }

    fn varint(mut self, number: u32, value: u64) -> Self {
        encode_key(number, WireType::Varint, &mut self.0);
        encode_varint(value, &mut self.0);
        self
    }

    fn fixed64(mut self, number: u32, value: u64) -> Self {
        encode_key(number, WireType::SixtyFourBit, &mut self.0);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }
}

fn message() -> Message {
    Message::default()
}

fn pair(key: &str, value: &Message) -> Message {
    message().bytes(1, key.as_bytes()).with(2, value)
}

fn words(text: &str) -> Message {
    message().bytes(1, text.as_bytes())
}

fn request(spans: &[Message]) -> Vec<u8> {
    let resource = message().with(1, &pair("service.name", &words("api"))).with(1, &pair("service.instance.id", &words("u-1")));
    let scope = spans.iter().fold(message(), |scope, span| scope.with(2, span));
    // The resource follows its spans, because fields may have any order.
    message().with(1, &message().with(2, &scope).with(1, &resource)).0
}

/// Decoded spans with service and trace id.
type Found = Vec<(String, TraceId, Span)>;

fn read(form: BodyEncoding, body: &[u8]) -> (Result<DecodeResult, DecodeError>, Found) {
    let mut all = Vec::new();
    let read =
        traces(form, body, &mut |resource, trace, span| all.push((format!("{} {}", resource.service, resource.instance), trace, span)));
    (read, all)
}

/// Returns the same span in both encodings.
fn both() -> [(BodyEncoding, Vec<u8>); 2] {
    let list = message().with(1, &words("a")).with(1, &message().varint(3, (-7_i64).cast_unsigned())).with(1, &message().varint(2, 1));
    let map = message().with(1, &pair("k", &message().fixed64(4, 1.5_f64.to_bits())));
    let event = message().fixed64(1, 1500).bytes(2, b"exception").with(3, &pair("exception.message", &words("no")));
    let span = message()
        .bytes(1, &[0xab; 16])
        .bytes(2, &[1; 8])
        .bytes(4, &[2; 8])
        .bytes(5, b"GET")
        .varint(6, 2)
        .fixed64(7, 1000)
        .fixed64(8, 3000)
        .with(9, &pair("http.route", &words("/x")))
        .with(9, &pair("list", &message().with(5, &list)))
        .with(9, &pair("map", &message().with(6, &map)))
        .with(9, &pair("raw", &message().bytes(7, &[1, 2, 3])))
        .varint(10, 4)
        .with(11, &event)
        .with(13, &message().bytes(1, &[9; 16]))
        .with(15, &message().bytes(2, b"it broke").varint(3, 2))
        .varint(99, 1);
    let value = json!({ "resourceSpans": [{
        "scopeSpans": [{ "scope": { "name": "x" }, "spans": [{
            "traceId": "AB".repeat(16), "spanId": "01".repeat(8), "parentSpanId": "02".repeat(8), "name": "GET", "kind": 2,
            "startTimeUnixNano": "1000", "endTimeUnixNano": 3000,
            "attributes": [
                { "key": "http.route", "value": { "stringValue": "/x" } },
                { "key": "list", "value": { "arrayValue": { "values": [{ "stringValue": "a" }, { "intValue": "-7" }, { "boolValue": true }] } } },
                { "key": "map", "value": { "kvlistValue": { "values": [{ "key": "k", "value": { "doubleValue": 1.5 } }] } } },
                { "key": "raw", "value": { "bytesValue": "AQID" } },
            ],
            "droppedAttributesCount": 4,
            "events": [{ "timeUnixNano": "1500", "name": "exception", "attributes": [{ "key": "exception.message", "value": { "stringValue": "no" } }] }],
            "status": { "code": 2, "message": "it broke" }, "somethingNew": { "a": [1] },
        }] }],
        "resource": { "attributes": [
            { "key": "service.name", "value": { "stringValue": "api" } }, { "key": "service.instance.id", "value": { "stringValue": "u-1" } },
        ] },
    }] });
    [(BodyEncoding::Protobuf, request(&[span])), (BodyEncoding::Json, value.to_string().into_bytes())]
}

#[test]
fn json_and_protobuf_decode_to_the_same() {
    for (form, body) in both() {
        let (result, all) = read(form, &body);
        assert_eq!(result.unwrap(), DecodeResult { taken: 1, refused: 0 }, "{form:?}");
        assert_eq!(instances(form, &body).unwrap(), ["u-1".into()]);
        let (from, trace, span) = &all[0];
        assert_eq!((from.as_str(), trace, span.id, span.parent), ("api u-1", &[0xab; 16], [1; 8], Some([2; 8])));
        assert_eq!((&*span.name, span.kind, span.start_ns, span.took_ns, span.failed), ("GET", SpanKind::Server, 1000, 2000, true));
        assert_eq!((&*span.message, span.left_out), ("it broke", 4));
        for (key, value) in [("http.route", "/x"), ("list", "[a, -7, true]"), ("map", "{k: 1.5}"), ("raw", "(3 bytes)")] {
            assert_eq!(span.attribute(key), Some(value), "{form:?}");
        }
        assert_eq!((span.events[0].at_ns, &*span.events[0].name, &*span.events[0].attributes[0].1), (1500, "exception", "no"));
    }
}

#[test]
fn hostile_spans_are_truncated_or_rejected() {
    let good = message().bytes(1, &[1; 16]).bytes(2, &[1; 8]);
    let long = "ü".repeat(1 << 19);
    let many = (0..100_000).fold(good.clone(), |span, n| {
        if n < 1000 { span.with(9, &pair(&long[..2000], &words(&long[..4000]))) } else { span.bytes(9, b"") }
    });
    let events = (0..100).fold(many, |span, _| span.with(11, &message().bytes(2, long.as_bytes()))).bytes(5, long.as_bytes());
    let bad_ids = [
        message(),
        message().bytes(1, &[1; 16]),
        message().bytes(1, &[0; 16]).bytes(2, &[1; 8]),
        message().bytes(1, &[1; 15]).bytes(2, &[1; 8]),
    ];
    let (result, all) = read(BodyEncoding::Protobuf, &request(&[&bad_ids[..], &[events]].concat()));
    assert_eq!(result.unwrap(), DecodeResult { taken: 1, refused: 4 });
    let span = &all[0].2;
    assert!(span.name.len() <= NAME && span.attributes.len() == ATTRIBUTES && span.events.len() == EVENTS);
    assert!(span.attributes.iter().all(|(key, value)| key.len() <= KEY && value.len() <= VALUE));
    assert_eq!(span.left_out, 100_000 - 48 + 100 - 16);
    // More spans than would fit in memory if the decoder kept them all.
    let (read_result, all) = read(BodyEncoding::Protobuf, &request(&vec![good; SPANS + 5]));
    assert_eq!((read_result.unwrap(), all.len()), (DecodeResult { taken: SPANS, refused: 5 }, SPANS));
    let end_first = message().bytes(1, &[1; 16]).bytes(2, &[1; 8]).fixed64(7, u64::MAX).fixed64(8, 1);
    assert_eq!(read(BodyEncoding::Protobuf, &request(&[end_first])).1[0].2.took_ns, 0);
}

#[test]
fn deeply_nested_lists_are_cut_off() {
    let deep = (0..2000).fold(words("x"), |value, _| message().with(5, &message().with(1, &value)));
    let span = message().bytes(1, &[1; 16]).bytes(2, &[1; 8]).with(9, &pair("deep", &deep));
    assert_eq!(read(BodyEncoding::Protobuf, &request(&[span])).1[0].2.attribute("deep"), Some("[[[[…]]]]"));
    let nested = |depth: usize| {
        let value = format!("{}{{\"stringValue\":\"x\"}}{}", "{\"arrayValue\":{\"values\":[".repeat(depth), "]}}".repeat(depth));
        format!(
            r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"traceId":"{}","spanId":"{}","attributes":[{{"key":"deep","value":{value}}}]}}]}}]}}]}}"#,
            "01".repeat(16),
            "01".repeat(8)
        )
    };
    assert_eq!(read(BodyEncoding::Json, nested(20).as_bytes()).1[0].2.attribute("deep"), Some("[[[[…]]]]"));
    // A document that is nested too deeply must not crash the reader.
    let _ = read(BodyEncoding::Json, nested(100_000).as_bytes());
}

#[test]
fn malformed_bodies_are_rejected() {
    for body in
        ["", "[]", "null", "{\"resourceSpans\":7}", "{\"resourceSpans\":[{\"scopeSpans\":[7]}]}", "{\"resourceSpans\":[", "\u{feff}{}"]
    {
        assert!(read(BodyEncoding::Json, body.as_bytes()).0.is_err(), "{body}");
    }
    assert!(read(BodyEncoding::Json, b"{\"a\":\"\xff\"}").0.is_err());
    for body in [
        "{}",
        "{\"resourceSpans\":[]}",
        "{\"resourceSpans\":null}",
        "{\"resourceSpans\":[{}]}",
        "{\"resourceSpans\":[{\"resource\":null}]}",
    ] {
        assert_eq!(read(BodyEncoding::Json, body.as_bytes()).0.unwrap(), DecodeResult::default(), "{body}");
    }
    assert!(read(BodyEncoding::Protobuf, b"{}").0.is_err());
    assert_eq!(read(BodyEncoding::Protobuf, b"").0.unwrap(), DecodeResult::default());
    for body in [json!([{ "traceId": "zz", "spanId": "01" }]), json!([{}]), json!([{ "traceId": null }])] {
        let body = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": body }] }] }).to_string();
        assert_eq!(read(BodyEncoding::Json, body.as_bytes()).0.unwrap(), DecodeResult { taken: 0, refused: 1 }, "{body}");
    }
}

#[test]
fn unsupported_items_are_counted() {
    let metric = |kind, points: usize| {
        message().bytes(1, b"m").with(kind, &(0..points).fold(message(), |data, _| data.with(1, &message().fixed64(3, 1))))
    };
    let metrics = message().with(1, &message().with(2, &message().with(2, &metric(5, 2)).with(2, &metric(7, 3)).with(2, &metric(9, 1))));
    assert_eq!(count(BodyEncoding::Protobuf, Signal::Metrics, &metrics.0).unwrap(), 6);
    let records = message().with(1, &message().with(2, &message().with(2, &message()).with(2, &message())));
    assert_eq!(count(BodyEncoding::Protobuf, Signal::Logs, &records.0).unwrap(), 2);
    let value = json!({ "resourceMetrics": [{ "scopeMetrics": [{ "metrics": [
        { "gauge": { "dataPoints": [{}, {}] } }, { "histogram": { "dataPoints": [{}] } }, { "name": "empty" },
    ] }] }] });
    assert_eq!(count(BodyEncoding::Json, Signal::Metrics, value.to_string().as_bytes()).unwrap(), 3);
    let value = json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": [{}, {}] }] }] });
    assert_eq!(count(BodyEncoding::Json, Signal::Logs, value.to_string().as_bytes()).unwrap(), 2);
    assert!(count(BodyEncoding::Json, Signal::Logs, b"7").is_err() && count(BodyEncoding::Protobuf, Signal::Logs, b"{").is_err());
}

proptest::proptest! {
    #[test]
    fn decoding_never_panics_on_arbitrary_bytes(bytes: Vec<u8>, at in 0_usize..2000, with: u8) {
        for form in [BodyEncoding::Protobuf, BodyEncoding::Json] {
            let _ = read(form, &bytes);
            let _ = count(form, Signal::Metrics, &bytes);
        }
        for (form, mut body) in both() {
            if let Some(byte) = body.get_mut(at) {
                *byte = with;
            }
            let (told, all) = read(form, &body);
            proptest::prop_assert!(told.map_or(true, |told| told.taken == all.len()));
            body.truncate(at);
            let _ = read(form, &body);
        }
    }
}
