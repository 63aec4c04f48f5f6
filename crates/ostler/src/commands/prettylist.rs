//! `prettylist`: the same as `jlist` in the form in which Node prints it.

use super::jlist::processes;
use crate::cli::{Call, CliError, Status};
use crate::cx::Cx;
use crate::render::inspect;

/// Prints it.
pub(crate) fn run(cx: &mut Cx, _call: &Call) -> Result<Status, CliError> {
    let list = processes(cx)?;
    cx.out.data(format!("{}\n", inspect(&list)).as_bytes());
    Ok(Status::Ok)
}
