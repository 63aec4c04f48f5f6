//! Differences between two descriptions of an app, by the keys of its config file.

use serde_json::Value;

use crate::app::AppSpec;

/// One key with another value.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Attribute or environment variable.
    pub key: Key,
    /// The former value; none = it is new.
    pub was: Option<Value>,
    /// The new value; none = it was removed.
    pub is: Option<Value>,
}

/// Key that has another value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// An attribute by its main name.
    Attribute(String),
    /// A variable that the file sets.
    Variable(String),
}

/// Returns all declared keys that differ, attributes first. The environment of the caller is not
/// compared.
pub fn differences(was: &AppSpec, is: &AppSpec) -> Vec<Difference> {
    let (before, after) = (attributes(was), attributes(is));
    let mut out: Vec<Difference> = pairs(&before, &after, Key::Attribute);
    let (before, after) = (variables(was), variables(is));
    out.extend(pairs(&before, &after, Key::Variable));
    out.sort_by(|a, b| a.key.cmp(&b.key));
    out
}

type Values = serde_json::Map<String, Value>;

/// Returns the attributes as given, with the values derived from them. A link that now has another
/// target is therefore a difference, too.
fn attributes(spec: &AppSpec) -> Values {
    let mut values = spec.given.open().into_owned();
    // For these keys the derived value matters, not the spelling.
    for key in ["cwd", "exec_interpreter", "env_file"] {
        values.shift_remove(key);
    }
    values.insert("script".into(), spec.script.as_str().into());
    values.insert("cwd".into(), spec.cwd.as_str().into());
    if let Some(interpreter) = &spec.interpreter {
        values.insert("interpreter".into(), interpreter.as_str().into());
    }
    if let Some(version) = &spec.version {
        values.insert("version".into(), version.as_str().into());
    }
    if let Some(profile) = &spec.env.profile {
        values.insert("--env".into(), profile.as_str().into());
    }
    values
}

fn variables(spec: &AppSpec) -> Values {
    spec.env.declared().into_iter().map(|(name, value)| (name, Value::String(value))).collect()
}

fn pairs(was: &Values, is: &Values, key: fn(String) -> Key) -> Vec<Difference> {
    let gone = was.iter().filter(|(name, _)| !is.contains_key(*name)).map(|(name, value)| (name, Some(value), None));
    let there = is.iter().map(|(name, value)| (name, was.get(name), Some(value)));
    gone.chain(there)
        .filter(|(_, was, is)| was != is)
        .map(|(name, was, is)| Difference { key: key(name.clone()), was: was.cloned(), is: is.cloned() })
        .collect()
}

/// Returns true if a value of this name is likely a secret.
pub fn looks_secret(name: &str) -> bool {
    const WORDS: &[&str] =
        &["SECRET", "TOKEN", "PASSWORD", "PASSWD", "PASSPHRASE", "CREDENTIAL", "PRIVATE", "APIKEY", "API_KEY", "ACCESS_KEY", "AUTH", "DSN"];
    let name = name.to_ascii_uppercase();
    WORDS.iter().any(|word| name.contains(word)) || name.ends_with("_KEY") || name.ends_with("_PASS") || name == "PASS"
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn spec(given: Value, vars: &[(&str, &str)]) -> AppSpec {
        let mut spec =
            AppSpec { script: "/a.js".into(), given: given.as_object().cloned().unwrap_or_default().into(), ..AppSpec::default() };
        spec.env.vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        spec
    }

    #[test]
    fn differences_list_changed_added_and_removed_keys() {
        let was = spec(json!({"max_restarts": 3, "watch": true, "cwd": "x"}), &[("A", "1"), ("B", "2")]);
        let mut is = spec(json!({"max_restarts": 4, "kill_timeout": 100, "cwd": "./x"}), &[("A", "1"), ("C", "3")]);
        is.env.base = std::sync::Arc::new([("HOME".to_owned(), "/".to_owned())].into_iter().collect());
        let attribute = |key: &str, was: Value, is: Value| Difference {
            key: Key::Attribute(key.into()),
            was: Some(was).filter(|value| !value.is_null()),
            is: Some(is).filter(|value| !value.is_null()),
        };
        let variable = |key: &str, was: Value, is: Value| Difference { key: Key::Variable(key.into()), ..attribute("", was, is) };
        assert_eq!(
            differences(&was, &is),
            [
                attribute("kill_timeout", Value::Null, json!(100)),
                attribute("max_restarts", json!(3), json!(4)),
                attribute("watch", json!(true), Value::Null),
                variable("B", json!("2"), Value::Null),
                variable("C", Value::Null, json!("3")),
            ]
        );
    }

    #[test]
    fn changing_the_profile_changes_its_variables() {
        let mut was = spec(json!({}), &[("MODE", "dev")]);
        was.env.profiles.insert("production".into(), [("MODE".to_owned(), "prod".to_owned())].into_iter().collect());
        let mut is = was.clone();
        is.env.profile = Some("production".into());
        let keys: Vec<Key> = differences(&was, &is).into_iter().map(|difference| difference.key).collect();
        assert_eq!(keys, [Key::Attribute("--env".into()), Key::Variable("MODE".into())]);
    }

    #[test]
    fn secret_names_are_recognized() {
        for (name, secret) in
            [("DB_PASSWORD", true), ("github_token", true), ("STRIPE_KEY", true), ("PORT", false), ("KEYBOARD", false), ("COMPASS", false)]
        {
            assert_eq!(looks_secret(name), secret, "{name}");
        }
    }

    proptest! {
        #[test]
        fn differences_are_empty_for_equal_specs_and_symmetric(
            a in proptest::collection::btree_map("[a-c]{1,2}", 0..3_i64, 0..4),
            b in proptest::collection::btree_map("[a-c]{1,2}", 0..3_i64, 0..4),
        ) {
            let (a, b) = (spec(json!(a), &[]), spec(json!(b), &[]));
            prop_assert!(differences(&a, &a).is_empty());
            let mirrored: Vec<Difference> =
                differences(&b, &a).into_iter().map(|Difference { key, was, is }| Difference { key, was: is, is: was }).collect();
            prop_assert_eq!(differences(&a, &b), mirrored);
        }
    }
}
