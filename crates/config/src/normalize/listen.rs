//! `listen`: the sockets that ostler opens for an app.

use std::net::{IpAddr, ToSocketAddrs};

use ostler_core::app::AppSpec;
use ostler_core::serving::{Listen, ListenAt, UNIX_PATH_MAX};
use ostler_core::text::language::translated;
use ostler_core::{marked, message};
use serde_json::{Map, Value};

use super::{AppContext, limits};
use crate::fault::{Fault, below};
use crate::keys::did_you_mean;
use crate::values::{describe_value, whole};

/// Largest number of sockets. More are treated as a mistake, because each is a descriptor in every
/// process of the app.
const MAX_SOCKETS: usize = 64;

const FORMS: &str = marked!("a port, \"host:port\", a path, or a table with `port` or `path`");
const KEYS: &[&str] = &["port", "address", "host", "path", "name", "backlog", "mode"];

/// Sets the sockets; those without a name get one by [`name`].
pub(super) fn set(spec: &mut AppSpec, value: &Value, base: &AppContext<'_>) -> Result<(), Fault> {
    spec.listen = match value {
        Value::Array(items) if items.len() > MAX_SOCKETS => {
            return Err(message!("{count} sockets are too many (at most {most})", count = items.len(), most = MAX_SOCKETS).into());
        }
        Value::Array(items) => {
            let sockets = items.iter().enumerate().map(|(index, item)| one(item, base).map_err(below(index)));
            sockets.collect::<Result<_, _>>()?
        }
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
            return Err(message!("two sockets have the name \"{name}\"", name = listen.name));
        }
        if before.iter().any(|other| other.at == listen.at) && !matches!(listen.at, ListenAt::Tcp { port: 0, .. }) {
            return Err(message!("{address} is listed twice", address = listen.at));
        }
    }
    Ok(())
}

fn one(value: &Value, base: &AppContext<'_>) -> Result<Listen, Fault> {
    let plain = |at| Listen { at, name: String::new(), backlog: None, mode: None };
    match value {
        Value::String(text) => Ok(plain(address(text, base)?)),
        Value::Object(table) => described(table, base),
        other => Ok(plain(ListenAt::Tcp { address: None, port: port(other)? })),
    }
}

fn described(table: &Map<String, Value>, base: &AppContext<'_>) -> Result<Listen, Fault> {
    known_keys(table, KEYS)?;
    let at = match (table.get("path"), table.get("port")) {
        (Some(_), Some(_)) => return Err(message!("`path` and `port` cannot be combined").into()),
        (Some(Value::String(path)), None) => unix(path, base).map_err(below("path"))?,
        (Some(other), None) => {
            return Err(Fault::from(message!("expected `path` as a string, found {found}", found = describe_value(other))).below("path"));
        }
        (None, Some(port)) => ListenAt::Tcp { address: host_of(table)?, port: self::port(port).map_err(below("port"))? },
        (None, None) => return Err(message!("expected {forms}, found a table without them", forms = translated(FORMS)).into()),
    };
    let is_unix = matches!(at, ListenAt::Unix { .. });
    if is_unix && (table.contains_key("address") || table.contains_key("host")) {
        return Err(message!("`path` and `host` cannot be combined").into());
    }
    let mode = table.get("mode").map(limits::mask).transpose().map_err(below("mode"))?;
    if mode.is_some() && !is_unix {
        return Err(message!("`mode` is for a path only").into());
    }
    let backlog = table.get("backlog").map(|value| match whole(value).and_then(|n| u32::try_from(n).ok()) {
        Some(length @ 1..=0x7fff_ffff) => Ok(length),
        _ => Err(message!("expected `backlog` as a number from 1, found {found}", found = describe_value(value))),
    });
    let name = table.get("name").map_or(Ok(String::new()), given_name).map_err(below("name"))?;
    Ok(Listen { at, name, backlog: backlog.transpose().map_err(below("backlog"))?, mode })
}

