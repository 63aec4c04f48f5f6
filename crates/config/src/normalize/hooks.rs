//! `pre_start`, `post_start`, `pre_stop`, `post_stop`, `on_crash`.

use ostler_core::app::AppSpec;
use ostler_core::app::hooks::{Hook, HookSpec, OnFailure};
use ostler_core::text::units;
use serde_json::Value;

use super::AppContext;
use super::command::command;
use super::listen::known_keys;
use crate::check::describe_value;

/// Sets the hook of this key, if the key is a hook.
pub(super) fn set(spec: &mut AppSpec, key: &str, value: &Value, base: &AppContext<'_>) -> Result<(), String> {
    if let Some(hook) = Hook::ALL.into_iter().find(|hook| hook.name() == key) {
        spec.hooks.set(hook, Some(parse(hook, value, base)?));
    }
    Ok(())
}

fn parse(hook: Hook, value: &Value, base: &AppContext<'_>) -> Result<HookSpec, String> {
    let Value::Object(table) = value else {
        return Ok(HookSpec { command: command(value, base)?, timeout_ms: None, on_failure: None });
    };
    known_keys(table, &["command", "timeout", "on_failure"])?;
    let given = table.get("command").ok_or("expected `command` in the table")?;
    let time = |value: &Value| {
        let ms = units::millis_of(value).filter(|ms| *ms > 0);
        ms.ok_or_else(|| {
            format!("expected `timeout` as a number of milliseconds or a time such as \"3s\", found {}", describe_value(value))
        })
    };
    let timeout_ms = table.get("timeout").map(time).transpose()?;
    let on_failure = match table.get("on_failure").map(|value| (value, value.as_str())) {
        None => None,
        Some((_, Some("abort"))) if hook.can_abort() => Some(OnFailure::Abort),
        Some((_, Some("abort"))) => {
            return Err(format!("on_failure: \"abort\" is not allowed for {hook}: it cannot prevent the exit"));
        }
        Some((_, Some("continue"))) => Some(OnFailure::Continue),
        Some((other, _)) => return Err(format!("on_failure: expected \"abort\" or \"continue\", found {}", describe_value(other))),
    };
    Ok(HookSpec { command: command(given, base)?, timeout_ms, on_failure })
}
