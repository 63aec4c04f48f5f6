//! `id`: ids of an app, for scripts.

use super::selected::{missing, selected};
use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, Status};
use crate::render::{id_list, json};

/// Prints `[ 0, 1 ]` as Node does; `[]` for an unknown name.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let rows = cx.client()?.list()?;
    let target = call.target().unwrap_or_default();
    let ids: Vec<u32> = selected(&rows, target).iter().map(|row| row.id).collect();
    if call.has("json") {
        json(&mut cx.out, &ids);
    } else {
        cx.out.line(id_list(&ids, false));
    }
    if ids.is_empty() { missing(cx, call, target) } else { Ok(Status::Ok) }
}
