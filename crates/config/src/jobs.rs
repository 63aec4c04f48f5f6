//! `jobs: […]`, beside the apps of a file or in an app. Each job is a separate app with a `job`.
//!
//! ```text
//! {apps: [{name: 'shop', script: 'shop.js', env: {DB: 'x'},
//!          jobs: [{name: 'clean', cron: '0 3 * * *', command: 'npm run clean'}]}],
//!  jobs: {report: {schedule: '@weekly', script: 'report.py', retries: 2}}}
//! ```
//!
//! A job in an app has that app's directory, user and variables.

use serde_json::{Map, Value};

use ostler_core::text::language::translated;
use ostler_core::{marked, message};

use crate::keys::camel_case;
use crate::problem::{Problem, ProblemKind};
use crate::values::describe_value;

/// Names of the schedule.
const SCHEDULE: &[&str] = &["schedule", "cron", "cron_restart"];
/// Keys of the table `job` of an app.
const OF_JOB: &[&str] = &["retries", "retry_delay", "timeout", "history"];
/// Attributes that a job inherits from its app unless it sets them.
const INHERITED: &[&str] = &[
    "namespace",
    "cwd",
    "uid",
    "user",
    "gid",
    "umask",
    "env_file",
    "env_policy",
    "env_expand",
    "filter_env",
    "secrets",
    "timezone",
    "cron_timezone",
];

/// Returns each app, followed by its jobs.
pub(crate) fn of_apps(apps: Vec<(String, Value)>) -> Result<Vec<(String, Value)>, Problem> {
    let mut all = Vec::with_capacity(apps.len());
    for (path, mut app) in apps {
        let jobs = app.as_object_mut().and_then(|app| app.shift_remove("jobs")).filter(|jobs| !jobs.is_null());
        let inside = if path.is_empty() { "jobs".to_owned() } else { format!("{path}.jobs") };
        let jobs = jobs.map(|jobs| of_value(&inside, jobs, app.as_object())).transpose()?;
        all.push((path, app));
        all.extend(jobs.into_iter().flatten());
    }
    Ok(all)
}

/// Returns the jobs of a list, a table by names, or a single job.
pub(crate) fn of_value(path: &str, value: Value, app: Option<&Map<String, Value>>) -> Result<Vec<(String, Value)>, Problem> {
    let entries: Vec<(String, Option<String>, Value)> = match value {
        Value::Array(items) => items.into_iter().enumerate().map(|(index, item)| (format!("{path}[{index}]"), None, item)).collect(),
        Value::Object(table) if is_job(&table) => vec![(path.to_owned(), None, Value::Object(table))],
        Value::Object(table) => table.into_iter().map(|(name, item)| (format!("{path}.{name}"), Some(name), item)).collect(),
        other => return Err(expected(marked!("a list of jobs"), path, &other)),
    };
    let entry = |(path, name, item): (String, Option<String>, Value)| match item {
        Value::Object(job) => Ok((path, as_app(job, name, app))),
        other => Err(expected(marked!("a job (a table)"), &path, &other)),
    };
    entries.into_iter().map(entry).collect()
}

fn expected(what: &'static str, path: &str, value: &Value) -> Problem {
    Problem::error(
        ProblemKind::Value,
        message!("expected {expected}, found {found}", expected = translated(what), found = describe_value(value)),
    )
    .at(path)
}

/// Returns true for one job; a table of jobs by their names contains only tables.
fn is_job(table: &Map<String, Value>) -> bool {
    table.values().any(|value| !value.is_object() && !value.is_null())
}

fn as_app(mut job: Map<String, Value>, name: Option<String>, app: Option<&Map<String, Value>>) -> Value {
    if !job.contains_key("job") {
        let mut settings = Map::new();
        if let Some(schedule) = SCHEDULE.iter().find_map(|key| job.shift_remove(*key)) {
            settings.insert("schedule".into(), schedule);
        }
        for key in OF_JOB {
            if let Some(value) = job.shift_remove(*key).or_else(|| job.shift_remove(&camel_case(key))) {
                settings.insert((*key).into(), value);
            }
        }
        job.insert("job".into(), Value::Object(settings));
    }
    if let Some(name) = name
        && !job.contains_key("name")
    {
        job.insert("name".into(), name.into());
    }
    for (key, value) in app.into_iter().flatten() {
        if INHERITED.contains(&key.as_str()) || key.starts_with("env_") {
            job.entry(key.clone()).or_insert_with(|| value.clone());
        } else if key == "env" {
            let own = job.shift_remove("env");
            let mut env = value.as_object().cloned().unwrap_or_default();
            env.extend(own.as_ref().and_then(Value::as_object).cloned().unwrap_or_default());
            // A value that is not a table is reported at its own position.
            job.insert("env".into(), own.filter(|own| !own.is_object()).unwrap_or(Value::Object(env)));
        }
    }
    Value::Object(job)
}
