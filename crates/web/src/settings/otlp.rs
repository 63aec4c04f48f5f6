//! Settings of both directions. They are part of `settings.json`. The port is also in a file of its
//! own, which the daemon reads for apps with `trace`.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use ostler_alerts::channel::Url;
use ostler_core::logs::masking::MASK;
use ostler_core::message;
use serde::{Deserialize, Serialize};

/// Default port for traces, the standard port of OTLP over HTTP.
pub const PORT: u16 = 4318;
/// Default and maximum memory for traces, in megabytes.
pub const TRACES_MB: u32 = 64;
const MOST_MB: u32 = 4096;
/// Maximum number of headers, and maximum length of a value.
const HEADERS: usize = 16;
const LONGEST: usize = 4096;
/// Headers that ostler sets itself.
const OURS: &[&str] =
    &["host", "content-length", "content-type", "content-encoding", "transfer-encoding", "connection", "user-agent", "te", "upgrade"];

/// Settings of OpenTelemetry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Otlp {
    /// Port for traces; none = 4318.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// True to turn the receiver of traces off.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub off: bool,
    /// Maximum memory for traces in megabytes; none = 64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traces_mb: Option<u32>,
    /// Destination of metrics and events; none = nothing is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub push: Option<Push>,
}

/// Destination of the push.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Push {
    /// Its address; `/v1/metrics` and `/v1/logs` are appended.
    pub to: String,
    /// Headers of each request. Their values are secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// Whether log lines are sent, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub logs: bool,
}

impl fmt::Debug for Push {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Push").field("to", &self.url()).field("headers", &names).field("logs", &self.logs).finish()
    }
}

/// Reason why settings cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OtlpError {
    /// The address is invalid.
    #[error(
        "{}",
        message!(
            "expected the address of an OTLP over HTTP receiver, such as https://otel.example.com:4318, without user and password: use a \
             header to authenticate"
        )
    )]
    Address,
    /// A header is invalid. Its content is not shown, because it may be a secret.
    #[error("{}", message!("header {number} is invalid: expected Name=value, in ASCII, at most {most} headers, and no header that HTTP itself uses", number = _0, most = HEADERS))]
    Header(usize),
    /// Too many megabytes.
    #[error("{}", message!("expected 1 to {most} megabytes", most = MOST_MB))]
    Megabytes,
}

impl Otlp {
    /// Returns the port for traces; none = the receiver is off.
    pub fn receiver_port(&self) -> Option<u16> {
        (!self.off).then_some(self.port.unwrap_or(PORT))
    }

    /// Returns the maximum memory for traces in bytes.
    pub fn traces_bytes(&self) -> usize {
        usize::try_from(self.traces_mb.unwrap_or(TRACES_MB).clamp(1, MOST_MB)).unwrap_or(64) << 20
    }

    /// Returns true if all settings are defaults.
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }

    /// Checks values that a user may have written.
    ///
    /// # Errors
    /// Returns an [`OtlpError`] if a value is invalid.
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

    /// Returns the settings without secrets.
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
    /// Returns the parsed address; none if it is invalid.
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

/// Returns the path of the file with the port. The file exists while traces are received; the
/// daemon reads it when it starts an app with `trace`.
pub fn port_file(home: &Path) -> PathBuf {
    crate::settings::names::folder(home).join("otlp-port")
}

/// Writes the port, or removes the file.
///
/// # Errors
/// Returns an error if the file cannot be written or removed.
pub(crate) fn write_port_file(home: &Path, port: Option<u16>) -> io::Result<()> {
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
    fn unusable_settings_are_rejected() {
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
