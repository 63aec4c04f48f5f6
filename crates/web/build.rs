//! Packs the page: joins the modules into one script in the order of `page/order.txt` and gzips
//! everything, so that the program has no work at run time.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use flate2::Compression;
use flate2::write::GzEncoder;

/// Files that are sent unchanged: name in the folder, media type.
const FILES: &[(&str, &str)] = &[
    ("index.html", "text/html; charset=utf-8"),
    ("style.css", "text/css; charset=utf-8"),
    ("icon.svg", "image/svg+xml"),
    ("vendor/preact.js", "text/javascript; charset=utf-8"),
    ("vendor/htm.js", "text/javascript; charset=utf-8"),
];

/// Name of the joined script, which replaces the first module.
const SCRIPT: &str = "page.js";

fn main() {
    println!("cargo::rerun-if-changed=page");
    let page = PathBuf::from("page");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let mut table = String::from("&[\n");
    let mut add = |name: &str, kind: &str, bytes: &[u8]| {
        let file = pack(&out, name, bytes);
        let tag = crc32(bytes);
        let _ =
            writeln!(table, "    Asset {{ path: {name:?}, kind: {kind:?}, tag: \"\\\"{tag:08x}\\\"\", gzip: include_bytes!({file:?}) }},");
    };
    for (name, kind) in FILES {
        let bytes = fs::read(page.join(name)).unwrap_or_else(|error| panic!("page/{name}: {error}"));
        add(name, kind, &bytes);
    }
    add(SCRIPT, "text/javascript; charset=utf-8", script(&page).as_bytes());
    table.push(']');
    fs::write(out.join("assets.rs"), table).expect("OUT_DIR is writable");
    println!("cargo::rerun-if-changed=openapi.json");
    let described = fs::read("openapi.json").unwrap_or_else(|error| panic!("openapi.json: {error}"));
    pack(&out, "openapi.json", &described);
}

/// Writes a file, gzipped, for inclusion in the program, and returns its path.
fn pack(out: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let file = out.join(name.replace('/', "-")).with_added_extension_of("gz");
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(bytes).expect("memory takes everything");
    fs::write(&file, packed.finish().expect("memory takes everything")).expect("OUT_DIR is writable");
    file
}

/// Joins the modules without their import and export lines.
fn script(page: &Path) -> String {
    let order = fs::read_to_string(page.join("order.txt")).unwrap_or_default();
    let mut joined = String::new();
    let mut borrowed = BTreeSet::new();
    let mut whole = String::new();
    for name in order.lines().map(str::trim).filter(|name| !name.is_empty() && !name.starts_with('#')) {
        let text = fs::read_to_string(page.join(name)).unwrap_or_else(|error| panic!("page/{name}: {error}"));
        let mut in_import = false;
        for line in text.lines() {
            let begins = !in_import && line.starts_with("import ");
            if begins || in_import {
                // A vendored module stays separate and is imported once.
                if begins && line.contains("/vendor/preact.js") {
                    let names = line.split(['{', '}']).nth(1).unwrap_or_default();
                    borrowed.extend(names.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()));
                } else if begins && line.contains("/vendor/") {
                    whole.push_str(line);
                    whole.push('\n');
                }
                in_import = !line.trim_end().ends_with(';');
                continue;
            }
            let line = line.strip_prefix("export ").unwrap_or(line);
            joined.push_str(line);
            joined.push('\n');
        }
    }
    let borrowed: Vec<String> = borrowed.into_iter().collect();
    format!("import {{ {} }} from \"./vendor/preact.js\";\n{whole}{joined}", borrowed.join(", "))
}

/// Adds a further extension to a path.
trait Added {
    fn with_added_extension_of(self, ending: &str) -> PathBuf;
}

impl Added for PathBuf {
    fn with_added_extension_of(self, ending: &str) -> PathBuf {
        let mut name = self.into_os_string();
        name.push(".");
        name.push(ending);
        PathBuf::from(name)
    }
}

/// Returns a checksum that identifies a version of a file.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}
