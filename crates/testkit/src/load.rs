//! HTTP clients that count every failure. They use little CPU, so they do not disturb the measured
//! server.
//!
//! Theory of operation: one thread with one epoll set runs all clients. A client sends a request,
//! waits for the complete answer, pauses, and repeats. A request fails if a plain HTTP client would
//! report a failure. Reasons are: no connection, an incomplete answer, a status other than 200, an
//! unexpected body, a timeout. There is one exception, which HTTP itself allows. If the server
//! closed an idle keep-alive connection, the client notices that before it writes the next request,
//! and opens a new connection. If a keep-alive connection ends after the request was written, that
//! is a failure. No request is ever repeated.

mod answer;
mod client;
mod driver;
mod script;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};

pub(crate) use answer::HttpAnswer;
use driver::Driver;
pub use script::ScriptLoad;

/// Number of failures that are kept in words.
const WORDED: usize = 10;

/// Number of different bodies that are counted separately.
const BODIES: usize = 1000;

/// Address of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// TCP.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

/// A port of 127.0.0.1.
impl From<u16> for Address {
    fn from(port: u16) -> Self {
        Self::Tcp((Ipv4Addr::LOCALHOST, port).into())
    }
}

impl From<&Path> for Address {
    fn from(path: &Path) -> Self {
        Self::Unix(path.to_owned())
    }
}

/// Expected body of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Any body.
    Any,
    /// Digits: the pid of the worker.
    Number,
    /// This text.
    Exactly(String),
    /// A text that contains this one.
    With(String),
}

impl Body {
    fn is_expected(&self, body: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Number => !body.is_empty() && body.iter().all(u8::is_ascii_digit),
            Self::Exactly(text) => body == text.as_bytes(),
            Self::With(text) => String::from_utf8_lossy(body).contains(text.as_str()),
        }
    }
}

/// Behaviour of the clients: `LoadSpec { keep_alive: true, ..LoadSpec::to(port) }`.
#[derive(Clone, Debug)]
pub struct LoadSpec {
    /// The server.
    pub addr: Address,
    /// Local address of the clients.
    pub from: Option<IpAddr>,
    /// Number of clients.
    pub connections: usize,
    /// Whether each client keeps its connection as long as the server does. Otherwise each request
    /// has its own connection and sends `Connection: close`.
    pub keep_alive: bool,
    /// Path and query.
    pub path: String,
    /// Further header lines of the request, each ended by `\r\n`.
    pub headers: String,
    /// The expected body.
    pub body: Body,
    /// Pause between an answer and the next request of the same client, in microseconds. Values
    /// below a millisecond are rounded up to one; 0 means no pause.
    pub pause_us: u64,
    /// Time limit of a request, in milliseconds.
    pub timeout_ms: u64,
}

impl LoadSpec {
    /// Creates eight clients of this server, with a new connection for each request and a pause of
    /// one millisecond.
    pub fn to(addr: impl Into<Address>) -> Self {
        Self {
            addr: addr.into(),
            from: None,
            connections: 8,
            keep_alive: false,
            path: "/".to_owned(),
            headers: String::new(),
            body: Body::Any,
            pause_us: 1000,
            timeout_ms: 10_000,
        }
    }
}

/// Result of the clients.
#[derive(Clone, Debug, Default)]
pub struct LoadReport {
    /// Number of all requests, successful and failed.
    pub requests: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Requests that failed on a connection that had served a request before.
    pub failed_on_kept: u64,
    /// The first failures in words, each with the second in which it happened.
    pub errors: Vec<String>,
    /// Longest time between two good answers, over all clients. The time from the last answer to
    /// [`Load::stop`] counts as well.
    pub longest_gap_ms: f64,
    /// Duration of the slowest good answer.
    pub slowest_ms: f64,
    /// Good answers by their duration, in tenths of a millisecond, rounded down.
    pub by_tenth_ms: BTreeMap<u32, u64>,
    /// Time from the first request to the last answer.
    pub seconds: f64,
    /// Good answers by body; if the body is a pid, this shows the answers of each worker. After a
    /// thousand different bodies, the rest counts as `(others)`.
    pub by_body: BTreeMap<String, u64>,
    /// Number of opened connections.
    pub connections: u64,
    /// Number of keep-alive connections that the server closed while they were idle.
    pub closed_idle: u64,
    /// CPU time that the clients used.
    pub cpu_ms: f64,
}

impl LoadReport {
    /// Returns the number of good answers.
    pub fn good(&self) -> u64 {
        self.requests - self.failed
    }

    /// Returns the duration that `percent` of the good answers do not exceed, to a tenth of a
    /// millisecond. Without good answers, returns NaN.
    pub fn percentile_ms(&self, percent: f64) -> f64 {
        let rank = (percent / 100.0 * self.good() as f64).ceil() as u64;
        let mut seen = 0;
        let found = self.by_tenth_ms.iter().find(|(_, count)| {
            seen += **count;
            seen >= rank
        });
        found.map_or(f64::NAN, |(tenths, _)| f64::from(tenths + 1) / 10.0)
    }

