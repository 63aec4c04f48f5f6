//! Checks every key and value of an app against the table and reports all problems at once.

use std::collections::BTreeMap;
use std::rc::Rc;

use indexmap::IndexMap;
use ostler_core::app::EnvMap;
pub(crate) use ostler_core::text::units::whole;
use ostler_core::{app::args, text::units};
use serde_json::{Map, Value};

use crate::keys::{self, Accept, Key, KeyState};
use crate::load::Positions;
use crate::load::positions::{Segment, join};
use crate::problem::{Position, Problem, ProblemKind};

/// Longest text; a longer one is rejected.
const MAX_TEXT: usize = 1 << 20;

/// Origin of an app, so that each problem can name it.
#[derive(Clone, Debug)]
pub(crate) struct AppOrigin {
    /// File as the user named it; empty for options.
    pub shown: String,
    /// `apps[1]`; empty for a bare app.
    pub path: String,
    /// The app as evaluated.
    pub value: Rc<Value>,
    /// Positions of the file.
    pub positions: Rc<Positions>,
}

/// A checked app: known attributes under their main names in canonical form (times in milliseconds,
/// sizes in bytes, lists as lists).
#[derive(Clone, Debug)]
pub struct RawApp {
    pub(crate) at: AppOrigin,
    /// Absolute path of the file.
    pub(crate) file: Option<String>,
    /// Attributes by main name, without `env` and profiles.
    pub(crate) attributes: Map<String, Value>,
    /// Key as the user wrote it, by main name.
    written: IndexMap<String, String>,
    /// `env`.
    pub(crate) env: EnvMap,
    /// `env_<name>` by name.
    pub(crate) profiles: IndexMap<String, EnvMap>,
    /// Variables that are `undefined`, by the key: `env`, `env_<name>`.
    pub(crate) undefined: IndexMap<String, Vec<String>>,
    /// `deploy.<name>.env` by name.
    pub(crate) deploy_env: IndexMap<String, EnvMap>,
    /// Attributes that options set, as in [`ostler_core::app::AppSpec::options`].
    pub(crate) options: BTreeMap<String, bool>,
}

impl RawApp {
    /// Returns the name as given, or the name derived from the script; before any suffix.
    pub fn name(&self) -> String {
        let text = |key: &str| self.attributes.get(key).and_then(Value::as_str).unwrap_or_default();
        match text("name") {
            "" => default_name(text("script")),
            name => name.to_owned(),
        }
    }

    /// Returns the namespace as given, or `default`.
    pub fn namespace(&self) -> String {
        self.attributes.get("namespace").and_then(Value::as_str).filter(|name| !name.is_empty()).unwrap_or("default").to_owned()
    }

    /// Returns the path of the app in its file, such as `apps[1]`.
    pub fn path(&self) -> &str {
        &self.at.path
    }

    /// Returns the attributes by main name, in canonical form, without `env` and profiles.
    pub fn attributes(&self) -> &Map<String, Value> {
        &self.attributes
    }

    /// Makes it an app of a project. The project is its namespace and the prefix of its name, also
    /// in the dependencies of the project's other apps. Two projects can therefore have apps of the
    /// same name.
    pub fn set_project(&mut self, project: &str, names: &[String]) {
        let name = self.name();
        let mut changed = Map::new();
        changed.insert("name".into(), format!("{project}-{name}").into());
        changed.insert("namespace".into(), project.into());
        let renamed = |other: &str| if names.iter().any(|name| name == other) { format!("{project}-{other}") } else { other.to_owned() };
        match self.attributes.get("depends_on") {
            Some(Value::Object(table)) => {
                let table: Map<String, Value> = table.iter().map(|(name, how)| (renamed(name), how.clone())).collect();
                changed.insert("depends_on".into(), table.into());
            }
            Some(Value::Array(list)) => {
                let list: Vec<Value> =
                    list.iter().map(|name| name.as_str().map_or_else(|| name.clone(), |name| renamed(name).into())).collect();
                changed.insert("depends_on".into(), list.into());
            }
            Some(Value::String(text)) => drop(changed.insert("depends_on".into(), renamed(text).into())),
            _ => {}
        }
        self.replace(changed);
    }

    /// Records its variables that are `undefined` in the file, by their paths.
    pub(crate) fn with_undefined(mut self, paths: &[String]) -> Self {
        let prefix = if self.at.path.is_empty() { String::new() } else { format!("{}.", self.at.path) };
        for (key, name) in paths.iter().filter_map(|path| path.strip_prefix(&prefix)?.split_once('.')) {
            self.undefined.entry(key.to_owned()).or_default().push(name.to_owned());
        }
        self
    }

