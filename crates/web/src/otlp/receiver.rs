//! Receiver of traces: `POST /v1/traces` at a loopback port.
//!
//! It applies these limits in order:
//! - connections
//! - bytes of heads
//! - bytes of bodies that are being received
//! - bytes per second of a connection
//! - bytes of a decompressed body (one at a time)
//! - bytes per second of an app; all unknown senders count as one
//! - spans of a request
//! - limits of the store

use std::cell::RefCell;
use std::io::{self, Read as _};
use std::net::{Ipv4Addr, TcpListener};
use std::rc::Rc;
use std::time::Duration;

use flate2::read::GzDecoder;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, ORIGIN, RETRY_AFTER};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use ostler_http::{Ending, Limits, Peer, serve_additional};
use ostler_otlp::answer::{refused, taken};
use ostler_otlp::decode::{BodyEncoding, DecodeError, Signal, count, instances, traces};
use ostler_otlp::rate::{Rate, Rates};
use ostler_otlp::store::Sender;
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, timeout_at};

use super::{Instances, Otlp, log_line};
use crate::clock::now_ms;
use crate::http::reply::{Body, full};

/// Limits on connections.
const LIMITS: Limits = Limits { patience: Duration::from_secs(30), connections: 64, guests: None };
/// Maximum size of a body as received, and after decompression.
const MOST: usize = 4 << 20;
pub(super) const MOST_UNPACKED: u64 = 16 << 20;
/// Maximum total size of the bodies that are being received.
const ON_THEIR_WAY: usize = 16 << 20;
/// Time limit for a body.
const WITHIN: Duration = Duration::from_secs(10);
/// Rates for a connection, for an app, and for all unknown senders together.
const CONNECTION: Rate = Rate { per_second: 4 << 20, burst: 16 << 20 };
const APP: Rate = Rate { per_second: 4 << 20, burst: 16 << 20 };
const FOREIGN: Rate = Rate { per_second: 512 << 10, burst: 8 << 20 };
/// Times for retrying a port that is in use, for example by a former process of the dashboard:
/// first pause, time until it is reported, maximum pause.
const AGAIN: Duration = Duration::from_millis(250);
const LOG_INTERVAL: Duration = Duration::from_secs(1);
const AGAIN_AT_MOST: Duration = Duration::from_secs(30);
/// Response text for signals that are not kept.
const NOT_KEPT: &str = "only traces are accepted here: metrics and logs of apps are collected without OTLP";

struct Receiver {
    otlp: Rc<Otlp>,
    instances: Rc<Instances>,
    on_their_way: Semaphore,
    /// Only one body is decompressed at a time.
    unpacking: Mutex<()>,
    connections: RefCell<Rates>,
    apps: RefCell<Rates>,
    foreign: RefCell<Rates>,
    began: Instant,
}

/// Receives traces until the server stops.
pub(super) async fn run(port: u16, otlp: Rc<Otlp>, instances: Rc<Instances>, mut ending: Ending) {
    let Some(listener) = listen(port, &otlp, &mut ending).await else { return };
    let receiver = Rc::new(Receiver {
        otlp: Rc::clone(&otlp),
        instances,
        on_their_way: Semaphore::new(ON_THEIR_WAY),
        unpacking: Mutex::new(()),
        connections: RefCell::new(Rates::new(CONNECTION)),
        apps: RefCell::new(Rates::new(APP)),
        foreign: RefCell::new(Rates::new(FOREIGN)),
        began: Instant::now(),
    });
    let served = serve_additional(listener, LIMITS, ending, move |peer, request| answer(Rc::clone(&receiver), peer, request)).await;
    if let Err(error) = served {
        problem(&otlp, format!("cannot listen on port {port}: {error}"));
    }
}

