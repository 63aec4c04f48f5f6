//! Content types by extension.

/// Returns the content type of a file. An unknown extension is text, as in PM2.
pub(crate) fn of(name: &[u8]) -> &'static str {
    let name = name.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let extension = name.iter().rposition(|byte| *byte == b'.').and_then(|dot| name.get(dot + 1..)).unwrap_or_default();
    let known = KINDS.iter().find(|(words, _)| words.split(' ').any(|word| word.as_bytes().eq_ignore_ascii_case(extension)));
    known.filter(|_| !extension.is_empty()).map_or("text/plain", |(_, kind)| kind)
}

// Differs from PM2: `.mjs`, `.wasm` and fonts have the types that browsers expect.
const KINDS: &[(&str, &str)] = &[
    ("html htm", "text/html"),
    ("js mjs cjs", "application/javascript"),
    ("css", "text/css"),
    ("json map", "application/json"),
    ("svg", "image/svg+xml"),
    ("png", "image/png"),
    ("jpg jpeg", "image/jpeg"),
    ("webp", "image/webp"),
    ("gif", "image/gif"),
    ("avif", "image/avif"),
    ("ico", "image/x-icon"),
    ("woff2", "font/woff2"),
    ("woff", "font/woff"),
    ("ttf", "font/ttf"),
    ("otf", "font/otf"),
    ("wasm", "application/wasm"),
    ("xml", "application/xml"),
    ("pdf", "application/pdf"),
    ("webmanifest", "application/manifest+json"),
    ("jsonld", "application/ld+json"),
    ("bmp", "image/bmp"),
    ("tif tiff", "image/tiff"),
    ("mp4 m4v", "video/mp4"),
    ("webm", "video/webm"),
    ("ogv", "video/ogg"),
    ("mov", "video/quicktime"),
    ("mp3", "audio/mpeg"),
    ("ogg oga opus", "audio/ogg"),
    ("m4a", "audio/mp4"),
    ("wav", "audio/wav"),
    ("flac", "audio/flac"),
    ("csv", "text/csv"),
    ("ics", "text/calendar"),
    ("vtt", "text/vtt"),
    ("rss", "application/rss+xml"),
    ("atom", "application/atom+xml"),
    ("xhtml", "application/xhtml+xml"),
    ("zip", "application/zip"),
    ("gz tgz", "application/gzip"),
    ("bz2", "application/x-bzip2"),
    ("xz", "application/x-xz"),
    ("zst", "application/zstd"),
    ("7z", "application/x-7z-compressed"),
    ("tar", "application/x-tar"),
    ("rtf", "application/rtf"),
    ("doc", "application/msword"),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("xls", "application/vnd.ms-excel"),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ("ppt", "application/vnd.ms-powerpoint"),
    ("pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
    ("epub", "application/epub+zip"),
    ("eot", "application/vnd.ms-fontobject"),
    ("swf", "application/x-shockwave-flash"),
    ("jar", "application/java-archive"),
    ("apk", "application/vnd.android.package-archive"),
    ("bin exe dll deb rpm dmg iso img msi so", "application/octet-stream"),
];

#[cfg(test)]
mod tests {
    #[test]
    fn content_type_follows_extension() {
        for (name, expected) in [
            ("index.html", "text/html"),
            ("a/b.JS", "application/javascript"),
            ("a.tar.gz", "application/gzip"),
            ("README", "text/plain"),
            ("a.d/README", "text/plain"),
            ("x.", "text/plain"),
            ("x.unknown", "text/plain"),
        ] {
            assert_eq!(super::of(name.as_bytes()), expected, "{name}");
        }
    }
}
