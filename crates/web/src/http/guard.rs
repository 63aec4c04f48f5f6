//! First check of a request: the host name that it used, and the page that sent it. Pure.
//!
//! A malicious page can make a browser send requests here: by a host name of its own that resolves
//! to this machine (DNS rebinding), or across origins. The first shows in `Host`, the second in
//! `Origin` and `Sec-Fetch-Site`. A page cannot set these headers.

use std::net::IpAddr;

use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, ORIGIN};
use hyper::http::request::Parts;

use crate::settings::Settings;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refusal of a request before any other check.
pub(crate) type Refusal = (StatusCode, &'static str);

/// Accepted host names and origins.
#[derive(Debug)]
pub(crate) struct Guard {
    hosts: Vec<String>,
    origins: Vec<String>,
    behind_proxy: bool,
    any_address: bool,
}

impl Guard {
    pub(crate) fn new(settings: &Settings) -> Self {
        let listen = settings.listen.trim_matches(['[', ']']).to_ascii_lowercase();
        let any_address = listen.parse::<IpAddr>().is_ok_and(|address| address.is_unspecified());
        let own = ["localhost".to_owned(), listen];
        let hosts = own.into_iter().chain(settings.hosts.iter().map(|host| host.trim_matches(['[', ']']).to_ascii_lowercase())).collect();
        let origins = settings.trusted_origins.iter().map(|origin| origin.trim_end_matches('/').to_ascii_lowercase()).collect();
        Self { hosts, origins, behind_proxy: settings.behind_proxy, any_address }
    }

    /// Checks a request from TCP or from a unix socket, which browsers cannot use.
    pub(crate) fn check(&self, head: &Parts, by_tcp: bool) -> Result<(), Refusal> {
        if by_tcp && !self.is_known_host(head) {
            return Err((StatusCode::MISDIRECTED_REQUEST, "unknown host name; allow it with `ostler web enable --allow-host NAME`"));
        }
        if head.method.is_safe() {
            return Ok(());
        }
        if !self.is_same_origin(head) {
            return Err((
                StatusCode::FORBIDDEN,
                "request from a page of another site; trust that site with `ostler web enable --trust-origin ORIGIN`",
            ));
        }
        let kind = text(&head.headers, &CONTENT_TYPE).unwrap_or_default();
        if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
            return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "expected Content-Type: application/json"));
        }
        Ok(())
    }

    fn is_known_host(&self, head: &Parts) -> bool {
        let mut hosts = head.headers.get_all(HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
        let Some(name) = host.to_str().ok().and_then(host_name) else { return false };
        let address = name.parse::<IpAddr>().ok();
        // An IP address cannot be redirected by DNS. Names must be in the list.
        address.is_some_and(|address| address.to_canonical().is_loopback() || self.any_address) || self.hosts.contains(&name)
    }

    fn is_same_origin(&self, head: &Parts) -> bool {
        let origin = head.headers.get(ORIGIN);
        let site = text(&head.headers, &FETCH_SITE);
        let Some(origin) = origin else {
            // A browser sends at least one of the two headers. A program sends neither, and has no
            // cookie that a page could misuse.
            return matches!(site, None | Some("same-origin" | "none")) && (site.is_some() || !has_cookie(head));
        };
        let Some(origin) = origin.to_str().ok().map(str::to_ascii_lowercase) else { return false };
        if self.origins.contains(&origin) {
            return true;
        }
        if !matches!(site, None | Some("same-origin")) {
            return false;
        }
        let Some((scheme, authority)) = origin.split_once("://") else { return false };
        let host = text(&head.headers, &HOST).map(str::to_ascii_lowercase);
        // A proxy may have changed the port, and with it the scheme.
        let is_ours = |host: &String| host == authority || self.behind_proxy && host_name(host) == host_name(authority);
        matches!(scheme, "http" | "https") && host.as_ref().is_some_and(is_ours)
    }
}

