//! `listen`: the sockets that ostler opens for an app.

use std::net::{IpAddr, ToSocketAddrs};

use ostler_core::app::AppSpec;
use ostler_core::serving::{Listen, ListenAt, UNIX_PATH_MAX};
use serde_json::{Map, Value};

use super::{AppContext, limits};
use crate::check::{describe_value, whole};

/// Largest number of sockets. More are treated as a mistake, because each is a descriptor in every
/// process of the app.
const MAX_SOCKETS: usize = 64;

const FORMS: &str = "a port, \"host:port\", a path, or a table with `port` or `path`";
const KEYS: &[&str] = &["port", "address", "host", "path", "name", "backlog", "mode"];

/// Sets the sockets; those without a name get one by [`name`].
pub(super) fn set(spec: &mut AppSpec, value: &Value, base: &AppContext<'_>) -> Result<(), String> {
    spec.listen = match value {
        Value::Array(items) if items.len() > MAX_SOCKETS => {
            return Err(format!("{} sockets are too many (at most {MAX_SOCKETS})", items.len()));
        }
        Value::Array(items) => items.iter().map(|item| one(item, base)).collect::<Result<_, _>>()?,
        single => vec![one(single, base)?],
    };
    Ok(())
}

/// Names the sockets without a name: the first gets the name of the app, the others get `<app>-2`,
/// `<app>-3`….
pub(super) fn name(spec: &mut AppSpec) -> Result<(), String> {
    // A name of an app may contain characters that a name of a socket may not.
    let plain: String = spec.name.chars().map(|c| if c.is_ascii_graphic() && c != ':' { c } else { '-' }).take(240).collect();
    for (index, listen) in spec.listen.iter_mut().enumerate().filter(|(_, listen)| listen.name.is_empty()) {
        listen.name = if index == 0 { plain.clone() } else { format!("{plain}-{}", index + 1) };
    }
    for (index, listen) in spec.listen.iter().enumerate() {
        let before = spec.listen.get(..index).unwrap_or_default();
        if before.iter().any(|other| other.name == listen.name) {
            return Err(format!("two sockets have the name \"{}\"", listen.name));
        }
        if before.iter().any(|other| other.at == listen.at) && !matches!(listen.at, ListenAt::Tcp { port: 0, .. }) {
            return Err(format!("{} is listed twice", listen.at));
        }
    }
    Ok(())
}

fn one(value: &Value, base: &AppContext<'_>) -> Result<Listen, String> {
    let plain = |at| Listen { at, name: String::new(), backlog: None, mode: None };
    match value {
        Value::String(text) => address(text, base).map(plain),
        Value::Object(table) => described(table, base),
        other => port(other).map(|port| plain(ListenAt::Tcp { address: None, port })),
    }
}

fn described(table: &Map<String, Value>, base: &AppContext<'_>) -> Result<Listen, String> {
    known_keys(table, KEYS)?;
    let at = match (table.get("path"), table.get("port")) {
        (Some(_), Some(_)) => return Err("`path` and `port` cannot be combined".into()),
        (Some(Value::String(path)), None) => unix(path, base)?,
        (Some(other), None) => return Err(format!("expected `path` as a string, found {}", describe_value(other))),
        (None, Some(port)) => ListenAt::Tcp { address: host_of(table)?, port: self::port(port)? },
        (None, None) => return Err(format!("expected {FORMS}, found a table without them")),
    };
    let is_unix = matches!(at, ListenAt::Unix { .. });
    if is_unix && (table.contains_key("address") || table.contains_key("host")) {
        return Err("`path` and `host` cannot be combined".into());
    }
    let mode = table.get("mode").map(limits::mask).transpose()?;
    if mode.is_some() && !is_unix {
        return Err("`mode` is for a path only".into());
    }
    let backlog = table.get("backlog").map(|value| match whole(value).and_then(|n| u32::try_from(n).ok()) {
        Some(length @ 1..=0x7fff_ffff) => Ok(length),
        _ => Err(format!("expected `backlog` as a number from 1, found {}", describe_value(value))),
    });
    Ok(Listen { at, name: table.get("name").map_or(Ok(String::new()), given_name)?, backlog: backlog.transpose()?, mode })
}

