//! `depends_on` and `depends_timeout`, and dependencies between the apps of a file.

use indexmap::IndexMap;
use ostler_core::app::AppSpec;
use ostler_core::lifecycle::order::{Condition, Graph, shown};
use ostler_core::text::language::translated;
use ostler_core::{marked, message};
use serde_json::Value;

use super::listen::{known_keys, meant};
use super::number;
use crate::check::RawApp;
use crate::fault::{Fault, below};
use crate::problem::{Problem, ProblemKind};
use crate::values::describe_value;

const CONDITIONS: &[&str] = &["started", "ready", "healthy", "completed"];
const WORDS: &str = marked!("\"started\", \"ready\", \"healthy\" or \"completed\"");

/// Sets the part that belongs to this key, if it does.
pub(super) fn set(spec: &mut AppSpec, key: &str, value: &Value) -> Result<(), Fault> {
    match key {
        "depends_on" => spec.order.depends_on = dependencies(value)?,
        "depends_timeout" => spec.order.timeout_ms = Some(number(value)?),
        _ => {}
    }
    Ok(())
}

fn dependencies(value: &Value) -> Result<IndexMap<String, Condition>, Fault> {
    let mut all = IndexMap::new();
    match value {
        Value::Array(names) => {
            for (index, name) in names.iter().enumerate() {
                let text = name.as_str().ok_or_else(|| message!("expected names of apps, found {found}", found = describe_value(name)));
                add(&mut all, text.map_err(below(index))?, Condition::Ready).map_err(below(index))?;
            }
        }
        Value::Object(table) => {
            for (name, value) in table {
                let condition = condition(value).map_err(|fault| fault.in_words(|message| format!("{name}: {message}")));
                add(&mut all, name, condition.map_err(below(name.as_str()))?).map_err(below(name.as_str()))?;
            }
        }
        Value::String(name) => add(&mut all, name, Condition::Ready)?,
        other => {
            return Err(message!(
                "expected names of apps or a table of names and conditions, found {found}",
                found = describe_value(other)
            )
            .into());
        }
    }
    Ok(all)
}

fn add(all: &mut IndexMap<String, Condition>, name: &str, condition: Condition) -> Result<(), String> {
    if name.trim().is_empty() {
        return Err(message!("the name of an app cannot be empty"));
    }
    all.insert(name.to_owned(), condition);
    Ok(())
}

/// Reads a word, or Compose's table `{condition: service_healthy}`.
fn condition(value: &Value) -> Result<Condition, Fault> {
    let word = match value {
        Value::String(word) => word,
        Value::Object(table) => {
            // Compose's other keys always hold here (`required`), or never (`restart`).
            known_keys(table, &["condition", "required", "restart"])?;
            match table.get("condition") {
                Some(Value::String(word)) => word,
                _ => return Err(message!("expected `condition` as {words}", words = translated(WORDS)).into()),
            }
        }
        other => return Err(message!("expected {words}, found {found}", words = translated(WORDS), found = describe_value(other)).into()),
    };
    Condition::by_name(word).ok_or_else(|| {
        message!("expected {words}, found \"{word}\"{near}", words = translated(WORDS), word, near = meant(word, CONDITIONS)).into()
    })
}

/// Completes the dependencies between the apps of one file, and reports combinations that cannot
/// work. These are a cycle, and a wait for the completion of an app that restarts after each exit.
/// Other names may belong to apps that already run.
pub fn finish_order(apps: &mut [(&RawApp, &mut AppSpec)]) -> Vec<Problem> {
    follow_names(apps);
    let mut problems = Vec::new();
    let specs = || apps.iter().map(|(_, spec)| &**spec);
    if let Some(cycle) = Graph::new(specs().map(|spec| (spec.name.as_str(), &*spec.order))).cycle() {
        let first = apps.iter().find(|(_, spec)| cycle.first() == Some(&spec.name.as_str()));
        let message = match cycle.as_slice() {
            [name, _] => message!("{name} depends on itself", name),
            path => message!("apps depend on each other in a circle: {path}", path = shown(path)),
        };
        problems.extend(first.map(|(raw, _)| raw.problem(ProblemKind::Value, "depends_on", message)));
    }
    for (raw, spec) in apps.iter() {
        for (name, _) in spec.order.depends_on.iter().filter(|(_, condition)| **condition == Condition::Completed) {
            let never_ends =
                |other: &&AppSpec| other.name == *name && other.restart.autorestart && !other.restart.stop_exit_codes.contains(&0);
            if specs().find(never_ends).is_some() {
                let message = message!(
                    "{name} is never \"completed\", because it restarts after each exit: give it `autorestart: false` or \
                     `stop_exit_codes: [0]`",
                    name
                );
                problems.push(raw.problem(ProblemKind::Value, "depends_on", message));
            }
        }
    }
    problems
}

/// Renames dependencies: the file uses the names in it; with `append_env_to_name` the apps run
/// under other names.
fn follow_names(apps: &mut [(&RawApp, &mut AppSpec)]) {
    let renamed: Vec<(String, String)> =
        apps.iter().map(|(raw, spec)| (raw.name(), spec.name.clone())).filter(|(before, after)| before != after).collect();
    if renamed.is_empty() {
        return;
    }
    for (_, spec) in apps {
        let depends_on = std::mem::take(&mut spec.order.depends_on);
        let name = |name: String| renamed.iter().find(|(before, _)| *before == name).map_or(name, |(_, after)| after.clone());
        spec.order.depends_on = depends_on.into_iter().map(|(before, condition)| (name(before), condition)).collect();
    }
}
