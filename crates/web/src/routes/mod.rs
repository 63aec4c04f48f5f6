//! The API: the table of its routes, and the handling of a request.

mod access;
mod act;
mod alerts;
mod apps;
mod errors;
mod events;
#[cfg(debug_assertions)]
pub(crate) mod fuzz;
mod history;
mod hosts;
mod live;
mod logs;
mod metrics;
mod openapi;
mod operation;
mod pm2;
mod ports;
mod problems;
mod profiles;
mod route;
mod schemas;
mod search;
mod session;
mod table;
#[cfg(test)]
mod tests;
mod traces;

use std::rc::Rc;

use http_body_util::BodyExt as _;
use hyper::header::ALLOW;
use hyper::{Method, Response, StatusCode};

use crate::access::Identity;
use crate::access::audit::AuditEntry;
use crate::clock::now_ms;
use crate::http::assets;
use crate::http::reply::{Body, FailureReason, error};
use crate::http::shares::BodyWithPermit;
use crate::site::{ClientRequest, Site};
use route::{Handler, Route, RouteCall};
use table::ROUTES;

pub(crate) use pm2::page as pm2_page;

/// Answers a request that passed the first check.
pub(crate) async fn answer(site: Rc<Site>, request: ClientRequest) -> Response<Body> {
    let path = request.head.uri.path();
    let Some(found) = route::find(ROUTES, path) else {
        let is_read = matches!(request.head.method, Method::GET | Method::HEAD);
        let page = path.strip_prefix('/').filter(|_| is_read).and_then(|path| assets::answer(path, &request.head));
        return page.unwrap_or_else(|| error(StatusCode::NOT_FOUND, "not found"));
    };
    let Some(route) = found.route(&request.head.method) else {
        let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
        response.headers_mut().insert(ALLOW, found.allow());
        return response;
    };
    let run = match route.handler {
        Handler::Open(run) => return run(site, request).await,
        Handler::Known(run) => run,
    };
    let identity = match site.identity(&request.head) {
        Ok(Some(identity)) => identity,
        Ok(None) => return problems::unknown(&site),
        Err(problem) => return problems::broken(&problem),
    };
    request.admit();
    let Some(seat) = site.shares.request(&identity) else { return problems::too_many() };
    let refusal = RefusedRequest::new(route, &found.name, &request, &identity);
    let response = if identity.role < route.role {
        error(
            StatusCode::FORBIDDEN,
            &format!("this requires the role {}, and you have the role {}", route.role.word(), identity.role.word()),
        )
    } else {
        run(RouteCall { site: Rc::clone(&site), request, identity, name: found.name }).await
    };
    refusal.note(&site, &response);
    response.map(|body| BodyWithPermit { body, _seat: seat }.boxed_unsync())
}

/// Audit log entry for a refused command or a refused view. Executed commands have entries of their
/// own.
struct RefusedRequest {
    entry: AuditEntry,
    is_order: bool,
}

impl RefusedRequest {
    fn new(route: &Route, name: &str, request: &ClientRequest, identity: &Identity) -> Self {
        let method = &request.head.method;
        let (what, app) = match route.verb() {
            Some(verb) => (verb.to_owned(), Some(name.to_owned())),
            None => (format!("{method} {}", request.head.uri.path()), None),
        };
        let (who, from) = (identity.user.clone(), request.from.map(|from| from.to_string()));
        let entry = AuditEntry { at: now_ms(), who, from, what, app, namespace: None, result: String::new() };
        Self { entry, is_order: !matches!(*method, Method::GET | Method::HEAD) }
    }

    fn note(mut self, site: &Site, response: &Response<Body>) {
        let status = response.status();
        let is_refused = status == StatusCode::FORBIDDEN || self.is_order && !status.is_success();
        if !is_refused {
            return;
        }
        let reason =
            response.extensions().get::<FailureReason>().map_or_else(|| status.to_string(), |FailureReason(reason)| reason.clone());
        self.entry.result = if status.is_client_error() && status != StatusCode::CONFLICT { format!("refused: {reason}") } else { reason };
        self.entry.namespace = self.entry.app.as_ref().and_then(|app| site.daemon.latest().namespace_of(app));
        site.audit.refused(&self.entry);
    }
}
