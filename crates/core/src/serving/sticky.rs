//! Stickiness: identifies the client from the first bytes of a connection.

use std::net::{IpAddr, SocketAddr};

/// Longest head of a request that is read.
pub const MAX_HEAD_BYTES: usize = 16 << 10;

/// Part of a head that is searched for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StickyKey {
    /// A cookie of this name with the number of an instance, and perhaps of its process.
    Cookie(String),
    /// The address of the client as a proxy reports it.
    Forwarded,
}

/// Result of a search in the first bytes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StickyMatch {
    /// The cookie names this instance.
    Instance(u32),
    /// The cookie names this instance, and the incarnation of its process.
    Process(u32, u32),
    /// The proxy names this client.
    Client(IpAddr),
    /// A request without it.
    Absent,
    /// No readable request: TLS, HTTP/2, a head that is too long or never arrives.
    Nothing,
    /// The end of the head has not arrived yet.
    More,
}

/// Searches the head of an HTTP/1 request for `Cookie: …; name=<number>; …`, or for the client in
/// `X-Forwarded-For`, `Forwarded` or `X-Real-IP`. A proxy appends to the first two, so the client
/// is the first address. A client that invents an address can only choose its own worker.
pub fn find(bytes: &[u8], sought: &StickyKey) -> StickyMatch {
    // A method begins with a letter; TLS does not.
    if bytes.first().is_some_and(|byte| !byte.is_ascii_alphabetic()) {
        return StickyMatch::Nothing;
    }
    let mut rest = bytes;
    let (mut first, mut is_http_1) = (true, false);
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
        rest = &rest[end + 1..];
        if line.is_empty() {
            return if is_http_1 { StickyMatch::Absent } else { StickyMatch::Nothing };
        }
        if std::mem::take(&mut first) {
            is_http_1 = line.windows(9).any(|word| word == b" HTTP/1.0" || word == b" HTTP/1.1");
        } else if let Some(found) = in_line(line, sought) {
            return found;
        }
    }
    if bytes.len() >= MAX_HEAD_BYTES { StickyMatch::Nothing } else { StickyMatch::More }
}

fn in_line(line: &[u8], sought: &StickyKey) -> Option<StickyMatch> {
    let (header, value) = std::str::from_utf8(line).ok()?.split_once(':')?;
    match sought {
        StickyKey::Cookie(name) if header.eq_ignore_ascii_case("cookie") => cookie(value, name),
        StickyKey::Forwarded if header.eq_ignore_ascii_case("forwarded") => forwarded(value).map(StickyMatch::Client),
        StickyKey::Forwarded if ["x-forwarded-for", "x-real-ip"].iter().any(|name| header.eq_ignore_ascii_case(name)) => {
            address(value.split(',').next()?).map(StickyMatch::Client)
        }
        StickyKey::Cookie(_) | StickyKey::Forwarded => None,
    }
}

/// Reads the instance in `name=3`, or also its process in `name=3.7`.
fn cookie(cookies: &str, name: &str) -> Option<StickyMatch> {
    let mut pairs = cookies.split(';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(key, _)| key.trim() == name)?;
    let value = value.trim().trim_matches('"');
    match value.split_once('.') {
        Some((index, inc)) => Some(StickyMatch::Process(index.parse().ok()?, inc.parse().ok()?)),
        None => value.parse().ok().map(StickyMatch::Instance),
    }
}

/// Returns the address in `for=192.0.2.60;proto=http, for=…` (RFC 7239).
fn forwarded(value: &str) -> Option<IpAddr> {
    let mut pairs = value.split(',').next()?.split(';').filter_map(|pair| pair.split_once('='));
    let (_, node) = pairs.find(|(key, _)| key.trim().eq_ignore_ascii_case("for"))?;
    address(node.trim().trim_matches('"'))
}

/// Reads an address with or without port and brackets; IPv4 addresses equal their IPv6 form.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let ip = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    ip.map(|ip: IpAddr| ip.to_canonical())
}

