//! Outline of a config file: the names that completion offers. Pure; nothing is evaluated, because a
//! key press must not run the program of a folder.

use serde_json::Value;

/// Attributes that begin like a profile.
const NO_PROFILES: &[&str] = &["file", "policy"];

/// Names in a config file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Outline {
    pub apps: Vec<String>,
    /// Names of `env_<name>`.
    pub profiles: Vec<String>,
    pub deploy_environments: Vec<String>,
    /// Profiles of compose services.
    pub compose_profiles: Vec<String>,
}

impl Outline {
    /// Returns the outline of a file with this text, and these values if it is no program.
    pub(super) fn of(text: &str, value: Option<&Value>) -> Self {
        let mut outline = value.map_or_else(|| Self::of_program(text), Self::of_value);
        for list in [&mut outline.apps, &mut outline.profiles, &mut outline.deploy_environments, &mut outline.compose_profiles] {
            let mut seen = std::collections::BTreeSet::new();
            list.retain(|name| !name.is_empty() && seen.insert(name.clone()));
        }
        outline
    }

    fn of_value(value: &Value) -> Self {
        let listed = ["apps", "pm2"].into_iter().find_map(|name| value.get(name)).unwrap_or(value);
        let apps: Vec<&Value> = match listed {
            Value::Array(items) => items.iter().collect(),
            one => vec![one],
        };
        let keys = |name: &str| value.get(name).and_then(Value::as_object).map(|table| table.keys().cloned()).into_iter().flatten();
        let services = || value.get("services").and_then(Value::as_object).into_iter().flatten();
        let texts = |value: &Value| value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>();
        Self {
            apps: apps.iter().filter_map(|app| name(app)).chain(keys("services")).chain(keys("jobs")).collect(),
            profiles: apps.iter().filter_map(|app| app.as_object()).flat_map(|app| app.keys()).filter_map(|key| profile(key)).collect(),
            deploy_environments: keys("deploy").collect(),
            compose_profiles: services().filter_map(|(_, service)| service.get("profiles")).flat_map(texts).collect(),
        }
    }

    /// Reads the keys of a JavaScript program, as far as they are written down in it.
    fn of_program(text: &str) -> Self {
        let entries = entries(text);
        Self {
            apps: entries.iter().filter(|entry| entry.key == "name").filter_map(|entry| entry.text.clone()).collect(),
            profiles: entries.iter().filter_map(|entry| profile(&entry.key)).collect(),
            deploy_environments: entries.iter().filter(|entry| entry.parent == "deploy").map(|entry| entry.key.clone()).collect(),
            compose_profiles: Vec::new(),
        }
    }
}

/// Returns the name of an app: by default that of its script.
fn name(app: &Value) -> Option<String> {
    let text = |key: &str| app.get(key).and_then(Value::as_str);
    let script = || std::path::Path::new(text("script")?).file_stem()?.to_str();
    text("name").or_else(script).map(str::to_owned)
}

fn profile(key: &str) -> Option<String> {
    key.strip_prefix("env_").filter(|name| !NO_PROFILES.contains(name)).map(str::to_owned)
}

/// Key in an object of a program.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    /// Key whose value contains this one.
    parent: String,
    key: String,
    /// Value, if it is a text.
    text: Option<String>,
}

/// Parts of a program that matter here.
#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Sign(char),
}

/// Returns the keys of all objects in a program.
fn entries(program: &str) -> Vec<Entry> {
    let mut found: Vec<Entry> = Vec::new();
    // Keys of the open brackets, the key whose value comes next, and the last word.
    let (mut open, mut key, mut last): (Vec<String>, Option<String>, Option<String>) = (Vec::new(), None, None);
    for token in tokens(program) {
        match token {
            Token::Sign(':') => {
                key = last.take().filter(|_| !open.is_empty());
                let entry = key.iter().map(|key| Entry { parent: open.last().cloned().unwrap_or_default(), key: key.clone(), text: None });
                found.extend(entry);
                continue;
            }
            Token::Sign('{' | '[' | '(') => open.push(key.take().unwrap_or_default()),
            Token::Sign('}' | ']' | ')') => drop(open.pop()),
            Token::Sign(_) => {}
            Token::Text(text) => {
                if key.is_some()
                    && let Some(entry) = found.last_mut()
                {
                    entry.text = Some(text.clone());
                }
                (key, last) = (None, Some(text));
                continue;
            }
            Token::Word(word) => {
                (key, last) = (None, Some(word));
                continue;
            }
        }
        (key, last) = (None, None);
    }
    found
}

