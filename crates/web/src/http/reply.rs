//! Replies: bodies, JSON, errors, and the headers that protect every one of them.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Frame};
use hyper::header::{
    CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use hyper::{Response, StatusCode};
use serde::Serialize;
use serde_json::json;
use tokio::sync::mpsc;

/// The body of a reply.
pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

pub(crate) const JSON: &str = "application/json";

/// What a page of ours may load: its own files, nothing inline, from nowhere else.
const POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'";

/// A reply with all of its bytes.
pub(crate) fn full(status: StatusCode, kind: &'static str, bytes: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(bytes.into()).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// A reply without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Full::default().boxed_unsync());
    *response.status_mut() = status;
    response
}

/// A value as JSON.
pub(crate) fn json(value: &impl Serialize) -> Response<Body> {
    with_status(StatusCode::OK, value)
}

/// A value as JSON, with another status.
pub(crate) fn with_status(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(bytes) => full(status, JSON, bytes),
        Err(_) => error(StatusCode::INTERNAL_SERVER_ERROR, "the answer cannot be written"),
    }
}

/// `{"error": …}`: one line.
pub(crate) fn error(status: StatusCode, text: &str) -> Response<Body> {
    failed(status, text, &json!({ "error": text }))
}

/// A value as JSON that says why something was not done.
pub(crate) fn failed(status: StatusCode, reason: &str, value: &impl Serialize) -> Response<Body> {
    let mut response = full(status, JSON, serde_json::to_vec(value).unwrap_or_default());
    response.extensions_mut().insert(Reason(reason.to_owned()));
    response
}

/// Reason of a failure, for the audit log; not sent.
#[derive(Clone, Debug)]
pub(crate) struct Reason(pub(crate) String);

/// The writing end of a reply that goes on.
pub(crate) type Writer = mpsc::Sender<Bytes>;

/// A reply that goes on until its writer is dropped. `room`: how many pieces wait for a slow reader before the writer has to.
pub(crate) fn streamed(kind: &'static str, room: usize) -> (Writer, Response<Body>) {
    let (writer, pieces) = mpsc::channel(room);
    let mut response = Response::new(Pieces(pieces).boxed_unsync());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    // Not collected by a proxy until there is enough of it.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    (writer, response)
}

/// Pieces as they come.
struct Pieces(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

/// Sets what every reply has.
pub(crate) fn protect(headers: &mut HeaderMap) {
    let fixed = [
        (HeaderName::from_static("content-security-policy"), POLICY),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}
