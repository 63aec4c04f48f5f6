//! Settings of both ways. Part of `settings.json`; the port is beside it in a file of its own, which the daemon reads for apps with `trace`.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use ostler_alerts::channel::Url;
use ostler_core::logs::masking::MASK;
use serde::{Deserialize, Serialize};

/// Port at which traces are taken unless given: that of OTLP over HTTP.
pub const PORT: u16 = 4318;
/// Megabytes of traces unless given, and at most.
pub const TRACES_MB: u32 = 64;
const MOST_MB: u32 = 4096;
/// Most headers, and the longest value.
const HEADERS: usize = 16;
const LONGEST: usize = 4096;
/// Headers that are ours.
const OURS: &[&str] =
    &["host", "content-length", "content-type", "content-encoding", "transfer-encoding", "connection", "user-agent", "te", "upgrade"];

/// Everything that is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Otlp {
    /// Port at which traces are taken; none = 4318.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Whether no traces are taken.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub off: bool,
    /// Megabytes of traces at most; none = 64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traces_mb: Option<u32>,
    /// Where figures and events are sent; none = nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub push: Option<Push>,
}

/// A receiver.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Push {
    /// Its address; `/v1/metrics` and `/v1/logs` are below it.
    pub to: String,
    /// Headers of each request. Their values are secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// Whether lines of logs are sent, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub logs: bool,
}

impl fmt::Debug for Push {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Push").field("to", &self.url()).field("headers", &names).field("logs", &self.logs).finish()
    }
}

/// A reason why settings cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OtlpError {
    /// No address.
    #[error("expected the address of a receiver of OTLP over HTTP, as https://otel.example.com:4318, without a user: a header lets us in")]
    Address,
    /// No header. What is in it is not shown: it may be a secret.
    #[error("header {0} makes no sense: expected Name=value, in ASCII, at most {HEADERS} of them, and none of HTTP's own")]
    Header(usize),
    /// Too many megabytes.
    #[error("expected 1 to {MOST_MB} megabytes")]
    Megabytes,
}

impl Otlp {
    /// The port at which traces are taken; none = they are not.
    pub fn receiver_port(&self) -> Option<u16> {
        (!self.off).then_some(self.port.unwrap_or(PORT))
    }

    /// Most bytes of traces.
    pub fn traces_bytes(&self) -> usize {
        usize::try_from(self.traces_mb.unwrap_or(TRACES_MB).clamp(1, MOST_MB)).unwrap_or(64) << 20
    }

    /// True where nothing differs from what is usual.
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }

    /// Checks what a person may have written.
    ///
    /// # Errors
    /// [`OtlpError`].
    pub fn check(&self) -> Result<(), OtlpError> {
        if self.traces_mb.is_some_and(|mb| mb == 0 || mb > MOST_MB) {
            return Err(OtlpError::Megabytes);
        }
        let Some(push) = &self.push else { return Ok(()) };
        push.url().ok_or(OtlpError::Address)?;
        let bad = push.headers.iter().position(|(name, value)| !is_header(name, value));
        match bad.or((push.headers.len() > HEADERS).then_some(HEADERS)) {
            Some(at) => Err(OtlpError::Header(at + 1)),
            None => Ok(()),
        }
    }

    /// The same without secrets.
    pub fn shown(&self) -> Self {
        let mut shown = self.clone();
        if let Some(push) = &mut shown.push {
            push.headers.iter_mut().for_each(|(_, value)| MASK.clone_into(value));
            push.to =
                push.url().map_or_else(String::new, |url| format!("{}{}", url.origin(), url.path.split('?').next().unwrap_or_default()));
        }
        shown
    }
}

impl Push {
    /// The address, read; none = it is none.
    pub(crate) fn url(&self) -> Option<Url> {
        Url::parse(&self.to).filter(|url| url.user.is_none())
    }
}

fn is_header(name: &str, value: &str) -> bool {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let is_value = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    let is_ours = OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours));
    !name.is_empty() && name.len() <= 256 && name.bytes().all(is_name) && !is_ours && value.len() <= LONGEST && value.bytes().all(is_value)
}

/// The file with the port: there while traces are taken, and read by the daemon when it starts an app with `trace`.
pub fn port_file(home: &Path) -> PathBuf {
    crate::settings::names::folder(home).join("otlp-port")
}

/// Writes the port, or removes the file.
///
/// # Errors
/// The file cannot be written or removed.
pub(crate) fn tell_port(home: &Path, port: Option<u16>) -> io::Result<()> {
    use ostler_sys::fs::replace::{Durability, Writers, replace};
    let path = port_file(home);
    let Some(port) = port else {
        return match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
    };
    replace(&path, format!("{port}\n").as_bytes(), Durability::Power, Writers::Many).map_err(|error| error.source)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(to: &str, headers: &[(&str, &str)]) -> Otlp {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Otlp { push: Some(Push { to: to.into(), headers, logs: false }), ..Otlp::default() }
    }

    #[test]
    fn what_cannot_be_used() {
        for (settings, expected) in [
            (Otlp::default(), Ok(())),
            (push("http://127.0.0.1:4318", &[]), Ok(())),
            (push("https://otel.example.com/otlp", &[("X-Key", "a b=c")]), Ok(())),
            (push("otel.example.com", &[]), Err(OtlpError::Address)),
            (push("https://u:p@h/", &[]), Err(OtlpError::Address)),
            (push("http://h/\r\nX: y", &[]), Err(OtlpError::Address)),
            (push("http://h", &[("a", "b"), ("", "c")]), Err(OtlpError::Header(2))),
            (push("http://h", &[("a b", "c")]), Err(OtlpError::Header(1))),
            (push("http://h", &[("a", "b\r\nc: d")]), Err(OtlpError::Header(1))),
            (push("http://h", &[("Host", "x")]), Err(OtlpError::Header(1))),
            (push("http://h", &[("a", "b"); 17]), Err(OtlpError::Header(17))),
            (Otlp { traces_mb: Some(0), ..Otlp::default() }, Err(OtlpError::Megabytes)),
        ] {
            assert_eq!(settings.check(), expected, "{settings:?}");
        }
        let secret = push("https://h/x?key=s3cret", &[("Authorization", "Bearer s3cret")]);
        let all = format!("{secret:?} {}", serde_json::to_string(&secret.shown()).unwrap());
        assert!(!all.contains("s3cret") && all.contains("Authorization"), "{all}");
        assert_eq!(Otlp { off: true, port: Some(1), ..Otlp::default() }.receiver_port(), None);
    }
}
