//! Spans in the form in which they are kept: every text and list is cut to a limit.

use serde::Serialize;

/// Maximum length of the name of a span, event or service, in bytes.
pub const NAME: usize = 200;
/// Maximum length of an attribute key, in bytes.
pub const KEY: usize = 100;
/// Maximum length of an attribute value or a status message, in bytes.
pub const VALUE: usize = 1000;
/// Maximum length of an exception's stack trace, in bytes.
pub const STACK: usize = 8000;
/// Maximum number of attributes of a span.
pub const ATTRIBUTES: usize = 48;
/// Maximum number of events of a span, and of attributes of an event.
pub const EVENTS: usize = 16;
/// Maximum number of spans in one request; the rest is refused.
pub const SPANS: usize = 20_000;

/// Attribute key of an exception's stack trace.
pub(crate) const STACK_KEY: &str = "exception.stacktrace";

/// Id of a trace.
pub type TraceId = [u8; 16];
/// Id of a span.
pub type SpanId = [u8; 8];

/// Role of a span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SpanKind {
    /// Work within a process.
    #[default]
    Internal,
    /// Handling of a request.
    Server,
    /// Outgoing request.
    Client,
    /// Sending of a message.
    Producer,
    /// Handling of a message.
    Consumer,
}

impl SpanKind {
    /// Returns the kind for its number in the protocol.
    pub(crate) fn of(number: u64) -> Self {
        match number {
            2 => Self::Server,
            3 => Self::Client,
            4 => Self::Producer,
            5 => Self::Consumer,
            _ => Self::Internal,
        }
    }

    /// Returns true if work of a service begins with this kind; a span of another service may be
    /// its parent.
    pub(crate) fn is_entry(self) -> bool {
        matches!(self, Self::Server | Self::Consumer)
    }
}

/// Attribute: key and value as text.
pub type Attribute = (Box<str>, Box<str>);

/// Event of a span.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpanEvent {
    /// Nanoseconds since 1970, by the clock of the sender.
    pub at_ns: u64,
    /// Its name: `exception`, or a name that the sender chose.
    pub name: Box<str>,
    /// Its attributes.
    pub attributes: Box<[Attribute]>,
}

/// Span: unit of work with a start and an end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Its id; unique in its trace, provided the sender is honest.
    pub id: SpanId,
    /// The parent span; none = it is a root.
    pub parent: Option<SpanId>,
    /// Its role.
    pub kind: SpanKind,
    /// True if its status is an error.
    pub failed: bool,
    /// Start in nanoseconds since 1970, by the clock of the sender.
    pub start_ns: u64,
    /// Its duration in nanoseconds; 0 if the end is before the start.
    pub took_ns: u64,
    /// Its name.
    pub name: Box<str>,
    /// Message of its status.
    pub message: Box<str>,
    /// Its attributes.
    pub attributes: Box<[Attribute]>,
    /// Its events.
    pub events: Box<[SpanEvent]>,
    /// Number of attributes and events that the sender or this program left out.
    pub left_out: u32,
}

impl Span {
    /// Returns the value of an attribute.
    pub fn attribute(&self, key: &str) -> Option<&str> {
        self.attributes.iter().find(|(has, _)| &**has == key).map(|(_, value)| &**value)
    }

    /// Returns the name of the request: method and route, else method and path without ids, else
    /// the span's name.
    pub fn route(&self) -> String {
        let first = |keys: [&str; 2]| keys.into_iter().find_map(|key| self.attribute(key));
        let method = first(["http.request.method", "http.method"]);
        let place = self.attribute("http.route").filter(|route| !route.is_empty()).map(str::to_owned);
        let path = || match self.kind {
            SpanKind::Server => first(["url.path", "http.target"]).map(without_ids),
            SpanKind::Client => first(["url.full", "http.url"]).and_then(path_of).map(without_ids),
            _ => None,
        };
        match (method, place.or_else(path)) {
            (Some(method), Some(place)) => cut(&format!("{method} {place}"), NAME),
            _ => self.name.to_string(),
        }
    }

