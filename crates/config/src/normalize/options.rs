//! Apps from the command line.

use std::rc::Rc;

use serde_json::{Map, Value};

use super::{Normalized, Overlay, normalize};
use crate::check::{self, AppOrigin, RawApp};
use crate::context::Context;
use crate::keys;
use crate::load::Positions;
use crate::problem::{Problem, ProblemKind, Problems};

/// Returns an app from `start <script> [options] -- [args]`. `options` holds attributes by main
/// name, values as typed. `overlay.profile` has no meaning here and only causes the warning that it
/// is not defined.
///
/// # Errors
/// Same as [`normalize()`]; keys are shown as options (`--max-restarts`).
pub fn from_options(
    script: &str,
    options: &Map<String, Value>,
    args: &[String],
    context: &Context,
    overlay: &Overlay,
) -> Result<Normalized, Problems> {
    let mut table = options.clone();
    table.insert("script".into(), script.into());
    if !args.is_empty() {
        table.insert("args".into(), args.to_vec().into());
    }
    let mut problems = Vec::new();
    let app = checked(table, &mut problems);
    let mut warnings = Problems::check(problems, context.strict)?;
    let Some(app) = app else { return Err(Problems(warnings)) };
    let Normalized { mut spec, warnings: more } = normalize(&app, context, overlay).map_err(name_options)?;
    warnings.extend(more);
    let from_options = app.attributes().keys().filter(|key| !["script", "name"].contains(&key.as_str()));
    spec.options = from_options.map(|key| (key.clone(), false)).collect();
    Ok(Normalized { spec, warnings })
}

fn name_options(mut problems: Problems) -> Problems {
    for problem in &mut problems.0 {
        match problem.kind {
            // PM2's own messages, which need no key, because the user has just typed the script.
            ProblemKind::ScriptNotFound | ProblemKind::InterpreterNotFound => problem.key.clear(),
            _ => name_option(problem),
        }
    }
    problems
}

/// Checks attributes of the command line.
pub(super) fn checked(table: Map<String, Value>, problems: &mut Vec<Problem>) -> Option<RawApp> {
    let mut table = table;
    // As in PM2, whose users clear it that way.
    if table.get("node_args").and_then(Value::as_str) == Some("null") {
        table.insert("node_args".into(), Value::Array(Vec::new()));
    }
    let at = AppOrigin {
        shown: String::new(),
        path: String::new(),
        value: Rc::new(Value::Object(table)),
        positions: Rc::new(Positions::default()),
    };
    let first = problems.len();
    let app = check::app(at, None, &None, problems);
    for problem in &mut problems[first..] {
        name_option(problem);
    }
    app
}

/// Shows a key as the option that a user typed: `--max-restarts`, not `max_restarts`.
pub(super) fn name_option(problem: &mut Problem) {
    if problem.file.is_none()
        && let Some(option) = keys::find(&problem.key).and_then(|key| key.options.iter().find(|option| option.starts_with("--")))
    {
        problem.key = (*option).to_owned();
    }
}

/// Overrides an app of a file with options of the command line.
pub(super) fn override_with(app: &mut RawApp, attributes: &Map<String, Value>, problems: &mut Vec<Problem>) {
    if attributes.is_empty() {
        return;
    }
    if let Some(options) = checked(attributes.clone(), problems) {
        app.replace_by_options(options.attributes);
    }
}
