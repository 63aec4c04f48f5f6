//! `/api/alerts`: firing alerts and channels; operators may set silences, admins may change
//! channels.

use hyper::{Response, StatusCode};
use ostler_core::text::causes::with_causes;
use ostler_core::text::units;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::access::Identity;
use crate::access::audit::AuditEntry;
use crate::alerts::channels::read_channel;
use crate::alerts::channels::{ChangeError, ChannelSettings, without_secrets};
use crate::alerts::settings::{AlertsError, Settings};
use crate::alerts::{Overview, test as try_channel};
use crate::clock::now_ms;
use crate::http::body;
use crate::http::reply::{self, Body, error};
use crate::site::{ClientRequest, Site};

/// Default and maximum duration of a silence, in ms.
const SILENCE_MS: u64 = 3_600_000;
const LONGEST_SILENCE_MS: u64 = 30 * 86_400_000;

/// Request for a silence.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SilenceRequest {
    app: Option<String>,
    rule: Option<String>,
    #[serde(rename = "for")]
    lasts: Option<String>,
    #[serde(default)]
    reason: String,
}

/// Channel to test; none = all.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TestRequest {
    channel: Option<String>,
}

pub(super) async fn list(site: &Site, identity: &Identity) -> Response<Body> {
    let mut all = site.alerts.borrow().overview();
    if !identity.sees_all() {
        let snapshot = site.daemon.refresh_table().await;
        let sees = |app: &str, instance: Option<u32>| snapshot.sees(app, instance, |namespace| identity.sees(namespace));
        retain_visible(&mut all, &sees);
    }
    reply::json(&all)
}

/// Removes entries about apps that the user does not see.
fn retain_visible(all: &mut Overview, sees: &dyn Fn(&str, Option<u32>) -> bool) {
    let of_alert = |app: &str, instances: &[u32]| match instances {
        [] => sees(app, None),
        some => some.iter().all(|id| sees(app, Some(*id))),
    };
    all.alerts.retain(|alert| alert.app.as_deref().is_some_and(|app| of_alert(app, &alert.instances)));
    all.history.retain(|change| sees(&change.app, None));
    all.silences.retain(|silence| silence.app.as_deref().is_some_and(|app| sees(app, None)));
    all.rules.clear();
    all.channels.clear();
    all.problems.clear();
    all.sent.clear();
}

pub(super) async fn silence(site: &Site, request: ClientRequest, identity: &Identity) -> Response<Body> {
    let from = request.from;
    let params: SilenceRequest = match body::json(request.body).await {
        Ok(params) => params,
        Err(response) => return response,
    };
    if !identity.sees_all() {
        let table_watch = site.daemon.watch_table();
        let sees = params
            .app
            .as_deref()
            .is_some_and(|app| !app.contains('*') && table_watch.sees(app, None, |namespace| identity.sees(namespace)));
        if !sees {
            return error(StatusCode::FORBIDDEN, "your account is limited to some namespaces and can only silence their apps, by name");
        }
    }
    let for_ms = match params.lasts.as_deref().map(units::millis) {
        None => SILENCE_MS,
        Some(Ok(ms)) if (1..=LONGEST_SILENCE_MS).contains(&ms) => ms,
        Some(_) => return error(StatusCode::BAD_REQUEST, "for: expected a time up to 30d such as 30m or 2h"),
    };
    let (rule, app) = (params.rule.filter(|rule| !rule.is_empty()), params.app.filter(|app| !app.is_empty()));
    let made = Settings::of(&site.home).silence(rule, app.clone(), for_ms, &identity.user, &params.reason);
    match made {
        Ok(made) => {
            audit(site, identity, from, "silence", app);
            reply::json(&made)
        }
        Err(problem) => settings_error(&problem),
    }
}

pub(super) fn unsilence(site: &Site, request: &ClientRequest, identity: &Identity, id: &str) -> Response<Body> {
    let settings = Settings::of(&site.home);
    if !identity.sees_all() {
        let table_watch = site.daemon.watch_table();
        let own = settings.read().silences.into_iter().find(|silence| silence.id == id).and_then(|silence| silence.app);
        if !own.is_some_and(|app| table_watch.sees(&app, None, |namespace| identity.sees(namespace))) {
            return error(StatusCode::NOT_FOUND, "there is no such silence");
        }
    }
    match settings.unsilence(id) {
        Ok(0) => error(StatusCode::NOT_FOUND, "there is no such silence"),
        Ok(_) => {
            audit(site, identity, request.from, &format!("unsilence {id}"), None);
            reply::json(&json!({ "done": true }))
        }
        Err(problem) => settings_error(&problem),
    }
}

