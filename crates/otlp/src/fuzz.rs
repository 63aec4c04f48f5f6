//! Checks of the readers of this crate for any bytes. The crate `ostler-fuzzing` runs them; see
//! `docs/fuzzing.md`.

use crate::answer::{partial, taken};
use crate::decode::{BodyEncoding, INSTANCES, Signal, count, instances, traces};
use crate::encode::trace_of;
use crate::span::{ATTRIBUTES, EVENTS, KEY, NAME, Resource, SPANS, STACK, Span, VALUE};
use crate::store::{Filter, Sender, Store};

/// Most bytes of the store in a check: a few spans fill it.
const STORE: usize = 64 << 10;

/// Checks a request of OpenTelemetry in JSON.
pub fn otlp_json(bytes: &[u8]) {
    requests(BodyEncoding::Json, bytes);
    if let Some((refused, why)) = partial(bytes) {
        assert!(refused > 0 && why.len() <= 200);
        let answer = taken(BodyEncoding::Json, Signal::Traces, usize::try_from(refused).unwrap_or(1), &why);
        assert_eq!(partial(&answer), Some((refused, why)));
    }
    let text = String::from_utf8_lossy(bytes);
    assert!(trace_of(&text).is_none_or(|id| id != [0; 16]));
}

/// Checks a request of OpenTelemetry in protobuf.
pub fn otlp_protobuf(bytes: &[u8]) {
    requests(BodyEncoding::Protobuf, bytes);
}

fn requests(form: BodyEncoding, bytes: &[u8]) {
    let mut store = Store::new(STORE);
    let mut spans = 0;
    let read = traces(form, bytes, &mut |resource, id, span| {
        spans += 1;
        is_bounded(resource, &span);
        store.add(&Sender::default(), id, span, 1_795_600_000_000);
        assert!(store.bytes() <= 4 * STORE, "{} bytes", store.bytes());
    });
    let counted = count(form, Signal::Traces, bytes);
    if let Ok(read) = read {
        assert!(read.taken == spans && spans <= SPANS);
        assert!(read.taken + read.refused <= bytes.len(), "each item takes a byte");
        if let Ok(counted) = counted {
            assert_eq!(read.taken + read.refused, counted, "two readers count the same");
        }
    }
    for signal in [Signal::Metrics, Signal::Logs] {
        assert!(count(form, signal, bytes).unwrap_or(0) <= bytes.len(), "each item takes a byte");
    }
    if let Ok(instances) = instances(form, bytes) {
        assert!(instances.len() <= INSTANCES && instances.iter().all(|name| !name.is_empty() && name.len() <= NAME));
    }
    let (list, _) = store.list(&Filter::default(), &|_| true);
    assert!(list.len() <= spans);
    store.settle(u64::MAX);
}

fn is_bounded(resource: &Resource, span: &Span) {
    assert!(resource.service.len() <= NAME && resource.instance.len() <= NAME);
    assert!(span.name.len() <= NAME && span.message.len() <= VALUE);
    assert!(span.attributes.len() <= ATTRIBUTES && span.events.len() <= EVENTS);
    let of_events = span.events.iter().flat_map(|event| &event.attributes);
    for (key, value) in span.attributes.iter().chain(of_events) {
        assert!(key.len() <= KEY && value.len() <= STACK, "{key}: {} bytes", value.len());
    }
    for event in &span.events {
        assert!(event.name.len() <= NAME && event.attributes.len() <= EVENTS);
    }
    let _ = span.route();
}
