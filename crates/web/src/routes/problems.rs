//! Replies to requests that are not carried out.

use hyper::header::{HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};

use crate::access::{Identity, Role};
use crate::daemon::QueryError;
use crate::http::reply::{Body, error, with_status};
use crate::json_file::FileError;
use crate::site::Site;
use crate::view::App;

/// Returns the reply for an identity with too many simultaneous requests.
pub(super) fn too_many() -> Response<Body> {
    let mut response = error(StatusCode::TOO_MANY_REQUESTS, "too many concurrent requests and streams: close some");
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// Refuses access to modules (including the dashboard and its alerts), which belong to the machine.
/// Only an admin of all namespaces controls them.
pub(super) fn guards_module(app: &App, identity: &Identity) -> Option<Response<Body>> {
    let is_allowed = app.kind != "module" || identity.role >= Role::Admin && identity.sees_all();
    (!is_allowed).then(|| error(StatusCode::FORBIDDEN, "modules belong to the machine: this requires the role admin for all namespaces"))
}

/// Returns the reply for an unknown client.
pub(super) fn unknown(site: &Site) -> Response<Body> {
    let password = site.store.borrow_mut().get().is_ok_and(|access| access.password.is_some());
    let value = serde_json::json!({ "error": "not signed in: create a link with `ostler web open`", "logins": { "password": password } });
    let mut response = with_status(StatusCode::UNAUTHORIZED, &value);
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// Returns the reply if the access file cannot be read or written.
pub(super) fn broken(problem: &FileError) -> Response<Body> {
    error(StatusCode::INTERNAL_SERVER_ERROR, &ostler_core::text::causes::with_causes(problem))
}

/// Returns the reply if the daemon does not answer or refuses.
pub(super) fn daemon_error(problem: &QueryError) -> Response<Body> {
    use ostler_client::ClientError;
    use ostler_proto::control::Failure;
    let status = match problem {
        QueryError::Client(ClientError::Refused(Failure::NotFound { .. })) => StatusCode::NOT_FOUND,
        QueryError::Client(ClientError::Refused(_)) => StatusCode::CONFLICT,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    error(status, &ostler_core::text::causes::with_causes(problem))
}
