//! Asking a server whether it is there: when to try, what to send, what is a good answer. Somebody else has the sockets.
//!
//! ```text
//! Waiting { until } ──Tick──► Trying { deadline } ──Answered(good)──► (done)
//!        ▲                          │
//!        └──── Answered(bad), or the deadline passed: abort ────┘
//! ```

use std::net::IpAddr;

use crate::care::{Ask, Check};
use crate::serving::{HttpProbe, ReadyBy};

/// Longest first line of an answer; a server that says more before it ends the line does not speak HTTP.
const STATUS_LINE_MAX: usize = 256;

/// What is asked, of whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// The request; none = being connected is the answer.
    pub http: Option<HttpQuestion>,
    /// Between the end of an attempt and the next.
    pub interval_ms: u64,
    /// For one attempt.
    pub timeout_ms: u64,
}

/// A request and its good answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpQuestion {
    /// The bytes to send.
    pub request: Vec<u8>,
    /// Accepted status codes, as ranges (both ends included).
    pub expect: Vec<(u16, u16)>,
}

/// Time between two attempts to connect, and for one.
const CONNECT_INTERVAL_MS: u64 = 100;
const CONNECT_TIMEOUT_MS: u64 = 2000;

impl Question {
    /// What has to be asked to see this sign of readiness; none for signs that come by themselves. `shift` is added to the port.
    pub fn of(by: &ReadyBy, shift: u16) -> Option<Self> {
        match by {
            ReadyBy::Tcp { host, port } => Some(Self {
                host: host.clone(),
                port: port.saturating_add(shift),
                http: None,
                interval_ms: CONNECT_INTERVAL_MS,
                timeout_ms: CONNECT_TIMEOUT_MS,
            }),
            ReadyBy::Http(probe) => Some(Self::http(probe, shift)),
            ReadyBy::Message | ReadyBy::Listening | ReadyBy::Notify | ReadyBy::Descriptor(_) | ReadyBy::Log(_) | ReadyBy::Uptime { .. } => {
                None
            }
        }
    }

    /// What a health check asks; none for a command. `shift` is added to the port.
    pub fn of_check(check: &Check, shift: u16) -> Option<Self> {
        let (interval_ms, timeout_ms) = (check.interval_ms.max(10), check.timeout_ms.max(1));
        match &check.ask {
            Ask::Http(probe) => Some(Self { interval_ms, timeout_ms, ..Self::http(probe, shift) }),
            Ask::Tcp { host, port } => {
                Some(Self { host: host.clone(), port: port.saturating_add(shift), http: None, interval_ms, timeout_ms })
            }
            Ask::Command(_) => None,
        }
    }

    /// One HTTP request; `shift` is added to its port.
    pub fn http(probe: &HttpProbe, shift: u16) -> Self {
        let port = probe.port.saturating_add(shift);
        Self {
            host: probe.host.clone(),
            port,
            http: Some(HttpQuestion { request: request(probe, port), expect: probe.expect.clone() }),
            // Not without pause, whatever a description says.
            interval_ms: probe.interval_ms.max(10),
            timeout_ms: probe.timeout_ms.max(1),
        }
    }
}

/// HTTP/1.1 with `Connection: close`: servers that refuse 1.0 are as common as those that keep connections open.
fn request(probe: &HttpProbe, port: u16) -> Vec<u8> {
    let HttpProbe { host, path, method, headers, .. } = probe;
    let host = if host.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6()) { format!("[{host}]") } else { host.clone() };
    // Nothing that comes from a description ends a line.
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

/// Addresses of a host that needs no looking up.
pub fn addresses(host: &str) -> Option<Vec<IpAddr>> {
    use std::net::{Ipv4Addr, Ipv6Addr};
    if host.eq_ignore_ascii_case("localhost") {
        return Some(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    host.parse().ok().map(|address| vec![address])
}

/// Reads the first line of an answer as it comes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusLine {
    seen: Vec<u8>,
}

/// What the first line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// More is needed.
    Unfinished,
    /// This code.
    Code(u16),
    /// It is no HTTP.
    Nonsense,
}

impl StatusLine {
    /// Takes more bytes.
    pub fn take(&mut self, bytes: &[u8]) -> Status {
        let room = STATUS_LINE_MAX.saturating_sub(self.seen.len());
        self.seen.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        match self.seen.iter().position(|byte| *byte == b'\n') {
            Some(end) => code(self.seen.get(..end).unwrap_or_default()).map_or(Status::Nonsense, Status::Code),
            None if self.seen.len() >= STATUS_LINE_MAX => Status::Nonsense,
            None => Status::Unfinished,
        }
    }
}

/// `HTTP/1.1 200 OK`.
fn code(line: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(line).ok()?;
    let mut words = text.strip_prefix("HTTP/")?.split_ascii_whitespace();
    let version = words.next()?;
    let code: u16 = words.next().filter(|code| code.len() == 3)?.parse().ok()?;
    (version.starts_with("1.") && (100..=999).contains(&code)).then_some(code)
}

