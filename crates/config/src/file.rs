//! Turns a file into checked apps.

use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

use ostler_core::home::trust::Origin;
use ostler_core::message;
use serde_json::{Map, Value};

use crate::check::{self, AppOrigin, RawApp};
use crate::context::Context;
use crate::keys;
use crate::load::{self, Document, Positions};
use crate::normalize::{Overlay, normalize};
use crate::problem::{Problem, ProblemKind, Problems};

/// Content of a config file.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Absolute path of the file; none for standard input.
    pub file: Option<String>,
    /// Its apps, in order.
    pub apps: Vec<RawApp>,
    /// The `deploy` part, unchanged.
    pub deploy: Option<Value>,
    /// Name of the project: `name` beside `apps`.
    pub project: Option<String>,
    /// Warnings; none of them is fatal.
    pub warnings: Vec<Problem>,
    /// Changes that the file made to `process.env`: see [`Context::apply_env_changes`].
    pub env_changes: Vec<(String, Option<String>)>,
}

/// Apps of a file as far as they can be read, and all problems of keys and values.
#[derive(Clone, Debug, Default)]
pub struct Examined {
    /// Its apps, in order. Attributes with an error are left out.
    pub apps: Vec<RawApp>,
    /// Problems of the keys and values, in order.
    pub problems: Vec<Problem>,
    /// As [`Loaded::env_changes`].
    pub env_changes: Vec<(String, Option<String>)>,
}

/// Works like [`load()`], for a command that only reports problems: errors in keys and values do not
/// stop it.
///
/// # Errors
/// Returns an error if the file cannot be read or evaluated, or contains no apps.
pub fn examine(path: &Path, shown: &str, context: &Context) -> Result<Examined, Problem> {
    let path = context.in_cwd(&path.to_string_lossy());
    let document = load::file(&path, context).map_err(|problem| name_file(problem, shown))?;
    Ok(read(document, Some(path.to_string_lossy().into_owned()), shown, context)?.0)
}

/// Works like [`examine`] for a text from standard input.
///
/// # Errors
/// Same as [`examine`].
pub fn examine_stdin(text: &[u8], context: &Context) -> Result<Examined, Problem> {
    let document = load::stdin(text, context).map_err(|problem| name_file(problem, STDIN))?;
    Ok(read(document, None, STDIN, context)?.0)
}

/// Name of standard input in messages.
const STDIN: &str = "stdin";

/// Reads, evaluates and checks a config file. `shown` is the name that the user gave, for messages.
///
/// # Errors
/// Returns all problems of the file at once. [`Problems::kind`] distinguishes a missing file, a
/// malformed one, and a JavaScript file without apps ([`ProblemKind::NotApps`]: it may be a
/// script).
pub fn load(path: &Path, shown: &str, context: &Context) -> Result<Loaded, Problems> {
    let path = context.in_cwd(&path.to_string_lossy());
    let document = load::file(&path, context).map_err(|problem| name_file(problem, shown))?;
    checked(document, Some(path.to_string_lossy().into_owned()), shown, context)
}

/// Returns the values of a YAML, JSON or TOML file of any purpose. `shown` is its name in messages.
/// No code is evaluated.
///
/// # Errors
/// Returns an error if the file cannot be read or parsed.
pub fn values(path: &Path, shown: &str) -> Result<Value, Problem> {
    load::plain(path).map_err(|problem| name_file(problem, shown))
}

/// Returns the text of a config file, and its values; none if the file is a program. No code is
/// evaluated.
///
/// # Errors
/// Returns an error if the file cannot be read or parsed, or if another user can change it.
pub fn outline(path: &Path, origin: Origin, context: &Context) -> Result<(String, Option<Value>), Problem> {
    let (file, _) = context.open(path, origin)?;
    load::outline(file, path)
}

/// Same as [`load()`] for a text from standard input.
///
/// # Errors
/// Same as [`load()`].
pub fn load_stdin(text: &[u8], context: &Context) -> Result<Loaded, Problems> {
    let document = load::stdin(text, context).map_err(|problem| name_file(problem, STDIN))?;
    checked(document, None, STDIN, context)
}

/// Same as [`load()`] for values that were made from another kind of file at this path: apps of a
/// compose file.
///
/// # Errors
/// Same as [`load()`].
pub fn load_made(value: Value, path: &Path, shown: &str, context: &Context) -> Result<Loaded, Problems> {
    let document = Document { value, ..Document::default() };
    checked(document, Some(path.to_string_lossy().into_owned()), shown, context)
}

