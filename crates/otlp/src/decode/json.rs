//! JSON decoding: lowerCamelCase keys, ids in hex, large numbers as numbers or strings. Levels
//! above a span are read as slices of the text, so data that is not kept is never allocated.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::protobuf::Sink;
use super::{DecodeError, Signal};
use crate::span::{
    ATTRIBUTES, Attribute, EVENTS, KEY, NAME, Resource, STACK, STACK_KEY, Span, SpanEvent, SpanKind, TraceId, VALUE, cut, id,
};

/// Maximum depth of nested lists that is shown.
const DEEPEST: usize = 4;
/// Maximum number of list items that is shown.
const SHOWN: usize = 64;

/// Reads only the resources.
pub(super) fn resources(body: &[u8], sink: &mut dyn FnMut(Resource)) -> Result<(), DecodeError> {
    each(text_of(body)?, "resourceSpans", &mut |group| {
        sink(parsed::<Group<'_>>(group)?.resource);
        Ok(())
    })
}

/// Reads an `ExportTraceServiceRequest`.
pub(super) fn traces(body: &[u8], sink: Sink<'_>) -> Result<(), DecodeError> {
    each(text_of(body)?, "resourceSpans", &mut |group| {
        let resource = parsed::<Group<'_>>(group)?.resource;
        each(group, "scopeSpans", &mut |scope| {
            each(scope, "spans", &mut |span| {
                sink(&resource, parsed::<JsonSpan<'_>>(span)?.span());
                Ok(())
            })
        })
    })
}

/// Counts the items.
pub(super) fn count(signal: Signal, body: &[u8]) -> Result<usize, DecodeError> {
    let [groups, scopes, items] = match signal {
        Signal::Traces => ["resourceSpans", "scopeSpans", "spans"],
        Signal::Metrics => ["resourceMetrics", "scopeMetrics", "metrics"],
        Signal::Logs => ["resourceLogs", "scopeLogs", "logRecords"],
    };
    let mut found = 0;
    each(text_of(body)?, groups, &mut |group| {
        each(group, scopes, &mut |scope| {
            each(scope, items, &mut |item| {
                if signal != Signal::Metrics {
                    found += 1;
                    return Ok(());
                }
                let metric = parsed::<Metric<'_>>(item)?;
                let data = [metric.gauge, metric.sum, metric.histogram, metric.exponential_histogram, metric.summary];
                for data in data.into_iter().flatten() {
                    each(data.get(), "dataPoints", &mut |_| {
                        found += 1;
                        Ok(())
                    })?;
                }
                Ok(())
            })
        })
    })?;
    Ok(found)
}

fn text_of(body: &[u8]) -> Result<&str, DecodeError> {
    std::str::from_utf8(body).map_err(|error| DecodeError::Json(error.to_string()))
}

fn parsed<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, DecodeError> {
    serde_json::from_str(text).map_err(|error| DecodeError::Json(error.to_string()))
}

/// Passes each item of the list under this key of an object to `take`, as raw text.
fn each<'a>(object: &'a str, key: &'static str, take: &mut dyn FnMut(&'a str) -> Result<(), DecodeError>) -> Result<(), DecodeError> {
    let mut failure = None;
    let mut reader = serde_json::Deserializer::from_str(object);
    let read = reader.deserialize_map(Lists { key, take, failure: &mut failure }).and_then(|()| reader.end());
    match (failure, read) {
        (Some(failure), _) => Err(failure),
        (None, read) => read.map_err(|error| DecodeError::Json(error.to_string())),
    }
}

/// Reader of an object that uses only one of its lists.
struct Lists<'a, 'b> {
    key: &'static str,
    take: &'b mut dyn FnMut(&'a str) -> Result<(), DecodeError>,
    failure: &'b mut Option<DecodeError>,
}

impl<'a> Visitor<'a> for Lists<'a, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: serde::de::MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<std::borrow::Cow<'_, str>>()? {
            if key == self.key {
                map.next_value_seed(Items { take: &mut *self.take, failure: &mut *self.failure })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

struct Items<'a, 'b> {
    take: &'b mut dyn FnMut(&'a str) -> Result<(), DecodeError>,
    failure: &'b mut Option<DecodeError>,
}

impl<'a> serde::de::DeserializeSeed<'a> for Items<'a, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Items<'a, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(item) = list.next_element::<&'a RawValue>()? {
            if let Err(failure) = (self.take)(item.get()) {
                *self.failure = Some(failure);
                return Err(serde::de::Error::custom("an item is invalid"));
            }
        }
        Ok(())
    }
}

