//! `/api/errors`: exceptions of apps in groups.

use std::time::Duration;

use hyper::{Response, StatusCode};
use ostler_client::source_line::around;
use ostler_client::words::shown;
use ostler_core::logs::masking::{masked, secrets};
use ostler_otlp::store::{Filter, Summary};
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
    /// Exceptions in each of the last 24 hours, the oldest first.
    trend: Vec<u64>,
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
    #[serde(flatten)]
    found: FoundContext,
}

/// Data about the sample of a group from other sources.
#[derive(Debug, Default, Serialize)]
pub(super) struct FoundContext {
    /// Request that failed with it; none = unknown.
    route: Option<String>,
    /// Kept trace of that request.
    trace: Option<String>,
    /// Source lines around the place that threw it, as they are now.
    source: Vec<Source>,
}

#[derive(Debug, Serialize)]
struct Source {
    number: u32,
    text: String,
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
        trend: group.trend(now_ms()),
    }
}

pub(super) fn detail<'a>(group: &'a Group, resolved: &'a Resolved, found: FoundContext) -> GroupDetail<'a> {
    GroupDetail {
        summary: summary(group, resolved),
        releases: &group.releases,
        sample: &group.sample,
        resolved: resolved.mark_of(&group.id),
        found,
    }
}

/// Maximum difference between the times of an exception and of its trace.
const TRACE_MS: u64 = 5000;
/// Number of failed traces that are searched.
const TRACES: usize = 500;
/// Lines before and after the place that threw an exception.
const LINES: u32 = 3;
/// Maximum wait for these lines. The answer comes without them if the disk is slow.
const SOURCE: Duration = Duration::from_millis(500);

/// Returns the kept trace of the request that failed with the sample: its id and its route.
fn trace_of(site: &Site, identity: &Identity, group: &Group) -> Option<(String, String)> {
    let sample = &group.sample;
    let filter = Filter { app: Some(group.app.clone()), failed: true, limit: TRACES, ..Filter::default() };
    let (traces, _) = site.otlp.traces.store.borrow().list(&filter, &|sender| super::traces::sees(identity, sender));
    let message = Some(&sample.exception.message).filter(|message| !message.is_empty())?;
    let is_it = |trace: &&Summary| {
        let near = sample.at.saturating_sub(TRACE_MS)..=sample.at.saturating_add(TRACE_MS);
        near.contains(&trace.at) && trace.message.contains(message.as_str())
    };
    traces.iter().find(is_it).map(|trace| (trace.id.clone(), trace.route.clone()))
}

/// Returns the source lines around the place that threw the sample, without secrets.
async fn source(site: &Site, group: &Group) -> Vec<Source> {
    let Some((path, line)) = group.sample.exception.culprit().and_then(|frame| Some((frame.file.clone(), frame.line?))) else {
        return Vec::new();
    };
    let snapshot = site.daemon.latest();
    let mut rows = snapshot.rows.iter().filter(|row| row.name == group.app);
    let Some(id) = rows.clone().find(|row| row.id == group.sample.instance).or_else(|| rows.next()).map(|row| row.id) else {
        return Vec::new();
    };
    let read = site.daemon.query(move |client| {
        let details = super::apps::still_existing(client, vec![id.to_string()])?;
        let Some(detail) = details.first() else { return Ok(Vec::new()) };
        let hidden = secrets(&serde_json::to_value(&detail.spec).unwrap_or_default());
        let lines = around(&detail.spec, &path, line, LINES);
        Ok(lines.into_iter().map(|line| Source { number: line.number, text: masked(&line.text, &hidden) }).collect())
    });
    tokio::time::timeout(SOURCE, read).await.ok().and_then(Result::ok).unwrap_or_default()
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
    let group = site.errors.book().find(id).filter(|group| sees(identity, &table_watch, group)).cloned();
    let Some(group) = group else { return not_found(id) };
    let source = source(site, &group).await;
    let (trace, route) = trace_of(site, identity, &group).unzip();
    let route = group.sample.exception.route.clone().or(route);
    reply(&detail(&group, &site.errors.resolved(), FoundContext { route, trace, source }))
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