/// Opens the socket. A port that is in use is reported once and retried; the rest of the dashboard
/// works without it.
async fn listen(port: u16, otlp: &Otlp, ending: &mut Ending) -> Option<TcpListener> {
    let mut pause = AGAIN;
    loop {
        let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
        match bound {
            Ok(listener) => {
                if otlp.traces.state.borrow_mut().problem.take().is_some() {
                    log_line(format_args!("traces are accepted at port {port} again"));
                }
                return Some(listener);
            }
            Err(error) if pause >= LOG_INTERVAL => {
                let why = if error.kind() == io::ErrorKind::AddrInUse { "another program uses it".to_owned() } else { error.to_string() };
                problem(
                    otlp,
                    format!(
                        "cannot receive traces: port {port} of 127.0.0.1: {why}; choose another port with `ostler web enable --otlp-port \
                         N`, or turn it off with --no-otlp"
                    ),
                );
            }
            Err(_) => {}
        }
        tokio::select! {
            () = ending.stop_requested() => return None,
            () = sleep(pause) => {}
        }
        pause = (pause * 2).min(AGAIN_AT_MOST);
    }
}

/// Reports a problem, unless it repeats the last one.
fn problem(otlp: &Otlp, text: String) {
    let mut state = otlp.traces.state.borrow_mut();
    if state.problem.as_ref() != Some(&text) {
        log_line(format_args!("{text}"));
        state.problem = Some(text);
    }
}

/// Refusal: status, advice, and seconds until a retry.
pub(super) struct Rejection {
    status: StatusCode,
    why: String,
    after: Option<u64>,
}

fn refusal(status: StatusCode, why: &str) -> Rejection {
    Rejection { status, why: why.to_owned(), after: None }
}

impl From<DecodeError> for Rejection {
    fn from(error: DecodeError) -> Self {
        refusal(StatusCode::BAD_REQUEST, &error.to_string())
    }
}

async fn answer(receiver: Rc<Receiver>, peer: Peer, request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let form = form(&head.headers);
    let answered = match requested_signal(&head, form) {
        Ok((signal, form)) => receiver.take(signal, form, peer, &head, body).await,
        Err(refusal) => Err(refusal),
    };
    let shown = form.unwrap_or(BodyEncoding::Json);
    let kind = if shown == BodyEncoding::Json { "application/json" } else { "application/x-protobuf" };
    match answered {
        Ok(bytes) => full(StatusCode::OK, kind, bytes),
        Err(Rejection { status, why, after }) => {
            let mut state = receiver.otlp.traces.state.borrow_mut();
            state.refused = state.refused.saturating_add(1);
            let mut response = full(status, kind, refused(shown, &why));
            let headers = response.headers_mut();
            if let Some(value) = after.and_then(|seconds| HeaderValue::from_str(&seconds.to_string()).ok()) {
                headers.insert(RETRY_AFTER, value);
            }
            if status == StatusCode::METHOD_NOT_ALLOWED {
                headers.insert(ALLOW, HeaderValue::from_static("POST"));
            }
            response
        }
    }
}

fn form(headers: &HeaderMap) -> Option<BodyEncoding> {
    let kind = headers.get(CONTENT_TYPE)?.to_str().ok()?.split(';').next()?.trim();
    match kind.to_ascii_lowercase().as_str() {
        "application/x-protobuf" => Some(BodyEncoding::Protobuf),
        "application/json" => Some(BodyEncoding::Json),
        _ => None,
    }
}

