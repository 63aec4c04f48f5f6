//! Checks every key and value of an app against the table and reports all problems at once.

use std::collections::BTreeMap;
use std::rc::Rc;

use indexmap::IndexMap;
use ostler_core::app::EnvMap;
use ostler_core::message;
use ostler_core::text::language::translated;
use serde_json::{Map, Value};

use crate::fault::Fault;
use crate::keys::{self, Key, KeyState};
use crate::load::Positions;
use crate::load::positions::{Segment, join};
use crate::problem::{Position, Problem, ProblemKind};
use crate::values::{canonical, describe_value, text_of, wrong_item};

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
        self.at.positions.of(&self.at.path, &self.at.value, &[]).map(|(_, position)| position)
    }

    /// Returns an error about a key of this app.
    pub fn mistake(&self, key: &str, message: impl Into<String>) -> Problem {
        self.problem(ProblemKind::Other, key, message.into())
    }

    /// Returns an error about a key of this app, or about a part of its value.
    pub(crate) fn problem(&self, kind: ProblemKind, key: &str, fault: impl Into<Fault>) -> Problem {
        let Fault { way, message } = fault.into();
        let written = self.written.get(key).map_or(key, String::as_str);
        let segments: Vec<Segment> = std::iter::once(written.into()).chain(way).collect();
        let whole = self.at.problem(kind, &[written.into()], message);
        self.at.placed(whole, &segments).of_app(self.name())
    }
}

impl AppOrigin {
    pub(crate) fn problem(&self, kind: ProblemKind, segments: &[Segment], message: impl Into<String>) -> Problem {
        let key = segments.iter().fold(self.path.clone(), |path, segment| join(&path, segment));
        self.placed(Problem::error(kind, message).at(key), segments).of_app(self.name())
    }

    fn warning(&self, kind: ProblemKind, segments: &[Segment], message: impl Into<String>) -> Problem {
        self.problem(kind, segments, message).as_warning()
    }

    /// Returns the same problem at the position of a part of the app, or of the next part around it
    /// whose position is known.
    fn placed(&self, problem: Problem, segments: &[Segment]) -> Problem {
        let mut around = (0..=segments.len()).rev().filter_map(|length| segments.get(..length));
        let place = around.find_map(|segments| self.positions.of(&self.path, &self.value, segments));
        let (file, position) = place.map_or((None, None), |(file, position)| (file, Some(position)));
        let shown = file.map_or_else(|| self.shown.clone(), |file| beside(&self.shown, file));
        problem.in_file(Some(shown.as_str()).filter(|shown| !shown.is_empty()), position)
    }

    /// Returns the name in the file, or the name derived from the script.
    fn name(&self) -> String {
        let text = |names: &[&str]| names.iter().find_map(|name| self.value.get(name)?.as_str()).unwrap_or_default();
        match text(&["name"]) {
            "" => default_name(text(&["script", "exec", "cmd", "command"])),
            name => name.to_owned(),
        }
    }
}

/// Returns the path of a file relative to another file.
fn beside(file: &str, other: &str) -> String {
    file.rsplit_once('/').map_or_else(|| other.to_owned(), |(folder, _)| format!("{folder}/{other}"))
}

/// Returns the name derived from a script or command line: last path part, without its last
/// extension. A command line may have several lines; a name has none.
pub(crate) fn default_name(script: &str) -> String {
    let last = script.trim_end().trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let name = match last.rfind('.') {
        Some(dot) if dot > 0 => &last[..dot],
        _ => last,
    };
    name.replace(char::is_control, "_")
}

