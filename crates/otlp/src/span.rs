//! Spans as they are kept: every text and list cut to a bound.

use serde::Serialize;

/// Longest name of a span, an event, a service, in bytes.
pub const NAME: usize = 200;
/// Longest key of an attribute, in bytes.
pub const KEY: usize = 100;
/// Longest value of an attribute, and of the message of a status, in bytes.
pub const VALUE: usize = 1000;
/// Longest stack trace of an exception, in bytes.
pub const STACK: usize = 8000;
/// Most attributes of a span.
pub const ATTRIBUTES: usize = 48;
/// Most events of a span, and attributes of one.
pub const EVENTS: usize = 16;
/// Most spans of one request; the rest is refused.
pub const SPANS: usize = 20_000;

/// Key under which an exception has its stack.
pub(crate) const STACK_KEY: &str = "exception.stacktrace";

/// Id of a trace.
pub type TraceId = [u8; 16];
/// Id of a span.
pub type SpanId = [u8; 8];

/// Role of a span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Work within a process.
    #[default]
    Internal,
    /// A request that is answered.
    Server,
    /// A request that is made.
    Client,
    /// A message that is sent.
    Producer,
    /// A message that is handled.
    Consumer,
}

impl Kind {
    /// By its number in the protocol.
    pub(crate) fn of(number: u64) -> Self {
        match number {
            2 => Self::Server,
            3 => Self::Client,
            4 => Self::Producer,
            5 => Self::Consumer,
            _ => Self::Internal,
        }
    }

    /// True where work of a service begins: another may be above it.
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
    /// Its name: `exception`, or what the sender chose.
    pub name: Box<str>,
    /// Its attributes.
    pub attributes: Box<[Attribute]>,
}

/// Span: work with a begin and an end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Its id; unique in its trace, if the sender is honest.
    pub id: SpanId,
    /// The span that it is a part of; none = it is a root.
    pub parent: Option<SpanId>,
    /// Its role.
    pub kind: Kind,
    /// Whether its status is an error.
    pub failed: bool,
    /// Begin: nanoseconds since 1970, by the clock of the sender.
    pub start_ns: u64,
    /// Its length in nanoseconds; 0 where it ends before it begins.
    pub took_ns: u64,
    /// What it is.
    pub name: Box<str>,
    /// What the status says.
    pub message: Box<str>,
    /// Its attributes.
    pub attributes: Box<[Attribute]>,
    /// Its events.
    pub events: Box<[SpanEvent]>,
    /// Attributes and events that the sender or we left out.
    pub left_out: u32,
}

impl Span {
    /// The value of an attribute.
    pub fn attribute(&self, key: &str) -> Option<&str> {
        self.attributes.iter().find(|(has, _)| &**has == key).map(|(_, value)| &**value)
    }

    /// Name of what was asked for: method and route, else method and path without ids, else its own name.
    pub fn route(&self) -> String {
        let first = |keys: [&str; 2]| keys.into_iter().find_map(|key| self.attribute(key));
        let method = first(["http.request.method", "http.method"]);
        let place = self.attribute("http.route").filter(|route| !route.is_empty()).map(str::to_owned);
        let path = || match self.kind {
            Kind::Server => first(["url.path", "http.target"]).map(without_ids),
            Kind::Client => first(["url.full", "http.url"]).and_then(path_of).map(without_ids),
            _ => None,
        };
        match (method, place.or_else(path)) {
            (Some(method), Some(place)) => cut(&format!("{method} {place}"), NAME),
            _ => self.name.to_string(),
        }
    }

    /// Hands each text that may have a secret in it to `hide`, which returns what is shown instead. `key` of the second argument is the attribute's.
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

/// Whoever says that it sends: what is in its resource, and nobody has checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resource {
    /// `service.name`.
    pub service: Box<str>,
    /// `service.instance.id`.
    pub instance: Box<str>,
}

/// The path of an address; none = it has none.
fn path_of(address: &str) -> Option<&str> {
    let (_, rest) = address.split_once("://")?;
    rest.find('/').map(|at| &rest[at..])
}

/// A path without its query, and with `:id` where a part of it looks like one.
fn without_ids(path: &str) -> String {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let is_id = |part: &str| {
        let digits = part.bytes().filter(u8::is_ascii_digit).count();
        let is_hex = part.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        digits > 0 && (digits == part.len() || is_hex && part.len() >= 8) || part.len() > 40
    };
    path.split('/').map(|part| if is_id(part) { ":id" } else { part }).collect::<Vec<_>>().join("/")
}

/// The text cut to so many bytes, with a sign that it was.
pub(crate) fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let end = (0..=most.saturating_sub(3)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}…", &text[..end])
}

/// Text in these bytes, cut before anything of it is copied.
pub(crate) fn text(bytes: &[u8], most: usize) -> Box<str> {
    let begin = bytes.get(..most + 4).unwrap_or(bytes);
    cut(&String::from_utf8_lossy(begin), most).into()
}

/// The id as text.
pub fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The id in this text; none = it has another length, is no hex, or is all zero, which is no id.
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

    fn with(name: &str, kind: Kind, attributes: &[(&str, &str)]) -> Span {
        let attributes = attributes.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        Span { name: name.into(), kind, attributes, ..Span::default() }
    }

    #[test]
    fn names_of_routes() {
        for (name, kind, attributes, expected) in [
            ("GET", Kind::Server, &[("http.request.method", "GET"), ("http.route", "/users/:id")][..], "GET /users/:id"),
            ("GET", Kind::Server, &[("http.method", "GET"), ("http.target", "/users/731/posts?token=x")], "GET /users/:id/posts"),
            ("POST", Kind::Server, &[("http.request.method", "POST"), ("url.path", "/o/3f9a1c02-77de-4b1b/x")], "POST /o/:id/x"),
            ("GET", Kind::Client, &[("http.request.method", "GET"), ("url.path", "/users")], "GET"),
            ("GET", Kind::Client, &[("http.request.method", "GET"), ("url.full", "http://shop:80/stock/7?x=1")], "GET /stock/:id"),
            ("job", Kind::Internal, &[], "job"),
        ] {
            assert_eq!(with(name, kind, attributes).route(), expected);
        }
        assert_eq!(without_ids("/feed/deadbeef/cafe"), "/feed/deadbeef/cafe", "words");
    }

    #[test]
    fn ids_and_texts() {
        assert_eq!(id::<2>("0aFF"), Some([10, 255]));
        for bad in ["", "0a", "0000", "0a0g", "+a0b", "0a0b0c", "ää"] {
            assert_eq!(id::<2>(bad), None, "{bad}");
        }
        assert_eq!(hex(&[10, 255]), "0aff");
        assert_eq!(&*text(b"a\xff", 10), "a\u{fffd}");
        assert!(text("ü".repeat(100).as_bytes(), 9).len() <= 9);
    }
}
