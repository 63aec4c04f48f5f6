//! `ready` and `http`: readiness signals of an instance.

use ostler_core::app::{AppSpec, ExecMode};
use ostler_core::health::probe::addresses;
use ostler_core::serving::{HttpProbe, ListenAt, LogPattern, ReadyBy};
use ostler_core::text::language::translated;
use ostler_core::text::units;
use ostler_core::{marked, message};
use serde_json::{Map, Value};

use super::listen::{first_port, known_keys, meant};
use crate::fault::{Fault, KeyFault, below};
use crate::values::{describe_value, whole};

/// Default time between two attempts: a completed start must be noticed soon.
const READY_INTERVAL_MS: u64 = 250;
const TIMEOUT_MS: u64 = 5000;
const FORMS: &str =
    marked!("\"message\", \"listening\", \"notify\", \"http\", or a table with one of `descriptor`, `tcp`, `http`, `log`, `uptime`");
const HTTP_KEYS: &[&str] = &[
    "host",
    "port",
    "path",
    "method",
    "headers",
    "expect_status",
    "interval",
    "timeout",
    "retries",
    "failures",
    "successes",
    "delay",
    "grace",
    "start_period",
    "action",
];

/// Reads `ready` and `http` after everything else is known. An error names the key.
pub(super) fn finish(spec: &mut AppSpec) -> Result<(), KeyFault> {
    let own = spec.given.open().get("http").map(|value| http(value, spec)).transpose().map_err(|fault| ("http", fault))?;
    if let Some(ready) = spec.given.open().get("ready") {
        let by = by(ready, spec, own).and_then(|by| Ok(fits(&by, spec).map(|()| by)?)).map_err(|fault| ("ready", fault))?;
        spec.ready.by = Some(Box::new(by));
    }
    Ok(())
}

fn by(value: &Value, spec: &AppSpec, own: Option<HttpProbe>) -> Result<ReadyBy, Fault> {
    // The interval of the health check does not apply to a start.
    let own = own
        .map(|probe| ReadyBy::Http(HttpProbe { interval_ms: READY_INTERVAL_MS, ..probe }))
        .ok_or_else(|| message!("also needs the key `http`"));
    let table = match value {
        Value::String(word) => {
            return match word.as_str() {
                "message" => Ok(ReadyBy::Message),
                "listening" => Ok(ReadyBy::Listening),
                "notify" => Ok(ReadyBy::Notify),
                "http" => Ok(own?),
                _ => {
                    let near = meant(word, &["message", "listening", "notify", "http"]);
                    Err(message!("expected {forms}, found {found}{near}", forms = translated(FORMS), found = describe_value(value), near)
                        .into())
                }
            };
        }
        Value::Object(table) => table,
        other => return Err(message!("expected {forms}, found {found}", forms = translated(FORMS), found = describe_value(other)).into()),
    };
    known_keys(table, &["descriptor", "fd", "tcp", "http", "log", "uptime"])?;
    let mut entries = table.iter();
    let (Some((kind, value)), None) = (entries.next(), entries.next()) else {
        return Err(message!("expected {forms}, found a table with {count} keys", forms = translated(FORMS), count = table.len()).into());
    };
    let read = match (kind.as_str(), value) {
        ("tcp", value) => tcp(value).map_err(Fault::from),
        ("http", Value::Bool(true)) => own.map_err(Fault::from),
        ("http", value) => http(value, spec).map(ReadyBy::Http),
        ("log", Value::String(pattern)) => match LogPattern::new(pattern) {
            Ok(_) => Ok(ReadyBy::Log(pattern.clone())),
            Err(error) => Err(format!("`log`: {error}").into()),
        },
        ("log", other) => Err(message!("expected `log` as a regular expression, found {found}", found = describe_value(other)).into()),
        ("uptime", value) => units::millis_of(value).map(|ms| ReadyBy::Uptime { ms }).ok_or_else(|| no_time("uptime", value).into()),
        (_, value) => match whole(value).and_then(|fd| i32::try_from(fd).ok()) {
            Some(fd @ 3..=255) => Ok(ReadyBy::Descriptor(fd)),
            _ => Err(message!("expected `{kind}` as a number from 3 to 255, found {found}", kind, found = describe_value(value)).into()),
        },
    };
    read.map_err(below(kind.as_str()))
}