/// Returns true for an address that a proxy of local apps may have: one of this machine or of a
/// private network.
pub fn may_be_proxy(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local() || v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64,
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn who() -> StickyKey {
        StickyKey::Cookie("who".into())
    }

    #[test]
    fn client_address_is_read_from_proxy_headers() {
        let client = |text: &str| StickyMatch::Client(text.parse().unwrap());
        for (lines, found) in [
            ("X-Forwarded-For: 203.0.113.7, 10.0.0.1", client("203.0.113.7")),
            ("x-forwarded-for:203.0.113.7:4711", client("203.0.113.7")),
            ("X-Forwarded-For: ::ffff:203.0.113.7", client("203.0.113.7")),
            ("X-Forwarded-For: [2001:db8::1]:80, x", client("2001:db8::1")),
            ("X-Real-IP: 2001:db8::1", client("2001:db8::1")),
            ("Forwarded: proto=https;For=\"[2001:db8::1]:47011\", for=10.0.0.1", client("2001:db8::1")),
            ("Forwarded: for=192.0.2.60;proto=http", client("192.0.2.60")),
            ("Forwarded: for=_hidden\r\nX-Forwarded-For: 192.0.2.1", client("192.0.2.1")),
            ("X-Forwarded-For: unknown", StickyMatch::Absent),
            ("X-Forwarded-For:", StickyMatch::Absent),
            ("Cookie: x-forwarded-for=1.2.3.4", StickyMatch::Absent),
        ] {
            assert_eq!(find(format!("GET / HTTP/1.1\r\nHost: x\r\n{lines}\r\n\r\n").as_bytes(), &StickyKey::Forwarded), found, "{lines}");
        }
        assert_eq!(find(b"GET / HTTP/1.1\r\nX-Forwarded-For: 1.2.3", &StickyKey::Forwarded), StickyMatch::More);
        for (address, expected) in [
            ("127.0.0.1", true),
            ("::ffff:10.1.2.3", true),
            ("172.17.0.1", true),
            ("100.64.0.1", true),
            ("fd00::1", true),
            ("203.0.113.7", false),
            ("100.128.0.1", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(may_be_proxy(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn instance_is_read_from_the_sticky_cookie() {
        for (head, found) in [
            ("GET / HTTP/1.1\r\nHost: x\r\nCookie: a=1; who=3; b=2\r\n\r\n", StickyMatch::Instance(3)),
            ("GET / HTTP/1.1\r\ncOOkie:who=\"12\"\r\n", StickyMatch::Instance(12)),
            ("GET / HTTP/1.1\nCookie: other=1\nCookie: who=0\n", StickyMatch::Instance(0)),
            ("GET / HTTP/1.1\r\nCookie: who=3.7; b=2\r\n\r\n", StickyMatch::Process(3, 7)),
            ("GET / HTTP/1.1\r\nCookie: who=\"0.12\"\r\n\r\n", StickyMatch::Process(0, 12)),
            ("GET / HTTP/1.1\r\nCookie: who=3.\r\n\r\n", StickyMatch::Absent),
            ("GET / HTTP/1.1\r\nCookie: who=3.7.1\r\n\r\n", StickyMatch::Absent),
            ("GET / HTTP/1.1\r\nHost: x\r\nCookie: a=1; who=3", StickyMatch::More),
            ("", StickyMatch::More),
            ("GET / HTTP/1.1\r\nX-Cookie: who=3\r\nCookie: whoever=3; xwho=3\r\n\r\n", StickyMatch::Absent),
            ("GET / HTTP/1.1\r\nCookie: who=-1\r\n\r\n", StickyMatch::Absent),
            ("GET / HTTP/1.1\r\nCookie: who=99999999999\r\n\r\n", StickyMatch::Absent),
            ("POST / HTTP/1.1\r\n\r\nCookie: who=3\r\n", StickyMatch::Absent),
            ("Cookie: who=3\r\n\r\n", StickyMatch::Nothing),
            ("\u{16}\u{3}\u{1}", StickyMatch::Nothing),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", StickyMatch::Nothing),
        ] {
            assert_eq!(find(head.as_bytes(), &who()), found, "{head:?}");
        }
        assert_eq!(find(&[b'G'; MAX_HEAD_BYTES], &who()), StickyMatch::Nothing);
        assert_eq!(find(b"GET / HTTP/1.1\r\n\xff\xfe: x\r\nCookie: who=3\r\n", &who()), StickyMatch::Instance(3));
    }

    proptest! {
        #[test]
        fn more_bytes_do_not_change_a_found_result(bytes in prop::collection::vec(any::<u8>(), 0..200), more in prop::collection::vec(any::<u8>(), 0..50)) {
            for sought in &[who(), StickyKey::Forwarded] {
            let before = find(&bytes, sought);
            let all: Vec<u8> = bytes.iter().chain(&more).copied().collect();
            prop_assert!(before == StickyMatch::More || before == find(&all, sought));
            }
        }
    }
}
