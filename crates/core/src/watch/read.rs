//! Reads the settings of a watch from the attributes of an app.

use serde_json::{Map, Value};

use super::rules::{Rules, Surroundings};
use super::spec::{BadWatch, WatchSpec};
use crate::message;

/// Longest time that is accepted.
const LONGEST_MS: u64 = 24 * 3600 * 1000;

impl WatchSpec {
    /// Reads the attributes of an app: `watch`, `ignore_watch`, `watch_delay`, `watch_options`,
    /// `ext`.
    ///
    /// # Errors
    /// Returns the first key with an invalid value.
    pub fn read(attributes: &Map<String, Value>, cwd: &str) -> Result<Self, BadWatch> {
        let mut spec = Self::default();
        let bad = |key: &'static str| move |message: String| BadWatch { key, message };
        match attributes.get("watch") {
            None | Some(Value::Null | Value::Bool(false)) => {}
            Some(Value::Bool(true)) => spec.on = true,
            Some(value) => {
                spec.on = true;
                spec.paths = texts(value).ok_or_else(|| bad("watch")(message!("expected true, a path or a list of paths")))?;
            }
        }
        if let Some(value) = attributes.get("ignore_watch").filter(|value| !value.is_null()) {
            let split = |text: &str| text.split_whitespace().map(str::to_owned).collect();
            let list = value.as_str().map(split).or_else(|| texts(value));
            spec.ignore = Some(list.ok_or_else(|| bad("ignore_watch")(message!("expected paths, patterns or regular expressions")))?);
        }
        if let Some(value) = attributes.get("watch_delay").filter(|value| !value.is_null()) {
            spec.delay_ms = millis(value).map_err(bad("watch_delay"))?;
        }
        if let Some(value) = attributes.get("ext").and_then(Value::as_str) {
            spec.ext = extensions(value).map_err(bad("ext"))?;
        }
        if let Some(Value::Object(table)) = attributes.get("watch_options") {
            for (name, value) in table.iter().filter(|(_, value)| !value.is_null()) {
                let fault = |message: String| BadWatch { key: "watch_options", message: format!("{name}: {message}") };
                spec.set_option(name, value).map_err(fault)?;
            }
        }
        if spec != Self::default() {
            Rules::new(&spec, &Surroundings { cwd, ..Surroundings::default() })?;
        }
        Ok(spec)
    }

    fn set_option(&mut self, name: &str, value: &Value) -> Result<(), String> {
        let flag = || value.as_bool().ok_or_else(|| message!("expected true or false"));
        match name {
            "ignored" => {
                // In addition to the default: only `ignore_watch` replaces it.
                let list = texts(value).ok_or_else(|| message!("expected paths, patterns or regular expressions"))?;
                let dotted = || ["**/.*".to_owned()].into_iter();
                let ignore = self.ignore.get_or_insert_with(|| dotted().collect());
                ignore.extend(list);
            }
            "followSymlinks" => self.no_follow = !flag()?,
            "usePolling" => self.polling = Some(flag()?),
            "interval" => self.interval_ms = Some(millis(value)?),
            "awaitWriteFinish" => self.settle_ms = settle(value)?,
            "depth" => {
                let depth = value.as_u64().and_then(|depth| u32::try_from(depth).ok());
                self.depth = Some(depth.ok_or_else(|| message!("expected a number of levels"))?);
            }
            "cwd" => self.cwd = Some(value.as_str().ok_or_else(|| message!("expected a path"))?.to_owned()),
            "disableGlobbing" => self.literal = flag()?,
            "ignoreInitial" => drop(flag()?),
            "gitignore" => self.no_gitignore = !flag()?,
            _ => {}
        }
        Ok(())
    }
}

fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(list) => list.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

fn millis(value: &Value) -> Result<u64, String> {
    crate::text::units::millis_of(value)
        .filter(|ms| *ms <= LONGEST_MS)
        .ok_or_else(|| message!("expected a number of milliseconds or a time such as \"3s\", a day at most"))
}

/// Reads `true`, or `{stabilityThreshold: 2000, pollInterval: 100}`.
fn settle(value: &Value) -> Result<Option<u64>, String> {
    const DEFAULT_MS: u64 = 2000;
    match value {
        Value::Bool(on) => Ok(on.then_some(DEFAULT_MS)),
        Value::Object(table) => table.get("stabilityThreshold").map_or(Ok(DEFAULT_MS), millis).map(Some),
        _ => Err(message!("expected true, false or {{stabilityThreshold}}")),
    }
}

