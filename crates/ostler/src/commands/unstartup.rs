//! `unstartup`: undo `startup`.

use ostler_core::message;

use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, Status};
use crate::startup::{self, perform, prepare};

/// Removes the boot unit. Running apps keep running. PM2 differs: it stops them.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let Some((platform, scope)) = prepare(cx, call, "unstartup")? else { return Ok(Status::Failed) };
    let facts = startup::gather(cx, call, platform, scope)?;
    perform(cx, &startup::unplan(&facts))?;
    cx.out.info(message!("Init file disabled."));
    Ok(Status::Ok)
}
