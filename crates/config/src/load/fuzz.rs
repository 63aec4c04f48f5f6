//! Checks of the parsers of config files for any bytes; see [`crate::fuzz`].

use std::path::Path;

use serde_json::Value;

use super::positions::Segment;
use super::{Document, Format, Origin, Positions, data, document, guess, js, source, toml, yaml};
use crate::fuzz::apps::{apps, context};
use crate::problem::Problem;

/// Longest text that is checked; the corpora have no longer ones, either.
const MOST: usize = 8192;

/// Returns the text of a file as the loader takes it.
fn text(bytes: &[u8]) -> Option<String> {
    source::decode(bytes).ok().filter(|text| text.len() <= MOST && !text.trim().is_empty())
}

/// Checks the result of a parser, and the apps in it.
fn is_sound(text: &str, read: Result<Document, Problem>) -> Option<Value> {
    let lines = u32::try_from(text.matches('\n').count() + 1).unwrap_or(u32::MAX);
    match read {
        Ok(Document { value, positions, .. }) => {
            for (path, app) in app_paths(&value) {
                let keys = app.as_object().into_iter().flatten().map(|(key, _)| vec![Segment::from(key.as_str())]);
                for segments in std::iter::once(Vec::new()).chain(keys) {
                    let position = positions.of(&path, app, &segments).map(|(_, position)| position);
                    assert!(position.is_none_or(|at| (1..=lines).contains(&at.line)), "{path}: {position:?} of {lines} lines");
                }
            }
            apps(value.clone());
            Some(value)
        }
        Err(problem) => {
            assert!(problem.position.is_none_or(|at| (1..=lines + 1).contains(&at.line)), "{problem:?} of {lines} lines");
            assert!(problem.to_string().len() <= 10 * text.len() + 1000, "a short message");
            None
        }
    }
}

/// Returns the apps of a value with their paths.
fn app_paths(value: &Value) -> Vec<(String, &Value)> {
    let (path, list) = if value.is_array() { ("", value) } else { ("apps", &value["apps"]) };
    list.as_array().into_iter().flatten().enumerate().map(|(at, app)| (format!("{path}[{at}]"), app)).collect()
}

/// Checks JSON and JSON5: a value can be written as JSON and read again.
pub fn config_json(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let Some(value) = is_sound(&text, data::json(&text)) else { return };
    let again = data::json(&value.to_string()).map(|document| document.value);
    // A float may lose its last digit on the way.
    assert!(again.is_ok_and(|again| again == value || has_float(&value)), "written as JSON");
}

fn has_float(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(list) => list.iter().any(has_float),
        Value::Object(map) => map.values().any(has_float),
        _ => false,
    }
}

/// Checks YAML: what is read is read again from JSON, which is YAML, too.
pub fn config_yaml(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let Some(value) = is_sound(&text, yaml::parse(&text)) else { return };
    let written = value.to_string();
    // The parser accepts no other characters in a text, and its keys in braces have at most 1024.
    let is_plain = |c: char| !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}');
    if written.len() < 1000 && written.chars().all(is_plain) && !written.contains("\\u") {
        assert_eq!(yaml::parse(&written).map(|document| document.value).ok(), Some(value), "{written}");
    }
}

/// Checks TOML.
pub fn config_toml(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    is_sound(&text, toml::parse(&text));
}

/// Checks JavaScript in the embedded engine: a program, and the scanner of its literals, which never
/// evaluates.
pub fn config_js(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let positions = Positions::scan(&text);
    let lines = u32::try_from(text.matches('\n').count() + 1).unwrap_or(u32::MAX);
    for path in ["apps", "apps[0]", "jobs", "[0]"] {
        assert!(positions.of_part(path).is_none_or(|at| (1..=lines).contains(&at.line)), "{path}");
    }
    super::positions::loaded_paths(&text).iter().for_each(|path| assert!(path.starts_with('.')));
    is_sound(&text, js::program(&text, &Origin::File("/nonexistent/ecosystem.config.js".into()), &context()));
}

/// Checks a text of unknown format, as on standard input.
pub fn config_stdin(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    // Programs have a check of their own; here they would only take time.
    if guess(&text) != Format::Program && !text.contains("=>") {
        is_sound(&text, document(&text, guess(&text), &Origin::Stdin, &context()));
    }
    let _ = super::format_of(Path::new(text.lines().next().unwrap_or_default()), &text);
}
