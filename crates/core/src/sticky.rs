//! Stickiness: which instance a client says it belongs to, from the beginning of what it sends.

/// Longest head of a request that is looked at.
pub const MAX_HEAD_BYTES: usize = 16 << 10;

/// Result of a search in the first bytes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The cookie names this instance.
    Instance(u32),
    /// A request without such a cookie.
    NoCookie,
    /// No request that can be read here: TLS, HTTP/2, a head that is too long or does not come.
    Nothing,
    /// The end of the head has not come yet.
    More,
}

/// Looks for `Cookie: …; name=<number>; …` in the head of an HTTP/1 request.
pub fn find(bytes: &[u8], name: &str) -> Found {
    // A method begins with a letter; TLS does not.
    if bytes.first().is_some_and(|byte| !byte.is_ascii_alphabetic()) {
        return Found::Nothing;
    }
    let mut rest = bytes;
    let (mut first, mut is_http_1) = (true, false);
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
        rest = &rest[end + 1..];
        if line.is_empty() {
            return if is_http_1 { Found::NoCookie } else { Found::Nothing };
        }
        if std::mem::take(&mut first) {
            is_http_1 = line.windows(9).any(|word| word == b" HTTP/1.0" || word == b" HTTP/1.1");
        } else if let Some(instance) = in_line(line, name) {
            return Found::Instance(instance);
        }
    }
    if bytes.len() >= MAX_HEAD_BYTES { Found::Nothing } else { Found::More }
}

fn in_line(line: &[u8], name: &str) -> Option<u32> {
    let (header, cookies) = std::str::from_utf8(line).ok()?.split_once(':')?;
    if !header.eq_ignore_ascii_case("cookie") {
        return None;
    }
    let mut pairs = cookies.split(';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(key, _)| key.trim() == name)?;
    value.trim().trim_matches('"').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cookies() {
        for (head, found) in [
            ("GET / HTTP/1.1\r\nHost: x\r\nCookie: a=1; who=3; b=2\r\n\r\n", Found::Instance(3)),
            ("GET / HTTP/1.1\r\ncOOkie:who=\"12\"\r\n", Found::Instance(12)),
            ("GET / HTTP/1.1\nCookie: other=1\nCookie: who=0\n", Found::Instance(0)),
            ("GET / HTTP/1.1\r\nHost: x\r\nCookie: a=1; who=3", Found::More),
            ("", Found::More),
            ("GET / HTTP/1.1\r\nX-Cookie: who=3\r\nCookie: whoever=3; xwho=3\r\n\r\n", Found::NoCookie),
            ("GET / HTTP/1.1\r\nCookie: who=-1\r\n\r\n", Found::NoCookie),
            ("GET / HTTP/1.1\r\nCookie: who=99999999999\r\n\r\n", Found::NoCookie),
            ("POST / HTTP/1.1\r\n\r\nCookie: who=3\r\n", Found::NoCookie),
            ("Cookie: who=3\r\n\r\n", Found::Nothing),
            ("\u{16}\u{3}\u{1}", Found::Nothing),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Found::Nothing),
        ] {
            assert_eq!(find(head.as_bytes(), "who"), found, "{head:?}");
        }
        assert_eq!(find(&[b'G'; MAX_HEAD_BYTES], "who"), Found::Nothing);
        assert_eq!(find(b"GET / HTTP/1.1\r\n\xff\xfe: x\r\nCookie: who=3\r\n", "who"), Found::Instance(3));
    }

    proptest! {
        #[test]
        fn more_bytes_change_nothing_that_was_found(bytes in prop::collection::vec(any::<u8>(), 0..200), more in prop::collection::vec(any::<u8>(), 0..50)) {
            let before = find(&bytes, "who");
            let all: Vec<u8> = bytes.iter().chain(&more).copied().collect();
            prop_assert!(before == Found::More || before == find(&all, "who"));
        }
    }
}