    /// Replaces texts that may contain a secret. `hide` gets the attribute key, if any, and the
    /// text, and returns the replacement.
    pub fn hide(&mut self, hide: impl Fn(Option<&str>, &str) -> Option<String>) {
        let all = |list: &mut [Attribute]| {
            for (key, value) in list {
                if let Some(shown) = hide(Some(key), value) {
                    *value = shown.into();
                }
            }
        };
        all(&mut self.attributes);
        for event in &mut self.events {
            all(&mut event.attributes);
        }
        for text in [&mut self.name, &mut self.message] {
            if let Some(shown) = hide(None, text) {
                *text = shown.into();
            }
        }
    }
}

/// Claimed identity of a sender, from the resource of its request. It is not verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resource {
    /// `service.name`.
    pub service: Box<str>,
    /// `service.instance.id`.
    pub instance: Box<str>,
}

/// Returns the path of a URL. Returns `None` if it has none.
fn path_of(address: &str) -> Option<&str> {
    let (_, rest) = address.split_once("://")?;
    rest.find('/').map(|at| &rest[at..])
}

/// Returns a path without its query, and with `:id` for segments that look like ids.
fn without_ids(path: &str) -> String {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let is_id = |part: &str| {
        let digits = part.bytes().filter(u8::is_ascii_digit).count();
        let is_hex = part.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        digits > 0 && (digits == part.len() || is_hex && part.len() >= 8) || part.len() > 40
    };
    path.split('/').map(|part| if is_id(part) { ":id" } else { part }).collect::<Vec<_>>().join("/")
}

/// Cuts the text to `most` bytes and marks the cut.
pub(crate) fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let end = (0..=most.saturating_sub(3)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}…", &text[..end])
}

/// Decodes text and cuts it before anything is copied.
pub(crate) fn text(bytes: &[u8], most: usize) -> Box<str> {
    let begin = bytes.get(..most + 4).unwrap_or(bytes);
    cut(&String::from_utf8_lossy(begin), most).into()
}

/// Formats the id as hex.
pub fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Parses an id. Returns `None` if the text has another length, is not hex, or is all zero, which
/// is invalid.
pub fn id<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut id = [0; N];
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    for (at, byte) in id.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2).filter(|pair| !pair.starts_with('+'))?, 16).ok()?;
    }
    (id != [0; N]).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str, kind: SpanKind, attributes: &[(&str, &str)]) -> Span {
        let attributes = attributes.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        Span { name: name.into(), kind, attributes, ..Span::default() }
    }

    #[test]
    fn route_names_replace_ids_and_drop_queries() {
        for (name, kind, attributes, expected) in [
            ("GET", SpanKind::Server, &[("http.request.method", "GET"), ("http.route", "/users/:id")][..], "GET /users/:id"),
            ("GET", SpanKind::Server, &[("http.method", "GET"), ("http.target", "/users/731/posts?token=x")], "GET /users/:id/posts"),
            ("POST", SpanKind::Server, &[("http.request.method", "POST"), ("url.path", "/o/3f9a1c02-77de-4b1b/x")], "POST /o/:id/x"),
            ("GET", SpanKind::Client, &[("http.request.method", "GET"), ("url.path", "/users")], "GET"),
            ("GET", SpanKind::Client, &[("http.request.method", "GET"), ("url.full", "http://shop:80/stock/7?x=1")], "GET /stock/:id"),
            ("job", SpanKind::Internal, &[], "job"),
        ] {
            assert_eq!(with(name, kind, attributes).route(), expected);
        }
        assert_eq!(without_ids("/feed/deadbeef/cafe"), "/feed/deadbeef/cafe", "words");
    }

    #[test]
    fn ids_parse_from_hex_and_texts_are_truncated() {
        assert_eq!(id::<2>("0aFF"), Some([10, 255]));
        for bad in ["", "0a", "0000", "0a0g", "+a0b", "0a0b0c", "ää"] {
            assert_eq!(id::<2>(bad), None, "{bad}");
        }
        assert_eq!(hex(&[10, 255]), "0aff");
        assert_eq!(&*text(b"a\xff", 10), "a\u{fffd}");
        assert!(text("ü".repeat(100).as_bytes(), 9).len() <= 9);
    }
}
