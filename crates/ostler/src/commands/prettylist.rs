//! `prettylist`: the same as `jlist` in the form in which Node prints it.

use serde_json::Value;

use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, Status};
use crate::render::inspect;

/// Prints the list.
pub(crate) fn run(cx: &mut Cx, _call: &Call) -> Result<Status, CliError> {
    cx.out.data_only();
    let list = cx.client()?.processes()?;
    // The client read the frame successfully, so its content is JSON.
    let list: Value = serde_json::from_str(list.text()).unwrap_or_default();
    cx.out.data(format!("{}\n", inspect(&list)).as_bytes());
    Ok(Status::Ok)
}
