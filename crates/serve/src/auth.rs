//! Basic authentication (RFC 7617).

/// The only user who may log in.
#[derive(Debug)]
pub(crate) struct Login {
    expected: Vec<u8>,
}

impl Login {
    pub(crate) fn new(name: &str, password: &str) -> Self {
        Self { expected: base64(format!("{name}:{password}").as_bytes()) }
    }

    /// Returns true if the header has this user's name and password.
    pub(crate) fn authorizes(&self, header: Option<&[u8]>) -> bool {
        let Some((scheme, given)) = header.and_then(|header| header.split_at_checked(6)) else { return false };
        scheme.eq_ignore_ascii_case(b"basic ") && is_same(given.trim_ascii(), &self.expected)
    }
}

/// Compares in constant time, so that the time does not reveal where the values differ.
fn is_same(given: &[u8], expected: &[u8]) -> bool {
    given.len() == expected.len() && given.iter().zip(expected).fold(0, |differences, (a, b)| differences | (a ^ b)) == 0
}

fn base64(bytes: &[u8]) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for index in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * index) & 63) as usize];
            out.push(if index <= chunk.len() { letter } else { b'=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_matches_rfc_4648_vectors() {
        for (text, expected) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(text.as_bytes()), expected.as_bytes(), "{text}");
        }
    }

    #[test]
    fn login_accepts_only_matching_credentials() {
        let login = Login::new("u", "a:b");
        for (header, expected) in [
            (Some("Basic dTphOmI="), true),
            (Some("basic dTphOmI= "), true),
            // `u:a`: PM2 cuts the password at its colon.
            (Some("Basic dTph"), false),
            (Some("Bearer dTphOmI="), false),
            (Some("Basic"), false),
            (Some(""), false),
            (None, false),
        ] {
            assert_eq!(login.authorizes(header.map(str::as_bytes)), expected, "{header:?}");
        }
    }
}