/// Determines signal and encoding from the request head alone.
fn requested_signal(head: &Parts, form: Option<BodyEncoding>) -> Result<(Signal, BodyEncoding), Rejection> {
    // A name that resolves to this machine (DNS rebinding) or a page in a browser is not an app.
    let host = head.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if !is_loopback(host) {
        return Err(refusal(StatusCode::MISDIRECTED_REQUEST, "only apps of this machine may send here, to 127.0.0.1 or localhost"));
    }
    if head.headers.contains_key(ORIGIN) {
        return Err(refusal(StatusCode::FORBIDDEN, "pages in browsers may not send here"));
    }
    let signal = match head.uri.path() {
        "/v1/traces" => Signal::Traces,
        "/v1/metrics" => Signal::Metrics,
        "/v1/logs" => Signal::Logs,
        _ => return Err(refusal(StatusCode::NOT_FOUND, "not found: the only path is /v1/traces")),
    };
    if head.method != Method::POST {
        return Err(refusal(StatusCode::METHOD_NOT_ALLOWED, "expected POST"));
    }
    let no_form = || refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, "expected application/x-protobuf or application/json");
    Ok((signal, form.ok_or_else(no_form)?))
}

/// Accepts `127.0.0.1:4318`, `localhost`, `[::1]:4318`.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl Receiver {
    fn clock_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn take(&self, signal: Signal, form: BodyEncoding, peer: Peer, head: &Parts, body: Incoming) -> Result<Vec<u8>, Rejection> {
        let (bytes, _room) = self.read(body).await?;
        let connection = peer.address.map(|address| address.to_string()).unwrap_or_default();
        self.charge(&self.connections, &connection, bytes.len())?;
        let _one = self.unpacking.lock().await;
        let bytes = unpacked(&head.headers, bytes)?;
        if signal != Signal::Traces {
            return Ok(taken(form, signal, count(form, signal, &bytes)?, NOT_KEPT));
        }
        let ids = instances(form, &bytes)?;
        self.instances.refresh(|known| ids.iter().any(|id| known.by_id(id).is_none())).await;
        let payer = ids.iter().find_map(|id| self.instances.by_id(id));
        let payer = payer.and_then(|instance| instance.sender.app.as_ref().map(|(namespace, name)| format!("{namespace}\0{name}")));
        match payer {
            Some(app) => self.charge(&self.apps, &app, bytes.len())?,
            None => self.charge(&self.foreign, "", bytes.len())?,
        }
        self.keep(form, &bytes)
    }

    fn keep(&self, form: BodyEncoding, bytes: &[u8]) -> Result<Vec<u8>, Rejection> {
        let now = now_ms();
        let mut store = self.otlp.traces.store.borrow_mut();
        store.settle(now);
        let read = traces(form, bytes, &mut |resource, trace, mut span| {
            let instance = self.instances.by_id(&resource.instance);
            match &instance {
                Some(instance) => span.hide(|key, text| instance.hide(key, text)),
                None => span.hide(|key, text| super::instances::hide(&[], key, text)),
            }
            let foreign = || Sender { service: resource.service.clone(), ..Sender::default() };
            let sender = instance.map_or_else(foreign, |instance| instance.sender.clone());
            store.add(&sender, trace, span, now);
        })?;
        let why = if read.refused > 0 { "spans without valid ids, or too many spans in one request" } else { "" };
        Ok(taken(form, Signal::Traces, read.refused, why))
    }

    /// Takes bytes from a bucket.
    fn charge(&self, rates: &RefCell<Rates>, sender: &str, bytes: usize) -> Result<(), Rejection> {
        let paid = rates.borrow_mut().take(sender, bytes as u64, self.clock_ms());
        paid.map_err(|after| Rejection { after: Some(after), ..refusal(StatusCode::TOO_MANY_REQUESTS, "rate limit exceeded") })
    }

    /// Reads the body and reserves room only for bytes that have arrived. A client that announces
    /// much and sends nothing therefore blocks no other client.
    async fn read(&self, mut body: Incoming) -> Result<(Vec<u8>, SemaphorePermit<'_>), Rejection> {
        let too_large = || refusal(StatusCode::PAYLOAD_TOO_LARGE, "a request is limited to 4 MiB; send smaller batches");
        let busy = || Rejection { after: Some(1), ..refusal(StatusCode::SERVICE_UNAVAILABLE, "too many requests in flight") };
        if body.size_hint().lower() > MOST as u64 {
            return Err(too_large());
        }
        let until = Instant::now() + WITHIN;
        let mut room = self.on_their_way.try_acquire_many(0).map_err(|_| busy())?;
        let mut bytes = Vec::new();
        loop {
            let frame =
                timeout_at(until, body.frame()).await.map_err(|_| refusal(StatusCode::REQUEST_TIMEOUT, "the body took too long"))?;
            let Some(frame) = frame else { return Ok((bytes, room)) };
            let frame = frame.map_err(|_| refusal(StatusCode::BAD_REQUEST, "the body ended early"))?;
            let Some(data) = frame.data_ref() else { continue };
            if bytes.len() + data.len() > MOST {
                return Err(too_large());
            }
            let more = u32::try_from(data.len()).unwrap_or(u32::MAX);
            room.merge(self.on_their_way.try_acquire_many(more).map_err(|_| busy())?);
            bytes.extend_from_slice(data);
        }
    }
}

