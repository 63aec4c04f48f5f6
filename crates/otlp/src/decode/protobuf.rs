//! Protobuf decoding, with the field numbers of `opentelemetry-proto` 1.5.

use super::Signal;
use crate::span::{
    ATTRIBUTES, Attribute, EVENTS, KEY, NAME, Resource, STACK, STACK_KEY, Span, SpanEvent, SpanKind, TraceId, VALUE, cut, text,
};
use crate::wire::{Fields, Malformed, Value, messages};

/// Maximum depth of nested lists that is shown.
const DEEPEST: usize = 4;

pub(super) type Sink<'a> = &'a mut dyn FnMut(&Resource, Option<(TraceId, Span)>);

/// Reads only the resources.
pub(super) fn resources(body: &[u8], sink: &mut dyn FnMut(Resource)) -> Result<(), Malformed> {
    messages(body, 1).try_for_each(|group| {
        sink(resource(group?)?);
        Ok(())
    })
}

/// Returns the resource of a group; it may come after the group's spans.
fn resource(group: &[u8]) -> Result<Resource, Malformed> {
    let mut resource = Resource::default();
    for message in messages(group, 1) {
        take_resource(message?, &mut resource)?;
    }
    Ok(resource)
}

/// Reads an `ExportTraceServiceRequest`.
pub(super) fn traces(body: &[u8], sink: Sink<'_>) -> Result<(), Malformed> {
    for group in messages(body, 1) {
        let group = group?;
        let resource = resource(group)?;
        for scope in messages(group, 2) {
            for message in messages(scope?, 2) {
                sink(&resource, span(message?)?);
            }
        }
    }
    Ok(())
}

/// Counts the items: each message on these paths.
pub(super) fn count(signal: Signal, body: &[u8]) -> Result<usize, Malformed> {
    // Path: groups, scopes, then spans, records or metrics. For metrics, the points of any kind
    // count.
    let mut found = 0;
    for group in messages(body, 1) {
        for scope in messages(group?, 2) {
            for item in messages(scope?, 2) {
                let item = item?;
                if signal != Signal::Metrics {
                    found += 1;
                    continue;
                }
                for kind in [5, 7, 9, 10, 11] {
                    for data in messages(item, kind) {
                        for point in messages(data?, 1) {
                            point?;
                            found += 1;
                        }
                    }
                }
            }
        }
    }
    Ok(found)
}

fn take_resource(message: &[u8], resource: &mut Resource) -> Result<(), Malformed> {
    for pair in messages(message, 1) {
        let (key, value) = pair_of(pair?)?;
        match key {
            b"service.name" => resource.service = shown(value, NAME)?,
            b"service.instance.id" => resource.instance = shown(value, NAME)?,
            _ => {}
        }
    }
    Ok(())
}

