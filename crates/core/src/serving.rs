//! What an app declares about its clients: sockets, spreading of connections, readiness, replacement.

use serde::{Deserialize, Serialize};

/// A socket that ostler opens for an app; every instance gets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listen {
    /// Where.
    pub at: ListenAt,
    /// Name in `LISTEN_FDNAMES`; unique in the app.
    pub name: String,
    /// Length of the queue; `None` = 511, as Node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backlog: Option<u32>,
    /// Mode of a unix socket's file; `None` = as the umask leaves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
}

/// Where a socket listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListenAt {
    /// TCP; without an address on all of both families.
    Tcp {
        /// IP address.
        address: Option<std::net::IpAddr>,
        /// 0 = any free one.
        port: u16,
    },
    /// A unix stream socket at this absolute path.
    Unix {
        /// The path.
        path: String,
    },
}

/// How connections come to the workers of a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheduling {
    /// The daemon accepts and hands each connection to the next worker.
    #[default]
    RoundRobin,
    /// One kernel queue per worker (`SO_REUSEPORT`).
    Reuseport,
    /// One kernel queue for all; whoever is first takes the connection.
    Shared,
}

/// What binds a client to a worker (round robin only).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sticky {
    /// Its address.
    Address,
    /// A cookie of this name, which holds the number of the instance. (The preload sets it.)
    Cookie(String),
}

/// What proves that an instance is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadyBy {
    /// `process.send('ready')`, or `"ready"` on the IPC channel, or `READY=1` where the app speaks sd_notify. `wait_ready: true` is this.
    Message,
    /// A cluster worker listens.
    Listening,
    /// `READY=1` by the sd_notify protocol.
    Notify,
    /// A newline on this descriptor.
    Descriptor(i32),
    /// Somebody accepts connections there.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// A request is answered as expected.
    Http(HttpProbe),
    /// A line of its output contains a match of this regular expression.
    Log(String),
    /// It has run for so long.
    Uptime {
        /// Milliseconds.
        ms: u64,
    },
}

/// One HTTP request and what is a good answer.
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
    /// Between two attempts.
    pub interval_ms: u64,
    /// For one attempt.
    pub timeout_ms: u64,
}

/// How the instances of an app are replaced by a reload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RolloutSpec {
    /// Instances at the same time; `None` = one, and two where there are more than two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<u32>,
    /// Watch the first new instance for so long, beside the old ones, before the others follow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary_ms: Option<u64>,
}

/// The number of instances follows the load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Autoscale {
    /// At least so many.
    pub min: u32,
    /// At most so many.
    pub max: u32,
    /// Mean CPU use of an instance that is aimed at, in percent of one core.
    pub cpu: u32,
}
