//! `kill`: stop all apps and the daemon.

use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, Status};

/// Stops everything. PM2 differs: it starts a daemon just to kill it.
pub(crate) fn run(cx: &mut Cx, _call: &Call) -> Result<Status, CliError> {
    let home = cx.home()?.to_owned();
    // Apps whose daemon was killed are stopped as well.
    if cx.running_client()?.is_none() && !cx.take_over(&home)? {
        cx.refuse_beside_pm2(&home, "kill")?;
        cx.out.warn_err("No process found");
    } else {
        cx.stop_daemon()?;
    }
    if cx.program.is_pm2() {
        cx.out.info("[v] All Applications Stopped");
        cx.out.info(format_args!("[v] {} Daemon Stopped", cx.program.label()));
    } else {
        cx.out.info("all apps and the daemon were stopped");
    }
    Ok(Status::Ok)
}