/// Returns the decompressed body.
pub(super) fn unpacked(headers: &HeaderMap, bytes: Vec<u8>) -> Result<Vec<u8>, Rejection> {
    match headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"" | b"identity") => Ok(bytes),
        Some(b"gzip") => {
            let mut out = Vec::new();
            let read = GzDecoder::new(bytes.as_slice()).take(MOST_UNPACKED + 1).read_to_end(&mut out);
            read.map_err(|_| refusal(StatusCode::BAD_REQUEST, "not valid gzip"))?;
            if out.len() as u64 > MOST_UNPACKED {
                return Err(refusal(StatusCode::PAYLOAD_TOO_LARGE, "an unpacked request is limited to 16 MiB; send smaller batches"));
            }
            Ok(out)
        }
        Some(_) => Err(refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, "expected gzip or nothing as Content-Encoding")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(method: &str, path: &str, headers: &[(&str, &str)]) -> Parts {
        let request = Request::builder().method(method).uri(path).header(HOST, "localhost:4318");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn receiver_accepts_only_otlp_posts() {
        let json = ("content-type", "application/json; charset=utf-8");
        for (head, expected) in [
            (head("POST", "/v1/traces", &[json]), 200),
            (head("POST", "/v1/logs", &[("content-type", "application/x-protobuf")]), 200),
            (head("GET", "/v1/traces", &[json]), 405),
            (head("OPTIONS", "/v1/traces", &[]), 405),
            (head("POST", "/v1/traces", &[]), 415),
            (head("POST", "/v1/traces", &[("content-type", "text/plain")]), 415),
            (head("POST", "/api/apps", &[json]), 404),
            (head("POST", "/v1/traces", &[json, ("origin", "http://evil.example")]), 403),
        ] {
            let status = requested_signal(&head, form(&head.headers)).map_or_else(|refusal| refusal.status.as_u16(), |_| 200);
            assert_eq!(status, expected, "{head:?}");
        }
        for (host, is) in
            [("127.0.0.1:4318", true), ("[::1]:4318", true), ("LOCALHOST", true), ("evil.example", false), ("", false), ("10.0.0.1", false)]
        {
            assert_eq!(is_loopback(host), is, "{host}");
        }
    }

    #[test]
    fn decompression_bomb_is_rejected() {
        use std::io::Write as _;
        let gzip = HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static("gzip"))]);
        let pack = |bytes: usize| {
            let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            packed.write_all(&vec![0; bytes]).unwrap();
            packed.finish().unwrap()
        };
        assert_eq!(unpacked(&gzip, pack(1000)).ok().unwrap().len(), 1000);
        assert_eq!(unpacked(&gzip, pack(20 << 20)).err().unwrap().status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(unpacked(&gzip, b"no".to_vec()).err().unwrap().status, StatusCode::BAD_REQUEST);
        let other = HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static("br"))]);
        assert_eq!(unpacked(&other, vec![]).err().unwrap().status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
}
