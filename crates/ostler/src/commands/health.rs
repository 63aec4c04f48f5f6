//! `health`: one line and an exit code, for the health check of a container.

use std::time::Duration;

use ostler_core::text::causes::with_causes;
use ostler_proto::control::{Request, Response};

use super::steady::{steady, verdict};
use crate::cli::Call;
use crate::client::ClientError;
use crate::cx::Cx;
use crate::error::{CliError, Status, UsageError};
use crate::unresponsive::keeper_fault;

/// Prints one line. The exit code is only 0 or 1, because container engines reserve the others.
/// Never starts a daemon.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let (healthy, line) = match ask(cx, call) {
        Ok(verdict) => verdict,
        Err(error) => (false, with_causes(&error)),
    };
    cx.out.line(format_args!("{}: {line}", if healthy { "healthy" } else { "unhealthy" }));
    Ok(if healthy { Status::Ok } else { Status::Failed })
}

fn ask(cx: &mut Cx, call: &Call) -> Result<(bool, String), CliError> {
    let min = call.value("min").map(number).transpose()?;
    if let Some(text) = call.value("wait") {
        let reason = |error: &dyn std::fmt::Display| UsageError::BadValue { option: "--wait".into(), reason: error.to_string() };
        let limit = ostler_core::text::units::millis(text).map_err(|error| reason(&error))?;
        return wait(cx, call, Duration::from_millis(limit));
    }
    let targets: Vec<String> = call.targets.iter().filter(|target| *target != "all").cloned().collect();
    let home = cx.home()?.display().to_string();
    let client = cx.running_client()?.ok_or(ClientError::NotRunning { home })?;
    let Response::Health(rows) = client.request(&Request::Health { targets: targets.clone() }, &mut |_| {})? else {
        return Err(ClientError::Unexpected.into());
    };
    // The apps may be healthy, but without a working keeper no process would restart an app that
    // exits.
    match client.peer().and_then(|peer| keeper_fault(peer.keeper_pid)) {
        Some(fault) => Ok((false, fault.found)),
        None => Ok(verdict(&rows, !targets.is_empty(), min)),
    }
}

fn wait(cx: &mut Cx, call: &Call, limit: Duration) -> Result<(bool, String), CliError> {
    let targets: Vec<String> = call.targets.iter().filter(|target| *target != "all").cloned().collect();
    steady(cx, &targets, limit, &mut |_| true)
}

fn number(text: &str) -> Result<usize, UsageError> {
    text.parse().map_err(|_| UsageError::BadValue { option: "--min".into(), reason: format!("expected a number, found {text:?}") })
}
