//! `module_conf.json`: the settings of a home and of modules. It is PM2's file in PM2's format.
//! Each write replaces the whole file by a rename, one writer at a time.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ostler_core::home::home_paths;
use ostler_core::logs::rotate::RotateError;
use ostler_core::logs::rotate::settings::{MODULE, RotationSettings, SECTION, keys};
use ostler_core::text::language::Language;
use ostler_core::{marked, message};
use ostler_proto::control::{Request, TableRow};
use ostler_proto::pm2::read_conf;
use ostler_sys::fs::lock::lock_within;
use ostler_sys::fs::replace::{Durability, Writers, replace};
use serde_json::{Map, Value};

use crate::client::ClientError;
use crate::cx::Cx;
use crate::error::{CliError, SettingError};
use crate::text::language;

/// Longest wait for another writer. A writer needs only a moment.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// Names that have a special meaning in JavaScript.
pub(crate) const TRAPS: &[&str] = &["__proto__", "constructor", "prototype"];
/// Sections that are not settings.
pub(crate) const INTERNAL: &[&str] = &["module-db", "module-db-v2", "tar-modules"];

/// Returns the path of the settings of this home.
///
/// # Errors
/// Returns an error if the home cannot be used.
pub(crate) fn path(cx: &mut Cx) -> Result<PathBuf, CliError> {
    Ok(cx.paths_with(home_paths::CONF)?.conf)
}

/// Works like [`path`], and makes sure that the home exists.
///
/// # Errors
/// Returns an error if the home cannot be created or used.
pub(crate) fn writable(cx: &mut Cx) -> Result<PathBuf, CliError> {
    let program = cx.program;
    crate::home::prepare(cx.home()?, program)?;
    path(cx)
}

/// Returns all settings.
///
/// # Errors
/// Returns an error if the file cannot be read, or if it has no JSON object.
pub(crate) fn read(path: &Path) -> Result<Map<String, Value>, CliError> {
    Ok(read_conf(path).map_err(SettingError::File)?)
}

/// Changes the file completely or not at all. Two writers at the same time do not lose each other's
/// change.
///
/// # Errors
/// Returns the error of `change`, or an error if the file cannot be read or written. The file is
/// then unchanged.
pub(crate) fn change<T>(path: &Path, change: impl FnOnce(&mut Map<String, Value>) -> Result<T, CliError>) -> Result<T, CliError> {
    let _lock = lock(path)?;
    let mut all = read(path)?;
    let before = all.clone();
    let done = change(&mut all)?;
    // If the path is a link, its target is written.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if all != before || !path.exists() {
        let text = pretty(&Value::Object(all));
        replace(&path, text.as_bytes(), Durability::Power, Writers::Many).map_err(|error| CliError::File {
            what: marked!("write"),
            path: path.display().to_string(),
            source: error.source,
        })?;
    }
    Ok(done)
}

fn lock(path: &Path) -> Result<std::os::fd::OwnedFd, CliError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".lock");
    let file = path.with_file_name(name);
    match lock_within(&file, LOCK_TIMEOUT) {
        Ok(lock) => lock.ok_or_else(|| SettingError::Locked(file).into()),
        Err(errno) => Err(CliError::File { what: marked!("lock"), path: file.display().to_string(), source: errno.into() }),
    }
}

