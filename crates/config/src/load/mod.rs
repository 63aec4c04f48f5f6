//! Loads files: reads them, recognizes the format, then parses or evaluates.

mod data;
#[cfg(debug_assertions)]
pub(crate) mod fuzz;
mod js;
mod key_path;
mod literals;
pub(crate) mod positions;
mod source;
mod toml;
#[cfg_attr(not(feature = "yaml"), path = "yaml_stub.rs")]
mod yaml;

use std::path::{Path, PathBuf};

use ostler_core::message;
use serde_json::Value;

use crate::context::Context;
use crate::problem::{Problem, ProblemKind};
use js::EvalFailure;
pub(crate) use positions::Positions;
pub(crate) use source::guarded as read_text;

/// A file as plain values.
#[derive(Debug, Default)]
pub(crate) struct Document {
    /// Content of the file.
    pub value: Value,
    /// Positions of its keys.
    pub positions: Positions,
    /// Notes for the user.
    pub notes: Vec<String>,
    /// Paths of variables that are `undefined`, such as `apps[0].env.TOKEN`.
    pub undefined_variables: Vec<String>,
    /// Changes that a program made to `process.env`: new value, or none for a removed variable.
    pub env_changes: Vec<(String, Option<String>)>,
}

/// Origin of a text.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// A file, absolute.
    File(PathBuf),
    /// Standard input; relative `require`s start at the caller's directory.
    Stdin,
}

/// The languages of config files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// A JavaScript or TypeScript program.
    Program,
    /// `.json`: JSON, or else JSON5, or else a JavaScript expression (PM2 evaluates `.json` as
    /// JavaScript).
    Json,
    /// YAML.
    Yaml,
    /// TOML.
    Toml,
}

/// Reads and evaluates a file.
pub(crate) fn file(path: &Path, context: &Context) -> Result<Document, Problem> {
    let (text, warning) = source::guarded(path, &context.caller, None)?;
    let format = format_of(path, &text);
    let mut document = document(&text, format, &Origin::File(path.to_owned()), context)?;
    document.notes.extend(warning);
    Ok(document)
}

/// Reads a file of plain values; programs are rejected.
pub(crate) fn plain(path: &Path) -> Result<Value, Problem> {
    let text = source::read(path)?;
    if text.trim().is_empty() {
        return Err(empty());
    }
    let document = match format_of(path, &text) {
        Format::Program => {
            return Err(Problem::error(ProblemKind::Malformed, message!("this is a program; YAML, JSON or TOML is expected")));
        }
        Format::Json => data::json(&text),
        Format::Yaml => yaml::parse(&text),
        Format::Toml => toml::parse(&text),
    };
    document.map(|document| document.value)
}

/// Returns the text of an open file, and its values; none if the file is a program. No code is
/// evaluated. `path` gives the format.
pub(crate) fn outline(file: std::fs::File, path: &Path) -> Result<(String, Option<Value>), Problem> {
    let text = source::text(file)?;
    let document = match format_of(path, &text) {
        Format::Program => return Ok((text, None)),
        Format::Json => data::json(&text),
        Format::Yaml => yaml::parse(&text),
        Format::Toml => toml::parse(&text),
    };
    document.map(|document| (text, Some(document.value)))
}

/// Evaluates a text from standard input.
pub(crate) fn stdin(text: &[u8], context: &Context) -> Result<Document, Problem> {
    let text = source::decode(text)?;
    document(&text, guess(&text), &Origin::Stdin, context)
}

fn document(text: &str, format: Format, origin: &Origin, context: &Context) -> Result<Document, Problem> {
    if text.trim().is_empty() {
        return Err(empty());
    }
    match format {
        Format::Program => js::program(text, origin, context),
        Format::Json => data::json(text).or_else(|error| js::expression(text, origin, context).map_err(|from_js| best_of(error, from_js))),
        Format::Yaml => yaml::parse(text),
        Format::Toml => toml::parse(text),
    }
}

/// Returns the error about a file without content.
fn empty() -> Problem {
    Problem::error(ProblemKind::Malformed, message!("the file is empty"))
}

/// Returns the better of two problems with a `.json` that is neither: the parser's message has a
/// position, the engine's may name a limit.
fn best_of(parser: Problem, engine: EvalFailure) -> Problem {
    if engine.is_limit() { engine.into_problem() } else { parser }
}

fn format_of(path: &Path, text: &str) -> Format {
    let name = path.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    // PM2 searches the extension anywhere in the name (`x.json.bak`); the real extension takes
    // precedence.
    if ends(&[".js", ".cjs", ".mjs", ".ts", ".mts", ".cts"]) {
        Format::Program
    } else if ends(&[".toml"]) {
        Format::Toml
    } else if ends(&[".yml", ".yaml"]) {
        Format::Yaml
    } else if name.contains(".json") {
        Format::Json
    } else if name.contains(".yml") || name.contains(".yaml") {
        Format::Yaml
    } else if name.contains(".config.js") || name.contains(".config.cjs") || name.contains(".config.mjs") {
        Format::Program
    } else {
        guess(text)
    }
}

/// Guesses the format of a text without a name.
fn guess(text: &str) -> Format {
    let start = text.trim_start();
    if text.contains("module.exports") || text.contains("export default") || text.contains("export const") {
        Format::Program
    } else if start.starts_with("[[") && start.lines().next().is_some_and(|line| line.trim_end().ends_with("]]")) {
        Format::Toml
    } else if start.starts_with(['{', '[', '(']) || start.starts_with("//") || start.starts_with("/*") {
        Format::Json
    } else {
        Format::Yaml
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn format_follows_name_then_text() {
        let cases = [
            ("ecosystem.config.js", "", Format::Program),
            ("a.config.mjs", "", Format::Program),
            ("a.config.ts", "", Format::Program),
            ("a.json5", "", Format::Json),
            ("a.json.bak", "", Format::Json),
            ("a.config.js.old", "", Format::Program),
            ("a.yaml", "", Format::Yaml),
            ("a.toml", "", Format::Toml),
            ("fd63", "module.exports = {}", Format::Program),
            ("fd63", "[[apps]]\nscript='x'", Format::Toml),
            ("fd63", "  [{script: 'x'}]", Format::Json),
            ("fd63", "apps:\n- script: x", Format::Yaml),
        ];
        for (name, text, format) in cases {
            assert_eq!(format_of(Path::new(name), text), format, "{name} {text}");
        }
    }
}
