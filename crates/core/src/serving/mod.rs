//! Serving: an app's declarations for its clients: sockets, distribution of connections, readiness,
//! replacement.

pub mod balance;
pub mod budget;
pub mod interception;
pub mod probe_route;
pub mod retiring;
pub mod shards;
pub mod sticky;
pub mod unanswered;

use std::fmt;

use crate::message;

use serde::{Deserialize, Serialize};

/// Socket that ostler opens for an app; every instance gets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listen {
    /// Its address.
    pub at: ListenAt,
    /// Name in `LISTEN_FDNAMES`; unique in the app.
    pub name: String,
    /// Length of the queue; `None` = 511, as in Node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backlog: Option<u32>,
    /// Mode of a unix socket's file; `None` = as set by the umask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
}

/// Address at which a socket listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListenAt {
    /// TCP; without an address, on all addresses of both families.
    Tcp {
        /// IP address.
        address: Option<std::net::IpAddr>,
        /// Port; 0 = any free port.
        port: u16,
    },
    /// TCP on all addresses of IPv6, but of IPv4 none: beside it, another socket can have the port
    /// in IPv4. Configuration files have no form for it; programs open such ports.
    TcpV6 {
        /// Port.
        port: u16,
    },
    /// A unix stream socket at this absolute path.
    Unix {
        /// The path.
        path: String,
    },
}

/// Distribution of connections to the workers of a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheduling {
    /// The daemon accepts and hands each connection to the next worker.
    #[default]
    RoundRobin,
    /// One kernel queue per worker (`SO_REUSEPORT`).
    Reuseport,
    /// One kernel queue for all; the first worker that accepts gets the connection.
    Shared,
}

/// Stickiness: what binds a client to a worker (round robin only).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sticky {
    /// Its address.
    Address,
    /// A cookie of this name, which holds the number of the instance. (The preload sets it.)
    Cookie(String),
}

/// Signal that proves that an instance is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadyBy {
    /// `process.send('ready')`, or `"ready"` on the IPC channel, or `READY=1` if the app uses
    /// sd_notify. `wait_ready: true` means this.
    Message,
    /// A cluster worker listens.
    Listening,
    /// `READY=1` by the sd_notify protocol.
    Notify,
    /// A newline on this descriptor.
    Descriptor(i32),
    /// A port that accepts connections.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// An HTTP request with an accepted answer.
    Http(HttpProbe),
    /// A line of its output with a match of this regular expression.
    Log(String),
    /// Uptime.
    Uptime {
        /// Milliseconds.
        ms: u64,
    },
}

/// One HTTP request and its accepted answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpProbe {
    /// Name or address to connect to, and the `Host` header.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path and query.
    pub path: String,
    /// Accepted status codes, as ranges (both ends included).
    pub expect: Vec<(u16, u16)>,
    /// Time between two attempts.
    pub interval_ms: u64,
    /// Longest time of one attempt.
    pub timeout_ms: u64,
    /// `GET` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Further header lines of the request, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
}

/// Replacement of an app's instances by a reload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RolloutSpec {
    /// Instances at the same time; `None` = one, or two for apps with more than two instances.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<u32>,
    /// Time for which the first new instance is watched beside the old ones before the others
    /// follow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary_ms: Option<u64>,
}

/// Range of the number of instances, which follows the load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutoscaleSettings {
    /// Least number.
    pub min: u32,
    /// Largest number.
    pub max: u32,
    /// Target: mean CPU use of an instance, in percent of one core.
    pub cpu: u32,
}

/// Longest path of a unix socket.
pub const UNIX_PATH_MAX: usize = 107;

impl ListenAt {
    /// Returns the port, if it is one of TCP.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp { port, .. } | Self::TcpV6 { port } => Some(*port),
            Self::Unix { .. } => None,
        }
    }
}

impl fmt::Display for ListenAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { address: None, port } => f.write_str(&message!("port {port}", port)),
            Self::TcpV6 { port } => f.write_str(&message!("IPv6 port {port}", port)),
            Self::Tcp { address: Some(address), port } => write!(f, "{}", std::net::SocketAddr::new(*address, *port)),
            Self::Unix { path } => f.write_str(path),
        }
    }
}

/// `{fd}` or `{fd:name}` in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FdWord<'a> {
    /// Its position in the text.
    pub range: (usize, usize),
    /// Name of the socket; none = the first.
    pub name: Option<&'a str>,
}

/// Returns every `{fd}` and `{fd:name}` of a text, in order.
pub fn fd_words(text: &str) -> impl Iterator<Item = FdWord<'_>> {
    let mut from = 0;
    std::iter::from_fn(move || {
        loop {
            let start = from + text.get(from..)?.find("{fd")?;
            let rest = text.get(start + 3..)?;
            let end = rest.find('}').map(|end| (rest.get(..end).unwrap_or_default(), start + 3 + end + 1));
            from = start + 3;
            let name = match end {
                Some(("", _)) => None,
                Some((inner, _)) if inner.starts_with(':') => inner.get(1..),
                _ => continue,
            };
            let (_, end) = end?;
            from = end;
            return Some(FdWord { range: (start, end), name });
        }
    })
}

