//! Instances that a name or an id in a script selects.

use ostler_proto::control::{Failure, Summary};

use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, Status};

/// Returns the instances with this name, else with this id.
pub(super) fn selected<'a>(rows: &'a [Summary], target: &str) -> Vec<&'a Summary> {
    let named: Vec<&Summary> = rows.iter().filter(|row| row.name == target).collect();
    if named.is_empty() { rows.iter().filter(|row| target.parse() == Ok(row.id)).collect() } else { named }
}

/// Returns the result if nothing matches: success in PM2, and scripts rely on it. With `--json`,
/// stdout has its answer already, so only the exit code is left.
pub(super) fn missing(cx: &Cx, call: &Call, target: &str) -> Result<Status, CliError> {
    match cx.program.is_pm2() {
        true => Ok(Status::Ok),
        false if call.has("json") => Ok(Status::NotFound),
        false => Err(Failure::NotFound { target: target.to_owned() }.into()),
    }
}
