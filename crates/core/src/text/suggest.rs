//! "Did you mean": the nearest known word.

/// Returns the candidate nearest to `word` by edit distance, if it is close enough. Case, `-` and
/// `_` count little.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > 64 {
        return None;
    }
    let plain = |text: &str| text.to_ascii_lowercase().replace(['-', '_', ' '], "");
    let wanted = plain(word);
    // One edit per three letters is a typo; more is another word.
    let limit = (wanted.chars().count() / 3).clamp(1, 4);
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&wanted, &plain(candidate)), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, candidate)| (*distance, candidate.len()))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typo_suggests_the_closest_word_only() {
        let names = ["max_restarts", "restart_delay", "script", "instances", "watch"];
        let cases = [
            ("max_restart", Some("max_restarts")),
            ("max-restarts", Some("max_restarts")),
            ("maxrestarts", Some("max_restarts")),
            ("instnaces", Some("instances")),
            ("scirpt", Some("script")),
            ("wacth", Some("watch")),
            ("healthcheck", None),
            ("", None),
            ("x", None),
        ];
        for (given, expected) in cases {
            assert_eq!(closest(given, names), expected, "{given}");
        }
    }
}