    /// Overrides its attributes with these, by main name, in canonical form.
    pub fn override_with(&mut self, attributes: Map<String, Value>) {
        self.replace(attributes);
    }

    /// Returns the names of its profiles (`env_<name>`).
    pub fn profiles(&self) -> impl Iterator<Item = &str> {
        self.profiles.keys().map(String::as_str)
    }

    /// Returns the variables that are a number or a boolean in the file, by its key: `env`,
    /// `env_<name>`.
    pub(crate) fn bare_variables(&self) -> IndexMap<String, Vec<String>> {
        let is_bare = |(_, value): &(&String, &Value)| value.is_number() || value.is_boolean();
        let table = self.at.value.as_object().into_iter().flatten();
        let environments =
            table.filter(|(key, _)| *key == "env" || key.starts_with("env_")).filter_map(|(key, value)| Some((key, value.as_object()?)));
        let bare =
            environments.map(|(key, vars)| (key.clone(), vars.iter().filter(is_bare).map(|(name, _)| name.clone()).collect::<Vec<_>>()));
        bare.filter(|(_, names)| !names.is_empty()).collect()
    }

    /// Returns the value as the file has it, unless an option replaced it.
    pub(crate) fn as_written(&self, key: &str) -> Option<&Value> {
        self.at.value.get(self.written.get(key)?)
    }

    /// Overrides the attributes with options.
    pub(crate) fn replace(&mut self, attributes: Map<String, Value>) {
        for (key, value) in attributes {
            self.written.shift_remove(&key);
            self.attributes.insert(key, value);
        }
    }

    /// Overrides the attributes with options of the command line, and records them.
    pub(crate) fn replace_by_options(&mut self, attributes: Map<String, Value>) {
        for key in attributes.keys().filter(|key| *key != "name") {
            let replaces = self.attributes.contains_key(key);
            self.options.insert(key.clone(), replaces);
        }
        self.replace(attributes);
    }

    pub(crate) fn position(&self) -> Option<Position> {
        self.at.positions.of(&self.at.path, &self.at.value, &[])
    }

    /// Returns an error about a key of this app.
    pub(crate) fn problem(&self, kind: ProblemKind, key: &str, message: impl Into<String>) -> Problem {
        let written = self.written.get(key).map_or(key, String::as_str);
        self.at.problem(kind, &[written.into()], message)
    }
}

impl AppOrigin {
    pub(crate) fn problem(&self, kind: ProblemKind, segments: &[Segment], message: impl Into<String>) -> Problem {
        let key = segments.iter().fold(self.path.clone(), |path, segment| join(&path, segment));
        let position = self.positions.of(&self.path, &self.value, segments);
        let file = Some(self.shown.as_str()).filter(|shown| !shown.is_empty());
        Problem::error(kind, message).at(key).in_file(file, position)
    }

    fn warning(&self, kind: ProblemKind, segments: &[Segment], message: impl Into<String>) -> Problem {
        Problem { severity: crate::problem::Severity::Warning, ..self.problem(kind, segments, message) }
    }
}

/// Returns the name derived from a script or command line: last path part, without its last
/// extension.
pub(crate) fn default_name(script: &str) -> String {
    let last = script.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    match last.rfind('.') {
        Some(dot) if dot > 0 => last[..dot].to_owned(),
        _ => last.to_owned(),
    }
}

/// Checks one app. Returns `None` if the app is unusable.
pub(crate) fn app(at: AppOrigin, file: Option<String>, deploy: &Option<Value>, problems: &mut Vec<Problem>) -> Option<RawApp> {
    let value = Rc::clone(&at.value);
    let Some(table) = value.as_object() else {
        problems.push(at.problem(ProblemKind::Value, &[], format!("expected an app (a table), found {}", describe_value(&value))));
        return None;
    };
    let mut app = RawApp {
        at,
        file,
        attributes: Map::new(),
        written: IndexMap::new(),
        env: EnvMap::new(),
        profiles: IndexMap::new(),
        undefined: IndexMap::new(),
        deploy_env: deploy_env(deploy),
        options: BTreeMap::new(),
    };
    let mut problems_of_app = Vec::new();
    for (given, value) in table {
        if let Err(problem) = reject_hostile(&app.at, &mut vec![given.as_str().into()], value, 0) {
            problems_of_app.push(problem);
            continue;
        }
        attribute(&mut app, given, value, &mut problems_of_app);
    }
    problems.extend(problems_of_app);
    Some(app)
}

