//! Combines the files of a compose project: `include`, `extends`, and the files that are merged
//! over the first one.

use std::sync::Arc;

use ostler_core::message;
use serde_json::{Map, Value};

use super::compose_merge::{merge, rebase, without_tags};
use super::interpolate::{Variables, interpolate};
use super::{ImportError, MOST_BYTES, dotenv, yaml};

/// File that exists and cannot be read, with the caller's error.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct UnreadableFile(pub Arc<dyn std::error::Error + Send + Sync>);

impl PartialEq for UnreadableFile {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for UnreadableFile {}

/// Facts that the file depends on.
#[derive(Clone, Copy)]
pub struct ComposeContext<'a> {
    /// Returns the value of a variable of the caller or of the file `.env`.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// Returns whether a program is on the `PATH`.
    pub has_program: &'a dyn Fn(&str) -> bool,
    /// Returns whether the caller can run an app as this user (`node`, `1000:1000`).
    pub runs_as: &'a dyn Fn(&str) -> bool,
    /// Returns the text of a file, by its path relative to the compose file; none if it does not
    /// exist.
    pub read: &'a dyn Fn(&str) -> Result<Option<String>, UnreadableFile>,
    /// Whether references in `environment` stay, because an ecosystem file is written.
    pub keeps_references: bool,
}

/// Deepest chain of `include` and `extends`.
const DEEPEST: usize = 20;
/// Largest number of files that are included or extended, counted each time: two files that include
/// each other twice would be read a million times.
const MOST_FILES: usize = 1000;

/// State of a load.
#[derive(Default)]
struct LoadState {
    /// Names of unset variables.
    missing: Vec<String>,
    /// Number of files that were read.
    files: usize,
}

/// Reads files, merges them in their order and resolves their variables. Returns the names of unset
/// variables.
///
/// # Errors
/// Returns an error if a file is not a compose file, names an unreadable file, or needs an unset
/// variable.
pub(super) fn load(files: &[(String, String)], around: &ComposeContext<'_>) -> Result<(Value, Vec<String>), ImportError> {
    let mut loading = LoadState::default();
    let mut all = Value::Object(Map::new());
    for (name, text) in files {
        // Paths of all files are relative to the folder of the first one.
        let read =
            file(name, text, "", around, &mut loading, 0).map_err(|error| if files.len() > 1 { in_file(name, error) } else { error })?;
        all = merge(all, read);
    }
    loading.missing.sort();
    loading.missing.dedup();
    Ok((without_tags(all).unwrap_or_default(), loading.missing))
}

fn in_file(name: &str, error: ImportError) -> ImportError {
    match error {
        ImportError::Malformed(why) => ImportError::Malformed(format!("{name}: {why}")),
        other => other,
    }
}

fn malformed<T>(why: impl Into<String>) -> Result<T, ImportError> {
    Err(ImportError::Malformed(why.into()))
}

/// Reads one file. `folder` is the folder of its relative paths, relative to the project.
fn file(
    name: &str,
    text: &str,
    folder: &str,
    around: &ComposeContext<'_>,
    loading: &mut LoadState,
    depth: usize,
) -> Result<Value, ImportError> {
    if depth > DEEPEST {
        return malformed(message!("{file}: more than {most} files include or extend each other", file = name, most = DEEPEST));
    }
    let mut value = parsed(text, around, loading)?;
    let services: Vec<String> = value.get("services").and_then(Value::as_object).into_iter().flat_map(|map| map.keys().cloned()).collect();
    let mut resolved = Map::new();
    for own in services {
        let service = extended(&value, &own, name, folder, around, loading, depth)?;
        resolved.insert(own, service);
    }
    if !resolved.is_empty() {
        value["services"] = Value::Object(resolved);
    }
    let included = value.as_object_mut().and_then(|map| map.shift_remove("include"));
    match included {
        Some(Value::Array(list)) => {
            let mut all = Value::Object(Map::new());
            for entry in list {
                all = merge(all, include(&entry, folder, around, loading, depth)?);
            }
            Ok(merge(all, value))
        }
        Some(Value::Null) | None => Ok(value),
        Some(_) => malformed(message!("include: expected a list of files")),
    }
}

