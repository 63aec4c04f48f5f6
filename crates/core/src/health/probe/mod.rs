//! Probes of a server: the times of the attempts, the request, and the accepted answers. The daemon
//! owns the sockets.
//!
//! ```text
//! Waiting { until } ─Tick─► (Patient { look } ─Tick─►) Trying { deadline } ─Answered(good)─► done
//!        ▲                                                │
//!        └─ Answered(bad), or the deadline passed: abort ─┘
//! ```

mod response;
mod schedule;

use std::net::IpAddr;

pub use response::{ProbeResponse, Status};
pub use schedule::{ProbeAction, Schedule, together};

use crate::health::{Check, CheckMethod};
use crate::serving::{HttpProbe, ReadyBy};

/// Request to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeRequest {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// HTTP request; none = an accepted connection is the answer.
    pub http: Option<HttpProbeRequest>,
    /// Time between the end of an attempt and the next.
    pub interval_ms: u64,
    /// Longest time of one attempt.
    pub timeout_ms: u64,
    /// Time in which the answer is not read. Answers to many requests of the same time can then be
    /// read in one pass.
    pub patience_ms: u64,
}

/// HTTP request and its accepted answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpProbeRequest {
    /// The bytes to send.
    pub request: Vec<u8>,
    /// Accepted status codes, as ranges (both ends included).
    pub expect: Vec<(u16, u16)>,
}

/// Time between two attempts to connect, and limit of each.
const CONNECT_INTERVAL_MS: u64 = 100;
const CONNECT_TIMEOUT_MS: u64 = 2000;

/// Time in which the answer to a health check is not read: most local servers have answered after
/// that.
const PATIENCE_MS: u64 = 20;

impl ProbeRequest {
    /// Returns the request for this readiness signal; none for signals that the app sends. `shift`
    /// is added to the port.
    pub fn of(by: &ReadyBy, shift: u16) -> Option<Self> {
        match by {
            ReadyBy::Tcp { host, port } => Some(Self {
                host: host.clone(),
                port: port.saturating_add(shift),
                http: None,
                interval_ms: CONNECT_INTERVAL_MS,
                timeout_ms: CONNECT_TIMEOUT_MS,
                patience_ms: 0,
            }),
            ReadyBy::Http(probe) => Some(Self::http(probe, shift)),
            ReadyBy::Message | ReadyBy::Listening | ReadyBy::Notify | ReadyBy::Descriptor(_) | ReadyBy::Log(_) | ReadyBy::Uptime { .. } => {
                None
            }
        }
    }

    /// Returns the request of a health check; none for a command. `shift` is added to the port.
    pub fn of_check(check: &Check, shift: u16) -> Option<Self> {
        let (interval_ms, timeout_ms) = (check.interval_ms.max(10), check.timeout_ms.max(1));
        let patience_ms = PATIENCE_MS.min(interval_ms / 100).min(timeout_ms / 10);
        match &check.method {
            CheckMethod::Http(probe) => Some(Self { interval_ms, timeout_ms, patience_ms, ..Self::http(probe, shift) }),
            CheckMethod::Tcp { host, port } => {
                Some(Self { host: host.clone(), port: port.saturating_add(shift), http: None, interval_ms, timeout_ms, patience_ms })
            }
            CheckMethod::Command(_) => None,
        }
    }

    /// Returns one HTTP request; `shift` is added to its port.
    pub fn http(probe: &HttpProbe, shift: u16) -> Self {
        let port = probe.port.saturating_add(shift);
        Self {
            host: probe.host.clone(),
            port,
            http: Some(HttpProbeRequest { request: request(probe, port), expect: probe.expect.clone() }),
            // There is always a pause, even if the description sets none.
            interval_ms: probe.interval_ms.max(10),
            timeout_ms: probe.timeout_ms.max(1),
            patience_ms: 0,
        }
    }
}

