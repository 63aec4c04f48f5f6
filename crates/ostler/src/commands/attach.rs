//! `--attach`: after a start or restart, shows the logs of the affected instances.

use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, Status};

/// Streams until the user stops it. Returns at once without `--attach`.
pub(super) fn logs(cx: &mut Cx, call: &Call, ids: &[u32]) -> Result<Status, CliError> {
    // With `--no-daemon` the command shows all logs anyway, as soon as it is done.
    if !call.has("attach") || call.has("no-daemon") || ids.is_empty() {
        return Ok(Status::Ok);
    }
    let Some(logs_call) = call.as_command("logs", ids.iter().map(u32::to_string).collect()) else { return Ok(Status::Ok) };
    crate::logs::run(cx, &logs_call)
}
