//! `pid`: process ids for scripts.

use ostler_proto::control::Summary;

use super::selected::{missing, selected};
use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, Status};
use crate::render::json;

/// Prints one pid per line, 0 for an instance that does not run. Prints an empty line for an
/// unknown name.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let rows = cx.client()?.list()?;
    let rows: Vec<&Summary> = call.target().map_or_else(|| rows.iter().collect(), |target| selected(&rows, target));
    let pids: Vec<i32> = rows.iter().map(|row| row.pid).collect();
    if call.has("json") {
        json(&mut cx.out, &pids);
    } else {
        cx.out.line(pids.iter().map(i32::to_string).collect::<Vec<_>>().join("\n"));
    }
    match call.target() {
        Some(target) if rows.is_empty() => missing(cx, call, target),
        _ => Ok(Status::Ok),
    }
}
