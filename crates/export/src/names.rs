//! Names that engines accept, made from arbitrary texts.

use std::collections::BTreeSet;

/// Longest label of a DNS name.
const MOST: usize = 63;
/// Room for suffixes such as `-restart` and `-secrets`; names of CronJobs have eleven bytes less.
const MOST_OF_APP: usize = 40;

/// Returns a label by RFC 1123 that begins with a letter, as services of Kubernetes require:
/// lower-case letters, digits, `-`.
pub(crate) fn label(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c.to_ascii_lowercase() {
            c if c.is_ascii_alphanumeric() => out.push(c),
            _ if !out.is_empty() && !out.ends_with('-') => out.push('-'),
            _ => {}
        }
    }
    let out = if out.starts_with(|c: char| c.is_ascii_digit()) { format!("app-{out}") } else { out };
    let short: String = out.chars().take(MOST_OF_APP).collect();
    let short = short.trim_end_matches('-');
    if short.is_empty() { "app".to_owned() } else { short.to_owned() }
}

/// Returns a value of a Kubernetes label: at most 63 letters, digits, `-`, `_`, `.`.
pub(crate) fn label_value(text: &str) -> String {
    let kept: String = text.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' }).take(MOST).collect();
    kept.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned()
}

/// Returns a unique label for each name, in their order; the second of two equal labels gets a
/// number.
pub(crate) fn labels<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let mut unique = |name: &str| {
        let first = label(name);
        let mut candidate = first.clone();
        let mut number = 2_u32;
        while !taken.insert(candidate.clone()) {
            candidate = format!("{first}-{number}");
            number += 1;
        }
        candidate
    };
    names.into_iter().map(&mut unique).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn label_is_derived_from_name() {
        for (name, expected) in [
            ("api", "api"),
            ("API Gateway", "api-gateway"),
            ("my_app.v2", "my-app-v2"),
            ("3proxy", "app-3proxy"),
            ("--", "app"),
            ("订单", "app"),
            ("a/../../etc", "a-etc"),
            ("\"; rm -rf /", "rm-rf"),
        ] {
            assert_eq!(label(name), expected, "{name}");
        }
        assert_eq!(labels(["订单", "用户", "a b", "a-b"]), ["app", "app-2", "a-b", "a-b-2"]);
    }

    proptest! {
        #[test]
        fn every_name_becomes_a_label(name in any::<String>()) {
            let label = label(&name);
            prop_assert!((1..=MOST_OF_APP).contains(&label.len()));
            prop_assert!(label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
            prop_assert!(label.starts_with(|c: char| c.is_ascii_lowercase()) && !label.ends_with('-'));
            let value = label_value(&name);
            prop_assert!(value.len() <= MOST && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)));
        }

        #[test]
        fn labels_are_unique(names in prop::collection::vec("[aA .]{0,3}", 0..20)) {
            let all = labels(names.iter().map(String::as_str));
            prop_assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), names.len());
        }
    }
}
