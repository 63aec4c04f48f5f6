//! `/api/traces`: stored traces.

use hyper::{Response, StatusCode};
use ostler_client::words::shown;
use ostler_otlp::span;
use ostler_otlp::store::{Filter, Sender};
use serde_json::json;

use crate::access::Identity;
use crate::clock::now_ms;
use crate::http::query;
use crate::http::reply::{Body, error, json as reply};
use crate::site::{ClientRequest, Site};

const USUAL: u64 = 100;
const MOST: u64 = 1000;

pub(super) fn list(site: &Site, request: &ClientRequest, identity: &Identity) -> Response<Body> {
    let query = request.head.uri.query();
    let text = |key: &str| query::value(query, key).filter(|text| !text.is_empty());
    let filter = Filter {
        app: text("app"),
        min_ms: text("min_ms").and_then(|text| text.parse().ok()).filter(|ms: &f64| ms.is_finite()).unwrap_or(0.0),
        failed: text("failed").is_some_and(|text| text == "true" || text == "1"),
        route: text("route"),
        limit: usize::try_from(query::number(query, "limit", USUAL, MOST)).unwrap_or(usize::MAX),
    };
    let mut store = site.otlp.traces.store.borrow_mut();
    store.settle(now_ms());
    let (traces, more) = store.list(&filter, &|sender| sees(identity, sender));
    let receiver = site.otlp.traces.state.borrow();
    // Users who see only some namespaces do not see the totals of all senders.
    let counts = identity.sees_all().then(|| store.counts());
    let bytes = identity.sees_all().then(|| store.bytes());
    reply(&json!({ "traces": traces, "more": more, "receiver": *receiver, "counts": counts, "bytes": bytes }))
}

pub(super) fn one(site: &Site, identity: &Identity, id: &str) -> Response<Body> {
    let store = site.otlp.traces.store.borrow();
    let found = span::id::<16>(id).and_then(|id| store.get(&id, &|sender| sees(identity, sender)));
    match found {
        Some(trace) => reply(&trace),
        None => error(
            StatusCode::NOT_FOUND,
            &format!("there is no trace {}: it was not kept, or it was removed to make room for others", shown(id)),
        ),
    }
}

/// Returns true if the user sees this sender. Senders that match no app are visible only to users
/// who see all namespaces.
pub(super) fn sees(identity: &Identity, sender: &Sender) -> bool {
    identity.sees_all() || sender.app.as_ref().is_some_and(|(namespace, _)| identity.sees(namespace))
}
