//! `/api/openapi.json`: description of the API (OpenAPI 3.1). Paths come from the table of routes,
//! shapes from `openapi.json` of this crate.

use std::io::Write as _;
use std::sync::OnceLock;

use flate2::write::GzEncoder;
use flate2::{Compression, Crc};
use hyper::Response;
use hyper::http::request::Parts;
use serde::Serialize as _;
use serde_json::{Map, Value};

use super::route::{Handler, Route};
use crate::http::assets;
use crate::http::reply::{Body, JSON};

/// The document without `paths`.
const WITHOUT_PATHS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/openapi.json.gz"));

/// Document as it is sent.
struct PackedDocument {
    tag: String,
    gzip: Vec<u8>,
}

/// Answers with the document, which is built at the first request.
pub(super) fn answer(table: &[Route], head: &Parts) -> Response<Body> {
    static PACKED: OnceLock<PackedDocument> = OnceLock::new();
    let packed = PACKED.get_or_init(|| packed(&document(table)));
    assets::reply(JSON, &packed.tag, &packed.gzip, head)
}

/// Returns the document.
pub(super) fn document(table: &[Route]) -> Value {
    let mut document: Map<String, Value> = serde_json::from_slice(&assets::unpacked(WITHOUT_PATHS)).unwrap_or_default();
    let mut paths = Map::new();
    for route in table {
        let item = paths.entry(route.path).or_insert_with(|| Map::new().into());
        item[route.method.as_str().to_ascii_lowercase()] =
            route.about.document(route.path, route.role.word(), matches!(route.handler, Handler::Open(_)));
    }
    let components = document.remove("components");
    document.insert("paths".into(), paths.into());
    document.extend(components.map(|components| ("components".into(), components)));
    document.into()
}

fn packed(document: &Value) -> PackedDocument {
    let mut text = Vec::new();
    let format = serde_json::ser::PrettyFormatter::with_indent(b" ");
    // Writing to memory cannot fail.
    let _ = document.serialize(&mut serde_json::Serializer::with_formatter(&mut text, format));
    let mut crc = Crc::new();
    crc.update(&text);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    let _ = gzip.write_all(&text);
    PackedDocument { tag: format!("\"{:08x}\"", crc.sum()), gzip: gzip.finish().unwrap_or_default() }
}
