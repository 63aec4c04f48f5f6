//! Checks of a compressed request for any bytes; see [`crate::fuzz`].

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::HeaderMap;
use hyper::header::{CONTENT_ENCODING, HeaderValue};

use super::receiver::{MOST_UNPACKED, unpacked};

/// Checks a compressed request of OpenTelemetry: it is unpacked within bounds, and packed bytes stay
/// the same.
pub fn otlp_gzip(bytes: &[u8]) {
    let gzip = HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static("gzip"))]);
    if let Ok(body) = unpacked(&gzip, bytes.to_vec()) {
        assert!(body.len() as u64 <= MOST_UNPACKED, "{} bytes", body.len());
        // The decoders have checks of their own.
        let body = &body[..body.len().min(64 << 10)];
        ostler_otlp::fuzz::otlp_json(body);
        ostler_otlp::fuzz::otlp_protobuf(body);
    }
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    let packed = packed.write_all(bytes).and_then(|()| packed.finish()).unwrap_or_default();
    assert!(unpacked(&gzip, packed).is_ok_and(|back| back == bytes), "packed and unpacked");
}