/// Returns an HTTP/1.1 request with `Connection: close`. Servers that reject HTTP/1.0 are as common
/// as those that keep connections open.
fn request(probe: &HttpProbe, port: u16) -> Vec<u8> {
    let HttpProbe { host, path, method, headers, .. } = probe;
    let host = if host.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6()) { format!("[{host}]") } else { host.clone() };
    // Text from a description cannot end a line.
    let clean = |text: &str| text.chars().filter(|c| !c.is_control() && *c != ' ').collect::<String>();
    let given = |name: &str| headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
    let mut request = format!("{} {} HTTP/1.1\r\n", clean(method.as_deref().unwrap_or("GET")), clean(path));
    for (name, value) in [("Host", format!("{}:{port}", clean(&host))), ("User-Agent", "ostler".into()), ("Accept", "*/*".into())] {
        if !given(name) {
            request += &format!("{name}: {value}\r\n");
        }
    }
    for (name, value) in headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("connection")) {
        let value: String = value.chars().filter(|c| !c.is_control()).collect();
        request += &format!("{}: {value}\r\n", clean(name));
    }
    request += "Connection: close\r\n\r\n";
    request.into_bytes()
}

/// Returns the addresses of a host that needs no resolver.
pub fn addresses(host: &str) -> Option<Vec<IpAddr>> {
    use std::net::{Ipv4Addr, Ipv6Addr};
    if host.eq_ignore_ascii_case("localhost") {
        return Some(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    host.parse().ok().map(|address: IpAddr| vec![address.to_canonical()])
}

impl HttpProbeRequest {
    /// Returns true if this code is an accepted answer.
    pub fn accepts(&self, code: u16) -> bool {
        self.expect.iter().any(|(first, last)| (*first..=*last).contains(&code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe() -> HttpProbe {
        HttpProbe {
            host: "localhost".into(),
            port: 3000,
            path: "/health?x=1".into(),
            expect: vec![(200, 299), (404, 404)],
            interval_ms: 100,
            timeout_ms: 50,
            method: None,
            headers: Vec::new(),
        }
    }

    #[test]
    fn probe_request_cannot_be_split_by_injected_lines() {
        let text = |probe: &HttpProbe| String::from_utf8(ProbeRequest::http(probe, 0).http.unwrap().request).unwrap();
        let expected = "GET /health?x=1 HTTP/1.1\r\nHost: localhost:3000\r\nUser-Agent: ostler\r\nAccept: */*\r\nConnection: close\r\n\r\n";
        assert_eq!(text(&probe()), expected);
        let hostile = HttpProbe { path: "/\r\nX: y\r\n\r\nGET /".into(), host: "a\r\nb".into(), ..probe() };
        assert_eq!(text(&hostile).matches("\r\n").count(), 6);
        assert!(text(&HttpProbe { host: "::1".into(), ..probe() }).contains("Host: [::1]:3000\r\n"));
        let more = vec![("host".into(), "a.example".into()), ("X-A".into(), "b\r\nEvil: 1".into()), ("Connection".into(), "keep".into())];
        let own = text(&HttpProbe { method: Some("HEAD".into()), headers: more, path: "/".into(), ..probe() });
        let expected =
            "HEAD / HTTP/1.1\r\nUser-Agent: ostler\r\nAccept: */*\r\nhost: a.example\r\nX-A: bEvil: 1\r\nConnection: close\r\n\r\n";
        assert_eq!(own, expected);
        assert_eq!(ProbeRequest::http(&HttpProbe { port: 65535, ..probe() }, 3).port, 65535);
    }

    #[test]
    fn status_code_ranges_are_accepted() {
        let http = ProbeRequest::http(&probe(), 0).http.unwrap();
        for (code, good) in [(199, false), (200, true), (299, true), (300, false), (404, true), (405, false)] {
            assert_eq!(http.accepts(code), good, "{code}");
        }
    }

    #[test]
    fn only_ip_addresses_and_localhost_resolve_without_dns() {
        assert_eq!(addresses("127.0.0.1").unwrap().len(), 1);
        assert_eq!(addresses("LocalHost").unwrap().len(), 2);
        assert_eq!(addresses("::ffff:127.0.0.1"), addresses("127.0.0.1"));
        assert_eq!(addresses("example.org"), None);
    }
}
