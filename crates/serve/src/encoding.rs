//! Precompressed files, for example `app.js.br` beside `app.js`.

/// Encodings in order of preference: name in headers, file extension.
pub(crate) const ENCODINGS: &[(&str, &str)] = &[("br", ".br"), ("zstd", ".zst"), ("gzip", ".gz")];

/// Returns true if the header accepts this encoding.
pub(crate) fn is_accepted(header: &str, encoding: &str) -> bool {
    let mut by_star = false;
    for item in header.split(',') {
        let mut words = item.split(';').map(str::trim);
        let name = words.next().unwrap_or_default();
        let is_refused = words.filter_map(|word| word.strip_prefix("q=")).any(|q| q.parse::<f32>().is_ok_and(|q| q <= 0.0));
        if name.eq_ignore_ascii_case(encoding) {
            return !is_refused;
        }
        by_star |= name == "*" && !is_refused;
    }
    by_star
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_accepted_honours_quality_values() {
        for (header, encoding, expected) in [
            ("gzip, deflate, br", "br", true),
            ("gzip;q=0", "gzip", false),
            ("gzip;q=0.5", "gzip", true),
            ("*", "br", true),
            ("*, br;q=0", "br", false),
            ("*;q=0", "gzip", false),
            ("GZIP", "gzip", true),
            ("identity", "gzip", false),
            ("", "gzip", false),
        ] {
            assert_eq!(is_accepted(header, encoding), expected, "{encoding} in {header}");
        }
    }
}
