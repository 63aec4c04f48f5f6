//! Row of the table of routes, and the lookup of the row for a request.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use hyper::header::HeaderValue;
use hyper::{Method, Response};

use super::operation::Operation;
use crate::access::{Identity, Role};
use crate::http::query::decoded;
use crate::http::reply::Body;
use crate::site::{ClientRequest, Site};

/// One method of one path.
pub(super) struct Route {
    /// HTTP method; `GET` also answers `HEAD`.
    pub(super) method: Method,
    /// Path with at most one part in braces, `{name}`, which matches any text.
    pub(super) path: &'static str,
    /// Lowest role that may call it.
    pub(super) role: Role,
    pub(super) handler: Handler,
    /// Description for the OpenAPI document.
    pub(super) about: Operation,
}

/// Function that answers a request.
pub(super) enum Handler {
    /// Called before the login of the client is checked.
    Open(fn(Rc<Site>, ClientRequest) -> Reply),
    /// Called for a client that is logged in and has the role of the row.
    Known(fn(RouteCall) -> Reply),
}

pub(super) type Reply = Pin<Box<dyn Future<Output = Response<Body>>>>;

/// Request of a client that may call the route.
pub(super) struct RouteCall {
    pub(super) site: Rc<Site>,
    pub(super) request: ClientRequest,
    pub(super) identity: Identity,
    /// Decoded text of the path in the place of `{name}`; empty if the path of the row has no such
    /// part.
    pub(super) name: String,
}

/// Makes a [`Handler::Known`].
macro_rules! run {
    (|$call:ident| $answer:expr) => {
        Handler::Known(|$call| Box::pin(async move { $answer }))
    };
}

/// Makes a [`Handler::Open`].
macro_rules! open {
    (|$site:ident, $request:ident| $answer:expr) => {
        Handler::Open(|$site, $request| Box::pin(async move { $answer }))
    };
}

pub(super) use {open, run};

pub(super) const fn get(path: &'static str, role: Role, handler: Handler, about: Operation) -> Route {
    Route { method: Method::GET, path, role, handler, about }
}

pub(super) const fn post(path: &'static str, role: Role, handler: Handler, about: Operation) -> Route {
    Route { method: Method::POST, path, role, handler, about }
}

pub(super) const fn delete(path: &'static str, role: Role, handler: Handler, about: Operation) -> Route {
    Route { method: Method::DELETE, path, role, handler, about }
}

impl Route {
    /// Returns true if the row answers this method.
    fn serves(&self, method: &Method) -> bool {
        self.method == *method || self.method == Method::GET && *method == Method::HEAD
    }

    /// Returns the last word of a path below an app (`restart`); none for other paths.
    pub(super) fn verb(&self) -> Option<&'static str> {
        self.path.strip_prefix("/api/apps/{name}/")
    }
}

/// The rows of one path.
pub(super) struct MatchedPath {
    rows: Vec<&'static Route>,
    /// As in [`RouteCall::name`].
    pub(super) name: String,
}

/// Finds the rows of a path; none if the table has no such path.
pub(super) fn find(table: &'static [Route], path: &str) -> Option<MatchedPath> {
    let mut found = MatchedPath { rows: Vec::new(), name: String::new() };
    for route in table {
        if let Some(name) = name_in(route.path, path) {
            found.rows.push(route);
            found.name = name;
        }
    }
    (!found.rows.is_empty()).then_some(found)
}

impl MatchedPath {
    #[cfg(test)]
    pub(super) fn rows(&self) -> &[&'static Route] {
        &self.rows
    }

    /// Returns the row of a method.
    pub(super) fn route(&self, method: &Method) -> Option<&'static Route> {
        self.rows.iter().copied().find(|route| route.serves(method))
    }

    /// Returns the methods that the path has, for the header `Allow`.
    pub(super) fn allow(&self) -> HeaderValue {
        let methods: Vec<&str> =
            self.rows.iter().map(|route| if route.method == Method::GET { "GET, HEAD" } else { route.method.as_str() }).collect();
        HeaderValue::try_from(methods.join(", ")).unwrap_or(HeaderValue::from_static(""))
    }
}

/// Compares a path with the path of a row. Returns the text in the place of `{name}`.
fn name_in(pattern: &str, path: &str) -> Option<String> {
    let (Some(pattern), Some(path)) = (pattern.strip_prefix("/api/"), path.strip_prefix("/api/")) else {
        return (pattern == path).then(String::new);
    };
    let mut name = String::new();
    let (mut expected, mut parts) = (pattern.split('/'), path.split('/'));
    loop {
        match (expected.next(), parts.next().map(decoded)) {
            (None, None) => return Some(name),
            (Some(expected), Some(Some(part))) if expected.starts_with('{') && !part.is_empty() => name = part,
            (Some(expected), Some(Some(part))) if expected == part => {}
            _ => return None,
        }
    }
}
