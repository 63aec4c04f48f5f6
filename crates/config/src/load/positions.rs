//! Positions of the keys of a file.
//!
//! The YAML and TOML parsers return them. For JSON, JSON5 and JavaScript, a scanner finds literals
//! in the text. A position is returned only if the text around it agrees with the evaluated value.
//! No line is better than a wrong line.

use std::collections::HashMap;

use serde_json::Value;

pub(crate) use super::key_path::{Segment, join, position_at};
use super::literals::Scanned;
pub(crate) use super::literals::loaded_paths;
use crate::problem::Position;

/// Positions by key path.
#[derive(Clone, Debug, Default)]
pub(crate) struct Positions {
    exact: HashMap<String, Position>,
    scanned: Option<Scanned>,
    /// Files that a program loads, by their paths relative to it.
    loaded: Vec<(String, Scanned)>,
}

/// A position, and its file if that is not the config file itself: a path relative to it.
pub(crate) type Place<'a> = (Option<&'a str>, Position);

impl Positions {
    /// Records an exact position.
    pub(crate) fn insert(&mut self, path: String, position: Position) {
        self.exact.insert(path, position);
    }

    /// Returns the positions in a JSON, JSON5 or JavaScript text.
    pub(crate) fn scan(text: &str) -> Self {
        Self { scanned: Some(Scanned::of(text)), ..Self::default() }
    }

    /// Adds the positions in a file that the program loads. `path` is relative to the program.
    pub(crate) fn scan_loaded(&mut self, path: &str, text: &str) {
        self.loaded.push((path.to_owned(), Scanned::of(text)));
    }

    /// Returns the position of an app (no segments) or of a key inside it. `app` is its path in the
    /// file, `value` its evaluated table.
    pub(crate) fn of(&self, app: &str, value: &Value, segments: &[Segment]) -> Option<Place<'_>> {
        let path = segments.iter().fold(app.to_owned(), |path, segment| join(&path, segment));
        if let Some(position) = self.exact.get(&path) {
            return Some((None, *position));
        }
        if let Some(position) = self.scanned.as_ref().and_then(|scanned| scanned.trusted(app, value, segments)) {
            return Some((None, position));
        }
        self.loaded.iter().find_map(|(file, scanned)| Some((Some(file.as_str()), scanned.trusted_alone(value, segments)?)))
    }

    /// Returns the position of a part of the file outside of its apps, such as `apps` or `jobs[1]`.
    pub(crate) fn of_part(&self, path: &str) -> Option<Position> {
        self.exact.get(path).copied().or_else(|| self.scanned.as_ref()?.part(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn line(text: &str, app: &str, value: &Value, key: &str) -> Option<u32> {
        Positions::scan(text).of(app, value, &[key.into()]).map(|(_, position)| position.line)
    }

    #[test]
    fn finds_keys_in_exported_literals() {
        let text = "// apps\nmodule.exports = {\n  apps: [{\n    name: 'a', // it's\n    args: /[/]}/,\n  }, {\n    \"name\": \"b\",\n    max_restarts: f({x: 1}),\n    env: {\n      A: 1 } }]\n}";
        let a = json!({"name": "a", "args": {}});
        let b = json!({"name": "b", "max_restarts": "ten", "env": {"A": 1}});
        assert_eq!(line(text, "apps[0]", &a, "args"), Some(5));
        assert_eq!(line(text, "apps[1]", &b, "max_restarts"), Some(8));
        let positions = Positions::scan(text);
        assert_eq!(positions.of("apps[1]", &b, &["env".into(), "A".into()]), Some((None, Position { line: 10, column: 7 })));
    }

    #[test]
    fn finds_items_of_lists_unless_one_is_spread() {
        let text = "({apps: [{args: [\n'a',\n  [1, {x: 2}], b()],\n watch: [...x,\n 'y']}]})";
        let value = json!({});
        let at = |segments: &[Segment]| Positions::scan(text).of("apps[0]", &value, segments).map(|(_, at)| (at.line, at.column));
        assert_eq!(at(&["args".into(), 0.into()]), Some((2, 1)));
        assert_eq!(at(&["args".into(), 1.into(), 1.into(), "x".into()]), Some((3, 8)));
        assert_eq!(at(&["args".into(), 2.into()]), Some((3, 16)));
        assert_eq!(at(&["args".into(), 3.into()]), None);
        assert_eq!(at(&["watch".into(), 1.into()]), None);
        let part = |path: &str| Positions::scan(text).of_part(path).map(|at| (at.line, at.column));
        assert_eq!([part("apps"), part("apps[0]"), part("apps[1]"), part("jobs")], [Some((1, 3)), Some((1, 10)), None, None]);
    }

    #[test]
    fn finds_apps_by_name_if_the_path_does_not_resolve() {
        let text = "const x = {name: 'x',\n nme: 1};\nconst y = {\n  name: 'y', bad: 2};\nmodule.exports = {apps: [x, y]};";
        assert_eq!(line(text, "apps[1]", &json!({"name": "y", "bad": 2}), "bad"), Some(4));
        assert_eq!(line(text, "apps[0]", &json!({"name": "x", "nme": 1}), "nme"), Some(2));
    }

    #[test]
    fn returns_no_position_if_the_literal_is_ambiguous() {
        // Computed apps: the literal at the path differs from the evaluated value.
        let text = "module.exports = {apps: [{name: 'a', bad: 1}]}; module.exports.apps.unshift(other)";
        assert_eq!(line(text, "apps[0]", &json!({"name": "other", "bad": 1}), "bad"), None);
        // A later spread may have replaced the value.
        let text = "module.exports = {apps: [{name: 'a', bad: 1, ...more}]}";
        assert_eq!(line(text, "apps[0]", &json!({"name": "a", "bad": 1}), "bad"), None);
        // Two apps of the same name.
        let text = "const a = {name: 'a', bad: 1}; const b = {name: 'a', bad: 1}; module.exports = [a, b]";
        assert_eq!(line(text, "[0]", &json!({"name": "a", "bad": 1}), "bad"), None);
    }

    #[test]
    fn finds_apps_in_loaded_files() {
        let mut positions = Positions::scan("module.exports = {apps: [require('./api'), require('./web')]}");
        positions.scan_loaded("api.js", "module.exports = {\n script: 'api.js',\n bad: 1}");
        positions.scan_loaded("web.js", "const web = {name: 'web',\n bad: 1}; module.exports = web");
        let of = |app: &str, value: Value| positions.of(app, &value, &["bad".into()]).map(|(file, at)| (file, at.line));
        assert_eq!(of("apps[0]", json!({"script": "api.js", "bad": 1})), Some((Some("api.js"), 3)));
        assert_eq!(of("apps[1]", json!({"name": "web", "bad": 1})), Some((Some("web.js"), 2)));
        assert_eq!(of("apps[1]", json!({"name": "other", "bad": 1})), None);
        assert_eq!(
            loaded_paths("require('./a'); import b from \"../b.mjs\"; require('express'); from('./c'); x('./d')"),
            ["./a", "../b.mjs"]
        );
    }

    #[test]
    fn survives_unbalanced_and_deeply_nested_brackets() {
        for text in ["{", "[[[[", "}}}{{{", "({[", "module.exports = {a: [", "`${", "/", "'", "{:,:,}", "{{{}}}: [}"] {
            assert_eq!(line(text, "apps[0]", &json!({}), "x"), None, "{text}");
        }
        let deep = "[{a:".repeat(100_000);
        assert_eq!(line(&deep, "apps[0]", &json!({}), "x"), None);
    }
}
