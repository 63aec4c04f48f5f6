//! Request bodies: small JSON values.

use std::time::Duration;

use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::{Response, StatusCode};
use serde::de::DeserializeOwned;

use crate::http::reply::{Body, error};

/// Maximum size in bytes.
const MAX: usize = 64 << 10;
/// Time limit for the whole body.
const WITHIN: Duration = Duration::from_secs(10);

/// Parses the value in a body; an empty body is `{}`.
pub(crate) async fn json<T: DeserializeOwned>(body: Incoming) -> Result<T, Response<Body>> {
    let collected = tokio::time::timeout(WITHIN, Limited::new(body, MAX).collect()).await;
    let bytes = match collected {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(_)) => return Err(error(StatusCode::PAYLOAD_TOO_LARGE, "the body ended early, or has more than 64 KiB")),
        Err(_) => return Err(error(StatusCode::REQUEST_TIMEOUT, "the body took too long")),
    };
    let bytes: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
    serde_json::from_slice(bytes).map_err(|problem| error(StatusCode::BAD_REQUEST, &format!("invalid body: {problem}")))
}
