//! `pre_start`, `post_start`, `pre_stop`, `post_stop`, `on_crash`.

use ostler_core::app::AppSpec;
use ostler_core::app::hooks::{Hook, HookSpec, OnFailure};
use ostler_core::message;
use ostler_core::text::units;
use serde_json::Value;

use super::AppContext;
use super::command::command;
use super::listen::{known_keys, meant};
use crate::fault::{Fault, below};
use crate::values::describe_value;

/// Sets the hook of this key, if the key is a hook.
pub(super) fn set(spec: &mut AppSpec, key: &str, value: &Value, base: &AppContext<'_>) -> Result<(), Fault> {
    if let Some(hook) = Hook::ALL.into_iter().find(|hook| hook.name() == key) {
        spec.hooks.set(hook, Some(parse(hook, value, base)?));
    }
    Ok(())
}

fn parse(hook: Hook, value: &Value, base: &AppContext<'_>) -> Result<HookSpec, Fault> {
    let Value::Object(table) = value else {
        return Ok(HookSpec { command: command(value, base)?, timeout_ms: None, on_failure: None });
    };
    known_keys(table, &["command", "timeout", "on_failure"])?;
    let given = table.get("command").ok_or_else(|| message!("expected `command` in the table"))?;
    let time = |value: &Value| {
        let ms = units::millis_of(value).filter(|ms| *ms > 0);
        ms.ok_or_else(|| {
            message!(
                "expected `timeout` as a number of milliseconds or a time such as \"3s\", found {found}",
                found = describe_value(value)
            )
        })
    };
    let timeout_ms = table.get("timeout").map(time).transpose().map_err(below("timeout"))?;
    let on_failure = table.get("on_failure").map(|value| on_failure(hook, value)).transpose().map_err(below("on_failure"))?;
    Ok(HookSpec { command: command(given, base).map_err(below("command"))?, timeout_ms, on_failure })
}

fn on_failure(hook: Hook, value: &Value) -> Result<OnFailure, String> {
    match value.as_str() {
        Some("abort") if hook.can_abort() => Ok(OnFailure::Abort),
        Some("abort") => Err(message!("on_failure: \"abort\" is not allowed for {hook}: it cannot prevent the exit", hook)),
        Some("continue") => Ok(OnFailure::Continue),
        word => {
            let near = meant(word.unwrap_or_default(), &["abort", "continue"]);
            Err(message!("on_failure: expected \"abort\" or \"continue\", found {found}{near}", found = describe_value(value), near))
        }
    }
}