/// Returns the given name of a socket, without the colon that separates names in `LISTEN_FDNAMES`.
fn given_name(value: &Value) -> Result<String, String> {
    let name = value.as_str().filter(|name| (1..=255).contains(&name.len()) && name.chars().all(|c| c.is_ascii_graphic() && c != ':'));
    name.map(str::to_owned)
        .ok_or_else(|| format!("expected `name` as a word of printable letters without a colon, found {}", describe_value(value)))
}

fn host_of(table: &Map<String, Value>) -> Result<Option<IpAddr>, String> {
    match (table.get("host"), table.get("address")) {
        (Some(_), Some(_)) => Err("`host` and `address` are the same".into()),
        (None, None) => Ok(None),
        (Some(Value::String(host)), None) | (None, Some(Value::String(host))) => self::host(host),
        (Some(other), None) | (None, Some(other)) => Err(format!("expected `host` as a string, found {}", describe_value(other))),
    }
}

fn port(value: &Value) -> Result<u16, String> {
    whole(value)
        .and_then(|port| u16::try_from(port).ok())
        .ok_or_else(|| format!("expected a port from 0 to 65535, found {}", describe_value(value)))
}

/// Reads `8080`, `:8080`, `host:8080`, `[::1]:8080`, `/path`, `./path`, `unix:path`.
fn address(text: &str, base: &AppContext<'_>) -> Result<ListenAt, String> {
    let text = text.trim();
    if let Some(path) = text.strip_prefix("unix:") {
        // A URL is accepted, too.
        return unix(path.strip_prefix("//").unwrap_or(path), base);
    }
    if text.contains('/') {
        return unix(text, base);
    }
    let unreadable = || format!("expected {FORMS}, found \"{}\"", text.escape_debug());
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let port = port.parse().map_err(|_| unreadable())?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    // In `::1:8080`, the port could be part of the address.
    if bare.is_none() && host.contains(':') {
        return Err(format!("{}: an IPv6 address needs brackets, such as \"[::1]:8080\"", unreadable()));
    }
    Ok(ListenAt::Tcp { address: self::host(bare.unwrap_or(host))?, port })
}

/// Reads an address. A name is resolved here, in the client, where the wait delays no other
/// command. None = all addresses.
fn host(text: &str) -> Result<Option<IpAddr>, String> {
    match text {
        "" | "*" => return Ok(None),
        text => {
            if let Ok(address) = text.parse() {
                return Ok(Some(address));
            }
        }
    }
    let is_name = text.len() <= 253 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    let unknown = |why: &str| format!("the host \"{}\" {why}", text.escape_debug());
    if !is_name {
        return Err(unknown("is neither an address nor a name"));
    }
    let all: Vec<IpAddr> = (text, 0).to_socket_addrs().map_err(|_| unknown("has no address"))?.map(|found| found.ip()).collect();
    // Every client that connects to `localhost` tries 127.0.0.1, but not every client tries ::1.
    all.iter().find(|address| address.is_ipv4()).or(all.first()).copied().map(Some).ok_or_else(|| unknown("has no address"))
}

fn unix(path: &str, base: &AppContext<'_>) -> Result<ListenAt, String> {
    if path.is_empty() || path.ends_with('/') {
        return Err(format!("expected the path of a socket, found \"{}\"", path.escape_debug()));
    }
    let path = base.path(path);
    if path.len() > UNIX_PATH_MAX {
        return Err(format!("{path} has {} bytes, the path of a socket may have {UNIX_PATH_MAX}", path.len()));
    }
    Ok(ListenAt::Unix { path })
}

/// Checks that every key of a table in an attribute is one of these.
pub(super) fn known_keys(table: &Map<String, Value>, known: &[&str]) -> Result<(), String> {
    match table.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => {
            let near = crate::keys::closest(key, known.iter().copied()).map(|near| format!(", did you mean `{near}`?"));
            Err(format!("unknown key `{}`{}", key.escape_debug(), near.unwrap_or_default()))
        }
    }
}

/// Returns the first TCP port that is known in advance.
pub(super) fn first_port(spec: &AppSpec) -> Option<u16> {
    spec.listen.iter().find_map(|listen| match listen.at {
        ListenAt::Tcp { port, .. } if port > 0 => Some(port),
        _ => None,
    })
}
