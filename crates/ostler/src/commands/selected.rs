//! Instances that a name or an id in a script selects.

use ostler_proto::control::Summary;

use crate::cx::Cx;
use crate::error::Status;

/// Returns the instances with this name, else with this id.
pub(super) fn selected<'a>(rows: &'a [Summary], target: &str) -> Vec<&'a Summary> {
    let named: Vec<&Summary> = rows.iter().filter(|row| row.name == target).collect();
    if named.is_empty() { rows.iter().filter(|row| target.parse() == Ok(row.id)).collect() } else { named }
}

/// Returns the exit code if nothing matches: 0 in PM2, and scripts rely on it.
pub(super) fn missing(cx: &Cx) -> Status {
    if cx.program.is_pm2() { Status::Ok } else { Status::NotFound }
}
