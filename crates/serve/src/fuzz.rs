//! Checks of a request for any bytes. The crate `ostler-fuzzing` runs them; see `docs/fuzzing.md`.

use std::path::PathBuf;

use hyper::Request;
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE};

use crate::answer::Site;
use crate::auth::Login;
use crate::body::Content;
use crate::files::Root;
use crate::range::{BodyRange, part};
use crate::settings::Settings;
use crate::target::{Target, encode};

thread_local! {
    /// Sites with and without their options. They serve the sources of this crate.
    static SITES: Vec<Site> = sites();
}

fn sites() -> Vec<Site> {
    let site = |on: &'static [&'static str]| {
        let settings = Settings::from_vars(|name| on.contains(&name).then(|| "true".to_owned())).ok()?;
        let root = Root::new(PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), false).ok()?;
        Some(Site::new(&settings, root))
    };
    [&[][..], &["PM2_SERVE_SPA", "PM2_SERVE_FTP"]].into_iter().filter_map(site).collect()
}

/// Checks the head of a request (method and target, then headers, one per line): each answer is
/// whole, and no path leads out of the folder.
pub fn serve_request(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    let (method, target) = first.split_once(' ').unwrap_or(("GET", first));
    check_target(target);
    let login = Login::new("user", "hunter2");
    let mut request = Request::builder().method(method).uri(target);
    for line in lines.take_while(|line| !line.is_empty()).take(50) {
        let (name, value) = line.split_once(": ").unwrap_or((line, ""));
        request = request.header(name, value);
        assert!(!login.authorizes(Some(value.as_bytes())) || value.trim().ends_with("dXNlcjpodW50ZXIy"), "{value}");
        check_range(value);
    }
    let Ok(request) = request.body(()) else { return };
    let (head, ()) = request.into_parts();
    SITES.with(|sites| {
        assert_eq!(sites.len(), 2, "the folder is there");
        for site in sites {
            let answer = site.answer(&head);
            let status = answer.status().as_u16();
            assert!(status < 500, "{status}");
            let length = match answer.body() {
                Content::Bytes(bytes) => bytes.len() as u64,
                Content::File { left, .. } => *left,
            };
            let named = answer.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
            assert!(head.method == "HEAD" || named.is_none_or(|named| named == length), "{named:?}, {length} bytes");
            assert_eq!(matches!(status, 206 | 416), answer.headers().contains_key(CONTENT_RANGE), "{status}");
        }
    });
}

fn check_target(path: &str) {
    let Target::Below { path: below, is_folder } = Target::of(path) else { return };
    assert!(!below.starts_with(b"/") && !below.contains(&0), "{below:?}");
    let hidden = |(at, name): (usize, &[u8])| name.starts_with(b".") && !(at == 0 && name == b".well-known");
    assert!(below.is_empty() || !below.split(|byte| *byte == b'/').enumerate().any(hidden), "{below:?}");
    let encoded: Vec<String> = below.split(|byte| *byte == b'/').map(encode).collect();
    let again = Target::of(&format!("/{}{}", encoded.join("/"), if is_folder { "/" } else { "" }));
    let is_same = matches!(&again, Target::Below { path, .. } if *path == below);
    // A path at the limit is longer when it is encoded, which does not matter.
    assert!(is_same, "{below:?} {again:?}");
}

fn check_range(header: &str) {
    for size in [0, 1, 10, u64::MAX] {
        if let BodyRange::Bytes(at, length) = part(header, size) {
            assert!(length > 0 && at.checked_add(length).is_some_and(|end| end <= size), "{header}: {length} bytes at {at} of {size}");
        }
    }
}
