//! Requests of our own, to services. Redirects are not followed, and no error has an address with what may be secret.

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::header::{HOST, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use ostler_alerts::channel::Url;
use ostler_alerts::render::Answer;

use super::client_tls as tls;

/// Bytes of an answer that are read.
const MOST_ANSWER: usize = 16 << 10;

/// What came back.
#[derive(Debug, Default)]
pub(crate) struct Got {
    pub(crate) answer: Answer,
    /// Days for which the certificate is valid; none = there is none.
    pub(crate) certificate_days: Option<i64>,
}

/// One request on a connection of its own.
///
/// # Errors
/// Why there is no answer, in words.
pub(crate) async fn exchange(
    method: Method,
    url: &Url,
    headers: &[(impl AsRef<str>, String)],
    body: impl Into<Bytes>,
) -> Result<Got, String> {
    let failed = |what: &str, error: &dyn std::fmt::Display| format!("{what} {}: {error}", url.origin());
    let mut stream = tls::connect(&url.host, url.port).await?;
    let mut certificate_days = None;
    if url.tls {
        (stream, certificate_days) = tls::encrypt(&url.host, stream).await?;
    }
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| failed("cannot speak with", &error))?;
    let _driver = Driver(tokio::spawn(async move { drop(connection.await) }));
    let mut request = Request::builder().method(method).uri(&url.path).header(HOST, url.authority()).header(USER_AGENT, "ostler");
    for (name, value) in headers {
        request = request.header(name.as_ref(), value);
    }
    let request = request.body(Full::<Bytes>::from(body.into())).map_err(|error| failed("cannot ask", &error))?;
    let response = sender.send_request(request).await.map_err(|error| failed("no answer from", &error))?;
    let (head, mut body) = response.into_parts();
    let mut bytes = Vec::new();
    while bytes.len() < MOST_ANSWER {
        // What broke off has its status all the same.
        let Some(Ok(frame)) = body.frame().await else { break };
        bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |data| &data[..data.len().min(MOST_ANSWER)]));
    }
    let retry_after = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let answer = Answer { status: head.status.as_u16(), retry_after, body: String::from_utf8_lossy(&bytes).into_owned() };
    Ok(Got { answer, certificate_days })
}

/// A connection that is driven, until this is dropped.
struct Driver(tokio::task::JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}
