//! `examples`.

use crate::cli::{self, Call};
use crate::cx::Cx;
use crate::error::{CliError, Status};

/// Every example of every command.
pub(crate) fn run(cx: &mut Cx, _call: &Call) -> Result<Status, CliError> {
    cx.out.data(cli::examples(cx.program.name()).as_bytes());
    Ok(Status::Ok)
}
