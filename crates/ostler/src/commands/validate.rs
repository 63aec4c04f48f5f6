//! `validate`: check a config file without starting anything.

use std::path::Path;

use ostler_config::find::{StartArgument, classify, is_config_name, is_script};
use ostler_config::{
    Context, Examined, Overlay, Problem, ProblemKind, Problems, RawApp, Severity, add_new, attempt, examine, examine_stdin, finish_order,
    keys, select,
};
use ostler_core::app::AppSpec;
use ostler_core::message;
use serde_json::{Value, json};

use super::change::EnvChoice;
use super::files::{self, Source};
use super::instance_limit;
use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, Status};
use crate::preflight::{self, Machine};
use crate::render::{self, face};
use crate::text::shown;

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
        None => Source::required(cx, &context)?,
    };
    let report = check(cx, call, &source, context)?;
    print(cx, call, &source, &report);
    hint(cx, &source, &report);
    Ok(report.status())
}

/// Prints the next step for a file that is missing or is no configuration.
fn hint(cx: &mut Cx, source: &Source, report: &Report) {
    let Source::File(path, argument) = source else { return };
    let program = cx.program.name();
    match report.problems.first().map(|problem| problem.kind) {
        Some(ProblemKind::NotFound) => files::hint_of_missing(cx, Path::new(argument)),
        Some(ProblemKind::NotApps) if is_script(path) => {
            cx.out.hint(message!("`{program} start {file}` starts it as an app", program, file = shown(argument)));
        }
        _ => {}
    }
}

/// Result of all checks.
struct Report {
    /// Names of the apps without an error.
    names: Vec<String>,
    problems: Vec<Problem>,
}

impl Report {
    fn status(&self) -> Status {
        if self.problems.iter().any(Problem::is_error) { files::status_of(&Problems(self.problems.clone())) } else { Status::Ok }
    }
}

fn check(cx: &mut Cx, call: &Call, source: &Source, mut context: Context) -> Result<Report, CliError> {
    let choice = EnvChoice::of(call)?;
    let overlay = Overlay { profile: choice.profile, vars: choice.vars, ..Overlay::default() };
    let examined = match source {
        Source::Stdin => examine_stdin(&files::stdin()?, &context),
        Source::File(path, shown) => match script(path, shown, &context) {
            Some(problem) => Err(problem),
            None => examine(path, shown, &context),
        },
    };
    let Examined { apps, mut problems, env_changes } = match examined {
        Ok(examined) => examined,
        Err(problem) => return Ok(Report { names: Vec::new(), problems: vec![problem] }),
    };
    context.apply_env_changes(&env_changes);
    let apps = chosen(cx, call, apps, &mut problems);
    let mut specs: Vec<AppSpec> = Vec::new();
    for app in &apps {
        let (spec, more) = attempt(app, &context, &overlay);
        add_new(&mut problems, app, more);
        specs.push(spec);
    }
    problems.extend(finish_order(&mut apps.iter().zip(&mut specs).collect::<Vec<_>>()));
    if !cx.program.is_pm2() {
        on_this_machine(cx, &apps, &specs, &mut problems);
    }
    if context.strict {
        problems.iter_mut().for_each(|problem| problem.severity = Severity::Error);
    }
    problems.sort_by_key(|problem| problem.position.map(|at| (at.line, at.column)));
    let is_good = |app: &RawApp| !problems.iter().any(|problem| problem.is_error() && problem.app.as_ref() == Some(&app.name()));
    let names = apps.iter().zip(&specs).filter(|(app, _)| is_good(app)).map(|(_, spec)| spec.name.clone()).collect();
    Ok(Report { names, problems })
}

/// Returns the problem with a script, which `start` would run as an app.
fn script(path: &Path, argument: &str, context: &Context) -> Option<Problem> {
    let is_config = classify(argument, context) != StartArgument::Other;
    let message = match is_script(path) {
        true if !is_config && is_config_name(argument) => message!("is a script, not a configuration: it declares no apps"),
        true if !is_config => {
            message!("is a script, not a configuration: the name of a configuration has .config. in it, as ecosystem.config.js")
        }
        _ => return None,
    };
    Some(Problem::error(ProblemKind::NotApps, message).in_file(Some(argument), None))
}

/// Returns the apps of `--only`, and drops the problems of all others.
fn chosen(cx: &mut Cx, call: &Call, apps: Vec<RawApp>, problems: &mut Vec<Problem>) -> Vec<RawApp> {
    let Some(only) = call.value("only") else { return apps };
    files::warn_of_unknown(cx, &apps, only);
    let apps = select(&apps, only);
    problems.retain(|problem| problem.app.as_ref().is_none_or(|name| apps.iter().any(|app| app.name() == *name)));
    apps
}

/// Adds the problems that the apps would have on this machine. A daemon is asked, but never started.
fn on_this_machine(cx: &mut Cx, apps: &[RawApp], specs: &[AppSpec], problems: &mut Vec<Problem>) {
    let (running, peer) = match cx.running_client() {
        Ok(Some(client)) => (client.inspect(&[]).unwrap_or_default(), client.peer().cloned()),
        Ok(None) | Err(_) => (Vec::new(), None),
    };
    let machine = Machine::here(running, peer.as_ref());
    let all: Vec<&AppSpec> = specs.iter().collect();
    for (app, spec) in apps.iter().zip(specs) {
        let has_program = !spec.script.is_empty() && !lacks_program(app, problems);
        add_new(problems, app, preflight::inspect(app, spec, has_program, &all, &machine));
        if !instance_limit::is_plausible(spec.instances) {
            let message =
                message!("{count} instances are many for this machine: `start` asks first, or needs --yes", count = spec.instances);
            add_new(problems, app, [app.mistake("instances", message).as_warning()]);
        }
    }
}

/// Returns true if the folder, script or interpreter of an app has an error already.
fn lacks_program(app: &RawApp, problems: &[Problem]) -> bool {
    let keys = ["cwd", "script", "exec_interpreter"].map(|key| app.mistake(key, "").key);
    problems.iter().any(|problem| problem.is_error() && keys.contains(&problem.key))
}

fn print(cx: &mut Cx, call: &Call, source: &Source, report: &Report) {
    let status = report.status();
    if call.has("json") {
        let problems: Vec<Value> = report.problems.iter().map(problem_json).collect();
        return render::json(&mut cx.out, &json!({ "valid": status == Status::Ok, "apps": report.names, "problems": problems }));
    }
    if !cx.program.is_pm2() {
        let view = cx.out.view();
        let verdict = face::mistakes_verdict(source.shown(), &report.problems, &report.names, &view);
        let list = face::mistakes(&report.problems, &view);
        let gap = if list.is_empty() { "" } else { "\n" };
        return cx.out.text(list + gap + &verdict);
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
}

fn problem_json(problem: &Problem) -> Value {
    json!({
        "severity": if problem.is_error() { "error" } else { "warning" },
        "app": problem.app,
        "file": problem.file,
        "line": problem.position.map(|position| position.line),
        "column": problem.position.map(|position| position.column),
        "key": problem.key,
        "message": problem.text(),
    })
}
