//! `validate`: check a config file without starting anything.

use ostler_config::{Normalized, Overlay, Problem, Problems, Severity, finish_order, keys, load, load_stdin, normalize};
use serde_json::{Value, json};

use super::change::EnvChoice;
use super::files::{self, Source};
use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, Status};
use crate::render;

/// Prints every problem at once; exit code 0 only if the file could be started.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    if call.has("schema") {
        let schema = serde_json::to_string_pretty(&keys::schema()).unwrap_or_default();
        cx.out.data(format!("{schema}\n").as_bytes());
        return Ok(Status::Ok);
    }
    if call.has("reference") {
        cx.out.data(keys::reference().as_bytes());
        return Ok(Status::Ok);
    }
    let context = files::context(cx, call)?;
    let source = match call.target() {
        Some(target) => Source::of(target, &context).unwrap_or_else(|| Source::File(context.cwd.join(target), target.into())),
        None => Source::default(&context)?.ok_or_else(|| CliError::NotFound("File ecosystem.config.js not found".into()))?,
    };
    let report = check(call, &source, context)?;
    let status = match report.result {
        Ok(()) => Status::Ok,
        Err(status) => status,
    };
    if call.has("json") {
        let problems: Vec<Value> = report.problems.iter().map(problem_json).collect();
        render::json(&mut cx.out, &json!({ "valid": status == Status::Ok, "apps": report.names, "problems": problems }));
        return Ok(status);
    }
    for problem in &report.problems {
        match problem.severity {
            Severity::Error => cx.out.error(problem),
            Severity::Warning => cx.out.warn(problem),
        }
    }
    if status == Status::Ok {
        let count = report.names.len();
        let plural = if count == 1 { "" } else { "s" };
        cx.out.info(format_args!("{} is valid: {count} app{plural} ({})", source.shown(), report.names.join(", ")));
    }
    Ok(status)
}

struct Report {
    names: Vec<String>,
    problems: Vec<Problem>,
    result: Result<(), Status>,
}

fn check(call: &Call, source: &Source, mut context: ostler_config::Context) -> Result<Report, CliError> {
    let choice = EnvChoice::of(call)?;
    let loaded = match source {
        Source::Stdin => load_stdin(&files::stdin()?, &context),
        Source::File(path, shown) => load(path, shown, &context),
    };
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(problems) => {
            let result = Err(files::status_of(&problems));
            return Ok(Report { names: Vec::new(), problems: problems.0, result });
        }
    };
    context.apply_env_changes(&loaded.env_changes);
    let overlay = Overlay { profile: choice.profile, vars: choice.vars, ..Overlay::default() };
    let mut report = Report { names: Vec::new(), problems: loaded.warnings, result: Ok(()) };
    let mut specs = Vec::new();
    for app in &loaded.apps {
        match normalize(app, &context, &overlay) {
            Ok(Normalized { spec, warnings }) => {
                report.names.push(spec.name.clone());
                specs.push((app, spec));
                report.problems.extend(warnings);
            }
            Err(problems) => {
                report.result = report.result.and(Err(files::status_of(&problems)));
                let Problems(list) = problems;
                report.problems.extend(list);
            }
        }
    }
    let mut together: Vec<_> = specs.iter_mut().map(|(app, spec)| (*app, spec)).collect();
    let problems = finish_order(&mut together);
    if !problems.is_empty() {
        report.result = report.result.and(Err(Status::Failed));
        report.problems.extend(problems);
    }
    Ok(report)
}

fn problem_json(problem: &Problem) -> Value {
    json!({
        "severity": if problem.is_error() { "error" } else { "warning" },
        "file": problem.file,
        "line": problem.position.map(|position| position.line),
        "column": problem.position.map(|position| position.column),
        "key": problem.key,
        "message": problem.text(),
    })
}