/// Rejects signals that could never come, or would prove nothing.
fn fits(by: &ReadyBy, spec: &AppSpec) -> Result<(), String> {
    match by {
        ReadyBy::Listening if spec.mode != ExecMode::Cluster => {
            Err(message!("\"listening\" works for cluster workers only; use {{tcp: port}} for other apps"))
        }
        ReadyBy::Descriptor(fd) if usize::try_from(*fd).is_ok_and(|fd| fd < 3 + spec.listen.len()) => {
            Err(message!("descriptor {fd} is a socket of `listen`; use {least} or more", fd, least = 3 + spec.listen.len()))
        }
        ReadyBy::Tcp { host, .. } | ReadyBy::Http(HttpProbe { host, .. }) if addresses(host).is_none() => {
            Err(message!("\"{host}\" would need a DNS lookup; use an address or \"localhost\"", host))
        }
        ReadyBy::Tcp { port, .. } if listens(spec, *port) => Err(message!(
            "port {port} is a socket of `listen`: it is open before the app starts, so the check always succeeds; use {{http: …}} or \
             \"notify\"",
            port
        )),
        ReadyBy::Log(_) if !has_log(spec) => Err(message!("`log` needs a log file, and the app has no log file")),
        ReadyBy::Log(_) if spec.logs.merge_logs && spec.instances > 1 => {
            Err(message!("`log` cannot distinguish whose line it is when instances share a file; remove `merge_logs`"))
        }
        ReadyBy::Uptime { ms } if spec.ready.listen_timeout_ms.is_some_and(|timeout| timeout <= *ms) => {
            Err(message!("`uptime` must be shorter than `listen_timeout`, or it is never reached"))
        }
        _ => Ok(()),
    }
}

fn listens(spec: &AppSpec, expected_port: u16) -> bool {
    spec.listen.iter().any(|listen| matches!(listen.at, ListenAt::Tcp { port, .. } if port == expected_port))
}

/// Returns true if it has output that can be read again. A file that is not regular cannot, unless
/// a date or another format makes its output pass through ostler.
fn has_log(spec: &AppSpec) -> bool {
    let logs = &spec.logs;
    let is_file = |path: &Option<String>| path.as_deref().is_none_or(|path| !path.starts_with("/dev/") && !path.starts_with("/proc/"));
    !logs.disable_logs && (is_file(&logs.out_file) || is_file(&logs.error_file))
}

/// Reads the address in a port, or `host:port`.
pub(super) fn tcp(value: &Value) -> Result<ReadyBy, String> {
    let bad = || message!("expected `tcp` as a port or \"host:port\", found {found}", found = describe_value(value));
    let (host, port) = match value {
        Value::String(text) => text.rsplit_once(':').unwrap_or(("", text)),
        _ => ("", ""),
    };
    let port = if port.is_empty() { whole(value).and_then(|port| u16::try_from(port).ok()) } else { port.trim().parse().ok() };
    let port = port.filter(|port| *port > 0).ok_or_else(bad)?;
    Ok(ReadyBy::Tcp { host: self::host(host).ok_or_else(bad)?, port })
}

/// Returns a name or an address without brackets; `localhost` if it is empty.
fn host(text: &str) -> Option<String> {
    let bare = text.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match bare.unwrap_or(text) {
        "" => Some("localhost".into()),
        host if host.parse::<std::net::IpAddr>().is_ok() => Some(host.to_owned()),
        host if host.len() <= 253 && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')) => {
            Some(host.to_owned())
        }
        _ => None,
    }
}

/// Reads the probe in the table of `http`.
pub(super) fn http(value: &Value, spec: &AppSpec) -> Result<HttpProbe, Fault> {
    let Value::Object(table) = value else {
        return Err(message!("expected `http` as a table, found {found}", found = describe_value(value)).into());
    };
    known_keys(table, HTTP_KEYS)?;
    let time = |key: &str, default: u64| match table.get(key) {
        None => Ok(default),
        Some(value) => units::millis_of(value).filter(|ms| *ms > 0).ok_or_else(|| no_time(key, value)).map_err(below(key)),
    };
    let interval_ms = time("interval", READY_INTERVAL_MS)?;
    let timeout_ms = time("timeout", TIMEOUT_MS)?;
    let host = match table.get("host") {
        None => "localhost".to_owned(),
        Some(value) => value
            .as_str()
            .and_then(self::host)
            .ok_or_else(|| message!("expected `host` as a name or address, found {found}", found = describe_value(value)))
            .map_err(below("host"))?,
    };
    let path = match table.get("path") {
        None => "/".to_owned(),
        Some(value) => request_path(value).map_err(below("path"))?,
    };
    let expect = table.get("expect_status").map_or(Ok(vec![(200, 200)]), statuses).map_err(below("expect_status"))?;
    let method = table.get("method").map(method).transpose().map_err(below("method"))?;
    let headers = table.get("headers").map(headers).transpose().map_err(below("headers"))?.unwrap_or_default();
    let port = http_port(table, spec).map_err(below("port"))?;
    Ok(HttpProbe { host, port, path, expect, interval_ms, timeout_ms, method, headers })
}

