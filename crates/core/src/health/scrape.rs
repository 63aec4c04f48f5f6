//! `scrape`: a page with an app's own metrics, in Prometheus' text format, that the daemon reads
//! from each instance. This module only parses the setting.

use serde_json::Value;

use crate::message;

/// Longest path of a page.
const LONGEST_PATH: usize = 1024;
/// Default path.
const USUAL_PATH: &str = "/metrics";
/// Keys of the table.
const KEYS: &[&str] = &["port", "path", "increment"];

/// Location of the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scrape {
    /// Port on this machine.
    pub port: u16,
    /// Path of the page, with its query.
    pub path: String,
    /// Whether each instance has a separate port: `port` plus its number within the app.
    pub increment: bool,
}

impl Scrape {
    /// Returns the port of the instance with this number within its app; none = the port is out of
    /// range.
    pub fn port_of(&self, index: u32) -> Option<u16> {
        let more = if self.increment { u16::try_from(index).ok()? } else { 0 };
        self.port.checked_add(more)
    }
}

/// Reads the value of the key: a port, or a table with a port; none = no page is read.
///
/// # Errors
/// Returns all faults, in words that follow the key.
pub fn scrape(value: &Value) -> Result<Option<Scrape>, Vec<String>> {
    let table = match value {
        Value::Null | Value::Bool(false) => return Ok(None),
        Value::Object(table) => table,
        port => {
            let port = port_of(port).ok_or_else(|| vec![message!("expected a port from 1 to 65535, or a table such as {{port: 9100}}")])?;
            return Ok(Some(Scrape { port, path: USUAL_PATH.into(), increment: false }));
        }
    };
    let mut faults: Vec<String> = Vec::new();
    for key in table.keys().filter(|key| !KEYS.contains(&key.as_str())) {
        faults.push(message!("{key}: unknown key; expected one of {known}", key, known = KEYS.join(", ")));
    }
    let port = table.get("port").and_then(port_of);
    if port.is_none() {
        faults.push(message!("port: expected a number from 1 to 65535"));
    }
    let path = match table.get("path") {
        None => USUAL_PATH.to_owned(),
        Some(Value::String(path)) if is_path(path) => path.clone(),
        Some(_) => {
            faults.push(message!("path: expected a path that begins with / and contains no space"));
            String::new()
        }
    };
    let increment = match table.get("increment") {
        None => false,
        Some(Value::Bool(increment)) => *increment,
        Some(_) => {
            faults.push(message!("increment: expected true or false"));
            false
        }
    };
    match port {
        Some(port) if faults.is_empty() => Ok(Some(Scrape { port, path, increment })),
        _ => Err(faults),
    }
}

fn port_of(value: &Value) -> Option<u16> {
    let number = match value {
        Value::Number(number) => number.as_u64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    u16::try_from(number).ok().filter(|port| *port > 0)
}

/// Returns true if the path is valid in the first line of a request.
fn is_path(path: &str) -> bool {
    path.starts_with('/') && path.len() <= LONGEST_PATH && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn scrape_is_read_from_a_port_or_a_table() {
        let is = |port, path: &str, increment| Ok(Some(Scrape { port, path: path.into(), increment }));
        for (value, read) in [
            (json!(9100), is(9100, "/metrics", false)),
            (json!("9100"), is(9100, "/metrics", false)),
            (json!({"port": 3000, "path": "/a?b=c"}), is(3000, "/a?b=c", false)),
            (json!({"port": "3000", "increment": true}), is(3000, "/metrics", true)),
            (json!(false), Ok(None)),
            (json!(null), Ok(None)),
        ] {
            assert_eq!(scrape(&value), read, "{value}");
        }
        for (value, text) in [
            (json!(0), "expected a port"),
            (json!(70000), "expected a port"),
            (json!(true), "expected a port"),
            (json!("http://169.254.169.254/"), "expected a port"),
            (json!({}), "port: expected"),
            (json!({"port": 1, "host": "10.0.0.1"}), "host: unknown key"),
            (json!({"port": 1, "path": "metrics"}), "path: expected"),
            (json!({"port": 1, "path": "/x HTTP/1.1\r\nHost: evil"}), "path: expected"),
            (json!({"port": 1, "path": "x".repeat(5000)}), "path: expected"),
            (json!({"port": 1, "increment": 1}), "increment: expected"),
        ] {
            assert!(scrape(&value).unwrap_err().iter().any(|fault| fault.contains(text)), "{value}");
        }
        assert_eq!(scrape(&json!({"port": 0, "path": 1, "hots": 1})).unwrap_err().len(), 3, "all at once");
    }

    #[test]
    fn scrape_port_increments_per_instance() {
        let of = |port, increment, index| Scrape { port, path: String::new(), increment }.port_of(index);
        assert_eq!((of(9100, true, 2), of(9100, false, 2), of(65535, true, 1), of(1, true, 70000)), (Some(9102), Some(9100), None, None));
    }
}
