//! `resurrect`: start what was saved.

use ostler_proto::control::{Failure, Progress, Request};

use super::table;
use crate::cli::Call;
use crate::client::ClientError;
use crate::cx::Cx;
use crate::error::{CliError, Status};
use crate::left_behind;
use crate::render::{ProgressPrinter, Wording};

/// Starts the saved apps. Those whose name is in the list already are left alone.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let home = cx.home()?.to_owned();
    let dump = home.join("dump.pm2");
    // Where a daemon was killed together with its apps, the next one starts them again.
    let has_others = cx.running_client()?.is_none() && left_behind::of(&home).is_some_and(|left| !left.other_boot);
    cx.client()?;
    cx.out.info("Resurrecting");
    let located = format!("Restoring processes located in {}", dump.display());
    let (out, client) = cx.parts()?;
    let mut is_told = false;
    let mut printer = ProgressPrinter::new(out, Wording::Resurrect);
    let result = client.request(&Request::Resurrect, &mut |progress| {
        // What is wrong with that list names the one that is restored.
        if !is_told && !matches!(progress, Progress::Warning(_)) {
            printer.info(&located);
        }
        is_told = true;
        printer.print(progress);
    });
    if !is_told && !matches!(result, Err(ClientError::Refused(Failure::Other(_)))) {
        cx.out.info(&located);
    }
    match result {
        // PM2 goes on as if nothing had happened; scripts at boot rely on it.
        Err(ClientError::Refused(Failure::NothingSaved)) if cx.program.is_pm2() || has_others => {}
        result => drop(result?),
    }
    crate::modules::start_all(cx)?;
    table::show(cx, call)?;
    Ok(Status::Ok)
}
