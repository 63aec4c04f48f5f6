//! `reloadLogs`: reopen the log files.

use ostler_core::message;
use ostler_proto::control::{LogOutcome, Request, Response};

use crate::cli::Call;
use crate::client::ClientError;
use crate::cx::Cx;
use crate::error::{CliError, CommandError, Status};
use crate::render::json;

/// Reopens the log files after another program rotated them. Returns when it is done, so that the
/// next step (compression, for example) finds complete files.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    cx.client()?;
    let quiet = call.has("json");
    if !quiet {
        cx.out.line(message!("Reloading all logs..."));
    }
    let Response::LogsReloaded(logs) = cx.client()?.request(&Request::ReloadLogs, &mut |_| {})? else {
        return Err(ClientError::Unexpected.into());
    };
    if quiet {
        json(&mut cx.out, &logs);
    }
    let mut failed = Vec::new();
    for log in &logs {
        match &log.outcome {
            LogOutcome::Reopened => {}
            LogOutcome::Reclaimed { .. } if quiet => {}
            LogOutcome::Reclaimed { rotated, .. } => {
                cx.out.info(message!("{path} was reopened; its old lines are in {rotated}", path = log.path, rotated))
            }
            LogOutcome::Failed { reason } => failed.push(format!("{}: {reason}", log.path)),
        }
    }
    if failed.is_empty() {
        if !quiet {
            cx.out.line(message!("All logs reloaded"));
        }
        return Ok(Status::Ok);
    }
    Err(CommandError::LogsNotReopened(failed).into())
}
