//! `reloadLogs`: open the log files anew.

use ostler_proto::control::Request;

use crate::cli::{Call, CliError, Status};
use crate::cx::Cx;

/// After a rotation by others.
pub(crate) fn run(cx: &mut Cx, _call: &Call) -> Result<Status, CliError> {
    cx.client()?;
    cx.out.line("Reloading all logs...");
    cx.client()?.request(&Request::ReloadLogs, &mut |_| {})?;
    cx.out.line("All logs reloaded");
    Ok(Status::Ok)
}
