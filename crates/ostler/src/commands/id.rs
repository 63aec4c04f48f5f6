//! `id`: ids of an app, for scripts.

use ostler_proto::control::Summary;

use crate::cli::{Call, CliError, Status};
use crate::cx::Cx;
use crate::render::{id_list, json};

/// `[ 0, 1 ]` as Node prints it; `[]` for an unknown name.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let rows = cx.client()?.list()?;
    let ids: Vec<u32> = selected(&rows, call.target().unwrap_or_default()).iter().map(|row| row.id).collect();
    if call.has("json") {
        json(&mut cx.out, &ids);
    } else {
        cx.out.line(id_list(&ids, false));
    }
    Ok(if ids.is_empty() { missing(cx) } else { Status::Ok })
}

/// By name, else by id.
pub(super) fn selected<'a>(rows: &'a [Summary], target: &str) -> Vec<&'a Summary> {
    let named: Vec<&Summary> = rows.iter().filter(|row| row.name == target).collect();
    if named.is_empty() { rows.iter().filter(|row| target.parse() == Ok(row.id)).collect() } else { named }
}

/// PM2 says 0 when nothing matches, and scripts rely on it.
pub(super) fn missing(cx: &Cx) -> Status {
    if cx.program.is_pm2() { Status::Ok } else { Status::NotFound }
}