/// Checks one app. Returns `None` if the app is unusable.
pub(crate) fn app(at: AppOrigin, file: Option<String>, deploy: &Option<Value>, problems: &mut Vec<Problem>) -> Option<RawApp> {
    let value = Rc::clone(&at.value);
    let Some(table) = value.as_object() else {
        problems.push(at.problem(
            ProblemKind::Value,
            &[],
            message!("expected an app (a table), found {found}", found = describe_value(&value)),
        ));
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
                    problems.push(app.at.warning(
                        ProblemKind::NoEffect,
                        &[segment],
                        message!("accepted, no effect: {why}", why = translated(why)),
                    ));
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
            let problem = app.at.problem(ProblemKind::Value, std::slice::from_ref(&segment), message);
            let item = wrong_item(key, value).map(|index| [segment, index.into()]);
            problems.push(match item {
                Some(item) => app.at.placed(problem, &item),
                None => problem,
            });
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

/// Names of keys in other programs, without `_` and `-`, and the key that they mean here.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("after", "depends_on"),
    ("availability", "autorestart"),
    ("cpulimit", "max_cpu"),
    ("directory", "cwd"),
    ("environment", "env"),
    ("envvars", "env"),
    ("healthcheck", "health"),
    ("livenessprobe", "health"),
    ("loglocation", "log_file"),
    ("memlimit", "max_memory_restart"),
    ("memorylimit", "max_memory_restart"),
    ("numprocs", "instances"),
    ("readinessprobe", "health"),
    ("replicas", "instances"),
    ("requires", "depends_on"),
    ("restart", "autorestart"),
    ("restartpolicy", "autorestart"),
    ("schedule", "job"),
    ("stopsignal", "kill_signal"),
    ("stoptimeout", "kill_timeout"),
    ("workingdir", "cwd"),
    ("workingdirectory", "cwd"),
];

fn unknown(given: &str) -> String {
    let names: Vec<&str> = keys::KEYS.iter().flat_map(Key::names).collect();
    let plain = given.replace(['_', '-'], "").to_ascii_lowercase();
    let other = OTHER_NAMES.iter().find(|(name, _)| *name == plain).map(|(_, key)| *key);
    match other.or_else(|| keys::closest(given, names)) {
        Some(near) => message!("unknown key, did you mean `{near}`?", near),
        None => message!("unknown key, it has no effect"),
    }
}

/// Rejects input that no user intends: NUL bytes, giant texts, keys that are special in JavaScript.
fn reject_hostile(at: &AppOrigin, segments: &mut Vec<Segment>, value: &Value, depth: usize) -> Result<(), Problem> {
    if let Some(Segment::Key(key)) = segments.last()
        && (key == "__proto__" || key.contains('\0') || key.is_empty() || key.len() > 1024)
    {
        return Err(at.problem(ProblemKind::Value, segments, message!("this key is not allowed")));
    }
    match value {
        Value::String(text) if text.len() > MAX_TEXT => {
            Err(at.problem(ProblemKind::Value, segments, message!("the string is longer than 1 MiB")))
        }
        Value::String(text) if text.contains('\0') => {
            Err(at.problem(ProblemKind::Value, segments, message!("the string contains a NUL byte")))
        }
        Value::Array(_) | Value::Object(_) if depth > 64 => {
            Err(at.problem(ProblemKind::Value, segments, message!("nested deeper than 64 levels")))
        }
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
                name if name.contains('=') => Err((Some(name.clone()), message!("the name of a variable cannot contain \"=\""))),
                name => Ok((name.clone(), text_of(value))),
            })
            .collect(),
        other => Err((None, message!("expected a table of variables, found {found}", found = describe_value(other)))),
    }
}

/// Returns `deploy.<name>.env`; anything but a table of variables counts as none.
fn deploy_env(deploy: &Option<Value>) -> IndexMap<String, EnvMap> {
    let targets = deploy.as_ref().and_then(Value::as_object).into_iter().flatten();
    targets.filter_map(|(name, target)| Some((name.clone(), environment(target.get("env")?).ok()?))).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Returns a fresh directory for one test.
    pub(crate) fn scratch(name: &str) -> std::path::PathBuf {
        let dir = std::env::temp_dir().join(format!("ostler-config-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        dir.canonicalize().unwrap()
    }

    #[test]
    fn keys_of_other_programs_lead_to_ours() {
        for (given, text) in [
            ("health_check", "unknown key, did you mean `health`?"),
            ("readinessProbe", "unknown key, did you mean `health`?"),
            ("working-directory", "unknown key, did you mean `cwd`?"),
            ("max_restart", "unknown key, did you mean `max_restarts`?"),
            ("xyzzy_plugh", "unknown key, it has no effect"),
        ] {
            assert_eq!(unknown(given), text);
        }
        for (name, key) in OTHER_NAMES {
            assert!(keys::find(key).is_some() && keys::find(name).is_none(), "{name}: {key}");
        }
    }

    #[test]
    fn names_follow_from_scripts_as_in_pm2() {
        let cases = [
            ("./dist/main.js", "main"),
            ("app.test.js", "app.test"),
            ("node app.js && echo done", "node app"),
            ("/x/.hidden", ".hidden"),
            ("cd web\nnode app.js\n", "cd web_node app"),
            ("", ""),
        ];
        for (script, name) in cases {
            assert_eq!(default_name(script), name, "{script}");
        }
    }
}
