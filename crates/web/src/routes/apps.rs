//! `/api/apps`: the list, and one app in full.

use std::time::Duration;

use hyper::{Response, StatusCode};
use ostler_client::source_line::{SourceLine, of_error};
use ostler_client::{Client, ClientError};
use ostler_proto::control::{Detail, Failure, Request, Response as Answer};

use super::problems::daemon_error;
use crate::access::Identity;
use crate::http::reply::{Body, error, json};
use crate::site::Site;
use crate::view;

pub(super) async fn list(site: &Site, identity: &Identity) -> Response<Body> {
    let snapshot = site.daemon.refresh_table().await;
    json(&view::apps(&snapshot, |namespace| identity.sees(namespace)))
}

pub(super) async fn one(site: &Site, identity: &Identity, name: &str) -> Response<Body> {
    let Some((app, is_alone)) = find(site, identity, name).await else { return not_found(name) };
    let targets = app.instances.iter().map(|instance| instance.id.to_string()).collect();
    let of = name.to_owned();
    let query = site.daemon.query(move |client| {
        let details = still_existing(client, targets)?;
        match client.request(&Request::Rollouts { app: Some(of) }, &mut |_| {})? {
            Answer::Rollouts(reports) => Ok((details, reports)),
            _ => Err(ClientError::Unexpected),
        }
    });
    match query.await.map(|(details, rollouts)| (details, if is_alone || identity.sees_all() { rollouts } else { Vec::new() })) {
        // A rollout names its app without a namespace, so it is ambiguous if several namespaces
        // have the app.
        Ok((details, rollouts)) => {
            let source = source_line(&app, &details).await;
            let snapshot = site.daemon.latest();
            let is_its = |id: u32| app.instances.iter().any(|instance| instance.id == id);
            let figures: Vec<_> = snapshot.figures.iter().filter(|one| is_its(one.id)).collect();
            let Some(mut detail) = view::detail(app.clone(), &details, &rollouts, &figures, source) else { return not_found(name) };
            if let Some(error) = detail.failure.as_mut().and_then(|failure| failure.error.as_mut()) {
                error.id = site.errors.book().of_exception(name, &error.exception).map(|group| group.id.clone());
            }
            json(&detail)
        }
        Err(problem) => daemon_error(&problem),
    }
}

/// Maximum wait for the source line of an error. The answer comes without it if the disk is slow.
const SOURCE: Duration = Duration::from_millis(500);

/// Returns the source line of the last failure, if it is shown and can be read.
async fn source_line(app: &view::App, details: &[Detail]) -> Option<SourceLine> {
    let detail = view::failed(app, details)?.clone();
    let read = tokio::task::spawn_blocking(move || of_error(&detail));
    tokio::time::timeout(SOURCE, read).await.ok()?.ok()?
}

/// Answers with the routes of a Node app. A page reads them every two seconds, and the app in full
/// only now and then.
pub(super) async fn routes(site: &Site, identity: &Identity, name: &str) -> Response<Body> {
    let Some((app, _)) = find(site, identity, name).await else { return not_found(name) };
    let snapshot = site.daemon.latest();
    let is_its = |id: u32| app.instances.iter().any(|instance| instance.id == id);
    let figures: Vec<_> = snapshot.figures.iter().filter(|one| is_its(one.id)).collect();
    json(&serde_json::json!({ "at": snapshot.at_ms, "routes": view::routes(&figures) }))
}

/// Returns those of these instances that still exist. A scale-down may continue after the table was
/// read, and a single missing instance makes the daemon refuse the whole query.
///
/// # Errors
/// Returns an error in the same cases as [`Client::inspect`], except for missing instances.
pub(super) fn still_existing(client: &mut Client, mut targets: Vec<String>) -> Result<Vec<Detail>, ClientError> {
    while !targets.is_empty() {
        match client.inspect(&targets) {
            Err(ClientError::Refused(Failure::NotFound { target })) if targets.contains(&target) => targets.retain(|one| *one != target),
            other => return other,
        }
    }
    Ok(Vec::new())
}

/// Returns the visible app of this name, and whether it is the only app of this name in all
/// namespaces.
pub(super) async fn find(site: &Site, identity: &Identity, name: &str) -> Option<(view::App, bool)> {
    let snapshot = site.daemon.refresh_table().await;
    let all = view::apps(&snapshot, |namespace| identity.sees(namespace));
    let app = all.apps.into_iter().chain(all.modules).find(|app| app.name == name)?;
    let is_alone = snapshot.rows.iter().all(|row| row.name != name || row.namespace == app.namespace);
    Some((app, is_alone))
}

pub(super) fn not_found(name: &str) -> Response<Body> {
    error(StatusCode::NOT_FOUND, &format!("there is no app {}", ostler_client::words::shown(name)))
}
