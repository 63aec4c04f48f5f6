//! `down`: stops and deletes only the apps that `up` has started from the file of this folder.

use ostler_core::message;
use ostler_proto::control::Action;
use serde_json::json;

use super::project::{app_names, project_members};
use super::request::request;
use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, Status};
use crate::render::{self, ProjectLook, Wording};

/// Takes the project down. It is no failure if no app of the project exists.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    if call.has("volumes") {
        cx.out.warn_err(message!("--volumes: ostler creates no volumes; the data of apps stays in its folders"));
    }
    let members = project_members(cx, call)?.unwrap_or_default();
    let names = app_names(&members, &call.targets)?;
    if !names.is_empty() {
        let project = members.first().map(|member| member.spec.namespace.clone()).unwrap_or_default();
        let look = ProjectLook { project, ..ProjectLook::default() };
        cx.perform_for(&look, &request(cx, Action::Delete, call, names.clone(), None)?, Wording::Action)?;
    }
    if call.has("json") {
        render::json(&mut cx.out, &json!({ "removed": names }));
    } else if names.is_empty() && cx.program.is_pm2() {
        cx.out.line("No app of this project is running");
    } else if names.is_empty() {
        cx.out.info(message!("nothing to stop: no app of this project is in the list"));
    }
    Ok(Status::Ok)
}
