//! `update`: replace the running daemon and keeper by this program. Apps go on.

use super::table;
use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, Status};

/// Tells the daemon which binary to become, then waits until that one answers.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let Some(version) = cx.replace_daemon()? else {
        cx.out.info("no daemon is running, nothing to update");
        return Ok(Status::Ok);
    };
    cx.out.line(format_args!(">>>>>>>>>> {} updated", cx.program.label()));
    cx.out.info(format_args!("daemon version {version}, all apps kept"));
    crate::web::renew(cx)?;
    table::show(cx, call)?;
    Ok(Status::Ok)
}