/// Splits a program, without blanks and comments.
fn tokens(program: &str) -> impl Iterator<Item = Token> {
    let mut rest = program;
    std::iter::from_fn(move || {
        loop {
            rest = rest.trim_start();
            let first = rest.chars().next()?;
            if let Some(comment) = rest.strip_prefix("//") {
                rest = comment.split_once('\n').map_or("", |(_, rest)| rest);
            } else if let Some(comment) = rest.strip_prefix("/*") {
                rest = comment.split_once("*/").map_or("", |(_, rest)| rest);
            } else if matches!(first, '"' | '\'' | '`') {
                let (text, after) = text(&rest[1..], first);
                rest = after;
                return Some(Token::Text(text));
            } else {
                let end = rest.find(|c: char| !c.is_alphanumeric() && !"_$".contains(c)).unwrap_or(rest.len());
                let (word, after) = rest.split_at(end.max(first.len_utf8()));
                rest = after;
                return Some(if end == 0 { Token::Sign(first) } else { Token::Word(word.to_owned()) });
            }
        }
    })
}

/// Returns the text up to this quote, and the rest after it.
fn text(rest: &str, quote: char) -> (String, &str) {
    let mut out = String::new();
    let mut chars = rest.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => out.extend(chars.next().map(|(_, next)| next)),
            c if c == quote => return (out, &rest[at + 1..]),
            c => out.push(c),
        }
    }
    (out, "")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PROGRAM: &str = r#"
        // name: 'not this one', env_old: {}
        const base = { cwd: __dirname /* env_no: {} */ };
        module.exports = {
          apps: [
            { ...base, name: 'api', script: './api.js', env_file: '.env', env_production: { A: '1' }, "env_staging": {} },
            { name: "two \"words\"", instances: max > 1 ? 2 : 1, env_production: {} },
          ],
          deploy: { production: { user: 'deploy', host: ['a', 'b'] }, 'staging': {} },
        };
    "#;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn names_are_read_from_a_program() {
        let outline = Outline::of(PROGRAM, None);
        assert_eq!(outline.apps, names(&["api", "two \"words\""]));
        assert_eq!(outline.profiles, names(&["production", "staging"]));
        assert_eq!(outline.deploy_environments, names(&["production", "staging"]));
    }

    #[test]
    fn names_are_read_from_values() {
        let file = json!({
            "apps": [{ "name": "api", "env_production": {}, "env_policy": "clean" }, { "script": "./src/mailer.js" }],
            "jobs": { "backup": {} },
            "deploy": { "production": {} },
        });
        let outline = Outline::of("", Some(&file));
        assert_eq!((outline.apps, outline.profiles), (names(&["api", "mailer", "backup"]), names(&["production"])));
        assert_eq!(outline.deploy_environments, names(&["production"]));
        let compose = json!({ "services": { "web": {}, "debug": { "profiles": ["debug", "dev"] } } });
        let outline = Outline::of("", Some(&compose));
        assert_eq!((outline.apps, outline.compose_profiles), (names(&["web", "debug"]), names(&["debug", "dev"])));
        assert_eq!(Outline::of("", Some(&json!([{ "name": "x" }]))).apps, ["x"]);
    }

    proptest::proptest! {
        #[test]
        fn any_text_has_an_outline(text in "[a-c{}\\[\\]:,'\"`/*\\\\\n é]{0,60}") {
            Outline::of(&text, None);
        }
    }
}
