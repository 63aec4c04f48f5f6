//! HTTP addresses, as far as a client needs them.

/// HTTP address: `http` or `https`, host, port, path with query.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    /// True for `https`.
    pub tls: bool,
    /// Name or address of the host, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Path and query; starts with `/`.
    pub path: String,
    /// `user:password`, if present.
    pub user: Option<String>,
}

impl Url {
    /// Parses an address. Returns `None` if it is invalid or contains characters that would break
    /// the request line.
    pub fn parse(text: &str) -> Option<Self> {
        let (tls, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return None,
        };
        if text.len() > 4096 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let (user, address) = match authority.rsplit_once('@') {
            Some((user, address)) => (Some(user.to_owned()), address),
            None => (None, authority),
        };
        let (host, port) = match address.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']')?;
                (host, port)
            }
            None => address.find(':').map_or((address, ""), |at| address.split_at(at)),
        };
        let port = match port.strip_prefix(':') {
            Some(digits) => digits.parse().ok().filter(|port| *port > 0)?,
            None if port.is_empty() => {
                if tls {
                    443
                } else {
                    80
                }
            }
            None => return None,
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
        let is_host = !host.is_empty() && host.len() <= 253 && host.chars().all(is_name);
        is_host.then(|| Self { tls, host: host.to_owned(), port, path, user })
    }

    /// Returns host and port in the form of a `Host` header.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let usual = if self.tls { 443 } else { 80 };
        if self.port == usual { host } else { format!("{host}:{}", self.port) }
    }

    /// Returns the address without parts that may be secret.
    pub fn origin(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.authority())
    }

    /// Returns the address with text appended to its path; its query is removed.
    pub fn join_path(&self, more: &str) -> Self {
        let path = self.path.split('?').next().unwrap_or_default().trim_end_matches('/');
        Self { path: format!("{path}{more}"), ..self.clone() }
    }

    /// Returns the address with text appended to its query.
    pub(crate) fn with_query(&self, query: &str) -> Self {
        let sign = if self.path.contains('?') { '&' } else { '?' };
        Self { path: format!("{}{sign}{query}", self.path), ..self.clone() }
    }
}

impl std::fmt::Debug for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.origin())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_parses_http_addresses_and_rejects_others() {
        for (text, expected) in [
            ("https://example.com", Some("https://example.com /")),
            ("http://127.0.0.1:8080/a?b=c#d", Some("http://127.0.0.1:8080 /a?b=c")),
            ("https://u:p@h:443?x", Some("https://h /?x")),
            ("http://[::1]:9/x", Some("http://[::1]:9 /x")),
            ("http://[::1/x", None),
            ("http://", None),
            ("http://h:0/", None),
            ("http://h:x/", None),
            ("http://h/\r\nX: y", None),
            ("http://a b/", None),
            ("file:///etc/passwd", None),
            ("http://h\u{fc}/", None),
        ] {
            let shown = Url::parse(text).map(|url| format!("{} {}", url.origin(), url.path));
            assert_eq!(shown.as_deref(), expected, "{text}");
        }
        let url = Url::parse("https://h/robot?key=1").unwrap();
        assert_eq!((url.with_query("a=b").path.as_str(), url.join_path("/v").path.as_str()), ("/robot?key=1&a=b", "/robot/v"));
    }
}