/// Reads a word such as `HEAD`.
fn method(value: &Value) -> Result<String, String> {
    let word = value.as_str().filter(|word| (1..=32).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_alphabetic()));
    word.map(str::to_ascii_uppercase)
        .ok_or_else(|| message!("expected `method` such as \"HEAD\", found {found}", found = describe_value(value)))
}

/// Reads `{name: value}` without characters that would end a line.
fn headers(value: &Value) -> Result<Vec<(String, String)>, String> {
    let Value::Object(table) = value else {
        return Err(message!("expected `headers` as a table, found {found}", found = describe_value(value)));
    };
    if table.len() > 64 {
        return Err(message!("expected at most 64 `headers`, found {count}", count = table.len()));
    }
    let is_token =
        |name: &str| (1..=256).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
    let is_text = |text: &str| text.len() <= 4096 && !text.chars().any(char::is_control);
    let header = |(name, value): (&String, &Value)| {
        let text = crate::values::text_of(value);
        let good = is_token(name) && is_text(&text) && !value.is_object() && !value.is_array();
        good.then(|| (name.clone(), text)).ok_or_else(|| message!("`headers`: \"{name}\" cannot be sent", name = name.escape_debug()))
    };
    table.iter().map(header).collect()
}

/// Returns the port of the probe: its own, or else the first of `listen`, or else the variable
/// `PORT`.
fn http_port(table: &Map<String, Value>, spec: &AppSpec) -> Result<u16, String> {
    if let Some(value) = table.get("port") {
        let port = whole(value).and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
        return port.ok_or_else(|| message!("expected `port` as a number from 1 to 65535, found {found}", found = describe_value(value)));
    }
    let of_env = || {
        let layers: Vec<_> = spec.env.layers().collect();
        layers.iter().rev().find_map(|layer| layer.get("PORT"))?.trim().parse().ok().filter(|port| *port > 0)
    };
    first_port(spec).or_else(of_env).ok_or_else(|| message!("needs a `port`"))
}

/// Reads a path that is valid in the first line of a request.
fn request_path(value: &Value) -> Result<String, String> {
    let path = value.as_str().filter(|path| path.len() <= 2048 && path.bytes().all(|byte| byte.is_ascii_graphic()));
    match path {
        Some(path) if path.starts_with('/') => Ok(path.to_owned()),
        Some(path) if !path.is_empty() => Ok(format!("/{path}")),
        _ => Err(message!("expected `path` such as \"/health\", found {found}", found = describe_value(value))),
    }
}

/// Reads the ranges of a code, `"2xx"`, `"200-299"`, or a list of them.
fn statuses(value: &Value) -> Result<Vec<(u16, u16)>, String> {
    let bad = |value: &Value| {
        message!("expected `expect_status` as 200, \"2xx\", \"200-299\" or a list of these, found {found}", found = describe_value(value))
    };
    let one = |value: &Value| status(value).ok_or_else(|| bad(value));
    match value {
        Value::Array(items) if items.is_empty() || items.len() > 64 => Err(bad(value)),
        Value::Array(items) => items.iter().map(one).collect(),
        Value::String(text) => text.split(',').map(|part| one(&Value::from(part.trim()))).collect(),
        single => Ok(vec![one(single)?]),
    }
}

fn status(value: &Value) -> Option<(u16, u16)> {
    let valid = |code: u16| (100..=599).contains(&code).then_some(code);
    let code = |text: &str| text.trim().parse().ok().and_then(valid);
    if let Some(number) = whole(value) {
        let code = valid(u16::try_from(number).ok()?)?;
        return Some((code, code));
    }
    let text = value.as_str()?;
    if let Some(class) = text.to_ascii_lowercase().strip_suffix("xx") {
        let first = valid(class.parse::<u16>().ok()?.checked_mul(100)?)?;
        return Some((first, first + 99));
    }
    let (first, last) = text.split_once('-')?;
    Some((code(first)?, code(last)?)).filter(|(first, last)| first <= last)
}

pub(super) fn no_time(key: &str, value: &Value) -> String {
    message!("expected `{key}` as a number of milliseconds or a time such as \"3s\", found {found}", key, found = describe_value(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn status_codes_parse_in_every_form() {
        let cases = [
            (json!(200), vec![(200, 200)]),
            (json!("2xx"), vec![(200, 299)]),
            (json!("200-204"), vec![(200, 204)]),
            (json!([200, "3xx", "401"]), vec![(200, 200), (300, 399), (401, 401)]),
            (json!("200, 5XX"), vec![(200, 200), (500, 599)]),
        ];
        for (value, codes) in cases {
            assert_eq!(statuses(&value), Ok(codes), "{value}");
        }
        for value in
            [json!(99), json!("9xx"), json!("x"), json!("300-200"), json!([]), json!({}), json!(true), json!("2xx-3xx"), json!(65736)]
        {
            assert!(statuses(&value).is_err(), "{value}");
        }
    }
}
