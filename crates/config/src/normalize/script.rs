//! Script of an app: a file, a program on `PATH`, or a command line.

use std::path::{Path, PathBuf};

use ostler_core::app::AppSpec;
use ostler_core::message;
use serde_json::Value;

use super::{AppContext, interpreter};
use crate::check::RawApp;
use crate::context::{find_program, is_executable};
use crate::problem::{Problem, ProblemKind};

/// Finds script and interpreter; returns the problems.
pub(super) fn resolve(spec: &mut AppSpec, raw: &RawApp, base: &AppContext<'_>) -> Vec<Problem> {
    let Err(problem) = resolve_script(spec, raw, base) else { return Vec::new() };
    let is_interpreter_given = raw.attributes.get("exec_interpreter").is_some_and(Value::is_string);
    let mut problems = vec![problem];
    if problems[0].kind == ProblemKind::ScriptNotFound && is_interpreter_given {
        let path = search_path(spec);
        problems.extend(interpreter::choose(spec, raw, base, path.as_deref(), Path::new("/")).err());
    }
    problems
}

fn resolve_script(spec: &mut AppSpec, raw: &RawApp, base: &AppContext<'_>) -> Result<(), Problem> {
    let given = raw.attributes.get("script").and_then(Value::as_str).unwrap_or_default();
    if given.trim().is_empty() {
        return Err(raw.problem(ProblemKind::ScriptNotFound, "script", message!("No script path - aborting")));
    }
    let path = search_path(spec);
    match find(given, base, path.as_deref()) {
        Some(file) => {
            spec.script = text(&file, raw)?;
            interpreter::choose(spec, raw, base, path.as_deref(), &file)?;
            // PM2 differs: it starts Node, which fails.
            let is_refused = file.is_dir() && spec.runs_in_node() && !base.context.as_pm2 && !has_entry(&file);
            let message = || message!("the folder {folder} has neither a package.json nor an index.js", folder = file.display());
            if is_refused { Err(raw.problem(ProblemKind::ScriptNotFound, "script", message())) } else { Ok(()) }
        }
        None if given.contains(char::is_whitespace) => command_line(spec, raw, given, path.as_deref(), base.context.elsewhere),
        None if base.context.elsewhere => {
            // A word is a program of the target machine; a path is built there.
            let is_word = !given.contains(['/', '.']);
            let file = if is_word { PathBuf::from("/usr/bin").join(given) } else { base.context.absolute(given, &base.cwd) };
            spec.script = text(&file, raw)?;
            if is_word {
                spec.interpreter = None;
                return Ok(());
            }
            interpreter::choose(spec, raw, base, path.as_deref(), &file)
        }
        None => {
            let tried = base.context.absolute(given, &base.cwd);
            let problem = raw.problem(ProblemKind::ScriptNotFound, "script", message!("Script not found: {path}", path = tried.display()));
            Err(Problem { missing: Some(Box::new(tried)), ..problem })
        }
    }
}

/// Returns true for a folder that Node can run.
fn has_entry(folder: &Path) -> bool {
    ["package.json", "index.js", "index.json", "index.node"].iter().any(|name| folder.join(name).is_file())
}

/// Returns the app's own `PATH`, or else the caller's.
pub(super) fn search_path(spec: &AppSpec) -> Option<String> {
    let env = &spec.env;
    let profile = env.profile.as_ref().and_then(|name| env.profiles.get(name));
    [profile, Some(&env.vars), Some(&env.file), Some(&*env.base)].into_iter().flatten().find_map(|layer| layer.get("PATH")).cloned()
}

/// Finds a file relative to the app's directory, or else the caller's or the config file's; a bare
/// word also on `PATH`. A folder counts too (Node runs its `index.js`), but a program of that name
/// takes precedence.
fn find(given: &str, base: &AppContext<'_>, path: Option<&str>) -> Option<PathBuf> {
    let own = base.context.absolute(given, &base.cwd);
    if own.is_file() {
        return Some(own);
    }
    if let Some(program) = find_program(given, path) {
        return Some(program);
    }
    if own.exists() {
        return Some(own);
    }
    // PM2 differs: it knows only the caller's directory, so a file works from one folder only.
    base.file_dir.as_deref().map(|dir| base.context.absolute(given, dir)).filter(|file| file.is_file())
}

fn text(file: &Path, raw: &RawApp) -> Result<String, Problem> {
    file.to_str().map(str::to_owned).ok_or_else(|| raw.problem(ProblemKind::Value, "script", message!("the path is not UTF-8")))
}

/// Turns any text with a blank that is not a file into a command line, which a shell runs.
fn command_line(spec: &mut AppSpec, raw: &RawApp, given: &str, path: Option<&str>, elsewhere: bool) -> Result<(), Problem> {
    let shell = ["bash", "sh"].into_iter().find_map(|name| find_program(name, path)).or_else(|| {
        let sh = PathBuf::from("/bin/sh");
        is_executable(&sh).then_some(sh)
    });
    let shell = shell.or_else(|| Some(PathBuf::from("/bin/sh")).filter(|_| elsewhere));
    let shell = shell.ok_or_else(|| {
        raw.problem(ProblemKind::InterpreterNotFound, "script", message!("no bash or sh was found to run the command line"))
    })?;
    spec.shell = true;
    spec.interpreter = None;
    spec.interpreter_args.clear();
    spec.args = with_args(given, std::mem::take(&mut spec.args));
    spec.script = text(&shell, raw)?;
    Ok(())
}

/// Returns the arguments of a shell with further words at the end, as if typed there. The shell
/// gets them as words, so they are not split or expanded again.
fn with_args(command: &str, args: Vec<String>) -> Vec<String> {
    if args.is_empty() {
        return vec!["-c".into(), command.to_owned()];
    }
    let takes_args = ["$@", "$*", "$1", "${@", "${1"].iter().any(|form| command.contains(form));
    let command = if takes_args { command.to_owned() } else { format!("{command}{ARGS}") };
    // The first word after the text is `$0`.
    ["-c".to_owned(), command, "sh".to_owned()].into_iter().chain(args).collect()
}

const ARGS: &str = " \"$@\"";

/// Returns the arguments of a shell with an existing command line and other arguments.
pub(super) fn shell_args(old: &[String], args: Vec<String>) -> Vec<String> {
    let command = old.get(1).map(String::as_str).unwrap_or_default();
    with_args(command.strip_suffix(ARGS).filter(|_| old.len() > 2).unwrap_or(command), args)
}
