//! `logs`: being written.

use crate::cli::{Call, CliError, Status};
use crate::cx::Cx;

/// Shows and follows logs.
pub(crate) fn run(_cx: &mut Cx, _call: &Call) -> Result<Status, CliError> {
    Err(CliError::Failed("logs is not there yet".into()))
}
