//! `/api/session`: login of a browser.

use std::time::Instant;

use hyper::header::{HeaderValue, RETRY_AFTER, SET_COOKIE};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use ostler_http::GuestStatus;
use serde::Deserialize;
use serde_json::json;

use crate::access::audit::AuditEntry;
use crate::access::{Access, Identity, Role, SESSION_MS, password_fits};
use crate::clock::now_ms;
use crate::http::body;
use crate::http::reply::{self, Body, error};
use crate::json_file::FileError;
use crate::site::{ClientRequest, Site};

/// Login method.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum Login {
    Link(String),
    Password(String),
    Token(String),
}

/// Answers with the identity of the client.
pub(super) fn present(site: &Site, head: &Parts) -> Response<Body> {
    match site.identity(head) {
        Ok(Some(identity)) => of(site, &identity),
        Ok(None) => super::problems::unknown(site),
        Err(problem) => super::problems::broken(&problem),
    }
}

/// Returns the identity of the user, and the machine.
fn of(site: &Site, identity: &Identity) -> Response<Body> {
    let password = site.store.borrow_mut().get().is_ok_and(|access| access.password.is_some());
    let node = rustix::system::uname();
    reply::json(&json!({
        "user": identity.user,
        "role": identity.role,
        "namespaces": identity.namespaces,
        "version": ostler_client::VERSION,
        "host": node.nodename().to_string_lossy(),
        "home": site.home,
        "logins": { "password": password },
    }))
}

pub(super) async fn login(site: &Site, request: ClientRequest) -> Response<Body> {
    let standing = request.head.extensions.get::<GuestStatus>().cloned();
    let ClientRequest { head, body, from, is_shared } = request;
    let place = site.logins.enter(from);
    let login = tokio::select! {
        login = body::json::<Login>(body) => login,
        () = place.standing.closed() => Err(too_often(1, "too many concurrent logins")),
    };
    drop(place);
    let login = match login {
        Ok(login) => login,
        Err(response) => return response,
    };
    // Links and tokens are 256 random bits: they cannot be guessed, and attempts of other clients
    // do not delay them.
    if let Login::Password(_) = login {
        let turn = site.attempts.borrow_mut().begin(from, is_shared, Instant::now());
        match turn {
            Ok(wait) => {
                standing.inspect(GuestStatus::admit);
                tokio::time::sleep(wait).await;
            }
            Err(wait) => return too_often(wait.as_secs() + 1, "too many attempts"),
        }
    }
    let (way, found) = match login {
        Login::Link(link) => ("link", change(site, |access| access.take_link(&link, now_ms())).map(Option::flatten)),
        Login::Token(token) => {
            ("token", site.store.borrow_mut().get().map(|access| access.by_token(&token)).map(Some).map(Option::flatten))
        }
        Login::Password(password) => ("password", by_password(site, password).await),
    };
    let entry = |who: &str, result: &str| AuditEntry {
        at: now_ms(),
        who: who.into(),
        from: from.map(|from| from.to_string()),
        what: "login".into(),
        app: None,
        namespace: None,
        result: result.into(),
    };
    let identity = match found {
        Ok(Some(identity)) => identity,
        Ok(None) => {
            site.audit.refused(&entry(way, "refused"));
            let text = match way {
                "link" => "this link was used or has expired: create another with `ostler web open`",
                "token" => "unknown token",
                _ => "wrong password",
            };
            return error(StatusCode::UNAUTHORIZED, text);
        }
        Err(problem) => return super::problems::broken(&problem),
    };
    let cookie = match change(site, |access| access.add_session(&identity, now_ms())) {
        Ok(Some(cookie)) => cookie,
        Ok(None) => return error(StatusCode::INTERNAL_SERVER_ERROR, "the session could not be saved"),
        Err(problem) => return super::problems::broken(&problem),
    };
    if way == "password" {
        site.attempts.borrow_mut().succeeded(from);
    }
    site.audit.write(&entry(&identity.user, "done"));
    let mut response = of(site, &identity);
    let secure = if site.is_encrypted(&head) { "; Secure" } else { "" };
    let age = SESSION_MS / 1000;
    let cookie = format!("{}={}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{secure}", site.cookie_name(), cookie.text());
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

/// Changes the access file. This is fast: the file is small, and its lock is held only briefly.
fn change<T>(site: &Site, change: impl FnOnce(&mut Access) -> T) -> Result<Option<T>, FileError> {
    site.store.borrow_mut().change(change).map(Some)
}

async fn by_password(site: &Site, password: String) -> Result<Option<Identity>, FileError> {
    let hash = site.store.borrow_mut().get()?.password.clone();
    let Ok(_permit) = site.checking.acquire().await else { return Ok(None) };
    let Some(hash) = hash else { return Ok(None) };
    let fits = tokio::task::spawn_blocking(move || password_fits(&password, &hash)).await.unwrap_or(false);
    Ok(fits.then(|| Identity { user: "admin".into(), role: Role::Admin, namespaces: Vec::new(), share: "admin".into() }))
}

fn too_often(seconds: u64, what: &str) -> Response<Body> {
    let text = format!("{what}: wait {seconds} s, or use a link of `ostler web open`, which has no limit");
    let value = json!({ "error": text, "retry_after": seconds });
    let mut response = reply::with_status(StatusCode::TOO_MANY_REQUESTS, &value);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    response
}

pub(super) fn logout(site: &Site, request: &ClientRequest) -> Response<Body> {
    let who = site.identity(&request.head).ok().flatten();
    if let Some(cookie) = site.cookie(&request.head)
        && let Err(problem) = change(site, |access| access.end_session(cookie))
    {
        return super::problems::broken(&problem);
    }
    if let Some(who) = who {
        let from = request.from.map(|from| from.to_string());
        let (what, result) = ("logout".into(), "done".into());
        site.audit.write(&AuditEntry { at: now_ms(), who: who.user, from, what, app: None, namespace: None, result });
    }
    let mut response = reply::json(&json!({ "done": true }));
    let gone = format!("{}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict", site.cookie_name());
    if let Ok(gone) = HeaderValue::try_from(gone) {
        response.headers_mut().insert(SET_COOKIE, gone);
    }
    response
}
