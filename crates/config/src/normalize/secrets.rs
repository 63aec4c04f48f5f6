//! `secrets`: variables whose values the daemon fetches at each start.

use std::os::unix::fs::PermissionsExt;

use ostler_core::app::secrets::{SecretSource, Secrets, TIMEOUT_MS, is_credential_name};
use ostler_core::text::language::translated;
use ostler_core::text::units;
use ostler_core::{marked, message};
use serde_json::{Map, Value};

use super::AppContext;
use super::command::command;
use super::expand::is_name;
use super::listen::known_keys;
use crate::fault::{Fault, below};
use crate::values::describe_value;

const FORMS: &str = marked!("a path, or a table with `file`, `command` or `credential`");

/// Reads all secrets of an app.
pub(super) fn parse(value: &Value, base: &AppContext<'_>) -> Result<Secrets, Fault> {
    let Value::Object(table) = value else {
        return Err(message!("expected a table NAME: source, found {found}", found = describe_value(value)).into());
    };
    let mut secrets = Secrets::new();
    for (name, source) in table {
        if !is_name(name) {
            return Err(Fault::from(message!("{name} is not a valid variable name", name = format!("{name:?}"))).below(name.as_str()));
        }
        let source = one(source, base).map_err(|fault| fault.in_words(|message| format!("{name}: {message}")));
        let source = source.map_err(below(name.as_str()))?;
        secrets.insert(name.clone(), source);
    }
    Ok(secrets)
}

fn one(value: &Value, base: &AppContext<'_>) -> Result<SecretSource, Fault> {
    match value {
        Value::String(path) => Ok(file(path, base)?),
        Value::Object(table) => described(table, base),
        other => Err(message!("expected {forms}, found {found}", forms = translated(FORMS), found = describe_value(other)).into()),
    }
}

fn described(table: &Map<String, Value>, base: &AppContext<'_>) -> Result<SecretSource, Fault> {
    known_keys(table, &["file", "command", "credential", "timeout"])?;
    if table.contains_key("timeout") && !table.contains_key("command") {
        return Err(message!("`timeout` is allowed only with `command`").into());
    }
    match (table.get("file"), table.get("command"), table.get("credential")) {
        (Some(Value::String(path)), None, None) => Ok(file(path, base)?),
        (None, None, Some(Value::String(name))) if is_credential_name(name) => Ok(SecretSource::Credential(name.clone())),
        (None, None, Some(name)) => Err(message!("expected the name of a credential, found {found}", found = describe_value(name)).into()),
        (Some(other), None, None) => Err(message!("expected `file` as a path, found {found}", found = describe_value(other)).into()),
        (None, Some(given), None) => {
            let time = |value: &Value| {
                let ms = units::millis_of(value).filter(|ms| *ms > 0);
                ms.ok_or_else(|| {
                    message!(
                        "expected `timeout` as a number of milliseconds or a time such as \"3s\", found {found}",
                        found = describe_value(value)
                    )
                })
            };
            let timeout_ms = table.get("timeout").map(time).transpose().map_err(below("timeout"))?.unwrap_or(TIMEOUT_MS);
            Ok(SecretSource::Command { command: command(given, base)?, timeout_ms })
        }
        _ => Err(message!("expected {forms}, one of them", forms = translated(FORMS)).into()),
    }
}

fn file(path: &str, base: &AppContext<'_>) -> Result<SecretSource, String> {
    if path.is_empty() {
        return Err(message!("expected a path, found an empty string"));
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