/// `ResourceSpans` without its spans.
struct Group<'a> {
    resource: Resource,
    _of: PhantomData<&'a ()>,
}

impl<'a> Deserialize<'a> for Group<'a> {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        struct Outer<'a> {
            #[serde(borrow, default)]
            resource: Option<&'a RawValue>,
        }
        let mut resource = Resource::default();
        let outer = Outer::deserialize(deserializer)?;
        let mut take = |pair: &str| {
            let pair = parsed::<Pair<'_>>(pair)?;
            match pair.key.as_deref() {
                Some("service.name") => resource.service = pair.shown(NAME),
                Some("service.instance.id") => resource.instance = pair.shown(NAME),
                _ => {}
            }
            Ok(())
        };
        if let Some(text) = outer.resource.map(RawValue::get).filter(|text| *text != "null") {
            each(text, "attributes", &mut take).map_err(serde::de::Error::custom)?;
        }
        Ok(Self { resource, _of: PhantomData })
    }
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metric<'a> {
    #[serde(borrow, default)]
    gauge: Option<&'a RawValue>,
    #[serde(borrow, default)]
    sum: Option<&'a RawValue>,
    #[serde(borrow, default)]
    histogram: Option<&'a RawValue>,
    #[serde(borrow, default)]
    exponential_histogram: Option<&'a RawValue>,
    #[serde(borrow, default)]
    summary: Option<&'a RawValue>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase", default, bound(deserialize = "'de: 'a"))]
#[derive(Default)]
struct JsonSpan<'a> {
    trace_id: Option<String>,
    span_id: Option<String>,
    parent_span_id: Option<String>,
    name: Option<String>,
    kind: Int,
    start_time_unix_nano: Int,
    end_time_unix_nano: Int,
    attributes: Few<Pair<'a>, ATTRIBUTES>,
    dropped_attributes_count: Int,
    events: Few<JsonEvent<'a>, EVENTS>,
    dropped_events_count: Int,
    status: Option<Status>,
}

#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct Status {
    message: Option<String>,
    code: Int,
}

#[derive(serde::Deserialize, Default)]
#[serde(rename_all = "camelCase", default, bound(deserialize = "'de: 'a"))]
struct JsonEvent<'a> {
    time_unix_nano: Int,
    name: Option<String>,
    attributes: Few<Pair<'a>, EVENTS>,
}

/// `KeyValue`.
#[derive(serde::Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct Pair<'a> {
    key: Option<String>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
}

#[derive(serde::Deserialize, Default)]
#[serde(rename_all = "camelCase", default, bound(deserialize = "'de: 'a"))]
struct Any<'a> {
    string_value: Option<String>,
    bool_value: Option<bool>,
    int_value: Option<Int>,
    double_value: Option<serde_json::Value>,
    #[serde(borrow)]
    array_value: Option<&'a RawValue>,
    #[serde(borrow)]
    kvlist_value: Option<&'a RawValue>,
    bytes_value: Option<String>,
}

impl JsonSpan<'_> {
    fn span(self) -> Option<(TraceId, Span)> {
        let trace = id::<16>(&self.trace_id?)?;
        let own = id::<8>(&self.span_id?)?;
        let (attributes, no_room) = (attributes(&self.attributes), self.attributes.left_out + self.events.left_out);
        let counts =
            [self.dropped_attributes_count, self.dropped_events_count].map(|count| u32::try_from(count.unsigned()).unwrap_or(u32::MAX));
        let more: u32 = self.events.list.iter().map(|event| event.attributes.left_out).fold(0, u32::saturating_add);
        let status = self.status.unwrap_or_default();
        let start_ns = self.start_time_unix_nano.unsigned();
        let span = Span {
            id: own,
            parent: self.parent_span_id.as_deref().and_then(id::<8>),
            kind: SpanKind::of(self.kind.unsigned()),
            failed: status.code.unsigned() == 2,
            start_ns,
            took_ns: self.end_time_unix_nano.unsigned().saturating_sub(start_ns),
            name: cut(self.name.as_deref().unwrap_or_default(), NAME).into(),
            message: cut(status.message.as_deref().unwrap_or_default(), VALUE).into(),
            attributes,
            events: self.events.list.iter().map(JsonEvent::event).collect(),
            left_out: counts.into_iter().fold(no_room, u32::saturating_add).saturating_add(more),
        };
        Some((trace, span))
    }
}

impl JsonEvent<'_> {
    fn event(&self) -> SpanEvent {
        SpanEvent {
            at_ns: self.time_unix_nano.unsigned(),
            name: cut(self.name.as_deref().unwrap_or_default(), NAME).into(),
            attributes: attributes(&self.attributes),
        }
    }
}

