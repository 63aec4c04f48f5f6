//! `/api/errors`: exceptions of apps in groups.

use hyper::{Response, StatusCode};
use ostler_client::words::shown;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::access::Identity;
use crate::access::audit::AuditEntry;
use crate::clock::now_ms;
use crate::daemon::TableWatch;
use crate::errors::{self, ExceptionSample, Group, GroupState, Recurrence, ReleaseCount, Resolved};
use crate::http::reply::{Body, error, json as reply};
use crate::http::{body, query};
use crate::site::{ClientRequest, Site};

/// A group in a list.
#[derive(Debug, Serialize)]
pub(super) struct GroupSummary<'a> {
    id: &'a str,
    app: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    message: &'a str,
    /// Location in the code; empty = unknown.
    culprit: &'a str,
    /// Wall clock, ms.
    first: u64,
    last: u64,
    count: u64,
    state: GroupState,
    /// Newest release in which it occurred.
    release: Option<&'a ReleaseCount>,
    /// First exception after it was resolved.
    returned: Option<&'a Recurrence>,
}

/// A group in full.
#[derive(Debug, Serialize)]
pub(super) struct GroupDetail<'a> {
    #[serde(flatten)]
    summary: GroupSummary<'a>,
    /// Occurrences by release, the oldest first.
    releases: &'a [ReleaseCount],
    sample: &'a ExceptionSample,
    /// User who marked it as resolved, and the time.
    resolved: Option<&'a errors::ResolvedMark>,
}

pub(super) fn summary<'a>(group: &'a Group, resolved: &Resolved) -> GroupSummary<'a> {
    let state = group.state(resolved);
    GroupSummary {
        id: &group.id,
        app: &group.app,
        kind: &group.kind,
        message: &group.message,
        culprit: &group.culprit,
        first: group.first,
        last: group.last,
        count: group.count,
        state,
        release: group.releases.last(),
        returned: group.returned.as_ref().filter(|_| state == GroupState::Returned),
    }
}

pub(super) fn detail<'a>(group: &'a Group, resolved: &'a Resolved) -> GroupDetail<'a> {
    GroupDetail {
        summary: summary(group, resolved),
        releases: &group.releases,
        sample: &group.sample,
        resolved: resolved.mark_of(&group.id),
    }
}

pub(super) async fn list(site: &Site, request: &ClientRequest, identity: &Identity) -> Response<Body> {
    let app = query::value(request.head.uri.query(), "app").filter(|app| !app.is_empty());
    let table_watch = watch_visible(site, identity).await;
    let (book, resolved) = (site.errors.book(), site.errors.resolved());
    let is_listed = |group: &Group| app.as_ref().is_none_or(|app| group.app == *app) && sees(identity, &table_watch, group);
    let list: Vec<GroupSummary<'_>> = book.newest(is_listed).into_iter().map(|group| summary(group, &resolved)).collect();
    reply(&json!({ "errors": list }))
}

pub(super) async fn one(site: &Site, identity: &Identity, id: &str) -> Response<Body> {
    let table_watch = watch_visible(site, identity).await;
    let (book, resolved) = (site.errors.book(), site.errors.resolved());
    match book.find(id).filter(|group| sees(identity, &table_watch, group)) {
        Some(group) => reply(&detail(group, &resolved)),
        None => not_found(id),
    }
}

/// Body without parameters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EmptyBody {}

pub(super) async fn resolve(site: &Site, request: ClientRequest, identity: &Identity, id: &str) -> Response<Body> {
    if let Err(response) = body::json::<EmptyBody>(request.body).await {
        return response;
    }
    let table_watch = watch_visible(site, identity).await;
    let found = site
        .errors
        .book()
        .find(id)
        .filter(|group| sees(identity, &table_watch, group))
        .map(|group| (group.id.clone(), group.app.clone(), group.sample.instance));
    let Some((id, app, instance)) = found else { return not_found(id) };
    if let Err(problem) = errors::resolve(&site.home, &id, &identity.user) {
        return error(StatusCode::INTERNAL_SERVER_ERROR, &ostler_core::text::causes::with_causes(&problem));
    }
    let namespace = site.daemon.latest().rows.iter().find(|row| row.id == instance && row.name == app).map(|row| row.namespace.clone());
    site.audit.write(&AuditEntry {
        at: now_ms(),
        who: identity.user.clone(),
        from: request.from.map(|from| from.to_string()),
        what: "resolve".into(),
        app: Some(app),
        namespace,
        result: "done".into(),
    });
    reply(&json!({ "done": true }))
}

/// Starts watching the table. If the user may not see all apps, waits for a fresh table, which
/// decides what the user sees.
async fn watch_visible(site: &Site, identity: &Identity) -> TableWatch {
    let mut table_watch = site.daemon.watch_table();
    if !identity.sees_all() {
        table_watch.refresh_table().await;
    }
    table_watch
}

fn sees(identity: &Identity, table_watch: &TableWatch, group: &Group) -> bool {
    identity.sees_all() || table_watch.sees(&group.app, Some(group.sample.instance), |namespace| identity.sees(namespace))
}

fn not_found(id: &str) -> Response<Body> {
    error(StatusCode::NOT_FOUND, &format!("there is no error {}", shown(id)))
}
