//! `examples`.

use crate::cli::{self, Call, CliError, Status};
use crate::cx::Cx;

/// Every example of every command.
pub(crate) fn run(cx: &mut Cx, _call: &Call) -> Result<Status, CliError> {
    cx.out.data(cli::examples(cx.program.name()).as_bytes());
    Ok(Status::Ok)
}
