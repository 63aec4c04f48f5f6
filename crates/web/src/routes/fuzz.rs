//! Checks of a request's head for any bytes; see [`crate::fuzz`].

use hyper::header::{ACCEPT_ENCODING, CONTENT_ENCODING, ETAG, IF_NONE_MATCH};
use hyper::http::request::Parts;
use hyper::{Method, Request};

use super::route;
use super::table::ROUTES;
use crate::http::guard::Guard;
use crate::http::{assets, query};
use crate::settings::Settings;

/// Returns the head in a text: method and target, then headers, one per line.
fn head(text: &str) -> Option<Parts> {
    let mut lines = text.lines();
    let (method, target) = lines.next()?.split_once(' ')?;
    let mut request = Request::builder().method(method).uri(target);
    for line in lines.take_while(|line| !line.is_empty()).take(50) {
        let (name, value) = line.split_once(": ")?;
        request = request.header(name, value);
    }
    Some(request.body(()).ok()?.into_parts().0)
}

/// Checks the head of a request: the first checks of the dashboard, its routes and its files.
pub fn web_request(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Some(head) = head(&text) else { return };
    let guard = Guard::new(&Settings { hosts: vec!["ops.example.com".into()], ..Settings::default() });
    let hosts: Vec<_> = head.headers.get_all("host").iter().collect();
    let verdict = guard.check(&head, true);
    if verdict.is_ok() {
        let [host] = hosts[..] else { panic!("{} host names were accepted", hosts.len()) };
        let host = host.to_str().unwrap_or_default().to_ascii_lowercase();
        let is_own =
            host.starts_with("localhost") || host.starts_with("ops.example.com") || host.starts_with("127.") || host.starts_with('[');
        assert!(is_own, "{host}");
        // A browser sends the page's origin with each change; only the own one may make it.
        let foreign = head
            .headers
            .get("origin")
            .and_then(|origin| origin.to_str().ok())
            .is_some_and(|origin| !origin.to_ascii_lowercase().contains(&host));
        assert!(head.method.is_safe() || !foreign, "{:?}", head.headers);
    }
    if let Some(found) = route::find(ROUTES, head.uri.path()) {
        let _ = found.route(&head.method).map(|route| (route.role, route.verb()));
        assert!(!found.allow().is_empty());
    }
    for key in ["app", "lines", "since", "q", ""] {
        assert!(query::values(head.uri.query(), key).all(|value| value.len() <= 4096));
        assert!(query::number(head.uri.query(), key, 5, 10) <= 10);
    }
    let path = head.uri.path().trim_start_matches('/');
    if matches!(head.method, Method::GET | Method::HEAD)
        && let Some(page) = assets::answer(path, &head)
    {
        let given = head.headers.get(IF_NONE_MATCH);
        assert_eq!(page.status().as_u16() == 304, given == page.headers().get(ETAG), "only a known version is not sent");
        assert!(!page.headers().contains_key(CONTENT_ENCODING) || head.headers.contains_key(ACCEPT_ENCODING));
    }
}
