//! JavaScript files. They are programs, evaluated in the client.
//!
//! The embedded engine comes first, because it starts in a millisecond. Its environment
//! (`prelude.js`) contains the common needs of config files and reports any other need of a file.
//! In that case, and on any exception, the runtime on `PATH` evaluates the file, and its result is
//! final. Only a limit (time, memory) is final immediately: the runtime would reach it as well.

#[cfg(feature = "js")]
mod embedded;
#[cfg(not(feature = "js"))]
#[path = "stub.rs"]
mod embedded;
mod runtime;

use std::path::Path;

use ostler_core::message;
use serde::Deserialize;
use serde_json::Value;

use super::{Document, Origin, Positions, positions};
use crate::context::{Context, Engine};
use crate::problem::{Position, Problem, ProblemKind};

/// Shared by both engines.
const ENCODE: &str = include_str!("encode.js");

/// A file to evaluate.
struct Evaluand<'a> {
    kind: &'static str,
    /// Absolute path of the file, or an invented one in the caller's directory.
    file: String,
    source: &'a str,
}

/// Reason why an engine returned no value.
#[derive(Debug)]
pub(super) enum EvalFailure {
    /// The file needs a feature that this engine lacks.
    Unsupported(String),
    /// Time or memory ran out.
    Limit(String),
    /// The file failed: message, and line and column if known.
    Threw(String, Option<Position>),
    /// No runtime was found, or it cannot be started.
    Unavailable(String),
}

/// A failure, and the value of a file that caught the refusal.
type Refusal = (EvalFailure, Option<Evaluation>);

/// Evaluates a program (`module.exports = …`, `export default …`).
pub(super) fn program(text: &str, origin: &Origin, context: &Context) -> Result<Document, Problem> {
    let job = match origin {
        Origin::File(path) => {
            let file =
                path.to_str().ok_or_else(|| Problem::error(ProblemKind::Unreadable, message!("the path of the file is not UTF-8")))?;
            Evaluand { kind: "file", file: file.to_owned(), source: text }
        }
        Origin::Stdin => Evaluand { kind: "stdin", file: stdin_name(context), source: text },
    };
    let mut outcome = evaluate(&job, context).map_err(EvalFailure::into_problem);
    let Origin::File(path) = origin else { return outcome };
    if let Ok(document) = &mut outcome {
        scan_loaded(document, path, text);
    }
    // The engines differ: some throw, some return an empty module. None of them suggests a fix.
    let is_empty = match &outcome {
        Ok(document) => document.value.as_object().is_some_and(serde_json::Map::is_empty),
        Err(problem) => problem.message.contains("is not defined"),
    };
    match as_es_module(path, text).filter(|_| is_empty) {
        Some(message) => Err(Problem::error(ProblemKind::Malformed, message)),
        None => outcome,
    }
}

/// Most files that a program loads and whose positions are known.
const MOST_LOADED: usize = 32;

/// Adds the positions in the files that a program loads itself. It was just evaluated, so these
/// files have been read before.
fn scan_loaded(document: &mut Document, program: &Path, text: &str) {
    let folder = program.parent().unwrap_or(Path::new("/"));
    for path in positions::loaded_paths(text).into_iter().take(MOST_LOADED) {
        let names = ["", ".js", ".cjs", ".mjs", ".ts", ".json", "/index.js"].map(|end| format!("{path}{end}"));
        if let Some(name) = names.iter().find(|name| folder.join(name).is_file())
            && let Ok(text) = super::source::read(&folder.join(name))
        {
            document.positions.scan_loaded(name.trim_start_matches("./"), &text);
        }
    }
}

/// Returns the hint for a file that exports in CommonJS style although its package makes it an ES
/// module.
fn as_es_module(path: &Path, text: &str) -> Option<String> {
    let extension = path.extension().and_then(|end| end.to_str()).filter(|end| matches!(*end, "js" | "ts"))?;
    let exports = text.contains("module.exports") || text.contains("exports.");
    if !exports || package_type(path) != "module" {
        return None;
    }
    let renamed = path.with_extension(format!("c{extension}"));
    let renamed = renamed.file_name().unwrap_or_default().to_string_lossy();
    Some(message!(
        "its package.json has \"type\": \"module\", so `module.exports` has no effect: rename it to {renamed}, or use `export default`",
        renamed
    ))
}

/// Returns `type` of the nearest package.json, found as Node does.
fn package_type(file: &Path) -> String {
    for dir in file.ancestors().skip(1) {
        if dir.ends_with("node_modules") {
            break;
        }
        if let Ok(text) = super::source::read(&dir.join("package.json")) {
            let package: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            return package["type"].as_str().unwrap_or("commonjs").to_owned();
        }
    }
    "commonjs".into()
}