/// Notifies a running daemon of the change.
pub(crate) fn notify_daemon(cx: &mut Cx) -> Result<(), CliError> {
    match cx.running_client() {
        Ok(Some(client)) => Ok(client.request(&Request::SettingsChanged, &mut |_| {}).map(drop)?),
        // A daemon reads the settings when it starts, or when its logs are written next.
        Ok(None) | Err(CliError::Client(ClientError::Version { .. })) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Formats JSON with four blanks, as PM2 does.
fn pretty(value: &Value) -> String {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    match serde::Serialize::serialize(value, &mut serializer) {
        Ok(()) => String::from_utf8(bytes).unwrap_or_default(),
        Err(_) => value.to_string(),
    }
}

/// Splits a key: `module:key` or `module.key`; quotes protect their content.
///
/// # Errors
/// Returns an error if a part is empty, or has a special meaning in JavaScript.
pub(crate) fn parts(key: &str) -> Result<Vec<String>, CliError> {
    let separator = if outside_quotes(key).any(|(_, c)| c == ':') { ':' } else { '.' };
    let mut parts = Vec::new();
    let mut from = 0;
    for (at, _) in outside_quotes(key).filter(|(_, c)| *c == separator) {
        parts.push(&key[from..at]);
        from = at + 1;
    }
    parts.push(&key[from..]);
    let parts: Vec<String> = parts.into_iter().map(|part| part.chars().filter(|c| !matches!(c, '"' | '\'')).collect()).collect();
    match parts.iter().find(|part| part.is_empty() || TRAPS.contains(&part.as_str()) || part.contains('\0')) {
        Some(part) => Err(SettingError::Key { key: key.escape_debug().to_string(), part: part.clone() }.into()),
        None => Ok(parts),
    }
}

fn outside_quotes(text: &str) -> impl Iterator<Item = (usize, char)> {
    let mut quote = None;
    text.char_indices().filter(move |(_, c)| {
        match quote {
            Some(open) if open == *c => quote = None,
            None if matches!(c, '"' | '\'') => quote = Some(*c),
            _ => {}
        }
        quote.is_none()
    })
}

/// Sets one value, as a text.
///
/// # Errors
/// Returns an error if a setting of ostler gets an invalid value, or if another value is in the
/// way.
pub(crate) fn set(all: &mut Map<String, Value>, parts: &[String], text: &str) -> Result<(), CliError> {
    check(parts, text)?;
    let Some((last, way)) = parts.split_last() else { return Ok(()) };
    let mut table = all;
    for part in way {
        let inner = table.entry(part.clone()).or_insert_with(|| Value::Object(Map::new()));
        if !inner.is_object() {
            // As in PM2: a section replaces a value.
            *inner = Value::Object(Map::new());
        }
        let Value::Object(inner) = inner else { return Ok(()) };
        table = inner;
    }
    table.insert(last.clone(), text.into());
    Ok(())
}

/// Checks a setting of ostler, which must be valid before it is stored.
fn check(parts: &[String], text: &str) -> Result<(), CliError> {
    let [section, key] = parts else { return Ok(()) };
    let wrong = |reason| CliError::from(SettingError::Value { section: section.clone(), key: key.clone(), reason });
    if (section.as_str(), key.as_str()) == (language::SECTION, language::LANG) && Language::named(text).is_none() {
        return Err(wrong(message!("expected {names}, found {found}", names = Language::NAMES.join(" or "), found = format!("{text:?}"))));
    }
    if ![MODULE, SECTION].contains(&section.as_str()) {
        return Ok(());
    }
    // Existing files are read as the module reads them: any text that is no number keeps all logs.
    // A new value must say so explicitly, because such a text is probably a typing error.
    if key == "retain" && text.trim() != "all" && text.trim().parse::<u32>().is_err() {
        return Err(wrong(message!("expected a number of files or \"all\", found {found}", found = format!("{text:?}"))));
    }
    match RotationSettings::default().set(section, key, text) {
        Ok(()) if matches!(key.as_str(), "tz" | "TZ") && !text.is_empty() && jiff::tz::TimeZone::get(text).is_err() => {
            Err(wrong(message!("expected a time zone such as \"Europe/Berlin\", found {found}", found = format!("{text:?}"))))
        }
        Ok(()) => Ok(()),
        Err(RotateError::Unknown) => {
            let known = keys(section);
            let near = ostler_config::keys::closest(key, known.iter().copied());
            Err(SettingError::Unknown { section: section.to_owned(), key: key.to_owned(), near, known }.into())
        }
        Err(error) => Err(wrong(error.to_string())),
    }
}

/// Removes a value or a section. Returns false if it does not exist.
pub(crate) fn unset(all: &mut Map<String, Value>, parts: &[String]) -> bool {
    let Some((last, way)) = parts.split_last() else { return false };
    let mut table = all;
    for part in way {
        let Some(Value::Object(inner)) = table.get_mut(part) else { return false };
        table = inner;
    }
    table.shift_remove(last).is_some()
}

/// Returns the value of a key.
pub(crate) fn get<'a>(all: &'a Map<String, Value>, parts: &[String]) -> Option<&'a Value> {
    let (first, rest) = parts.split_first()?;
    rest.iter().try_fold(all.get(first)?, |value, part| value.get(part))
}