/// Returns the values of a text with their variables resolved. If references are kept, those in
/// `environment` stay.
fn parsed(text: &str, around: &ComposeContext<'_>, loading: &mut LoadState) -> Result<Value, ImportError> {
    if text.len() > MOST_BYTES {
        return Err(ImportError::TooLarge(text.len()));
    }
    let mut value = yaml::parse(text.strip_prefix('\u{feff}').unwrap_or(text))?;
    let mut kept = Vec::new();
    if around.keeps_references {
        for service in value.get_mut("services").and_then(Value::as_object_mut).into_iter().flat_map(|map| map.values_mut()) {
            kept.push(service.get_mut("environment").map(Value::take));
        }
    }
    let mut variables = Variables { lookup: around.variable, missing: std::mem::take(&mut loading.missing), is_lenient: false };
    interpolate(&mut value, "", &mut variables)?;
    loading.missing = variables.missing;
    for (service, kept) in value.get_mut("services").and_then(Value::as_object_mut).into_iter().flat_map(|map| map.values_mut()).zip(kept) {
        if let (Some(service), Some(kept)) = (service.as_object_mut(), kept) {
            service.insert("environment".into(), kept);
        }
    }
    Ok(value)
}

fn read(path: &str, around: &ComposeContext<'_>, loading: &mut LoadState) -> Result<String, ImportError> {
    loading.files += 1;
    if loading.files > MOST_FILES {
        return malformed(message!("{path}: more than {most} files are included or extended", path, most = MOST_FILES));
    }
    match (around.read)(path) {
        Ok(Some(text)) => Ok(text),
        Ok(None) => malformed(message!("the file {path} does not exist", path)),
        Err(cause) => Err(unreadable(path, cause)),
    }
}

fn unreadable(path: &str, cause: UnreadableFile) -> ImportError {
    ImportError::Unreadable { place: path.to_owned(), cause }
}

/// Merges a service over the service that it extends.
fn extended(
    value: &Value,
    own: &str,
    name: &str,
    folder: &str,
    around: &ComposeContext<'_>,
    loading: &mut LoadState,
    depth: usize,
) -> Result<Value, ImportError> {
    let Some(mut service) = value.get("services").and_then(|services| services.get(own)).cloned() else {
        return malformed(message!("{file} has no service {service} to extend", file = name, service = own));
    };
    rebase(&mut service, folder);
    let Some(extends) = service.as_object_mut().and_then(|map| map.shift_remove("extends")) else { return Ok(service) };
    if depth > DEEPEST {
        return malformed(message!("services.{service}: more than {most} services extend each other", service = own, most = DEEPEST));
    }
    let base = extends.as_str().or_else(|| extends.get("service")?.as_str());
    let Some(base) = base else { return malformed(message!("services.{service}.extends: expected a service", service = own)) };
    let base = match extends.get("file").and_then(Value::as_str) {
        Some(file) => {
            let path = joined(folder, file);
            let other = parsed(&read(&path, around, loading)?, around, loading).map_err(|error| in_file(&path, error))?;
            extended(&other, base, &path, parent(&path), around, loading, depth + 1)?
        }
        None => extended(value, base, name, folder, around, loading, depth + 1)?,
    };
    Ok(merge(base, service))
}

