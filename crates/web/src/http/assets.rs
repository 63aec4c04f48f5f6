//! The page: files that the build packed.

use hyper::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, VARY};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};

use crate::http::reply::{Body, empty, full};

/// One file.
struct Asset {
    path: &'static str,
    kind: &'static str,
    /// Its version, in quotes.
    tag: &'static str,
    gzip: &'static [u8],
}

const ASSETS: &[Asset] = include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// Returns the response for a path without its leading slash; none if there is no such file.
pub(crate) fn answer(path: &str, head: &Parts) -> Option<Response<Body>> {
    let path = if path.is_empty() { "index.html" } else { path };
    let asset = ASSETS.iter().find(|asset| asset.path == path)?;
    Some(reply(asset.kind, asset.tag, asset.gzip, head))
}

/// Sends a packed file. `tag` is its version, in quotes.
pub(crate) fn reply(kind: &'static str, tag: &'static str, gzip: &'static [u8], head: &Parts) -> Response<Body> {
    let is_known = head.headers.get(IF_NONE_MATCH).is_some_and(|given| given.as_bytes() == tag.as_bytes());
    let mut response = if is_known {
        empty(StatusCode::NOT_MODIFIED)
    } else if takes_gzip(head) {
        let mut response = full(StatusCode::OK, kind, gzip);
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        response
    } else {
        full(StatusCode::OK, kind, unpacked(gzip))
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    // The browser revalidates each time and usually gets an empty 304, so a new program shows its
    // new page at once.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(ETAG, HeaderValue::from_static(tag));
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    response
}

fn takes_gzip(head: &Parts) -> bool {
    let codings = head.headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    codings.map(|coding| coding.trim().to_ascii_lowercase()).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((&coding, ""));
        matches!(name.trim(), "gzip" | "*") && !matches!(weight.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000")
    })
}

pub(crate) fn unpacked(gzip: &[u8]) -> Vec<u8> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    // The build compressed these bytes, so decompression cannot fail.
    let _ = flate2::read::GzDecoder::new(gzip).read_to_end(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str, headers: &[(&str, &str)]) -> Option<Response<Body>> {
        let mut request = hyper::Request::get("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(path, &request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn assets_serve_only_files_of_the_page() {
        let page = get("", &[("accept-encoding", "gzip, br")]).unwrap();
        assert_eq!((page.status().as_u16(), page.headers()[CONTENT_ENCODING].to_str().unwrap()), (200, "gzip"));
        let tag = page.headers()[ETAG].to_str().unwrap().to_owned();
        assert_eq!(get("", &[("if-none-match", &tag)]).unwrap().status(), 304);
        assert_eq!(get("", &[("if-none-match", "\"of-an-older-program\"")]).unwrap().status(), 200);
        assert!(!get("page.js", &[("accept-encoding", "gzip;q=0")]).unwrap().headers().contains_key(CONTENT_ENCODING));
        assert!(["../Cargo.toml", "order.txt", "api.js", "%2e%2e", "index.html/"].iter().all(|path| get(path, &[]).is_none()));
    }

    /// Checks the transfer size of the whole page, with charts, against the limit of the
    /// specification.
    #[test]
    fn page_is_small_and_references_no_other_host() {
        let total: usize = ASSETS.iter().map(|asset| asset.gzip.len()).sum();
        println!("{total} bytes in {} files", ASSETS.len());
        assert!(total <= 90 << 10, "{total} bytes");
        for asset in ASSETS.iter().filter(|asset| !asset.path.starts_with("vendor/")) {
            let text = String::from_utf8(unpacked(asset.gzip)).unwrap();
            // XML namespaces, and the address for traces on this machine.
            let known = ["http://www.w3.org/", "http://127.0.0.1:"];
            let foreign = text.match_indices("http").map(|(at, _)| &text[at..]).find(|rest| {
                let is_address = rest.starts_with("http://") || rest.starts_with("https://");
                is_address && !known.iter().any(|known| rest.starts_with(known))
            });
            assert!(foreign.is_none(), "{} names another host", asset.path);
        }
    }
}
