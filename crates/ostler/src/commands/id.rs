//! `id`: ids of an app, for scripts.

use ostler_proto::control::Summary;

use crate::cli::{Call, CliError, Status};
use crate::cx::Cx;
use crate::render::{id_list, json};

/// `[ 0, 1 ]` as Node prints it; `[]` for an unknown name.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let rows = cx.client()?.list()?;
    let ids: Vec<u32> = rows.iter().filter(|row| call.target().is_some_and(|target| selected(row, target))).map(|row| row.id).collect();
    if call.has("json") {
        json(&mut cx.out, &ids);
    } else {
        cx.out.line(id_list(&ids, false));
    }
    Ok(if ids.is_empty() { missing(cx) } else { Status::Ok })
}

/// By name, else by id.
pub(super) fn selected(row: &Summary, target: &str) -> bool {
    row.name == target || target.parse() == Ok(row.id)
}

/// PM2 says 0 when nothing matches, and scripts rely on it.
pub(super) fn missing(cx: &Cx) -> Status {
    if cx.program.is_pm2() { Status::Ok } else { Status::NotFound }
}
