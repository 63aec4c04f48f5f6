//! Target of a request: the file below the root that a path selects, if access is allowed.

/// Target of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A path below the root: decoded names joined by `/`; empty for the root itself.
    Below {
        /// The path.
        path: Vec<u8>,
        /// True if the path ends with a slash (the root does).
        is_folder: bool,
    },
    /// A name that begins with a dot; treated as missing.
    Hidden,
    /// A path with `..`; refused, even if it stays below the root.
    Up,
    /// Not a valid path.
    Malformed,
}

/// Maximum length of a path; the kernel accepts no longer ones.
const MAX_PATH: usize = 4000;

impl Target {
    /// Parses the path of a request line, without the query.
    pub(crate) fn of(path: &str) -> Self {
        let Some(decoded) = decode(path.as_bytes()) else { return Self::Malformed };
        if decoded.contains(&0) || decoded.len() > MAX_PATH || !path.starts_with('/') {
            return Self::Malformed;
        }
        let mut below = Vec::with_capacity(decoded.len());
        for (index, name) in decoded.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".").enumerate() {
            match name {
                b".." => return Self::Up,
                // RFC 8615; ACME certificate challenges use it.
                b".well-known" if index == 0 => {}
                [b'.', ..] => return Self::Hidden,
                _ => {}
            }
            if index > 0 {
                below.push(b'/');
            }
            below.extend_from_slice(name);
        }
        let is_folder = decoded.ends_with(b"/") || decoded.ends_with(b"/.");
        Self::Below { path: below, is_folder }
    }
}

/// Decodes `%41` sequences. Returns `None` if a `%` is not followed by two hexadecimal digits.
fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => (digit(bytes.next()?)? << 4) | digit(bytes.next()?)?,
            other => *other,
        });
    }
    Some(out)
}

/// Encodes a name for use in a link.
pub(crate) fn encode(name: &[u8]) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(*byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// Returns the redirect location for `/a/b`, which is a folder. The location is relative, so no
/// part of the request can name another host.
pub(crate) fn with_slash(path: &str, query: Option<&str>) -> String {
    let last = path.rsplit('/').next().unwrap_or_default();
    let query = query.map_or_else(String::new, |query| format!("?{query}"));
    format!("./{last}/{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_resolves_below_root_or_is_rejected() {
        let below = |path: &str, is_folder| Target::Below { path: path.as_bytes().to_vec(), is_folder };
        for (path, expected) in [
            ("/", below("", true)),
            ("/a", below("a", false)),
            ("/a/", below("a", true)),
            ("//a///b", below("a/b", false)),
            ("/a/./b/.", below("a/b", true)),
            ("/a%20b", below("a b", false)),
            ("/a%2fb", below("a/b", false)),
            ("/...", Target::Hidden),
            ("/.env", Target::Hidden),
            ("/a/.git/config", Target::Hidden),
            ("/%2eenv", Target::Hidden),
            ("/.well-known/acme-challenge/x", below(".well-known/acme-challenge/x", false)),
            ("/a/.well-known/x", Target::Hidden),
            ("/..", Target::Up),
            ("/a/../b", Target::Up),
            ("/%2e%2e/etc/passwd", Target::Up),
            ("/..%2f..%2fetc/passwd", Target::Up),
            ("/%zz", Target::Malformed),
            ("/%4", Target::Malformed),
            ("/%", Target::Malformed),
            ("/a%00.html", Target::Malformed),
            ("*", Target::Malformed),
            ("", Target::Malformed),
        ] {
            assert_eq!(Target::of(path), expected, "{path}");
        }
        assert_eq!(Target::of(&format!("/{}", "a".repeat(5000))), Target::Malformed);
    }

    #[test]
    fn directory_redirect_is_relative() {
        for (path, query, expected) in
            [("/a/b", None, "./b/"), ("//evil.example", None, "./evil.example/"), ("/a:b", Some("x=1"), "./a:b/?x=1")]
        {
            assert_eq!(with_slash(path, query), expected, "{path}");
        }
    }

    #[test]
    fn percent_encoding_round_trips() {
        for name in ["a b", "ä", "100%", "x?y#z", "\"><script>"] {
            assert_eq!(decode(encode(name.as_bytes()).as_bytes()).as_deref(), Some(name.as_bytes()), "{name}");
        }
    }
}
