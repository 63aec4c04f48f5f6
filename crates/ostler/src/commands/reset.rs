//! `reset`: set counters to zero.

use ostler_proto::control::{Action, Failure};

use super::request::request;
use super::table;
use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, Status};
use crate::render::Wording;

/// Resets counters. PM2 differs: every kind of target works.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    // PM2 ignores all targets except the first.
    let targets = if cx.program.is_pm2() { &call.targets[..1] } else { &call.targets[..] };
    let request = request(cx, Action::Reset, call, targets.to_vec(), None)?;
    match cx.perform(&request, Wording::Reset) {
        Err(CliError::Daemon(Failure::NotFound { .. })) if cx.program.is_pm2() => {
            cx.out.err_line("Unknown process name");
            return Err(CliError::Reported(Status::NotFound));
        }
        // As in PM2: if nothing matches, scripts that call `pm2` get no failure.
        Err(CliError::Daemon(Failure::Empty)) if cx.program.is_pm2() => Vec::new(),
        other => other?,
    };
    table::after_change(cx, call)?;
    Ok(Status::Ok)
}