/// Returns the apps of these names (`--only a,b` or `"a b"`), before any suffix; empty if none
/// matches.
pub fn select(apps: &[RawApp], only: &str) -> Vec<RawApp> {
    let wanted: Vec<&str> = only.split(|c: char| c == ',' || c.is_whitespace()).filter(|name| !name.is_empty()).collect();
    // A name may itself contain a blank or comma.
    apps.iter().filter(|app| app.name() == only.trim() || wanted.contains(&app.name().as_str())).cloned().collect()
}

fn name_file(mut problem: Problem, shown: &str) -> Problem {
    problem.file.get_or_insert_with(|| shown.to_owned());
    problem
}

fn checked(document: Document, file: Option<String>, shown: &str, context: &Context) -> Result<Loaded, Problems> {
    let (Examined { apps, problems, env_changes }, deploy, project) = read(document, file.clone(), shown, context)?;
    let warnings = Problems::check(problems, context.strict).map_err(|problems| complete(problems, &apps, context, &env_changes))?;
    Ok(Loaded { file, apps, deploy, project, warnings, env_changes })
}

/// Content of a file: its apps, its `deploy` part, and the name of its project.
type Content = (Examined, Option<Value>, Option<String>);

fn read(document: Document, file: Option<String>, shown: &str, context: &Context) -> Result<Content, Problem> {
    let Document { value, positions, notes, undefined_variables, env_changes } = document;
    let mut problems: Vec<Problem> =
        notes.into_iter().map(|note| Problem::warning(ProblemKind::Other, note).in_file(Some(shown), None)).collect();
    let locate = |problem: Problem| {
        let position = problem.position.or_else(|| positions.of_part(&problem.key));
        problem.in_file(Some(shown), position)
    };
    let FileParts { tables, deploy, statics, project } = parts(value, &positions).map_err(locate)?;
    let mut apps = Vec::with_capacity(tables.len());
    let mut tables = crate::jobs::of_apps(tables).map_err(locate)?;
    if let Some(statics) = statics {
        tables.extend(crate::statics::apps(statics).map_err(locate)?);
    }
    let positions = Rc::new(positions);
    for (path, value) in tables {
        let at = AppOrigin { shown: shown.to_owned(), path, value: Rc::new(value), positions: Rc::clone(&positions) };
        apps.extend(check::app(at, file.clone(), &deploy, &mut problems).map(|app| app.with_undefined(&undefined_variables)));
    }
    // PM2 accepts them, and files for it contain them.
    if !context.as_pm2 || context.strict {
        report_same_names(&apps, &mut problems);
    }
    Ok((Examined { apps, problems, env_changes }, deploy, project))
}

/// Adds the problems of the apps beyond their keys and values, so that one run reports all
/// mistakes.
fn complete(problems: Problems, apps: &[RawApp], context: &Context, env_changes: &[(String, Option<String>)]) -> Problems {
    let mut context = context.clone();
    context.apply_env_changes(env_changes);
    let Problems(mut all) = problems;
    for app in apps {
        let Err(Problems(more)) = normalize(app, &context, &Overlay::default()) else { continue };
        add_new(&mut all, app, more.into_iter().filter(Problem::is_error));
    }
    all.sort_by_key(|problem| problem.position.map(|at| (at.line, at.column)));
    Problems(all)
}

/// Adds problems of an app, except those that follow from a known one: a rejected value is missing,
/// and a script is not found without its folder.
pub fn add_new(all: &mut Vec<Problem>, app: &RawApp, more: impl IntoIterator<Item = Problem>) {
    let refused: Vec<String> = all.iter().filter(|known| known.is_error()).map(|known| known.key.clone()).collect();
    let lacks_folder = refused.contains(&app.problem(ProblemKind::Other, "cwd", "").key);
    let is_known = |problem: &Problem| lacks_folder && problem.kind == ProblemKind::ScriptNotFound || refused.contains(&problem.key);
    all.extend(more.into_iter().filter(|problem| !is_known(problem)));
}

struct FileParts {
    tables: Vec<(String, Value)>,
    deploy: Option<Value>,
    statics: Option<Value>,
    project: Option<String>,
}