/// Evaluates one expression (`.json` that is JavaScript, standard input).
pub(super) fn expression(text: &str, origin: &Origin, context: &Context) -> Result<Document, EvalFailure> {
    let file = match origin {
        Origin::File(path) => path.to_string_lossy().into_owned(),
        Origin::Stdin => stdin_name(context),
    };
    // The bracket makes `{` an object. It is on the first line so that lines keep their numbers.
    let source = format!("({}\n)", text.trim_end().trim_end_matches(';'));
    let document = evaluate(&Evaluand { kind: "expression", file, source: &source }, context)?;
    Ok(Document { positions: Positions::scan(text), ..document })
}

fn stdin_name(context: &Context) -> String {
    context.cwd.join("[stdin].js").to_string_lossy().into_owned()
}

fn evaluate(job: &Evaluand<'_>, context: &Context) -> Result<Document, EvalFailure> {
    let outcome = match context.engine {
        Engine::Embedded => embedded::run(job, context).map_err(|refusal| refusal.0),
        Engine::Runtime => runtime::run(job, context),
        Engine::Auto => match embedded::run(job, context).map_err(|refusal| *refusal) {
            Ok(answer) => Ok(answer),
            Err((EvalFailure::Limit(what), _)) => Err(EvalFailure::Limit(what)),
            Err((first, partial)) => match runtime::run(job, context) {
                // Without a runtime, a file that caught the refusal
                // (`try { require('dotenv') } catch {}`) still has a value.
                Err(EvalFailure::Unavailable(why)) => partial.ok_or_else(|| first.without_runtime(&why)),
                outcome => outcome,
            },
        },
    };
    let answer = outcome?;
    Ok(Document {
        value: answer.value,
        positions: Positions::scan(job.source),
        notes: answer.ignored.into_iter().map(|(path, kind)| ignored_note(&path, &kind)).collect(),
        undefined_variables: answer.undefined_variables,
        env_changes: answer
            .env
            .set
            .into_iter()
            .map(|(name, value)| (name, Some(value)))
            .chain(answer.env.unset.into_iter().map(|name| (name, None)))
            .collect(),
    })
}

impl EvalFailure {
    fn without_runtime(self, why: &str) -> Self {
        match self {
            Self::Unsupported(what) => Self::Threw(message!("{what} needs a JavaScript runtime: {why}", what, why), None),
            other => other,
        }
    }

    /// Returns true if time or memory ran out.
    pub(super) const fn is_limit(&self) -> bool {
        matches!(self, Self::Limit(_))
    }

    /// Returns the problem for the user.
    pub(super) fn into_problem(self) -> Problem {
        match self {
            Self::Unsupported(what) => Problem::error(ProblemKind::Malformed, message!("{what} needs a JavaScript runtime", what)),
            Self::Limit(what) | Self::Unavailable(what) => Problem::error(ProblemKind::Malformed, what),
            Self::Threw(message, position) => Problem::error(ProblemKind::Malformed, message).in_file(None, position),
        }
    }
}

/// Returns the note about a value that is no setting.
fn ignored_note(path: &str, kind: &str) -> String {
    message!("{path}: a {kind} is not a setting, it is ignored", path, kind)
}

/// Output of both engines.
#[derive(Debug, Deserialize)]
struct Evaluation {
    value: Value,
    /// Paths of values that are no settings, and their types in JavaScript.
    ignored: Vec<(String, String)>,
    #[serde(rename = "undefinedVariables")]
    undefined_variables: Vec<String>,
    env: EnvChanges,
}

#[derive(Debug, Deserialize)]
struct EnvChanges {
    set: std::collections::BTreeMap<String, String>,
    unset: Vec<String>,
}

#[derive(Deserialize)]
struct JsError {
    name: String,
    message: String,
    stack: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum EngineOutput {
    Thrown { error: JsError },
    Evaluation(Evaluation),
}

/// Reads the output of an engine.
fn read_answer(text: &str, file: &str) -> Result<Evaluation, EvalFailure> {
    match serde_json::from_str::<EngineOutput>(text) {
        Ok(EngineOutput::Evaluation(answer)) => Ok(answer),
        Ok(EngineOutput::Thrown { error }) => {
            let position = position_in_stack(&error.stack, file);
            // Node prints a code frame before syntax errors and a require stack after them; one
            // line is enough.
            let message = error.message.lines().next().unwrap_or_default().trim();
            let message = if error.name == "Error" { message.to_owned() } else { format!("{}: {message}", error.name) };
            Err(EvalFailure::Threw(message, position))
        }
        Err(error) => Err(EvalFailure::Threw(message!("cannot read what the file evaluates to: {error}", error), None)),
    }
}

/// Returns the first `file:line[:column]` of this file in a stack.
fn position_in_stack(stack: &str, file: &str) -> Option<Position> {
    let rest = stack.split(file).skip(1).find_map(|rest| rest.strip_prefix(':'))?;
    let mut numbers = rest.split(|c: char| !c.is_ascii_digit());
    let line: u32 = numbers.next()?.parse().ok()?;
    let column = numbers.next().and_then(|text| text.parse().ok()).unwrap_or(1);
    Some(Position { line, column })
}