fn attribute(app: &mut RawApp, given: &str, value: &Value, problems: &mut Vec<Problem>) {
    let segment = Segment::from(given);
    if let Some(profile) = given.strip_prefix("env_").filter(|name| !name.is_empty() && keys::find(given).is_none()) {
        match environment(value) {
            Ok(vars) => drop(app.profiles.insert(profile.to_owned(), vars)),
            Err((name, message)) => problems.push(app.at.problem(ProblemKind::Value, &segments_to(segment, name), message)),
        }
        return;
    }
    let Some(key) = keys::find(given) else {
        problems.push(app.at.warning(ProblemKind::UnknownKey, &[segment], unknown(given)));
        return;
    };
    // A null is an absent key, because programs leave keys out that way.
    if value.is_null() {
        return;
    }
    if key.name == "env" {
        match environment(value) {
            Ok(vars) => app.env = vars,
            Err((name, message)) => problems.push(app.at.problem(ProblemKind::Value, &segments_to(segment, name), message)),
        }
        return;
    }
    // `error` is PM2's alias of `error_file`, and a health check when it is a table.
    let main = if key.name == "error" && value.is_string() { "error_file" } else { key.name };
    match canonical(key, value) {
        Ok((value, warning)) => {
            if let Some(warning) = warning {
                problems.push(app.at.warning(ProblemKind::Value, std::slice::from_ref(&segment), warning));
            }
            match key.state {
                KeyState::Works => {}
                KeyState::NoEffect(why) if has_later_effect(&value) => {
                    problems.push(app.at.warning(ProblemKind::NoEffect, &[segment], format!("accepted, no effect: {why}")));
                }
                KeyState::NoEffect(_) | KeyState::Needless(_) => {}
            }
            // The main name takes precedence over its aliases, in any order.
            if given == main || !app.attributes.contains_key(main) {
                app.attributes.insert(main.to_owned(), value);
                app.written.insert(main.to_owned(), given.to_owned());
            }
        }
        Err(message) => {
            app.written.entry(main.to_owned()).or_insert_with(|| given.to_owned());
            problems.push(app.at.problem(ProblemKind::Value, &[segment], message));
        }
    }
}

/// Returns false for `watch: false`, which has no effect later either, so it needs no warning.
fn has_later_effect(value: &Value) -> bool {
    !matches!(value, Value::Bool(false)) && value != &Value::from(0)
}

fn segments_to(segment: Segment, name: Option<String>) -> Vec<Segment> {
    std::iter::once(segment).chain(name.map(Segment::Key)).collect()
}

fn unknown(given: &str) -> String {
    let names: Vec<&str> = keys::KEYS.iter().flat_map(Key::names).collect();
    match keys::closest(given, names) {
        Some(near) => format!("unknown key, did you mean `{near}`?"),
        None => "unknown key, it has no effect".to_owned(),
    }
}

/// Rejects input that no user intends: NUL bytes, giant texts, keys that are special in JavaScript.
fn reject_hostile(at: &AppOrigin, segments: &mut Vec<Segment>, value: &Value, depth: usize) -> Result<(), Problem> {
    if let Some(Segment::Key(key)) = segments.last()
        && (key == "__proto__" || key.contains('\0') || key.is_empty() || key.len() > 1024)
    {
        return Err(at.problem(ProblemKind::Value, segments, "this key is not allowed"));
    }
    match value {
        Value::String(text) if text.len() > MAX_TEXT => Err(at.problem(ProblemKind::Value, segments, "the string is longer than 1 MiB")),
        Value::String(text) if text.contains('\0') => Err(at.problem(ProblemKind::Value, segments, "the string contains a NUL byte")),
        Value::Array(_) | Value::Object(_) if depth > 64 => Err(at.problem(ProblemKind::Value, segments, "nested deeper than 64 levels")),
        Value::Array(items) => inner(at, segments, items.iter().enumerate().map(|(index, item)| (Segment::Index(index), item)), depth),
        Value::Object(table) => inner(at, segments, table.iter().map(|(key, item)| (Segment::Key(key.clone()), item)), depth),
        _ => Ok(()),
    }
}

