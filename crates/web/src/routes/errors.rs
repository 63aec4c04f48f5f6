//! `/api/errors`: exceptions of apps in groups.

use hyper::{Response, StatusCode};
use ostler_client::words::shown;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::access::Identity;
use crate::access::audit::Entry;
use crate::clock::now_ms;
use crate::daemon::Look;
use crate::errors::{self, Group, Resolved, Returned, Sample, Seen, State};
use crate::http::reply::{Body, error, json as reply};
use crate::http::{body, query};
use crate::site::{Asked, Site};

/// A group in a list.
#[derive(Debug, Serialize)]
pub(super) struct Short<'a> {
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
    state: State,
    /// Newest release in which it occurred.
    release: Option<&'a Seen>,
    /// First exception after it was resolved.
    returned: Option<&'a Returned>,
}

/// A group in full.
#[derive(Debug, Serialize)]
pub(super) struct Full<'a> {
    #[serde(flatten)]
    short: Short<'a>,
    /// Occurrences by release, the oldest first.
    releases: &'a [Seen],
    sample: &'a Sample,
    /// User who marked it as resolved, and the time.
    resolved: Option<&'a errors::Mark>,
}

pub(super) fn short<'a>(group: &'a Group, resolved: &Resolved) -> Short<'a> {
    let state = group.state(resolved);
    Short {
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
        returned: group.returned.as_ref().filter(|_| state == State::Returned),
    }
}

pub(super) fn full<'a>(group: &'a Group, resolved: &'a Resolved) -> Full<'a> {
    Full { short: short(group, resolved), releases: &group.releases, sample: &group.sample, resolved: resolved.mark_of(&group.id) }
}

pub(super) async fn list(site: &Site, asked: &Asked, identity: &Identity) -> Response<Body> {
    let app = query::value(asked.head.uri.query(), "app").filter(|app| !app.is_empty());
    let look = looks(site, identity).await;
    let (book, resolved) = (site.errors.book(), site.errors.resolved());
    let wanted = |group: &Group| app.as_ref().is_none_or(|app| group.app == *app) && sees(identity, &look, group);
    let list: Vec<Short<'_>> = book.newest(wanted).into_iter().map(|group| short(group, &resolved)).collect();
    reply(&json!({ "errors": list }))
}

pub(super) async fn one(site: &Site, identity: &Identity, id: &str) -> Response<Body> {
    let look = looks(site, identity).await;
    let (book, resolved) = (site.errors.book(), site.errors.resolved());
    match book.find(id).filter(|group| sees(identity, &look, group)) {
        Some(group) => reply(&full(group, &resolved)),
        None => not_found(id),
    }
}

/// Body without parameters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

pub(super) async fn resolve(site: &Site, asked: Asked, identity: &Identity, id: &str) -> Response<Body> {
    if let Err(response) = body::json::<Nothing>(asked.body).await {
        return response;
    }
    let look = looks(site, identity).await;
    let found = site
        .errors
        .book()
        .find(id)
        .filter(|group| sees(identity, &look, group))
        .map(|group| (group.id.clone(), group.app.clone(), group.sample.instance));
    let Some((id, app, instance)) = found else { return not_found(id) };
    if let Err(problem) = errors::resolve(&site.home, &id, &identity.user) {
        return error(StatusCode::INTERNAL_SERVER_ERROR, &ostler_core::text::causes::with_causes(&problem));
    }
    let namespace = site.daemon.latest().rows.iter().find(|row| row.id == instance && row.name == app).map(|row| row.namespace.clone());
    site.audit.write(&Entry {
        at: now_ms(),
        who: identity.user.clone(),
        from: asked.from.map(|from| from.to_string()),
        what: "resolve".into(),
        app: Some(app),
        namespace,
        result: "done".into(),
    });
    reply(&json!({ "done": true }))
}

/// Starts watching the table. If the user may not see all apps, waits for a fresh table, which
/// decides what the user sees.
async fn looks(site: &Site, identity: &Identity) -> Look {
    let mut look = site.daemon.look();
    if !identity.sees_all() {
        look.fresh().await;
    }
    look
}

fn sees(identity: &Identity, look: &Look, group: &Group) -> bool {
    identity.sees_all() || look.sees(&group.app, Some(group.sample.instance), |namespace| identity.sees(namespace))
}

fn not_found(id: &str) -> Response<Body> {
    error(StatusCode::NOT_FOUND, &format!("there is no error {}", shown(id)))
}
