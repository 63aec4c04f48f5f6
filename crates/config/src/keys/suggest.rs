//! "Did you mean": the nearest known word.

/// The candidate nearest to `word` by edit distance, when it is near enough to be meant. Case, `-` and `_` count little.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > 64 {
        return None;
    }
    let plain = |text: &str| text.to_ascii_lowercase().replace(['-', '_', ' '], "");
    let wanted: Vec<char> = plain(word).chars().collect();
    // One slip in three letters is a typo, more is another word.
    let limit = (wanted.len() / 3).clamp(1, 4);
    candidates
        .into_iter()
        .map(|candidate| (distance(&wanted, &plain(candidate).chars().collect::<Vec<_>>()), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, candidate)| (*distance, candidate.len()))
        .map(|(_, candidate)| candidate)
}

/// Optimal string alignment distance: insert, delete, replace, swap neighbours.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut rows = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typos_find_their_word_and_other_words_find_nothing() {
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
