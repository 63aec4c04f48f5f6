//! `health`: one line and an exit code, for the health check of a container.

use std::time::Duration;

use ostler_core::message;
use ostler_core::text::causes::with_causes;
use ostler_proto::control::HealthRow;
use serde_json::json;

use super::wait_healthy::{StateWords, health_rows, verdict, wait_until_healthy};
use crate::cli::Call;
use crate::client::ClientError;
use crate::cx::Cx;
use crate::error::{CliError, Status, UsageError};
use crate::render;
use crate::unresponsive::keeper_fault;

/// Prints one line. The exit code is only 0 or 1, because container engines reserve the others.
/// Never starts a daemon.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let mut rows = Vec::new();
    let (healthy, line) = match ask(cx, call, &mut rows) {
        Ok(verdict) => verdict,
        Err(error) => (false, with_causes(&error)),
    };
    if call.has("json") {
        let instances: Vec<_> =
            rows.iter().map(|row| json!({ "id": row.id, "name": row.name, "status": row.status, "trouble": row.trouble })).collect();
        render::json(&mut cx.out, &json!({ "healthy": healthy, "message": line, "instances": instances }));
    } else {
        cx.out.line(format_args!("{}: {line}", if healthy { "healthy" } else { "unhealthy" }));
    }
    Ok(if healthy { Status::Ok } else { Status::Failed })
}

/// Returns the verdict in one line, and adds the instances that the daemon named.
fn ask(cx: &mut Cx, call: &Call, rows: &mut Vec<HealthRow>) -> Result<(bool, String), CliError> {
    let min = call.value("min").map(number).transpose()?;
    if let Some(text) = call.value("wait") {
        let reason = |error: &dyn std::fmt::Display| UsageError::BadValue { option: "--wait".into(), reason: error.to_string() };
        let limit = ostler_core::text::units::millis(text).map_err(|error| reason(&error))?;
        return wait(cx, call, Duration::from_millis(limit));
    }
    let targets: Vec<String> = call.targets.iter().filter(|target| *target != "all").cloned().collect();
    let (home, words) = (cx.home()?.display().to_string(), StateWords::in_output(cx, call));
    let client = cx.running_client()?.ok_or(ClientError::NotRunning { home })?;
    *rows = health_rows(client, &targets)?;
    // The apps may be healthy, but without a working keeper no process would restart an app that
    // exits.
    match client.peer().and_then(|peer| keeper_fault(peer.keeper_pid)) {
        Some(fault) => Ok((false, fault.found)),
        None => Ok(verdict(rows, !targets.is_empty(), min, words)),
    }
}

fn wait(cx: &mut Cx, call: &Call, limit: Duration) -> Result<(bool, String), CliError> {
    let targets: Vec<String> = call.targets.iter().filter(|target| *target != "all").cloned().collect();
    let words = StateWords::in_output(cx, call);
    wait_until_healthy(cx, &targets, limit, words, &mut |_| true)
}

fn number(text: &str) -> Result<usize, UsageError> {
    text.parse().map_err(|_| UsageError::BadValue {
        option: "--min".into(),
        reason: message!("expected a number, found {text}", text = format!("{text:?}")),
    })
}
