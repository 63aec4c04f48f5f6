//! Replies: bodies, JSON, errors, and the security headers of every reply.

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

/// Body of a reply.
pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

pub(crate) const JSON: &str = "application/json";

/// Content security policy of the page: only its own files, nothing inline.
const POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'";

/// Returns a reply with a complete body.
pub(crate) fn full(status: StatusCode, kind: &'static str, bytes: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(bytes.into()).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Returns a reply without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Full::default().boxed_unsync());
    *response.status_mut() = status;
    response
}

/// Returns a value as JSON.
pub(crate) fn json(value: &impl Serialize) -> Response<Body> {
    with_status(StatusCode::OK, value)
}

/// Returns a value as JSON with another status.
pub(crate) fn with_status(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(bytes) => full(status, JSON, bytes),
        Err(_) => error(StatusCode::INTERNAL_SERVER_ERROR, "cannot write the answer"),
    }
}

/// Returns `{"error": …}` with one line of text.
pub(crate) fn error(status: StatusCode, text: &str) -> Response<Body> {
    failed(status, text, &json!({ "error": text }))
}

/// Returns a JSON value that describes a failure.
pub(crate) fn failed(status: StatusCode, reason: &str, value: &impl Serialize) -> Response<Body> {
    let mut response = full(status, JSON, serde_json::to_vec(value).unwrap_or_default());
    response.extensions_mut().insert(FailureReason(reason.to_owned()));
    response
}

/// Reason of a failure for the audit log; it is not sent.
#[derive(Clone, Debug)]
pub(crate) struct FailureReason(pub(crate) String);

/// Sending end of a streamed reply.
pub(crate) type Writer = mpsc::Sender<Bytes>;

/// Returns a reply that is streamed until its writer is dropped. `room` is the number of pieces
/// that wait for a slow reader before the writer blocks.
pub(crate) fn streamed(kind: &'static str, room: usize) -> (Writer, Response<Body>) {
    let (writer, pieces) = mpsc::channel(room);
    let mut response = Response::new(BodyChunks(pieces).boxed_unsync());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    // Asks proxies not to buffer the stream.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    (writer, response)
}

/// Pieces of a streamed body.
struct BodyChunks(mpsc::Receiver<Bytes>);

impl hyper::body::Body for BodyChunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

/// Sets the headers that every reply has.
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
