//! The files of a compose project as one: `include`, `extends`, and the files that are merged over the first one.

use serde_json::{Map, Value};

use super::compose_merge::{merge, rebase, without_tags};
use super::compose_project::Surroundings;
use super::interpolate::{Variables, interpolate};
use super::{ImportError, MOST_BYTES, dotenv, yaml};

/// Deepest chain of `include` and `extends`.
const DEEPEST: usize = 20;

/// Reads files, merges them in their order and resolves their variables. Returns names of variables that are not set.
///
/// # Errors
/// A file is not a compose file, names a file that cannot be read, or needs a variable that is not set.
pub(super) fn load(files: &[(String, String)], around: &Surroundings<'_>) -> Result<(Value, Vec<String>), ImportError> {
    let mut missing = Vec::new();
    let mut all = Value::Object(Map::new());
    for (name, text) in files {
        // Paths of all files start at the folder of the first one.
        let read =
            file(name, text, "", around, &mut missing, 0).map_err(|error| if files.len() > 1 { in_file(name, error) } else { error })?;
        all = merge(all, read);
    }
    missing.sort();
    missing.dedup();
    Ok((without_tags(all).unwrap_or_default(), missing))
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

/// Reads one file. `folder`: the folder of its relative paths, from that of the project.
fn file(
    name: &str,
    text: &str,
    folder: &str,
    around: &Surroundings<'_>,
    missing: &mut Vec<String>,
    depth: usize,
) -> Result<Value, ImportError> {
    if depth > DEEPEST {
        return malformed(format!("{name}: more than {DEEPEST} files include or extend each other"));
    }
    let mut value = parsed(text, around, missing)?;
    let services: Vec<String> = value.get("services").and_then(Value::as_object).into_iter().flat_map(|map| map.keys().cloned()).collect();
    let mut resolved = Map::new();
    for own in services {
        let service = extended(&value, &own, name, folder, around, missing, depth)?;
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
                all = merge(all, include(&entry, folder, around, missing, depth)?);
            }
            Ok(merge(all, value))
        }
        Some(Value::Null) | None => Ok(value),
        Some(_) => malformed("include: expected a list of files"),
    }
}

/// The values of a text, with their variables resolved. If references are kept, those in `environment` stay.
fn parsed(text: &str, around: &Surroundings<'_>, missing: &mut Vec<String>) -> Result<Value, ImportError> {
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
    let mut variables = Variables { lookup: around.variable, missing: std::mem::take(missing), is_lenient: false };
    interpolate(&mut value, "", &mut variables)?;
    *missing = variables.missing;
    for (service, kept) in value.get_mut("services").and_then(Value::as_object_mut).into_iter().flat_map(|map| map.values_mut()).zip(kept) {
        if let (Some(service), Some(kept)) = (service.as_object_mut(), kept) {
            service.insert("environment".into(), kept);
        }
    }
    Ok(value)
}

fn read(path: &str, around: &Surroundings<'_>) -> Result<String, ImportError> {
    match (around.read)(path) {
        Ok(Some(text)) => Ok(text),
        Ok(None) => malformed(format!("the file {path} does not exist")),
        Err(why) => malformed(format!("{path}: {why}")),
    }
}

/// A service over the one that it extends.
fn extended(
    value: &Value,
    own: &str,
    name: &str,
    folder: &str,
    around: &Surroundings<'_>,
    missing: &mut Vec<String>,
    depth: usize,
) -> Result<Value, ImportError> {
    let Some(mut service) = value.get("services").and_then(|services| services.get(own)).cloned() else {
        return malformed(format!("{name} has no service {own} to extend"));
    };
    rebase(&mut service, folder);
    let Some(extends) = service.as_object_mut().and_then(|map| map.shift_remove("extends")) else { return Ok(service) };
    if depth > DEEPEST {
        return malformed(format!("services.{own}: more than {DEEPEST} services extend each other"));
    }
    let base = extends.as_str().or_else(|| extends.get("service")?.as_str());
    let Some(base) = base else { return malformed(format!("services.{own}.extends: expected a service")) };
    let base = match extends.get("file").and_then(Value::as_str) {
        Some(file) => {
            let path = joined(folder, file);
            let other = parsed(&read(&path, around)?, around, missing).map_err(|error| in_file(&path, error))?;
            extended(&other, base, &path, parent(&path), around, missing, depth + 1)?
        }
        None => extended(value, base, name, folder, around, missing, depth + 1)?,
    };
    Ok(merge(base, service))
}

fn include(entry: &Value, folder: &str, around: &Surroundings<'_>, missing: &mut Vec<String>, depth: usize) -> Result<Value, ImportError> {
    let paths: Vec<&str> = match entry.get("path").unwrap_or(entry) {
        Value::String(path) => vec![path],
        Value::Array(paths) => paths.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let Some(first) = paths.first() else { return malformed("include: expected a path") };
    let first = joined(folder, first);
    let project =
        entry.get("project_directory").and_then(Value::as_str).map_or_else(|| parent(&first).to_owned(), |own| joined(folder, own));
    // Variables of the included project's own env files are the last that count.
    let env_files: Vec<String> = match entry.get("env_file") {
        Some(Value::String(path)) => vec![joined(folder, path)],
        Some(Value::Array(paths)) => paths.iter().filter_map(Value::as_str).map(|path| joined(folder, path)).collect(),
        _ => vec![joined(&project, ".env")],
    };
    let mut own = Vec::new();
    for path in env_files {
        if let Some(text) = (around.read)(&path).map_err(|why| ImportError::Malformed(format!("{path}: {why}")))? {
            own.extend(dotenv::parse(&text, around.variable).map_err(|why| ImportError::Malformed(format!("{path}: {why}")))?);
        }
    }
    let variable =
        |name: &str| (around.variable)(name).or_else(|| own.iter().rev().find(|(own, _)| own == name).map(|(_, value)| value.clone()));
    let inner = Surroundings { variable: &variable, ..*around };
    let mut all = Value::Object(Map::new());
    for path in paths {
        let path = joined(folder, path);
        let value = file(&path, &read(&path, around)?, &project, &inner, missing, depth + 1).map_err(|error| in_file(&path, error))?;
        all = merge(all, value);
    }
    Ok(all)
}

/// A path from a folder.
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