fn inner<'a>(
    at: &AppOrigin,
    segments: &mut Vec<Segment>,
    items: impl Iterator<Item = (Segment, &'a Value)>,
    depth: usize,
) -> Result<(), Problem> {
    for (segment, item) in items {
        segments.push(segment);
        reject_hostile(at, segments, item, depth + 1)?;
        segments.pop();
    }
    Ok(())
}

/// Returns the variables of `env` or a profile. An error names its variable, if any.
pub(crate) fn environment(value: &Value) -> Result<EnvMap, (Option<String>, String)> {
    match value {
        Value::Null => Ok(EnvMap::new()),
        Value::Object(table) => table
            .iter()
            .map(|(name, value)| match name {
                name if name.contains('=') => Err((Some(name.clone()), "the name of a variable cannot contain \"=\"".to_owned())),
                name => Ok((name.clone(), text_of(value))),
            })
            .collect(),
        other => Err((None, format!("expected a table of variables, found {}", describe_value(other)))),
    }
}

/// Returns a value as the process gets it: tables and lists as JSON, the rest as text.
pub(crate) fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Returns `deploy.<name>.env`; anything but a table of variables counts as none.
fn deploy_env(deploy: &Option<Value>) -> IndexMap<String, EnvMap> {
    let targets = deploy.as_ref().and_then(Value::as_object).into_iter().flatten();
    targets.filter_map(|(name, target)| Some((name.clone(), environment(target.get("env")?).ok()?))).collect()
}

type Canonical = (Value, Option<String>);

/// Returns the value in canonical form, with an optional warning.
///
/// # Errors
/// Returns "expected …, found …".
pub(crate) fn canonical(key: &Key, value: &Value) -> Result<Canonical, String> {
    if let Some(canonical) = flag_in_quotes(key, value) {
        return Ok(canonical);
    }
    if let Some(value) = key.accepts.iter().find_map(|accept| convert(accept, value)) {
        return Ok((value, None));
    }
    let expected = key.accepts.iter().map(Accept::describe).collect::<Vec<_>>().join(" or ");
    let words = key.accepts.iter().flat_map(|accept| match accept {
        Accept::OneOf(words) => *words,
        _ => &[],
    });
    let hint = value.as_str().and_then(|text| keys::closest(text, words.copied())).map(|near| format!(" (did you mean \"{near}\"?)"));
    Err(format!("expected {expected}, found {}{}", describe_value(value), hint.unwrap_or_default()))
}

/// Rejects `watch: "false"`, which would watch a path called `false`. No user intends that.
fn flag_in_quotes(key: &Key, value: &Value) -> Option<Canonical> {
    let flag = match value.as_str()? {
        "true" => true,
        "false" => false,
        _ => return None,
    };
    key.accepts
        .contains(&Accept::Flag)
        .then(|| key.accepts.iter().any(|accept| matches!(accept, Accept::Text | Accept::Texts)))?
        .then(|| (Value::Bool(flag), Some(format!("read as {flag}; remove the quotes"))))
}

fn convert(accept: &Accept, value: &Value) -> Option<Value> {
    match (accept, value) {
        (Accept::Flag, Value::Bool(_)) | (Accept::Text | Accept::Command, Value::String(_)) | (Accept::Table, Value::Object(_)) => {
            Some(value.clone())
        }
        (Accept::OneOf(words), Value::String(text)) => words.contains(&text.as_str()).then(|| value.clone()),
        (Accept::Number(min, max), value) => whole(value).filter(|number| (*min..=*max).contains(number)).map(Value::from),
        (Accept::Millis, value) => units::millis_of(value).map(Value::from),
        (Accept::Bytes, Value::String(text)) if is_percent(text) => Some(value.clone()),
        (Accept::Bytes, value) => units::bytes_of(value).map(Value::from),
        (Accept::Words, Value::String(text)) => Some(args::split(text).into()),
        (Accept::Texts, Value::String(_)) => Some(Value::Array(vec![value.clone()])),
        (Accept::Command | Accept::Words | Accept::Texts, Value::Array(items)) => {
            items.iter().map(word).collect::<Option<Vec<_>>>().map(Value::Array)
        }
        (Accept::Words, Value::Number(_)) => word(value).map(|word| Value::Array(vec![word])),
        (Accept::Numbers, Value::Array(items)) => {
            items.iter().map(whole).map(|item| item.map(Value::from)).collect::<Option<Vec<_>>>().map(Value::Array)
        }
        (Accept::Numbers, Value::String(text)) => text
            .split(|c: char| c == ',' || c.is_whitespace())
            .filter(|part| !part.is_empty())
            .map(|part| part.parse::<i64>().ok().map(Value::from))
            .collect::<Option<Vec<_>>>()
            .filter(|codes| !codes.is_empty())
            .map(Value::Array),
        (Accept::Numbers, value) => whole(value).map(|number| Value::Array(vec![number.into()])),
        (Accept::Tables, Value::Array(items)) => items.iter().all(Value::is_object).then(|| value.clone()),
        (Accept::Mixed, Value::Array(items)) => {
            items.iter().all(|item| item.is_object() || item.is_string() || item.is_number()).then(|| value.clone())
        }
        _ => None,
    }
}