/// Number of the first declared socket in the app's processes, by the protocol of socket
/// activation.
pub const FIRST_FD: i32 = 3;

/// Returns the declared sockets, each with a key that is unique in its app. The key is the address,
/// so a new name or position in the list keeps the key. Sockets on a port that the kernel chooses
/// are numbered in their order.
pub fn keyed(sockets: &[Listen]) -> impl Iterator<Item = (&Listen, String)> {
    let mut any_port = 0;
    sockets.iter().map(move |listen| {
        let key = match &listen.at {
            ListenAt::Tcp { port: 0, .. } => {
                any_port += 1;
                format!("{}#{any_port}", listen.at)
            }
            at => at.to_string(),
        };
        (listen, key)
    })
}

/// Name in `{fd:name}` that no socket has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", message!("{{fd:{name}}}: no socket of `listen` has this name", name = _0))]
pub struct UnknownSocket(pub String);

/// Replaces `{fd}` and `{fd:name}` in a text by the numbers of the sockets; the first socket has
/// the number `first`.
///
/// # Errors
/// Returns an error if no socket has one of the names.
pub fn with_numbers(text: &str, sockets: &[Listen], first: i32) -> Result<String, UnknownSocket> {
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for word in fd_words(text) {
        let index = match word.name {
            None => Some(0),
            Some(name) => sockets.iter().position(|listen| listen.name == name),
        };
        let index = index.ok_or_else(|| UnknownSocket(word.name.unwrap_or_default().to_owned()))?;
        out.push_str(text.get(done..word.range.0).unwrap_or_default());
        out.push_str(&first.saturating_add(i32::try_from(index).unwrap_or(0)).to_string());
        done = word.range.1;
    }
    out.push_str(text.get(done..).unwrap_or_default());
    Ok(out)
}

/// Reason why a text is no regular expression.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PatternError {
    /// Text that is too long; its length in bytes.
    #[error("{}", message!("a regular expression is limited to {most} bytes, this has {length}", most = PATTERN_MAX, length = _0))]
    TooLong(usize),
    /// Text with a wrong syntax, or an expression that needs too much memory.
    #[error(transparent)]
    Syntax(#[from] regex_lite::Error),
}

/// Longest regular expression for a log line.
const PATTERN_MAX: usize = 1000;

/// Regular expression of [`ReadyBy::Log`]. Matching takes time in proportion to the line, for any
/// expression.
#[derive(Clone, Debug)]
pub struct LogPattern(regex_lite::Regex);

impl LogPattern {
    /// Reads the expression.
    ///
    /// # Errors
    /// Returns the reason why it is invalid.
    pub fn new(pattern: &str) -> Result<Self, PatternError> {
        if pattern.len() > PATTERN_MAX {
            return Err(PatternError::TooLong(pattern.len()));
        }
        Ok(Self(regex_lite::RegexBuilder::new(pattern).size_limit(1 << 20).build()?))
    }

    /// Returns true if it matches this line.
    pub fn is_in(&self, line: &[u8]) -> bool {
        self.0.is_match(&String::from_utf8_lossy(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sockets() -> Vec<Listen> {
        let listen = |name: &str, port| Listen { at: ListenAt::Tcp { address: None, port }, name: name.into(), backlog: None, mode: None };
        vec![listen("web", 80), listen("admin", 81)]
    }

    #[test]
    fn sockets_are_keyed_by_address() {
        let listen = |address: Option<&str>, port| Listen {
            at: ListenAt::Tcp { address: address.map(|text| text.parse().unwrap()), port },
            name: String::new(),
            backlog: None,
            mode: None,
        };
        let v6 = Listen { at: ListenAt::TcpV6 { port: 80 }, ..listen(None, 0) };
        let sockets = [listen(None, 0), listen(Some("::1"), 80), listen(None, 80), listen(None, 0), v6, listen(Some("::"), 80)];
        let keys: Vec<String> = keyed(&sockets).map(|(_, key)| key).collect();
        assert_eq!(keys, ["port 0#1", "[::1]:80", "port 80", "port 0#2", "IPv6 port 80", "[::]:80"]);
    }

    #[test]
    fn fd_placeholders_become_descriptor_numbers() {
        let cases = [
            ("--fd={fd}", "--fd=3"),
            ("fd://{fd:admin},fd://{fd:web}", "fd://4,fd://3"),
            ("{fd}{fd}", "33"),
            ("{fdx} {fd", "{fdx} {fd"),
            ("{fdx{fd}", "{fdx3"),
            ("é{fd}é", "é3é"),
            ("", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(with_numbers(text, &sockets(), 3).as_deref(), Ok(expected), "{text}");
        }
        assert_eq!(with_numbers("{fd:other}", &sockets(), 3), Err(UnknownSocket("other".into())));
        assert_eq!(with_numbers("{fd:}", &sockets(), 3), Err(UnknownSocket(String::new())));
    }

    #[test]
    fn log_pattern_size_is_bounded() {
        assert!(LogPattern::new("listening on .*:\\d+").is_ok_and(|pattern| pattern.is_in(b"\xff listening on :80")));
        assert!(LogPattern::new("(").is_err());
        assert!(LogPattern::new(&"a".repeat(1001)).is_err());
        assert!(LogPattern::new("(a{500}){500}").is_err());
    }
}
