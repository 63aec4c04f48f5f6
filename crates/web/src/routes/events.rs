//! `/api/events`: known events, the newest first.

use hyper::Response;
use serde_json::json;

use crate::access::Identity;
use crate::http::query;
use crate::http::reply::{Body, json as reply};
use crate::site::{ClientRequest, Site};
use crate::view;

const USUAL: u64 = 100;
const MOST: u64 = 1000;

pub(super) fn answer(site: &Site, request: &ClientRequest, identity: &Identity) -> Response<Body> {
    let query = request.head.uri.query();
    let app = query::value(query, "app").filter(|app| !app.is_empty());
    // The id of an event, or a number alone, in any epoch.
    let before = query::value(query, "before");
    let position = before.as_deref().and_then(super::live::position);
    let epoch = position.map(|position| position.epoch);
    let before = position.map(|position| position.seq).or_else(|| before?.parse().ok()).unwrap_or(u64::MAX);
    let limit = usize::try_from(query::number(query, "limit", USUAL, MOST)).unwrap_or(usize::MAX);
    let table_watch = site.daemon.watch_table();
    let events = site.daemon.events();
    let is_selected = |event: &&std::sync::Arc<ostler_proto::control::Event>| {
        let is_seen = identity.sees_all()
            || event.app.as_ref().is_some_and(|app| table_watch.sees(app, event.id, |namespace| identity.sees(namespace)));
        is_seen
            && event.seq < before
            && epoch.is_none_or(|epoch| event.epoch == epoch)
            && app.as_ref().is_none_or(|app| event.app.as_ref() == Some(app))
    };
    let mut found = events.iter().rev().filter(is_selected);
    let list: Vec<_> = found.by_ref().take(limit).map(|event| view::event(event)).collect();
    // No event is missing after this one. A client with older events can therefore detect a gap
    // before it.
    let begins = events.first().map(|event| json!({ "epoch": event.epoch, "sequence": event.seq, "at": event.at_ms }));
    reply(&json!({ "events": list, "more": found.next().is_some(), "begins": begins }))
}
