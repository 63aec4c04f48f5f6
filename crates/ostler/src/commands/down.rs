//! `down`: stops and deletes only the apps that `up` has started from the file of this folder.

use ostler_proto::control::Action;
use serde_json::json;

use super::project::{app_names, project_members};
use super::request::request;
use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, Status};
use crate::render::{self, Wording};

/// Takes the project down. It is no failure if no app of the project exists.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    if call.has("volumes") {
        cx.out.warn_err("--volumes: ostler creates no volumes; the data of apps stays in its folders");
    }
    let members = project_members(cx, call)?.unwrap_or_default();
    let names = app_names(&members, &call.targets)?;
    if !names.is_empty() {
        cx.perform(&request(cx, Action::Delete, call, names.clone(), None)?, Wording::Action)?;
    }
    if call.has("json") {
        render::json(&mut cx.out, &json!({ "removed": names }));
    } else if names.is_empty() {
        cx.out.line("No app of this project is running");
    }
    Ok(Status::Ok)
}
