//! Restart policy, stopping, readiness.

use ostler_core::app::{AppSpec, KillMode};
use ostler_core::message;
use serde_json::Value;

use super::{number, signal};
use crate::context::Context;
use crate::fault::{Fault, below};

pub(super) fn set_restart(spec: &mut AppSpec, key: &str, value: &Value) -> Result<(), Fault> {
    let restart = &mut spec.restart;
    match key {
        "autostart" => spec.autostart = value != &Value::Bool(false),
        "autorestart" => restart.autorestart = value != &Value::Bool(false),
        "max_restarts" => restart.max_restarts = Some(u32::try_from(number(value)?).unwrap_or(u32::MAX)),
        "min_uptime" => restart.min_uptime_ms = Some(number(value)?),
        "max_lifetime" => restart.max_lifetime_ms = Some(number(value)?).filter(|ms| *ms > 0),
        "restart_delay" => restart.restart_delay_ms = number(value)?,
        "exp_backoff_restart_delay" => restart.exp_backoff_ms = number(value)?,
        "restart_budget" => restart.budget = super::safeguards::budget(value)?,
        "stop_exit_codes" => {
            let code = |code: &Value| code.as_i64().and_then(|code| i32::try_from(code).ok()).filter(|code| (0..=255).contains(code));
            let codes = value.as_array().into_iter().flatten().enumerate();
            let wrong = |index: usize| below::<String>(index)(message!("exit codes are numbers from 0 to 255"));
            restart.stop_exit_codes = codes.map(|(index, value)| code(value).ok_or_else(|| wrong(index))).collect::<Result<_, _>>()?;
        }
        _ => {}
    }
    Ok(())
}

pub(super) fn set_stop(spec: &mut AppSpec, key: &str, value: &Value) -> Result<(), String> {
    match key {
        "kill_timeout" => spec.stop.kill_timeout_ms = Some(number(value)?),
        "kill_signal" => spec.stop.signal = Some(signal::number(value)?),
        "kill_mode" => spec.stop.kill_mode = value.as_str().and_then(KillMode::named),
        "treekill" => spec.stop.treekill = value != &Value::Bool(false),
        "drain_timeout" => spec.stop.drain_timeout_ms = Some(number(value)?),
        "shutdown_with_message" => spec.stop.shutdown_with_message = value == &Value::Bool(true),
        _ => {}
    }
    Ok(())
}

/// Decides which processes a stop reaches, once the program is known. PM2 differs: it signals the
/// whole tree, also the workers of a program that stops its workers itself; under PM2's name ostler
/// does the same.
pub(super) fn finish_stop(spec: &mut AppSpec, context: &Context) {
    let is_given = |key| spec.given.open().contains_key(key);
    if !is_given("kill_mode") {
        let uses_default = !context.as_pm2 && !is_given("treekill");
        spec.stop.kill_mode = uses_default.then(|| KillMode::usual(spec)).filter(|mode| *mode != KillMode::Tree);
    }
}

/// Decides the consequence of a start that is not ready within `listen_timeout`. PM2 counts the app
/// as ready then. Under PM2's name ostler does the same, unless the file has a key that only ostler
/// knows: an app with `ready` must prove that it serves.
pub(super) fn finish_ready(spec: &mut AppSpec, context: &Context) {
    let is_given = |key| spec.given.open().contains_key(key);
    if !is_given("ready_timeout_action") {
        spec.ready.accept_timeout = context.as_pm2 && !is_given("ready");
    }
}

pub(super) fn set_ready(spec: &mut AppSpec, key: &str, value: &Value) -> Result<(), String> {
    match key {
        "wait_ready" => spec.ready.wait_ready = value == &Value::Bool(true),
        "listen_timeout" => spec.ready.listen_timeout_ms = Some(number(value)?),
        "watchdog" => spec.ready.watchdog_ms = Some(number(value)?).filter(|ms| *ms > 0),
        "ready_timeout_action" => spec.ready.accept_timeout = value.as_str() == Some("accept"),
        _ => {}
    }
    Ok(())
}
