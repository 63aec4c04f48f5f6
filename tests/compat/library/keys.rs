//! Comparison of two sessions, key by key.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Session;

/// Placeholder for a missing value.
const NONE: &str = "-";

/// Values as JSON, by step and key.
type Values = BTreeMap<(String, String), String>;

/// A key of a step that differs between the sessions; values as JSON.
#[derive(Debug, PartialEq, Eq)]
pub struct KeyDifference {
    step: String,
    key: String,
    pm2: String,
    ostler: String,
}

/// Intended difference. In each text `*` matches anything; `-` stands for a missing value.
#[derive(Debug)]
pub struct Difference {
    step: &'static str,
    key: &'static str,
    pm2: &'static str,
    ostler: &'static str,
    why: &'static str,
    /// Versions in which the difference occurs.
    versions: &'static [u32],
    /// True if the difference depends on timing and therefore may be absent.
    is_rare: bool,
}

impl Difference {
    pub const fn new(step: &'static str, key: &'static str, pm2: &'static str, ostler: &'static str, why: &'static str) -> Self {
        Self { step, key, pm2, ostler, why, versions: &[5, 6, 7], is_rare: false }
    }

    pub const fn only(self, versions: &'static [u32]) -> Self {
        Self { versions, ..self }
    }

    pub const fn at_times(self) -> Self {
        Self { is_rare: true, ..self }
    }

    fn covers(&self, found: &KeyDifference, major: u32) -> bool {
        let pairs = [(self.step, &found.step), (self.key, &found.key), (self.pm2, &found.pm2), (self.ostler, &found.ostler)];
        self.versions.contains(&major) && pairs.into_iter().all(|(pattern, text)| fits(pattern.as_bytes(), text.as_bytes()))
    }
}

/// Returns true if the text matches the pattern.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|from| fits(rest, text.get(from..).unwrap_or_default())),
        Some((first, rest)) => text.split_first().is_some_and(|(byte, text)| byte == first && fits(rest, text)),
    }
}

/// Returns the differences that were found but are not listed, and those that are listed but were
/// not found.
pub fn unexpected(found: &[KeyDifference], listed: &[Difference], major: u32) -> Vec<String> {
    let is_listed = |found: &&KeyDifference| listed.iter().any(|difference| difference.covers(found, major));
    let show = |found: &KeyDifference| format!("not listed: {} | {} | pm2 {} | ostler {}", found.step, found.key, found.pm2, found.ostler);
    let is_gone = |difference: &&Difference| {
        !difference.is_rare && difference.versions.contains(&major) && !found.iter().any(|found| difference.covers(found, major))
    };
    let show_gone = |difference: &Difference| format!("does not occur: {} | {} ({})", difference.step, difference.key, difference.why);
    let unlisted = found.iter().filter(|found| !is_listed(found)).map(show);
    unlisted.chain(listed.iter().filter(is_gone).map(show_gone)).collect()
}

/// Returns every key in which two sessions differ.
pub fn differences(pm2: &Session, ostler: &Session) -> Vec<KeyDifference> {
    let [pm2, ostler] = [flat(pm2), flat(ostler)];
    let keys: BTreeSet<&(String, String)> = pm2.keys().chain(ostler.keys()).collect();
    let value = |session: &Values, key| session.get(key).cloned().unwrap_or_else(|| NONE.to_owned());
    let compared = keys.into_iter().map(|key| (key.clone(), value(&pm2, key), value(&ostler, key)));
    compared.filter(|(_, pm2, ostler)| pm2 != ostler).map(|((step, key), pm2, ostler)| KeyDifference { step, key, pm2, ostler }).collect()
}

/// Returns the values of a session by keys such as `[0].pm2_env.name`.
fn flat(session: &Session) -> Values {
    let mut values = BTreeMap::new();
    for (step, value) in session {
        flatten(value, String::new(), &mut |key, value| drop(values.insert((step.clone(), key), value)));
    }
    values
}

fn flatten(value: &Value, key: String, put: &mut impl FnMut(String, String)) {
    match value {
        Value::Object(map) if !map.is_empty() => map.iter().for_each(|(name, value)| flatten(value, format!("{key}.{name}"), put)),
        Value::Array(list) if !list.is_empty() => {
            list.iter().enumerate().for_each(|(at, value)| flatten(value, format!("{key}[{at}]"), put))
        }
        value => put(key, value.to_string()),
    }
}

#[test]
fn comparison_covers_every_key_and_rejects_unused_list_entries() {
    let session = |value: Value| vec![("list".to_owned(), value)];
    let pm2 = session(serde_json::json!([{"pid": 1, "env": {"A": "x", "B": {}}}, {"pid": 2}]));
    let ostler = session(serde_json::json!([{"pid": 1, "env": {"A": "y"}, "more": []}, {"pid": 2}]));
    let found = differences(&pm2, &ostler);
    let keys: Vec<&str> = found.iter().map(|found| found.key.as_str()).collect();
    assert_eq!(keys, ["[0].env.A", "[0].env.B", "[0].more"]);
    assert!(differences(&pm2, &pm2).is_empty());
    let listed = [
        Difference::new("list", "[*].env.*", "\"x\"", "*", "another word"),
        Difference::new("*", "*.B", "{}", "-", "nothing is in it"),
        Difference::new("l*t", "[0].more", "-", "[]", "there is more"),
    ];
    assert_eq!(unexpected(&found, &listed, 7), Vec::<String>::new());
    assert_eq!(unexpected(&found, &listed[1..], 7), ["not listed: list | [0].env.A | pm2 \"x\" | ostler \"y\""]);
    assert_eq!(unexpected(&found[1..], &listed, 7), ["does not occur: list | [*].env.* (another word)"]);
    let listed = listed.map(|difference| difference.only(&[5]).at_times());
    assert_eq!(unexpected(&[], &listed, 5), Vec::<String>::new());
    assert_eq!(unexpected(&found, &listed, 7).len(), 3);
}