    /// Fails the test if a request failed, or if no request was made.
    #[track_caller]
    pub fn assert_whole(&self) {
        self.assert_at_most(0);
    }

    /// Fails the test if more than `failed` requests failed, or if no request was made.
    #[track_caller]
    pub fn assert_at_most(&self, failed: u64) {
        assert!(self.failed <= failed, "{} of {} requests failed: {:#?}", self.failed, self.requests, self.errors);
        assert!(self.requests > 0, "nothing was asked");
    }

    fn good_answer(&mut self, body: &[u8], took: Duration) {
        self.requests += 1;
        self.slowest_ms = self.slowest_ms.max(took.as_secs_f64() * 1000.0);
        *self.by_tenth_ms.entry((took.as_micros() / 100) as u32).or_default() += 1;
        let text = String::from_utf8_lossy(body);
        let key = if body.len() <= 64 { text.into_owned() } else { format!("({} bytes)", body.len()) };
        let key = if self.by_body.len() < BODIES || self.by_body.contains_key(&key) { key } else { "(others)".to_owned() };
        *self.by_body.entry(key).or_default() += 1;
    }

    fn failure(&mut self, after: Duration, kept: bool, why: &str) {
        self.requests += 1;
        self.failed += 1;
        self.failed_on_kept += u64::from(kept);
        if self.errors.len() < WORDED {
            self.errors.push(format!("{:.3} s: {why}", after.as_secs_f64()));
        }
    }

    fn merge(&mut self, other: Self) {
        self.requests += other.requests;
        self.failed += other.failed;
        self.failed_on_kept += other.failed_on_kept;
        self.errors.extend(other.errors);
        self.longest_gap_ms = self.longest_gap_ms.max(other.longest_gap_ms);
        self.slowest_ms = self.slowest_ms.max(other.slowest_ms);
        for (tenths, count) in other.by_tenth_ms {
            *self.by_tenth_ms.entry(tenths).or_default() += count;
        }
        self.seconds = self.seconds.max(other.seconds);
        for (body, count) in other.by_body {
            *self.by_body.entry(body).or_default() += count;
        }
        self.connections += other.connections;
        self.closed_idle += other.closed_idle;
        self.cpu_ms += other.cpu_ms;
    }
}

/// Data shared by the clients' thread and the test.
#[derive(Debug)]
struct Shared {
    good: AtomicU64,
    failed: AtomicU64,
    /// Eventfd whose write stops the clients.
    stop: OwnedFd,
}

/// Clients that send requests until they are stopped.
#[derive(Debug)]
#[must_use]
pub struct Load {
    running: Vec<(Arc<Shared>, Option<JoinHandle<LoadReport>>)>,
}

impl Load {
    /// Starts the clients.
    pub fn start(spec: LoadSpec) -> Self {
        Self::start_all([spec])
    }

    /// Starts clients of which half keep their connection, and half open a new one for each
    /// request.
    pub fn mixed(port: u16, clients: usize) -> Self {
        let close = LoadSpec { connections: clients - clients / 2, ..LoadSpec::to(port) };
        let keep = LoadSpec { connections: clients / 2, keep_alive: true, ..LoadSpec::to(port) };
        Self::start_all([close, keep])
    }

    /// Starts clients of several kinds with one report. Gaps and times are those of the worst kind.
    pub fn start_all(specs: impl IntoIterator<Item = LoadSpec>) -> Self {
        let running = specs.into_iter().map(|spec| {
            let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap();
            let shared = Arc::new(Shared { good: AtomicU64::new(0), failed: AtomicU64::new(0), stop });
            let driver = Driver::new(spec, Arc::clone(&shared));
            let thread = thread::Builder::new().name("load".to_owned()).spawn(|| driver.run()).unwrap();
            (shared, Some(thread))
        });
        Self { running: running.collect() }
    }

    /// Returns the number of good answers so far.
    pub fn good(&self) -> u64 {
        self.running.iter().map(|(shared, _)| shared.good.load(Ordering::Relaxed)).sum()
    }

    /// Returns the number of failed requests so far.
    pub fn failed(&self) -> u64 {
        self.running.iter().map(|(shared, _)| shared.failed.load(Ordering::Relaxed)).sum()
    }

    /// Waits until each client has its pending answer, and returns the report.
    #[must_use]
    pub fn stop(mut self) -> LoadReport {
        self.wake();
        let mut sum = LoadReport::default();
        for thread in self.running.iter_mut().filter_map(|(_, thread)| thread.take()) {
            sum.merge(thread.join().unwrap());
        }
        sum
    }

    fn wake(&self) {
        for (shared, _) in &self.running {
            // This fails only if the clients were already asked to stop.
            let _told = rustix::io::write(&shared.stop, &1_u64.to_ne_bytes());
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.wake();
    }
}

#[cfg(test)]
mod tests;