pub(super) async fn add_channel(site: &Site, request: ClientRequest, identity: &Identity) -> Response<Body> {
    let from = request.from;
    if let Some(response) = require_all_namespaces(identity) {
        return response;
    }
    let value: Value = match body::json(request.body).await {
        Ok(value) => value,
        Err(response) => return response,
    };
    // A `command` channel runs a program as ostler's user. Users of the dashboard may not do that.
    if value["type"] == "command" {
        return error(
            StatusCode::FORBIDDEN,
            "a channel that runs a program can only be added on the machine: `ostler alerts channel add command …`",
        );
    }
    let channel = match read_channel(&value) {
        Ok(channel) => channel,
        Err(problems) => {
            let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
            return error(StatusCode::BAD_REQUEST, &all.join("; "));
        }
    };
    match Settings::of(&site.home).add_channel(&channel.policy.name, value) {
        Ok(replaced) => {
            audit(site, identity, from, &format!("set alert channel {}", channel.policy.name), None);
            reply::json(&json!({ "name": channel.policy.name, "replaced": replaced }))
        }
        Err(problem) => settings_error(&problem),
    }
}

pub(super) fn channels(site: &Site, identity: &Identity) -> Response<Body> {
    if let Some(response) = require_all_namespaces(identity) {
        return response;
    }
    match Settings::of(&site.home).file() {
        Ok(file) => {
            let channels: Vec<ChannelSettings> = file.channels.iter().filter_map(without_secrets).collect();
            reply::json(&json!({ "channels": channels }))
        }
        Err(problem) => error(StatusCode::INTERNAL_SERVER_ERROR, &with_causes(&problem)),
    }
}

pub(super) async fn change_channel(site: &Site, request: ClientRequest, identity: &Identity, name: &str) -> Response<Body> {
    let from = request.from;
    if let Some(response) = require_all_namespaces(identity) {
        return response;
    }
    let change: Map<String, Value> = match body::json(request.body).await {
        Ok(change) => change,
        Err(response) => return response,
    };
    match Settings::of(&site.home).change_channel(name, &change) {
        Ok(Ok(())) => {
            audit(site, identity, from, &format!("change alert channel {name}"), None);
            reply::json(&json!({ "done": true }))
        }
        Ok(Err(refusal)) => {
            let status = match refusal {
                ChangeError::Missing => StatusCode::NOT_FOUND,
                ChangeError::Program => StatusCode::FORBIDDEN,
                ChangeError::Fixed(_) | ChangeError::Kept(_) | ChangeError::Invalid(_) => StatusCode::BAD_REQUEST,
            };
            error(status, &refusal.to_string())
        }
        Err(problem) => settings_error(&problem),
    }
}

pub(super) fn remove_channel(site: &Site, request: &ClientRequest, identity: &Identity, name: &str) -> Response<Body> {
    if let Some(response) = require_all_namespaces(identity) {
        return response;
    }
    match Settings::of(&site.home).remove_channel(name) {
        Ok(true) => {
            audit(site, identity, request.from, &format!("remove alert channel {name}"), None);
            reply::json(&json!({ "done": true }))
        }
        Ok(false) => error(StatusCode::NOT_FOUND, "there is no channel with that name"),
        Err(problem) => settings_error(&problem),
    }
}

pub(super) async fn test(site: &Site, request: ClientRequest, identity: &Identity) -> Response<Body> {
    let from = request.from;
    if let Some(response) = require_all_namespaces(identity) {
        return response;
    }
    let params: TestRequest = match body::json(request.body).await {
        Ok(params) => params,
        Err(response) => return response,
    };
    let channels = Settings::of(&site.home).read().channels;
    let is_selected = |name: &str| params.channel.as_deref().is_none_or(|is_selected| is_selected == name);
    let mut results = Vec::new();
    for channel in channels.iter().filter(|channel| is_selected(&channel.policy.name)) {
        let result = try_channel(channel).await.map_err(|error| error.to_string());
        results.push(json!({ "channel": channel.policy.name, "sent": result.is_ok(), "error": result.err() }));
    }
    if results.is_empty() {
        return error(StatusCode::NOT_FOUND, "there is no such channel");
    }
    audit(site, identity, from, "test alert channels", None);
    reply::json(&json!({ "results": results }))
}

/// Refuses users who see only some namespaces: they may not send messages.
fn require_all_namespaces(identity: &Identity) -> Option<Response<Body>> {
    (!identity.sees_all())
        .then(|| error(StatusCode::FORBIDDEN, "your account is limited to some namespaces, and channels receive alerts of all"))
}

fn audit(site: &Site, identity: &Identity, from: Option<std::net::IpAddr>, what: &str, app: Option<String>) {
    let from = from.map(|from| from.to_string());
    let namespace = app.as_ref().and_then(|app| site.daemon.latest().namespace_of(app));
    site.audit.write(&AuditEntry {
        at: now_ms(),
        who: identity.user.clone(),
        from,
        what: what.to_owned(),
        app,
        namespace,
        result: "done".into(),
    });
}

fn settings_error(problem: &AlertsError) -> Response<Body> {
    error(StatusCode::INTERNAL_SERVER_ERROR, &with_causes(problem))
}