/// Returns the given name of a socket, without the colon that separates names in `LISTEN_FDNAMES`.
fn given_name(value: &Value) -> Result<String, String> {
    let name = value.as_str().filter(|name| (1..=255).contains(&name.len()) && name.chars().all(|c| c.is_ascii_graphic() && c != ':'));
    name.map(str::to_owned).ok_or_else(|| {
        message!("expected `name` as a word of printable letters without a colon, found {found}", found = describe_value(value))
    })
}

fn host_of(table: &Map<String, Value>) -> Result<Option<IpAddr>, String> {
    match (table.get("host"), table.get("address")) {
        (Some(_), Some(_)) => Err(message!("`host` and `address` are the same")),
        (None, None) => Ok(None),
        (Some(Value::String(host)), None) | (None, Some(Value::String(host))) => self::host(host),
        (Some(other), None) | (None, Some(other)) => {
            Err(message!("expected `host` as a string, found {found}", found = describe_value(other)))
        }
    }
}

fn port(value: &Value) -> Result<u16, String> {
    whole(value)
        .and_then(|port| u16::try_from(port).ok())
        .ok_or_else(|| message!("expected a port from 0 to 65535, found {found}", found = describe_value(value)))
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
    let unreadable = || message!("expected {forms}, found \"{found}\"", forms = translated(FORMS), found = text.escape_debug());
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let port = port.parse().map_err(|_| unreadable())?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    // In `::1:8080`, the port could be part of the address.
    if bare.is_none() && host.contains(':') {
        return Err(message!("{problem}: an IPv6 address needs brackets, such as \"[::1]:8080\"", problem = unreadable()));
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
    let no_address = || message!("the host \"{host}\" has no address", host = text.escape_debug());
    if !is_name {
        return Err(message!("the host \"{host}\" is neither an address nor a name", host = text.escape_debug()));
    }
    let all: Vec<IpAddr> = (text, 0).to_socket_addrs().map_err(|_| no_address())?.map(|found| found.ip()).collect();
    // Every client that connects to `localhost` tries 127.0.0.1, but not every client tries ::1.
    all.iter().find(|address| address.is_ipv4()).or(all.first()).copied().map(Some).ok_or_else(no_address)
}

fn unix(path: &str, base: &AppContext<'_>) -> Result<ListenAt, String> {
    if path.is_empty() || path.ends_with('/') {
        return Err(message!("expected the path of a socket, found \"{found}\"", found = path.escape_debug()));
    }
    let path = base.path(path);
    if path.len() > UNIX_PATH_MAX {
        return Err(message!(
            "{path} has {count} bytes, the path of a socket may have {most}",
            path,
            count = path.len(),
            most = UNIX_PATH_MAX
        ));
    }
    Ok(ListenAt::Unix { path })
}

/// Checks that every key of a table in an attribute is one of these.
pub(super) fn known_keys(table: &Map<String, Value>, known: &[&str]) -> Result<(), Fault> {
    match table.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => {
            let near = did_you_mean(key, known.iter().copied()).map(|question| message!(", {question}", question));
            Err(Fault::from(message!("unknown key `{key}`{near}", key = key.escape_debug(), near = near.unwrap_or_default()))
                .below(key.as_str()))
        }
    }
}

/// Returns `, did you mean "word"?` for a word that is close to one of these.
pub(super) fn meant(word: &str, known: &[&str]) -> String {
    did_you_mean(word, known.iter().copied())
        .map(|question| message!(", {question}", question = question.replace('`', "\"")))
        .unwrap_or_default()
}

/// Returns the first TCP port that is known in advance.
pub(super) fn first_port(spec: &AppSpec) -> Option<u16> {
    spec.listen.iter().find_map(|listen| match listen.at {
        ListenAt::Tcp { port, .. } if port > 0 => Some(port),
        _ => None,
    })
}
