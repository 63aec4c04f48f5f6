//! `jlist`: PM2's JSON, and no other text on stdout.

use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, Status};

/// Prints one array in one line, without a final newline, as PM2 does. The daemon's bytes are
/// printed unchanged.
pub(crate) fn run(cx: &mut Cx, _call: &Call) -> Result<Status, CliError> {
    cx.out.data_only();
    let list = cx.client()?.processes()?;
    cx.out.data(list.text().as_bytes());
    Ok(Status::Ok)
}
