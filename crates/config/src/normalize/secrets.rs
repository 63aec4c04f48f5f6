//! `secrets`: variables whose values the daemon fetches at each start.

use std::os::unix::fs::PermissionsExt;

use ostler_core::app::secrets::{SecretSource, Secrets, TIMEOUT_MS, is_credential_name};
use ostler_core::text::units;
use serde_json::{Map, Value};

use super::AppContext;
use super::command::command;
use super::expand::is_name;
use super::listen::known_keys;
use crate::check::describe_value;

const FORMS: &str = "a path, or a table with `file`, `command` or `credential`";

/// Reads all secrets of an app.
pub(super) fn parse(value: &Value, base: &AppContext<'_>) -> Result<Secrets, String> {
    let Value::Object(table) = value else { return Err(format!("expected a table NAME: source, found {}", describe_value(value))) };
    let mut secrets = Secrets::new();
    for (name, source) in table {
        if !is_name(name) {
            return Err(format!("{:?} is not a valid variable name", name));
        }
        let source = one(source, base).map_err(|message| format!("{name}: {message}"))?;
        secrets.insert(name.clone(), source);
    }
    Ok(secrets)
}

fn one(value: &Value, base: &AppContext<'_>) -> Result<SecretSource, String> {
    match value {
        Value::String(path) => file(path, base),
        Value::Object(table) => described(table, base),
        other => Err(format!("expected {FORMS}, found {}", describe_value(other))),
    }
}

fn described(table: &Map<String, Value>, base: &AppContext<'_>) -> Result<SecretSource, String> {
    known_keys(table, &["file", "command", "credential", "timeout"])?;
    if table.contains_key("timeout") && !table.contains_key("command") {
        return Err("`timeout` is allowed only with `command`".into());
    }
    match (table.get("file"), table.get("command"), table.get("credential")) {
        (Some(Value::String(path)), None, None) => file(path, base),
        (None, None, Some(Value::String(name))) if is_credential_name(name) => Ok(SecretSource::Credential(name.clone())),
        (None, None, Some(name)) => Err(format!("expected the name of a credential, found {}", describe_value(name))),
        (Some(other), None, None) => Err(format!("expected `file` as a path, found {}", describe_value(other))),
        (None, Some(given), None) => {
            let time = |value: &Value| {
                let ms = units::millis_of(value).filter(|ms| *ms > 0);
                ms.ok_or_else(|| {
                    format!("expected `timeout` as a number of milliseconds or a time such as \"3s\", found {}", describe_value(value))
                })
            };
            let timeout_ms = table.get("timeout").map(time).transpose()?.unwrap_or(TIMEOUT_MS);
            Ok(SecretSource::Command { command: command(given, base)?, timeout_ms })
        }
        _ => Err(format!("expected {FORMS}, one of them")),
    }
}

fn file(path: &str, base: &AppContext<'_>) -> Result<SecretSource, String> {
    if path.is_empty() {
        return Err("expected a path, found an empty string".into());
    }
    Ok(SecretSource::File(base.path(path)))
}

/// Returns the files that every user of the machine can read, with their variables.
pub(super) fn world_readable(secrets: &Secrets) -> impl Iterator<Item = (&str, &str)> {
    secrets.iter().filter_map(|(name, source)| {
        let SecretSource::File(path) = source else { return None };
        let mode = std::fs::metadata(path).ok()?.permissions().mode();
        (mode & 0o004 != 0).then_some((name.as_str(), path.as_str()))
    })
}