/// Reads `js,json`, with or without dots.
fn extensions(text: &str) -> Result<Vec<String>, String> {
    let words = text.split([',', ' ']).map(|word| word.trim().trim_start_matches('.')).filter(|word| !word.is_empty());
    let list: Vec<String> = words.map(str::to_owned).collect();
    match list.iter().find(|word| word.contains(['/', '*'])) {
        Some(bad) => Err(message!("expected endings such as \"js,json\", found {found}", found = format!("{bad:?}"))),
        None if list.is_empty() => Err(message!("expected endings such as \"js,json\"")),
        None => Ok(list),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(attributes: Value) -> Result<WatchSpec, BadWatch> {
        WatchSpec::read(attributes.as_object().unwrap(), "/w")
    }

    #[test]
    fn every_form_of_the_watch_setting_is_read() {
        let on = WatchSpec { on: true, ..WatchSpec::default() };
        for (attributes, expected) in [
            (json!({}), WatchSpec::default()),
            (json!({"watch": false}), WatchSpec::default()),
            (json!({"watch": true}), on.clone()),
            (json!({"watch": []}), on.clone()),
            (json!({"watch": "src dir"}), WatchSpec { paths: vec!["src dir".into()], ..on.clone() }),
            (json!({"watch": ["a", "b"]}), WatchSpec { paths: vec!["a".into(), "b".into()], ..on.clone() }),
            (
                json!({"watch": true, "ignore_watch": "node_modules logs"}),
                WatchSpec { ignore: Some(vec!["node_modules".into(), "logs".into()]), ..on.clone() },
            ),
            (json!({"watch": true, "ignore_watch": []}), WatchSpec { ignore: Some(vec![]), ..on.clone() }),
            (json!({"watch": true, "watch_delay": 300}), WatchSpec { delay_ms: 300, ..on.clone() }),
            (json!({"watch": true, "ext": ".js, json"}), WatchSpec { ext: vec!["js".into(), "json".into()], ..on.clone() }),
            (
                json!({"watch": true, "watch_options": {"usePolling": true, "interval": 50, "depth": 2, "awaitWriteFinish": true}}),
                WatchSpec { polling: Some(true), interval_ms: Some(50), depth: Some(2), settle_ms: Some(2000), ..on.clone() },
            ),
            (
                json!({"watch": true, "watch_options": {"followSymlinks": false, "cwd": "sub", "gitignore": false, "persistent": true}}),
                WatchSpec { no_follow: true, cwd: Some("sub".into()), no_gitignore: true, ..on.clone() },
            ),
            (json!({"watch": true, "watch_options": {"ignored": "x"}}), WatchSpec { ignore: Some(vec!["**/.*".into(), "x".into()]), ..on }),
        ] {
            assert_eq!(read(attributes.clone()), Ok(expected), "{attributes}");
        }
    }

    #[test]
    fn errors_name_the_key_of_a_bad_value() {
        for (attributes, key, message) in [
            (json!({"watch": 1}), "watch", "expected true, a path or a list of paths"),
            (json!({"watch": ["src/[a"]}), "watch", "\"src/[a\": \"[\" without its \"]\""),
            (json!({"watch": true, "ignore_watch": ["{a"]}), "ignore_watch", "\"{a\": \"{\" without its \"}\""),
            (json!({"watch": true, "ignore_watch": {"a": 1}}), "ignore_watch", "expected paths, patterns or regular expressions"),
            (json!({"watch": true, "watch_delay": "soon"}), "watch_delay", "expected a number of milliseconds"),
            (json!({"watch": true, "watch_options": {"depth": -1}}), "watch_options", "depth: expected a number of levels"),
            (json!({"watch": true, "watch_options": {"usePolling": 1}}), "watch_options", "usePolling: expected true or false"),
            (json!({"watch": true, "ext": "a/b"}), "ext", "expected endings such as \"js,json\", found \"a/b\""),
        ] {
            let bad = read(attributes.clone()).unwrap_err();
            assert!(bad.key == key && bad.message.starts_with(message), "{attributes} {bad:?}");
        }
        let bad = read(json!({"watch": true, "ignore_watch": ["regex:(a"]})).unwrap_err();
        assert!(bad.key == "ignore_watch" && bad.message.starts_with("\"regex:(a\": "), "{bad:?}");
    }
}