fn include(entry: &Value, folder: &str, around: &ComposeContext<'_>, loading: &mut LoadState, depth: usize) -> Result<Value, ImportError> {
    let paths: Vec<&str> = match entry.get("path").unwrap_or(entry) {
        Value::String(path) => vec![path],
        Value::Array(paths) => paths.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let Some(first) = paths.first() else { return malformed(message!("include: expected a path")) };
    let first = joined(folder, first);
    let project =
        entry.get("project_directory").and_then(Value::as_str).map_or_else(|| parent(&first).to_owned(), |own| joined(folder, own));
    // Variables of the included project's own env files have the lowest priority.
    let env_files: Vec<String> = match entry.get("env_file") {
        Some(Value::String(path)) => vec![joined(folder, path)],
        Some(Value::Array(paths)) => paths.iter().filter_map(Value::as_str).map(|path| joined(folder, path)).collect(),
        _ => vec![joined(&project, ".env")],
    };
    let mut own = Vec::new();
    for path in env_files {
        if let Some(text) = (around.read)(&path).map_err(|cause| unreadable(&path, cause))? {
            own.extend(dotenv::parse(&text, around.variable).map_err(|why| ImportError::Malformed(format!("{path}: {why}")))?);
        }
    }
    let variable =
        |name: &str| (around.variable)(name).or_else(|| own.iter().rev().find(|(own, _)| own == name).map(|(_, value)| value.clone()));
    let inner = ComposeContext { variable: &variable, ..*around };
    let mut all = Value::Object(Map::new());
    for path in paths {
        let path = joined(folder, path);
        let value =
            file(&path, &read(&path, around, loading)?, &project, &inner, loading, depth + 1).map_err(|error| in_file(&path, error))?;
        all = merge(all, value);
    }
    Ok(all)
}

/// Joins a path to a folder.
pub(super) fn joined(folder: &str, path: &str) -> String {
    let path = path.trim_start_matches("./");
    if path == "." && !folder.is_empty() {
        return folder.to_owned();
    }
    if folder.is_empty() || folder == "." || path.starts_with(['/', '~']) { path.to_owned() } else { format!("{folder}/{path}") }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_all(files: &[(&str, &str)]) -> Result<Value, ImportError> {
        let read = |path: &str| Ok(files.iter().find(|(name, _)| *name == path).map(|(_, text)| (*text).to_owned()));
        let variable = |name: &str| (name == "OWN").then(|| "caller".to_owned());
        let around =
            ComposeContext { variable: &variable, has_program: &|_| false, runs_as: &|_| false, read: &read, keeps_references: false };
        load(&[(files[0].0.to_owned(), files[0].1.to_owned())], &around).map(|(value, _)| value)
    }

    #[test]
    fn include_and_extends_resolve_paths_and_variables_per_file() {
        let files = [
            ("compose.yaml", "include: [sub/compose.yaml]\nservices: {web: {extends: {file: base/b.yaml, service: b}, command: mine}}"),
            ("sub/compose.yaml", "services: {db: {command: '$OWN $THEIRS', env_file: db.env, build: .}}"),
            ("sub/.env", "OWN=theirs\nTHEIRS=sub\n"),
            ("base/b.yaml", "services: {b: {extends: a, env_file: [b.env], command: b}, a: {working_dir: /a, build: {context: x}}}"),
        ];
        let expected = json!({"services": {
            "db": {"command": "caller sub", "env_file": "sub/db.env", "build": "sub/."},
            "web": {"working_dir": "/a", "build": {"context": "base/x"}, "env_file": ["base/b.env"], "command": "mine"},
        }});
        assert_eq!(read_all(&files), Ok(expected));
    }

    #[test]
    fn missing_or_circular_references_are_errors() {
        for (files, why) in [
            (&[("a.yaml", "include: [b.yaml]")] as &[_], "the file b.yaml does not exist"),
            (&[("a.yaml", "include: b.yaml")], "expected a list"),
            (&[("a.yaml", "include: [b.yaml, b.yaml]"), ("b.yaml", "include: [a.yaml, a.yaml]")], "include or extend"),
            (&[("a.yaml", "services: {a: {extends: b}, b: {extends: a}}")], "extend each other"),
            (&[("a.yaml", "services: {a: {extends: {file: a.yaml, service: a}}}")], "extend each other"),
            (&[("a.yaml", "services: {a: {extends: {service: c}}}")], "no service c"),
        ] {
            let error = read_all(files).unwrap_err().to_string();
            assert!(error.contains(why), "{files:?}: {error}");
        }
        let wide = format!("include: [{}]", "b.yaml, ".repeat(2000));
        assert!(read_all(&[("a.yaml", &wide), ("b.yaml", "services: {}")]).unwrap_err().to_string().contains("more than 1000 files"));
    }
}