/// Reads a span. Returns `None` if its ids are invalid.
fn span(message: &[u8]) -> Result<Option<(TraceId, Span)>, Malformed> {
    let (mut span, mut trace, mut end_ns) = (Span::default(), None, 0);
    let (mut is_whole, mut attributes, mut events) = (false, Vec::new(), Vec::new());
    for field in Fields::of(message) {
        match field? {
            (1, Value::Bytes(id)) => trace = TraceId::try_from(id).ok().filter(|id| *id != [0; 16]),
            (2, Value::Bytes(id)) => {
                span.id = id.try_into().unwrap_or_default();
                is_whole = span.id != [0; 8];
            }
            (4, Value::Bytes(id)) => span.parent = id.try_into().ok().filter(|id| *id != [0; 8]),
            (5, Value::Bytes(name)) => span.name = text(name, NAME),
            (6, Value::Varint(kind)) => span.kind = SpanKind::of(kind),
            (7, Value::Fixed64(at)) => span.start_ns = at,
            (8, Value::Fixed64(at)) => end_ns = at,
            (9, Value::Bytes(pair)) => push(&mut attributes, pair, ATTRIBUTES, &mut span.left_out)?,
            (10 | 12, Value::Varint(count)) => span.left_out = span.left_out.saturating_add(u32::try_from(count).unwrap_or(u32::MAX)),
            (11, Value::Bytes(event)) => {
                if events.len() < EVENTS {
                    events.push(event_of(event, &mut span.left_out)?);
                } else {
                    span.left_out = span.left_out.saturating_add(1);
                }
            }
            (15, Value::Bytes(status)) => {
                for field in Fields::of(status) {
                    match field? {
                        (2, Value::Bytes(message)) => span.message = text(message, VALUE),
                        (3, Value::Varint(code)) => span.failed = code == 2,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    span.took_ns = end_ns.saturating_sub(span.start_ns);
    span.attributes = attributes.into();
    span.events = events.into();
    Ok(trace.filter(|_| is_whole).map(|trace| (trace, span)))
}

fn event_of(message: &[u8], left_out: &mut u32) -> Result<SpanEvent, Malformed> {
    let (mut event, mut attributes) = (SpanEvent::default(), Vec::new());
    for field in Fields::of(message) {
        match field? {
            (1, Value::Fixed64(at)) => event.at_ns = at,
            (2, Value::Bytes(name)) => event.name = text(name, NAME),
            (3, Value::Bytes(pair)) => push(&mut attributes, pair, EVENTS, left_out)?,
            _ => {}
        }
    }
    event.attributes = attributes.into();
    Ok(event)
}

fn push(list: &mut Vec<Attribute>, pair: &[u8], most: usize, left_out: &mut u32) -> Result<(), Malformed> {
    if list.len() >= most {
        *left_out = left_out.saturating_add(1);
        return Ok(());
    }
    let (key, value) = pair_of(pair)?;
    let key = text(key, KEY);
    let most = if &*key == STACK_KEY { STACK } else { VALUE };
    let value = shown(value, most)?;
    list.push((key, value));
    Ok(())
}

/// Reads a `KeyValue`: the key, and the bytes of the value.
fn pair_of(message: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let (mut key, mut value) = (&[][..], &[][..]);
    for field in Fields::of(message) {
        match field? {
            (1, Value::Bytes(bytes)) => key = bytes,
            (2, Value::Bytes(bytes)) => value = bytes,
            _ => {}
        }
    }
    Ok((key, value))
}

/// Formats an `AnyValue` as text.
fn shown(message: &[u8], most: usize) -> Result<Box<str>, Malformed> {
    let mut out = String::new();
    write(&mut out, message, most, DEEPEST)?;
    Ok(cut(&out, most).into())
}

fn write(out: &mut String, message: &[u8], most: usize, depth: usize) -> Result<(), Malformed> {
    let Some(field) = Fields::of(message).last().transpose()? else { return Ok(()) };
    match field {
        (1, Value::Bytes(bytes)) => out.push_str(&text(bytes, most)),
        (2, Value::Varint(is)) => out.push_str(if is == 0 { "false" } else { "true" }),
        (3, Value::Varint(number)) => out.push_str(&number.cast_signed().to_string()),
        (4, Value::Fixed64(bits)) => out.push_str(&f64::from_bits(bits).to_string()),
        (5 | 6, Value::Bytes(_)) if depth == 0 => out.push('…'),
        (number @ (5 | 6), Value::Bytes(list)) => {
            out.push(if number == 5 { '[' } else { '{' });
            for (at, item) in messages(list, 1).enumerate() {
                if at > 0 {
                    out.push_str(", ");
                }
                if out.len() > most {
                    break;
                }
                if number == 5 {
                    write(out, item?, most, depth - 1)?;
                } else {
                    let (key, value) = pair_of(item?)?;
                    out.push_str(&text(key, KEY));
                    out.push_str(": ");
                    write(out, value, most, depth - 1)?;
                }
            }
            out.push(if number == 5 { ']' } else { '}' });
        }
        (7, Value::Bytes(bytes)) => out.push_str(&format!("({} bytes)", bytes.len())),
        _ => {}
    }
    Ok(())
}
