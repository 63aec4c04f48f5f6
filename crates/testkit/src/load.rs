//! HTTP clients that count every failure, cheap enough to stand beside what they measure.
//!
//! Theory of operation: one thread with one epoll set plays all clients. A client asks, waits for the whole answer, pauses, asks again.
//! What counts as failed is what a user of a plain HTTP client would see fail: no connection, a connection that ends before a whole
//! answer, a status other than 200, another body than expected, no answer in time. There is one allowance, which is HTTP's own: a kept
//! connection that the server closed while it was idle is seen before the next request is written, and a new one is opened. A kept
//! connection that ends after the request was written is a failure; nothing is ever asked twice.

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

pub(crate) use answer::Answer;
use driver::Driver;
pub use script::ScriptLoad;

/// Failures that are kept in words.
const WORDED: usize = 10;

/// Different bodies that are counted one by one.
const BODIES: usize = 1000;

/// Where the server listens.
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

/// What the body of an answer has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Whatever comes.
    Any,
    /// Digits: the pid of the worker.
    Number,
    /// This text.
    Exactly(String),
    /// A text that contains this one.
    With(String),
}

impl Body {
    fn fits(&self, body: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Number => !body.is_empty() && body.iter().all(u8::is_ascii_digit),
            Self::Exactly(text) => body == text.as_bytes(),
            Self::With(text) => String::from_utf8_lossy(body).contains(text.as_str()),
        }
    }
}

/// What the clients do. `LoadSpec { keep_alive: true, ..LoadSpec::to(port) }`.
#[derive(Clone, Debug)]
pub struct LoadSpec {
    /// The server.
    pub addr: Address,
    /// Address the clients connect from.
    pub from: Option<IpAddr>,
    /// Number of clients.
    pub connections: usize,
    /// Each client keeps its connection as long as the server does; else each request has one of its own and says `Connection: close`.
    pub keep_alive: bool,
    /// Path and query.
    pub path: String,
    /// Further lines of the request, each ended by `\r\n`.
    pub headers: String,
    /// What has to come back.
    pub body: Body,
    /// Between an answer and the next request of the same client, in microseconds; below a millisecond it becomes one, 0 is none.
    pub pause_us: u64,
    /// For one request, in milliseconds.
    pub timeout_ms: u64,
}

impl LoadSpec {
    /// Eight clients of this server, a new connection for each request, a millisecond of pause.
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

/// What the clients saw.
#[derive(Clone, Debug, Default)]
pub struct LoadReport {
    /// Requests that were made: the good and the failed.
    pub requests: u64,
    /// Requests that failed.
    pub failed: u64,
    /// The first failures, worded, each with the second it happened in.
    pub errors: Vec<String>,
    /// Between two good answers, over all clients; the time from the last one to [`Load::stop`] is one too.
    pub longest_gap_ms: f64,
    /// The slowest good answer.
    pub slowest_ms: f64,
    /// From the first request to the last answer.
    pub seconds: f64,
    /// Good answers by body: which worker gave them, when the body is its pid. After a thousand different ones the rest is `(others)`.
    pub by_body: BTreeMap<String, u64>,
    /// Connections that were opened.
    pub connections: u64,
    /// Kept connections that the server closed while they were idle.
    pub closed_idle: u64,
    /// CPU time that the clients used.
    pub cpu_ms: f64,
}

impl LoadReport {
    /// Requests that were answered as they should.
    pub fn good(&self) -> u64 {
        self.requests - self.failed
    }

    /// Fails the test when a request failed, or none was made.
    #[track_caller]
    pub fn assert_whole(&self) {
        self.assert_at_most(0);
    }

    /// Fails the test when more requests than this failed, or none was made.
    #[track_caller]
    pub fn assert_at_most(&self, failed: u64) {
        assert!(self.failed <= failed, "{} of {} requests failed: {:#?}", self.failed, self.requests, self.errors);
        assert!(self.requests > 0, "nothing was asked");
    }

    fn good_answer(&mut self, body: &[u8]) {
        self.requests += 1;
        let text = String::from_utf8_lossy(body);
        let key = if body.len() <= 64 { text.into_owned() } else { format!("({} bytes)", body.len()) };
        let key = if self.by_body.len() < BODIES || self.by_body.contains_key(&key) { key } else { "(others)".to_owned() };
        *self.by_body.entry(key).or_default() += 1;
    }

    fn failure(&mut self, after: Duration, why: &str) {
        self.requests += 1;
        self.failed += 1;
        if self.errors.len() < WORDED {
            self.errors.push(format!("{:.3} s: {why}", after.as_secs_f64()));
        }
    }

    fn merge(&mut self, other: Self) {
        self.requests += other.requests;
        self.failed += other.failed;
        self.errors.extend(other.errors);
        self.longest_gap_ms = self.longest_gap_ms.max(other.longest_gap_ms);
        self.slowest_ms = self.slowest_ms.max(other.slowest_ms);
        self.seconds = self.seconds.max(other.seconds);
        for (body, count) in other.by_body {
            *self.by_body.entry(body).or_default() += count;
        }
        self.connections += other.connections;
        self.closed_idle += other.closed_idle;
        self.cpu_ms += other.cpu_ms;
    }
}

/// What the thread of the clients and the test both see.
#[derive(Debug)]
struct Shared {
    good: AtomicU64,
    failed: AtomicU64,
    /// Written to end the clients.
    stop: OwnedFd,
}

/// Clients that ask until they are stopped.
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

    /// Half of so many clients keep their connection, half open a new one for each request.
    pub fn mixed(port: u16, clients: usize) -> Self {
        let close = LoadSpec { connections: clients - clients / 2, ..LoadSpec::to(port) };
        let keep = LoadSpec { connections: clients / 2, keep_alive: true, ..LoadSpec::to(port) };
        Self::start_all([close, keep])
    }

    /// Clients of several kinds, with one report. Gaps and times are those of the worst kind.
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

    /// Requests answered as they should so far.
    pub fn good(&self) -> u64 {
        self.running.iter().map(|(shared, _)| shared.good.load(Ordering::Relaxed)).sum()
    }

    /// Requests that failed so far.
    pub fn failed(&self) -> u64 {
        self.running.iter().map(|(shared, _)| shared.failed.load(Ordering::Relaxed)).sum()
    }

    /// Lets each client wait for the answer it has asked for, and tells what they saw.
    #[must_use]
    pub fn stop(mut self) -> LoadReport {
        self.tell();
        let mut sum = LoadReport::default();
        for thread in self.running.iter_mut().filter_map(|(_, thread)| thread.take()) {
            sum.merge(thread.join().unwrap());
        }
        sum
    }

    fn tell(&self) {
        for (shared, _) in &self.running {
            // It can only fail when it was told already.
            let _told = rustix::io::write(&shared.stop, &1_u64.to_ne_bytes());
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.tell();
    }
}

#[cfg(test)]
mod tests;