/// Splits the top level: `{apps}`, `{pm2}`, a list, one bare app; package.json has `apps` or `pm2`
/// among other keys.
fn parts(value: Value, positions: &Positions) -> Result<FileParts, Problem> {
    match value {
        Value::Array(items) => Ok(FileParts { tables: tables("", items)?, deploy: None, statics: None, project: None }),
        Value::Object(mut top) => {
            let deploy = top.shift_remove("deploy").filter(Value::is_object);
            let statics = top.shift_remove("static").filter(|value| !value.is_null());
            let jobs = if is_one_app(&top) { None } else { top.shift_remove("jobs").filter(|value| !value.is_null()) };
            let jobs = jobs.map(|jobs| crate::jobs::of_value("jobs", jobs, None)).transpose()?;
            let project = if is_one_app(&top) { None } else { top.get("name").and_then(Value::as_str).map(str::to_owned) };
            let name = ["apps", "pm2"].into_iter().find(|name| top.get(*name).is_some_and(|value| !value.is_null()));
            let tables = match name {
                Some(name) => match top.shift_remove(name) {
                    Some(Value::Array(items)) => tables(name, items)?,
                    Some(app @ Value::Object(_)) => vec![(name.to_owned(), app)],
                    other => {
                        let found = crate::values::describe_value(&other.unwrap_or_default());
                        return Err(Problem::error(ProblemKind::Value, message!("expected a list of apps, found {found}", found)).at(name));
                    }
                },
                None if is_app(&top) => vec![(String::new(), Value::Object(top))],
                None if deploy.is_some() || statics.is_some() || jobs.is_some() => Vec::new(),
                None => return Err(no_apps(&top, positions)),
            };
            let tables = tables.into_iter().chain(jobs.into_iter().flatten()).collect();
            Ok(FileParts { tables, deploy, statics, project })
        }
        other => Err(Problem::error(
            ProblemKind::NotApps,
            message!(
                "expected a table with `apps`, a list of apps or one app, found {found}",
                found = crate::values::describe_value(&other)
            ),
        )),
    }
}

fn tables(path: &str, items: Vec<Value>) -> Result<Vec<(String, Value)>, Problem> {
    let named = |index: usize| format!("{path}[{index}]");
    items
        .into_iter()
        .enumerate()
        .map(|(index, item)| match item {
            Value::Object(_) => Ok((named(index), item)),
            other => Err(Problem::error(
                ProblemKind::Value,
                message!("expected an app (a table), found {found}", found = crate::values::describe_value(&other)),
            )
            .at(named(index))),
        })
        .collect()
}

/// Returns true for an app: a bare app has a script, or consists of known keys only (a fragment). A
/// package.json or compose file has neither.
fn is_app(top: &Map<String, Value>) -> bool {
    let known = |key: &String| keys::find(key).is_some() || key.starts_with("env_");
    is_one_app(top) || !top.is_empty() && top.keys().filter(|key| !known(key)).count() * 2 < top.len() && !top.contains_key("version")
}

/// Returns true if it names a program to run.
fn is_one_app(top: &Map<String, Value>) -> bool {
    ["script", "exec", "cmd", "command"].iter().any(|name| top.get(*name).is_some_and(Value::is_string))
}

fn no_apps(top: &Map<String, Value>, positions: &Positions) -> Problem {
    if top.get("services").is_some_and(Value::is_object) {
        let text = message!("is a compose file: `ostler up` runs it, `ostler import compose` writes an ecosystem file from it");
        return Problem::error(ProblemKind::NotApps, text);
    }
    let near = top.keys().find_map(|key| keys::closest(key, ["apps"]).map(|_| key));
    let text = match near {
        Some(key) => message!("contains no apps: expected a key `apps` with a list (did you mean `apps` instead of `{key}`?)", key),
        None => message!("contains no apps: expected a key `apps` with a list"),
    };
    let position = near.and_then(|key| positions.of_part(key));
    Problem::error(ProblemKind::NotApps, text).in_file(None, position)
}

/// Reports two apps of the same name in one namespace: later commands could not distinguish them.
fn report_same_names(apps: &[RawApp], problems: &mut Vec<Problem>) {
    let mut seen: HashMap<(String, String), &RawApp> = HashMap::new();
    for app in apps {
        let name = app.name();
        if name.is_empty() {
            continue;
        }
        match seen.get(&(name.clone(), app.namespace())) {
            Some(first) => {
                let first = first.position().map_or_else(
                    || first.path().to_owned(),
                    |position| message!("{path} (line {line})", path = first.path(), line = position.line),
                );
                problems.push(app.problem(
                    ProblemKind::Value,
                    "name",
                    message!("the name \"{name}\" is already used by {first}: give each app its own", name, first),
                ));
            }
            None => drop(seen.insert((name, app.namespace()), app)),
        }
    }
}
