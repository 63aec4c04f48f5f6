//! "Did you mean".

/// The closest of the candidates, if it is close enough to be a slip of the finger.
pub(crate) fn closest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let most = (word.chars().count() / 3).clamp(1, 3);
    let scored = candidates.map(|candidate| (distance(word, candidate), candidate));
    scored.filter(|(score, _)| *score <= most).min_by_key(|(score, _)| *score).map(|(_, candidate)| candidate)
}

/// Edits between two words; neighbours that changed places count as one. Case does not count.
fn distance(a: &str, b: &str) -> usize {
    let [a, b] = [a, b].map(|text| text.chars().map(|c| c.to_ascii_lowercase()).collect::<Vec<_>>());
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let swapped = i > 0 && j > 0 && a[i - 1] == *y && b[j - 1] == *x;
            let edit = (last[j] + usize::from(x != y)).min(last[j + 1] + 1).min(row[j] + 1);
            row.push(if swapped { edit.min(before_last[j - 1] + 1) } else { edit });
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let words = ["start", "stop", "restart", "status", "list"];
        for (typed, meant) in [
            ("statr", Some("start")),
            ("restrt", Some("restart")),
            ("lsit", Some("list")),
            ("deploy", None),
            ("", None),
            ("START", Some("start")),
        ] {
            assert_eq!(closest(typed, words.into_iter()), meant, "{typed}");
        }
    }
}
