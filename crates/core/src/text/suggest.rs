//! "Did you mean": the nearest known word.

use crate::message;

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

/// Works like [`closest`], for the user: names that share no letter with `word` are no candidates.
pub fn near<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let shares_a_letter = |name: &&str| name.chars().any(|c| word.chars().any(|other| other.eq_ignore_ascii_case(&c)));
    closest(word, candidates.into_iter().filter(shares_a_letter))
}

/// Returns the question about the nearest candidate: ``did you mean `max_restarts`?``. Control
/// characters of its name become escapes.
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    near(word, candidates).map(question)
}

/// Returns the question "did you mean" for this name.
pub fn question(name: &str) -> String {
    message!("did you mean `{name}`?", name = visible(name))
}

/// Returns the text with its control characters as escapes.
pub fn visible(text: &str) -> String {
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escape).collect()
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

    #[test]
    fn question_names_the_candidate_without_control_characters() {
        assert_eq!(did_you_mean("payments", ["paymnets", "web"]).as_deref(), Some("did you mean `paymnets`?"));
        assert_eq!(did_you_mean("red", ["r\u{1b}ed"]).as_deref(), Some("did you mean `r\\u{1b}ed`?"));
        assert_eq!(did_you_mean("日志", ["日记", "x"]).as_deref(), Some("did you mean `日记`?"));
        assert_eq!(did_you_mean("other", ["web"]), None);
        // Each name of one letter is one edit away from each other one.
        for (word, names) in [("b", ["a", "-"]), ("", ["a", ""]), ("7", ["x", "0"])] {
            assert_eq!(did_you_mean(word, names), None, "{word}");
        }
    }
}