fn has_cookie(head: &Parts) -> bool {
    head.headers.contains_key(hyper::header::COOKIE)
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Returns the lowercase name in `name:port` or `[address]:port`.
fn host_name(host: &str) -> Option<String> {
    let name = if let Some(rest) = host.strip_prefix('[') {
        let (name, rest) = rest.split_once(']')?;
        is_port(rest).then_some(name)?
    } else {
        let (name, port) = host.split_at(host.find(':').unwrap_or(host.len()));
        is_port(port).then_some(name)?
    };
    (!name.is_empty()).then(|| name.trim_end_matches('.').to_ascii_lowercase())
}

/// Returns true for an empty text, or `:` and a number.
fn is_port(text: &str) -> bool {
    text.is_empty() || text.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(method: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = hyper::Request::builder().method(method).uri("/api/apps");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn settings() -> Settings {
        Settings {
            hosts: vec!["ops.example.com".into()],
            trusted_origins: vec!["https://portal.example.com/".into()],
            ..Settings::default()
        }
    }

    fn code(guard: &Guard, method: &str, headers: &[(&str, &str)]) -> u16 {
        guard.check(&head(method, headers), true).map_or_else(|(code, _)| code.as_u16(), |()| 200)
    }

    #[test]
    fn foreign_host_header_is_rejected() {
        let guard = Guard::new(&settings());
        for (host, expected) in [
            ("localhost", 200),
            ("LOCALHOST:9616", 200),
            ("localhost.:9616", 200),
            ("127.0.0.1:9616", 200),
            ("127.1.2.3", 200),
            ("[::1]:9616", 200),
            ("ops.example.com", 200),
            ("ops.example.com:443", 200),
            ("evil.example.com", 421),
            ("ops.example.com.evil.com", 421),
            ("localhost.evil.com", 421),
            ("10.0.0.1", 421),
            ("", 421),
            (":80", 421),
            ("localhost:x", 421),
            ("[::1", 421),
            ("[::1]x", 421),
            ("localhost@evil.com", 421),
        ] {
            assert_eq!(code(&guard, "GET", &[("host", host)]), expected, "{host}");
        }
        assert_eq!(code(&guard, "GET", &[]), 421);
        assert_eq!(code(&guard, "GET", &[("host", "localhost"), ("host", "evil.com")]), 421);
        assert!(guard.check(&head("GET", &[]), false).is_ok(), "a unix socket");
        let any = Guard::new(&Settings { listen: "0.0.0.0".into(), behind_proxy: true, ..Settings::default() });
        assert_eq!((code(&any, "GET", &[("host", "10.0.0.1")]), code(&any, "GET", &[("host", "evil.com")])), (200, 421));
    }

    #[test]
    fn cross_site_request_is_rejected() {
        let guard = Guard::new(&settings());
        let json = ("content-type", "application/json; charset=utf-8");
        let host = ("host", "localhost:9616");
        for (headers, expected) in [
            (&[host, json][..], 200),
            (&[host], 415),
            (&[host, ("content-type", "text/plain")], 415),
            (&[host, ("content-type", "application/x-www-form-urlencoded")], 415),
            (&[host, json, ("origin", "http://localhost:9616")], 200),
            (&[host, json, ("origin", "http://localhost:9616"), ("sec-fetch-site", "same-origin")], 200),
            (&[host, json, ("origin", "http://localhost:3000")], 403),
            (&[host, json, ("origin", "http://localhost:9616"), ("sec-fetch-site", "cross-site")], 403),
            (&[host, json, ("origin", "http://evil.com")], 403),
            (&[host, json, ("origin", "null")], 403),
            (&[host, json, ("origin", "file://localhost:9616")], 403),
            (&[host, json, ("sec-fetch-site", "cross-site")], 403),
            (&[host, json, ("sec-fetch-site", "same-site")], 403),
            (&[host, json, ("cookie", "ostler-9616=x")], 403),
            (&[host, json, ("cookie", "ostler-9616=x"), ("sec-fetch-site", "same-origin")], 200),
            (&[host, json, ("origin", "https://portal.example.com"), ("sec-fetch-site", "cross-site")], 200),
        ] {
            assert_eq!(code(&guard, "POST", headers), expected, "{headers:?}");
        }
        assert_eq!(code(&guard, "GET", &[host, ("origin", "http://evil.com")]), 200, "the browser shows the answer to no other origin");
        assert_eq!(code(&guard, "DELETE", &[host, json, ("origin", "http://evil.com")]), 403);
    }

    #[test]
    fn origin_port_may_differ_behind_proxy() {
        let json = ("content-type", "application/json");
        let headers = [("host", "ops.example.com"), json, ("origin", "https://ops.example.com:8443"), ("sec-fetch-site", "same-origin")];
        let proxied = Guard::new(&Settings { behind_proxy: true, ..settings() });
        assert_eq!((code(&proxied, "POST", &headers), code(&Guard::new(&settings()), "POST", &headers)), (200, 403));
    }
}