impl HttpQuestion {
    /// Is this code a good answer?
    pub fn accepts(&self, code: u16) -> bool {
        self.expect.iter().any(|(first, last)| (*first..=*last).contains(&code))
    }
}

/// When to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Not before this time (`mono_ms`).
    Waiting {
        /// When.
        until_ms: u64,
    },
    /// An attempt is under way.
    Trying {
        /// It has failed when this time (`mono_ms`) passes.
        deadline_ms: u64,
    },
}

/// What the time says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing yet.
    Nothing,
    /// Begin an attempt.
    Begin,
    /// The attempt took too long: end it.
    Abort,
}

impl Schedule {
    /// The first attempt is made at this time.
    pub fn new(first_ms: u64) -> Self {
        Self::Waiting { until_ms: first_ms }
    }

    /// When [`Schedule::tick`] has something to say.
    pub fn due_ms(&self) -> u64 {
        match *self {
            Self::Waiting { until_ms } => until_ms,
            Self::Trying { deadline_ms } => deadline_ms,
        }
    }

    /// The time is `now_ms`.
    pub fn tick(&mut self, question: &Question, now_ms: u64) -> Turn {
        match *self {
            _ if now_ms < self.due_ms() => Turn::Nothing,
            Self::Waiting { .. } => {
                *self = Self::Trying { deadline_ms: now_ms.saturating_add(question.timeout_ms) };
                Turn::Begin
            }
            Self::Trying { .. } => {
                self.failed(question, now_ms);
                Turn::Abort
            }
        }
    }

    /// The attempt failed.
    pub fn failed(&mut self, question: &Question, now_ms: u64) {
        *self = Self::Waiting { until_ms: now_ms.saturating_add(question.interval_ms) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
    fn the_request_is_one_request() {
        let text = |probe: &HttpProbe| String::from_utf8(Question::http(probe, 0).http.unwrap().request).unwrap();
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
        assert_eq!(Question::http(&HttpProbe { port: 65535, ..probe() }, 3).port, 65535);
    }

    #[test]
    fn the_first_line_decides() {
        let read = |pieces: &[&str]| {
            let mut line = StatusLine::default();
            pieces.iter().map(|piece| line.take(piece.as_bytes())).last().unwrap()
        };
        for (pieces, expected) in [
            (&["HTTP/1.1 200 OK\r\n"][..], Status::Code(200)),
            (&["HTT", "P/1.0 4", "04 \n", "more"], Status::Code(404)),
            (&["HTTP/1.1 204\r\n"], Status::Code(204)),
            (&["HTTP/1.1 200 OK"], Status::Unfinished),
            (&[""], Status::Unfinished),
            (&["\r\n"], Status::Nonsense),
            (&["HTTP/2 200\n"], Status::Nonsense),
            (&["HTTP/1.1 2000\n"], Status::Nonsense),
            (&["HTTP/1.1 +20\n"], Status::Nonsense),
            (&["SSH-2.0-OpenSSH\r\n"], Status::Nonsense),
        ] {
            assert_eq!(read(pieces), expected, "{pieces:?}");
        }
        assert_eq!(read(&["x".repeat(300).as_str()]), Status::Nonsense);
    }

    #[test]
    fn codes_are_accepted_in_ranges() {
        let http = Question::http(&probe(), 0).http.unwrap();
        for (code, good) in [(199, false), (200, true), (299, true), (300, false), (404, true), (405, false)] {
            assert_eq!(http.accepts(code), good, "{code}");
        }
    }

    #[test]
    fn attempts_follow_each_other() {
        let question = Question::http(&probe(), 0);
        let mut schedule = Schedule::new(1000);
        assert_eq!(schedule.tick(&question, 999), Turn::Nothing);
        assert_eq!(schedule.tick(&question, 1000), Turn::Begin);
        assert_eq!(schedule.due_ms(), 1050);
        assert_eq!(schedule.tick(&question, 1049), Turn::Nothing);
        assert_eq!(schedule.tick(&question, 1050), Turn::Abort);
        assert_eq!(schedule.due_ms(), 1150);
        assert_eq!(schedule.tick(&question, 1150), Turn::Begin);
        schedule.failed(&question, 1160);
        assert_eq!(schedule.tick(&question, 1259), Turn::Nothing);
        assert_eq!(schedule.tick(&question, 1260), Turn::Begin);
    }

    #[test]
    fn only_what_is_known_needs_no_looking_up() {
        assert_eq!(addresses("127.0.0.1").unwrap().len(), 1);
        assert_eq!(addresses("LocalHost").unwrap().len(), 2);
        assert_eq!(addresses("example.org"), None);
    }

    proptest! {
        #[test]
        fn any_answer_is_read(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..8)) {
            let mut line = StatusLine::default();
            for piece in pieces {
                let _ = line.take(&piece);
            }
            prop_assert!(line.seen.len() <= STATUS_LINE_MAX);
        }
    }
}
