//! HTTP client for external services. Redirects are not followed, and errors contain no secret
//! parts of addresses.

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::header::{HOST, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use ostler_alerts::channel::Url;
use ostler_alerts::render::HttpReply;

use super::client_tls::{self as tls, ConnectError};

/// Maximum number of bytes that are read from a response.
const MOST_ANSWER: usize = 16 << 10;

/// Result of a request.
#[derive(Debug, Default)]
pub(crate) struct HttpResponse {
    pub(crate) answer: HttpReply,
    /// Days until the certificate expires; none = no certificate.
    pub(crate) certificate_days: Option<i64>,
}

/// Reason why there is no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("cannot communicate with {origin}: {cause}")]
    Handshake { origin: String, cause: hyper::Error },
    #[error("cannot send a request to {origin}: {cause}")]
    Request { origin: String, cause: hyper::http::Error },
    #[error("no answer from {origin}: {cause}")]
    NoAnswer { origin: String, cause: hyper::Error },
}

/// Sends one request on a new connection.
///
/// # Errors
/// Returns an error if there is no response.
pub(crate) async fn exchange(
    method: Method,
    url: &Url,
    headers: &[(impl AsRef<str>, String)],
    body: impl Into<Bytes>,
) -> Result<HttpResponse, ExchangeError> {
    let origin = || url.origin();
    let mut stream = tls::connect(&url.host, url.port).await?;
    let mut certificate_days = None;
    if url.tls {
        (stream, certificate_days) = tls::encrypt(&url.host, stream).await?;
    }
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|cause| ExchangeError::Handshake { origin: origin(), cause })?;
    let _driver = Driver(tokio::spawn(async move { drop(connection.await) }));
    let mut request = Request::builder().method(method).uri(&url.path).header(HOST, url.authority()).header(USER_AGENT, "ostler");
    for (name, value) in headers {
        request = request.header(name.as_ref(), value);
    }
    let request = request.body(Full::<Bytes>::from(body.into())).map_err(|cause| ExchangeError::Request { origin: origin(), cause })?;
    let response = sender.send_request(request).await.map_err(|cause| ExchangeError::NoAnswer { origin: origin(), cause })?;
    let (head, mut body) = response.into_parts();
    let mut bytes = Vec::new();
    while bytes.len() < MOST_ANSWER {
        // If the connection breaks here, the status is still valid.
        let Some(Ok(frame)) = body.frame().await else { break };
        bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |data| &data[..data.len().min(MOST_ANSWER)]));
    }
    let retry_after = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let answer = HttpReply { status: head.status.as_u16(), retry_after, body: String::from_utf8_lossy(&bytes).into_owned() };
    Ok(HttpResponse { answer, certificate_days })
}

/// Background task of a connection; dropping this ends it.
struct Driver(tokio::task::JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}