fn attributes<const N: usize>(list: &Few<Pair<'_>, N>) -> Box<[Attribute]> {
    let one = |pair: &Pair<'_>| {
        let key = cut(pair.key.as_deref().unwrap_or_default(), KEY);
        let most = if key == STACK_KEY { STACK } else { VALUE };
        (key.into(), pair.shown(most))
    };
    list.list.iter().map(one).collect()
}

impl Pair<'_> {
    fn shown(&self, most: usize) -> Box<str> {
        let mut out = String::new();
        write(&mut out, self.value, most, DEEPEST);
        cut(&out, most).into()
    }
}

/// Invalid values are shown as nothing.
fn write(out: &mut String, value: Option<&RawValue>, most: usize, depth: usize) {
    let Some(any) = value.and_then(|value| serde_json::from_str::<Any<'_>>(value.get()).ok()) else { return };
    if let Some(text) = any.string_value {
        out.push_str(&cut(&text, most));
    } else if let Some(is) = any.bool_value {
        out.push_str(if is { "true" } else { "false" });
    } else if let Some(Int(number)) = any.int_value {
        out.push_str(&number.to_string());
    } else if let Some(number) = any.double_value {
        out.push_str(&number.as_str().map_or_else(|| number.to_string(), |text| cut(text, NAME)));
    } else if let Some(bytes) = any.bytes_value {
        out.push_str(&format!("({} bytes)", bytes.len() / 4 * 3));
    } else if let Some(list) = any.array_value {
        items(out, list, ('[', ']'), depth, &mut |out, item| write(out, Some(item), most, depth - 1));
    } else if let Some(list) = any.kvlist_value {
        items(out, list, ('{', '}'), depth, &mut |out, item| {
            let pair = serde_json::from_str::<Pair<'_>>(item.get()).unwrap_or_default();
            out.push_str(&cut(pair.key.as_deref().unwrap_or_default(), KEY));
            out.push_str(": ");
            write(out, pair.value, most, depth - 1);
        });
    }
}

fn items(out: &mut String, list: &RawValue, (begin, end): (char, char), depth: usize, one: &mut dyn FnMut(&mut String, &RawValue)) {
    #[derive(serde::Deserialize)]
    struct List<'a> {
        #[serde(borrow, default)]
        values: Few<&'a RawValue, SHOWN>,
    }
    if depth == 0 {
        out.push('…');
        return;
    }
    out.push(begin);
    let list = serde_json::from_str::<List<'_>>(list.get()).map(|list| list.values).unwrap_or_default();
    for (at, item) in list.list.into_iter().enumerate() {
        if out.len() > VALUE {
            break;
        }
        if at > 0 {
            out.push_str(", ");
        }
        one(out, item);
    }
    out.push(end);
}

/// Integer, written as a number or as a string.
#[derive(Clone, Copy, Debug, Default)]
struct Int(i128);

impl Int {
    fn unsigned(self) -> u64 {
        u64::try_from(self.0).unwrap_or_default()
    }
}

impl<'de> Deserialize<'de> for Int {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Int;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number, or a text with one")
            }

            fn visit_unit<E>(self) -> Result<Int, E> {
                Ok(Int(0))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Int, E> {
                Ok(Int(number.into()))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Int, E> {
                Ok(Int(number.into()))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Int, E> {
                text.parse::<i64>()
                    .map(i128::from)
                    .or_else(|_| text.parse::<u64>().map(i128::from))
                    .map(Int)
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Str("a text"), &self))
            }
        }
        deserializer.deserialize_any(Number)
    }
}

/// First `N` items of a list.
struct Few<T, const N: usize> {
    list: Vec<T>,
    left_out: u32,
}

impl<T, const N: usize> Default for Few<T, N> {
    fn default() -> Self {
        Self { list: Vec::new(), left_out: 0 }
    }
}

impl<'de, T: Deserialize<'de>, const N: usize> Deserialize<'de> for Few<T, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct First<T, const N: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for First<T, N> {
            type Value = Few<T, N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Few::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Self::Value, A::Error> {
                let mut few = Few::default();
                while few.list.len() < N {
                    let Some(item) = all.next_element()? else { return Ok(few) };
                    few.list.push(item);
                }
                while all.next_element::<IgnoredAny>()?.is_some() {
                    few.left_out = few.left_out.saturating_add(1);
                }
                Ok(few)
            }
        }
        deserializer.deserialize_any(First(PhantomData))
    }
}