fn word(value: &Value) -> Option<Value> {
    match value {
        Value::String(_) | Value::Number(_) | Value::Bool(_) => Some(Value::String(text_of(value))),
        _ => None,
    }
}

fn is_percent(text: &str) -> bool {
    units::percent(text).is_some_and(|percent| percent > 0.0 && percent <= 100.0)
}

/// Describes a value in words that follow "found".
pub(crate) fn describe_value(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "a table".into(),
        Value::String(text) if text.chars().count() > 40 => format!("\"{}…\"", text.chars().take(40).collect::<String>().escape_debug()),
        other => other.to_string(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    /// Returns a fresh directory for one test.
    pub(crate) fn scratch(name: &str) -> std::path::PathBuf {
        let dir = std::env::temp_dir().join(format!("ostler-config-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        dir.canonicalize().unwrap()
    }

    fn canonical_value(key: &str, value: Value) -> Result<Value, String> {
        canonical(keys::find(key).unwrap(), &value).map(|(value, _)| value)
    }

    #[test]
    fn values_are_converted_to_canonical_form() {
        let cases = [
            ("max_restarts", json!("10"), json!(10)),
            ("max_restarts", json!(0), json!(0)),
            ("max_restarts", json!(3.0), json!(3)),
            ("min_uptime", json!("10s"), json!(10_000)),
            ("kill_timeout", json!(0), json!(0)),
            ("max_memory_restart", json!("1G"), json!(1 << 30)),
            ("max_memory_restart", json!("50%"), json!("50%")),
            ("args", json!("a 'b c'"), json!(["a", "b c"])),
            ("args", json!(["a b", 1, true]), json!(["a b", "1", "true"])),
            ("stop_exit_codes", json!([]), json!([])),
            ("stop_exit_codes", json!("0, 143"), json!([0, 143])),
            ("stop_exit_codes", json!(3), json!([3])),
            ("watch", json!("src dir"), json!(["src dir"])),
            ("watch", json!("false"), json!(false)),
            ("instances", json!("max"), json!("max")),
            ("instances", json!(-1), json!(-1)),
            ("log_file", json!("true"), json!(true)),
            ("uid", json!(1000), json!(1000)),
            ("uid", json!("www"), json!("www")),
        ];
        for (key, given, expected) in cases {
            assert_eq!(canonical_value(key, given.clone()), Ok(expected), "{key}: {given}");
        }
    }

    #[test]
    fn wrong_values_report_the_expected_type() {
        let cases = [
            ("max_restarts", json!("ten"), "expected a number, found \"ten\""),
            ("max_restarts", json!(-1), "expected a number, found -1"),
            ("max_restarts", json!(1.5), "expected a number, found 1.5"),
            ("autorestart", json!("false"), "expected true or false, found \"false\""),
            ("script", json!(["a"]), "expected a string, found a list"),
            ("min_uptime", json!("3x"), "expected a number of milliseconds or a time such as \"3s\", found \"3x\""),
            ("nice", json!(40), "expected a number from -20 to 20, found 40"),
            ("instances", json!("foo"), "expected a number from -10000 to 10000 or \"max\" or a table, found \"foo\""),
        ];
        for (key, given, expected) in cases {
            assert_eq!(canonical_value(key, given.clone()), Err(expected.to_owned()), "{key}: {given}");
        }
        assert!(canonical_value("exec_mode", json!("clustr")).unwrap_err().ends_with("found \"clustr\" (did you mean \"cluster\"?)"));
    }

    #[test]
    fn names_follow_from_scripts_as_in_pm2() {
        let cases = [
            ("./dist/main.js", "main"),
            ("app.test.js", "app.test"),
            ("node app.js && echo done", "node app"),
            ("/x/.hidden", ".hidden"),
            ("", ""),
        ];
        for (script, name) in cases {
            assert_eq!(default_name(script), name, "{script}");
        }
    }
}