/// Returns the sections that users set.
pub(crate) fn sections(all: &Map<String, Value>) -> impl Iterator<Item = (&String, &Map<String, Value>)> {
    all.iter().filter(|(name, _)| !INTERNAL.contains(&name.as_str())).filter_map(|(name, value)| Some((name, value.as_object()?)))
}

/// Returns true for a process of this module.
pub(crate) fn is_of(row: &TableRow, module: &str) -> bool {
    row.module && (row.name == module || row.name.strip_prefix(module).is_some_and(|rest| rest.starts_with(':')))
}

/// Returns a value as a user would type it.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn list(key: &str) -> Vec<String> {
        parts(key).unwrap()
    }

    #[test]
    fn parts_splits_keys_at_colons_and_dots() {
        for (key, expected) in [
            ("a", &["a"][..]),
            ("pm2-logrotate:max_size", &["pm2-logrotate", "max_size"]),
            ("a.b.c", &["a", "b", "c"]),
            ("my.app:key", &["my.app", "key"]),
            ("\"my:app\":key", &["my:app", "key"]),
            ("'a.b'.c", &["a.b", "c"]),
        ] {
            assert_eq!(list(key), expected, "{key}");
        }
        for key in ["", ":", "a:", ":b", "__proto__:x", "a:constructor", "a.prototype.b", "\"\""] {
            assert!(parts(key).is_err(), "{key}");
        }
    }

    #[test]
    fn values_are_set_read_and_unset() {
        let mut all = Map::new();
        set(&mut all, &list("app:key"), "1").unwrap();
        set(&mut all, &list("app:other"), "x y").unwrap();
        set(&mut all, &list("flat"), "2").unwrap();
        assert_eq!(Value::Object(all.clone()), serde_json::json!({ "app": { "key": "1", "other": "x y" }, "flat": "2" }));
        assert_eq!(get(&all, &list("app:other")).map(shown).as_deref(), Some("x y"));
        assert!(unset(&mut all, &list("app:key")) && !unset(&mut all, &list("app:key")) && !unset(&mut all, &list("flat:deep")));
        set(&mut all, &list("flat:deep"), "3").unwrap();
        assert_eq!(Value::Object(all), serde_json::json!({ "app": { "other": "x y" }, "flat": { "deep": "3" } }));
    }

    #[test]
    fn known_settings_are_validated() {
        let mut all = Map::new();
        for (key, text, problem) in [
            ("pm2-logrotate:max_size", "big", "expected a size"),
            ("pm2-logrotate:max_sise", "1M", "did you mean max_size?"),
            ("log_rotate:cron", "* *", "expected a cron pattern"),
            ("pm2-logrotate:TZ", "Atlantis", "expected a time zone"),
        ] {
            let error = set(&mut all, &list(key), text).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
        assert!(all.is_empty());
        set(&mut all, &list("pm2-logrotate:retain"), "all").unwrap();
        set(&mut all, &list("someone:max_size"), "big").unwrap();
    }

    #[test]
    fn concurrent_writers_lose_no_settings() {
        let folder = std::env::temp_dir().join(format!("ostler-conf-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("module_conf.json");
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let file = &file;
                scope.spawn(move || {
                    for n in 0..10 {
                        change(file, |all| set(all, &list(&format!("w{writer}:n{n}")), "1")).unwrap();
                    }
                });
            }
        });
        let all = read(&file).unwrap();
        assert!(all.len() == 4 && all.values().all(|section| section.as_object().unwrap().len() == 10));
        assert!(fs::read_to_string(&file).unwrap().contains("\n    \"w"));
        fs::remove_dir_all(&folder).unwrap();
    }
}
