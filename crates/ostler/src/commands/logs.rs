//! `logs`: chooses the apps; [`crate::logs`] shows their lines.

use ostler_core::message;

use super::project::{app_names, is_named, project_members};
use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, Status};

/// Shows and follows logs. In the folder of a project that is up, it shows the project's apps, and
/// accepts the names from the project's file.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let is_project = call.value("file").is_some() || call.has("project-name");
    let Some(members) = project_members(cx, call)? else { return crate::logs::run(cx, call) };
    let targets = if call.targets.is_empty() {
        app_names(&members, &[])?
    } else if is_project {
        app_names(&members, &call.targets)?
    } else {
        // Any other word has its usual meaning.
        let mut targets = Vec::new();
        for word in &call.targets {
            let name = members.iter().map(|member| &member.spec).find(|spec| is_named(&spec.name, &spec.namespace, word));
            targets.push(name.map_or_else(|| word.clone(), |spec| spec.name.clone()));
        }
        targets
    };
    if targets.is_empty() {
        return Err(CliError::NotFound(message!("no app of this project is running: `ostler up` starts it")));
    }
    let Some(call) = call.as_command("logs", targets) else { return crate::logs::run(cx, call) };
    crate::logs::run(cx, &call)
}
