//! Queries of workers for sockets.

use serde_json::{Map, Value};

use crate::platform::rights::Rights;

/// Parsed `queryServer` message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Query {
    pub kind: SocketKind,
    /// Host address, or path of a unix socket; `None` = all addresses.
    pub address: Option<String>,
    pub port: u16,
    pub backlog: i32,
    /// 1 = IPv6 only, 4 = reuse address (UDP).
    pub flags: u64,
    /// Counter of the queries for one address in one worker. It distinguishes `listen(0)` calls.
    pub index: u64,
    /// Number of a descriptor of the primary, if the worker named one.
    pub fd: Option<i64>,
    /// Rights with which the socket is opened.
    pub rights: Rights,
}

/// Kind of socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SocketKind {
    Tcp4,
    Tcp6,
    Unix,
    Udp4,
    Udp6,
}

impl Query {
    /// Reads the worker's message. Missing or absurd fields get Node's default.
    pub(super) fn parse(message: &Map<String, Value>) -> Self {
        let number = |name: &str| message.get(name).and_then(Value::as_i64);
        let kind = match message.get("addressType") {
            Some(Value::String(kind)) if kind == "udp4" => SocketKind::Udp4,
            Some(Value::String(kind)) if kind == "udp6" => SocketKind::Udp6,
            Some(Value::Number(kind)) if kind.as_i64() == Some(6) => SocketKind::Tcp6,
            Some(Value::Number(kind)) if kind.as_i64() == Some(-1) => SocketKind::Unix,
            _ => SocketKind::Tcp4,
        };
        let address = message.get("address").and_then(Value::as_str).filter(|text| !text.is_empty());
        Self {
            kind,
            address: address.map(|text| if kind == SocketKind::Unix { without_folder(text) } else { text }.to_owned()),
            port: number("port").and_then(|port| u16::try_from(port).ok()).unwrap_or(0),
            backlog: number("backlog").and_then(|backlog| i32::try_from(backlog).ok()).filter(|backlog| *backlog > 0).unwrap_or(511),
            flags: number("flags").and_then(|flags| u64::try_from(flags).ok()).unwrap_or(0),
            index: number("index").and_then(|index| u64::try_from(index).ok()).unwrap_or(0),
            fd: number("fd").filter(|fd| *fd >= 0),
            rights: Rights::default(),
        }
    }

    /// Returns true if it can be answered at all.
    pub(super) fn is_sane(&self) -> bool {
        self.address.as_ref().is_none_or(|address| address.len() <= MAX_ADDRESS_BYTES)
    }

    /// Returns true for datagrams, which have no connections that could be handed over one by one.
    pub(super) fn is_udp(&self) -> bool {
        matches!(self.kind, SocketKind::Udp4 | SocketKind::Udp6)
    }

    /// Returns true for TCP. Only TCP can have several sockets for one port.
    pub(super) fn is_tcp(&self) -> bool {
        matches!(self.kind, SocketKind::Tcp4 | SocketKind::Tcp6)
    }

    /// Returns the listener's name among those of the app.
    pub(super) fn key(&self) -> String {
        let address = self.address.as_deref().unwrap_or("null");
        let index = if self.port == 0 && self.kind != SocketKind::Unix { format!(":{}", self.index) } else { String::new() };
        format!("{address}:{}:{:?}:{}{index}", self.port, self.kind, self.fd.unwrap_or(-1))
    }

    /// Returns Node's name for the handle.
    pub(super) fn handle_type(&self) -> &'static str {
        match self.kind {
            SocketKind::Tcp4 | SocketKind::Tcp6 | SocketKind::Unix => "net.Native",
            SocketKind::Udp4 | SocketKind::Udp6 => "dgram.Native",
        }
    }
}

/// Longest path of a socket's file, with room for the folder.
const MAX_ADDRESS_BYTES: usize = 4096;

/// Returns the path without the folder. Node puts the folder even before an abstract name
/// (`/app/\0name`), so the name would differ in each folder.
fn without_folder(path: &str) -> &str {
    path.find('\0').map_or(path, |at| &path[at..])
}

/// Returns true if a key means the same to every app. A port that the kernel chooses, a number of
/// the worker's own, or a path from its folder does not.
pub(super) fn is_shareable(key: &str) -> bool {
    match path_of(key) {
        Some(path) => path.starts_with(['/', '\0']),
        None => {
            let mut parts = key.rsplitn(4, ':');
            parts.next() == Some("-1") && parts.nth(1).is_some_and(|port| port != "0")
        }
    }
}

/// Returns the path of a unix socket's key.
pub(super) fn path_of(key: &str) -> Option<&str> {
    key.strip_suffix(":0:Unix:-1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn key(value: Value) -> String {
        Query::parse(value.as_object().expect("an object")).key()
    }

    #[test]
    fn listener_key_depends_on_address_and_port_not_on_worker() {
        let plain = key(json!({"port": 3000, "address": null, "addressType": 4, "index": 0}));
        assert_eq!(plain, key(json!({"port": 3000, "address": null, "addressType": 4, "index": 3})));
        assert_ne!(plain, key(json!({"port": 3001, "address": null, "addressType": 4})));
        assert_ne!(plain, key(json!({"port": 3000, "address": "127.0.0.1", "addressType": 4})));
    }

    #[test]
    fn nth_listen_on_port_0_of_each_worker_shares_a_port() {
        let first = key(json!({"port": 0, "addressType": 4, "index": 0}));
        assert_eq!(first, key(json!({"port": 0, "addressType": 4, "index": 0})));
        assert_ne!(first, key(json!({"port": 0, "addressType": 4, "index": 1})));
    }

    #[test]
    fn unix_socket_key_contains_its_path() {
        for (path, known) in [("/run/a.sock", "/run/a.sock"), ("/app/\0name", "\0name"), ("/x:0:Unix:-1", "/x:0:Unix:-1")] {
            assert_eq!(path_of(&key(json!({"port": -1, "addressType": -1, "address": path}))), Some(known));
        }
        assert_eq!(path_of(&key(json!({"port": 80, "addressType": 4}))), None);
    }

    #[test]
    fn only_unambiguous_addresses_are_shared() {
        for (query, shared) in [
            (json!({"port": 80, "addressType": 4, "address": null}), true),
            (json!({"port": 80, "addressType": 6, "address": "2001:db8:0:1::1"}), true),
            (json!({"port": 53, "addressType": "udp4"}), true),
            (json!({"port": 0, "addressType": 4, "index": 0}), false),
            (json!({"port": 0, "addressType": 4, "fd": 3}), false),
            (json!({"port": -1, "addressType": -1, "address": "/run/x.sock"}), true),
            (json!({"port": -1, "addressType": -1, "address": "x.sock"}), false),
        ] {
            assert_eq!(is_shareable(&key(query.clone())), shared, "{query}");
        }
    }

    #[test]
    fn malformed_query_is_parsed() {
        assert_eq!(
            Query::parse(json!({"port": 1e30, "backlog": false, "fd": -1, "addressType": [], "address": 5}).as_object().unwrap()).port,
            0
        );
    }
}
