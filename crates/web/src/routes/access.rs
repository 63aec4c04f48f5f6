//! `/api/access`: tokens, settings and the audit log, for admins.

use hyper::{Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::access::audit::AuditEntry;
use crate::access::{Identity, Role, Token};
use crate::clock::now_ms;
use crate::http::body;
use crate::http::reply::{self, Body, error};
use crate::site::{ClientRequest, Site};

/// Maximum number of audit log lines.
const LINES: usize = 200;

/// Request for a new token.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenRequest {
    name: String,
    role: Role,
    #[serde(default)]
    namespaces: Vec<String>,
}

pub(super) fn list(site: &Site, identity: &Identity) -> Response<Body> {
    // A user who sees only some namespaces sees their tokens, and the audit lines about them and
    // about the user's own actions.
    let sees_token = |token: &&Token| {
        identity.sees_all() || !token.namespaces.is_empty() && token.namespaces.iter().all(|namespace| identity.sees(namespace))
    };
    let sees_entry = |entry: &AuditEntry| {
        let is_of_part = entry.namespace.as_ref().is_some_and(|namespace| identity.sees(namespace));
        identity.sees_all() || is_of_part || entry.who == identity.user
    };
    let tokens: Vec<Value> = match site.store.borrow_mut().get() {
        Ok(access) => access
            .tokens
            .iter()
            .filter(sees_token)
            .map(|token| json!({ "name": token.name, "role": token.role, "namespaces": token.namespaces, "created": token.created_ms }))
            .collect(),
        Err(problem) => return super::problems::broken(&problem),
    };
    let (receiver, push) = (site.otlp.traces.state.borrow(), site.otlp.push.as_ref().map(|state| state.borrow().clone()));
    let otlp = json!({ "receiver": *receiver, "push": push });
    let of_machine = |value: Value| if identity.sees_all() { value } else { Value::Null };
    let settings = of_machine(json!(site.settings.shown()));
    let audit = site.audit.last(LINES, sees_entry);
    reply::json(&json!({ "tokens": tokens, "settings": settings, "audit": audit, "otlp": of_machine(otlp) }))
}

/// Creates a token, or removes the one of this name.
pub(super) async fn token(site: &Site, request: ClientRequest, identity: &Identity, name: Option<String>) -> Response<Body> {
    // A user who sees only some namespaces cannot grant access.
    if !identity.sees_all() {
        return error(StatusCode::FORBIDDEN, "your account is limited to some namespaces and cannot grant access");
    }
    let from = request.from.map(|from| from.to_string());
    let audit = |what: &str, name: &str, result: &str| {
        let what = format!("{what} {name}");
        site.audit.write(&AuditEntry {
            at: now_ms(),
            who: identity.user.clone(),
            from: from.clone(),
            what,
            app: None,
            namespace: None,
            result: result.into(),
        });
    };
    if let Some(name) = name {
        return match site.store.borrow_mut().change(|access| access.revoke(&name)) {
            Ok(true) => {
                audit("revoke token", &name, "done");
                reply::json(&json!({ "done": true }))
            }
            Ok(false) => error(StatusCode::NOT_FOUND, "there is no token with that name"),
            Err(problem) => super::problems::broken(&problem),
        };
    }
    let params: TokenRequest = match body::json(request.body).await {
        Ok(params) => params,
        Err(response) => return response,
    };
    let made = site.store.borrow_mut().change(|access| access.add_token(&params.name, params.role, params.namespaces, now_ms()));
    match made {
        Ok(Ok(secret)) => {
            audit("make token", &params.name, "done");
            reply::json(&json!({ "token": secret.text() }))
        }
        Ok(Err(problem)) => error(StatusCode::BAD_REQUEST, &problem.to_string()),
        Err(problem) => super::problems::broken(&problem),
    }
}
