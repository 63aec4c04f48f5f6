//! `/api/apps`: the list, and one in full.

use hyper::{Response, StatusCode};
use ostler_client::ClientError;
use ostler_proto::control::{Request, Response as Answer};

use super::not_asked;
use crate::access::Identity;
use crate::reply::{Body, error, json};
use crate::server::Site;
use crate::view;

pub(super) async fn list(site: &Site, identity: &Identity) -> Response<Body> {
    let snapshot = site.daemon.fresh().await;
    json(&view::apps(&snapshot, |namespace| identity.sees(namespace)))
}

pub(super) async fn one(site: &Site, identity: &Identity, name: &str) -> Response<Body> {
    let Some((app, _)) = find(site, identity, name).await else { return not_found(name) };
    let targets: Vec<String> = app.instances.iter().map(|instance| instance.id.to_string()).collect();
    let of = name.to_owned();
    let asked = site.daemon.ask(move |client| {
        let details = client.inspect(&targets)?;
        match client.request(&Request::Rollouts { app: Some(of) }, &mut |_| {})? {
            Answer::Rollouts(reports) => Ok((details, reports)),
            _ => Err(ClientError::Unexpected),
        }
    });
    match asked.await {
        Ok((details, rollouts)) => match view::detail(app, &details, &rollouts) {
            Some(detail) => json(&detail),
            None => not_found(name),
        },
        Err(problem) => not_asked(&problem),
    }
}

/// The app of this name that is seen, and whether no other namespace has one of this name.
pub(super) async fn find(site: &Site, identity: &Identity, name: &str) -> Option<(view::App, bool)> {
    let snapshot = site.daemon.fresh().await;
    let all = view::apps(&snapshot, |namespace| identity.sees(namespace));
    let app = all.apps.into_iter().chain(all.modules).find(|app| app.name == name)?;
    let is_alone = snapshot.rows.iter().all(|row| row.name != name || row.namespace == app.namespace);
    Some((app, is_alone))
}

pub(super) fn not_found(name: &str) -> Response<Body> {
    error(StatusCode::NOT_FOUND, &format!("there is no app {}", ostler_client::words::shown(name)))
}
