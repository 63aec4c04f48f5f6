//! `describe`: everything about an app.

use ostler_proto::control::Failure;
use ostler_sys::ProcTable;

use crate::cli::Call;
use crate::cx::{Cx, listening_ports};
use crate::error::{CliError, Status};
use crate::render::face::describe_own;
use crate::render::{DescribeContext, describe, json};
use crate::versioning;

/// Most instances whose processes are searched for ports.
const MOST_WITH_PORTS: usize = 20;

/// Prints tables for each instance that matches.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let mut details = match cx.find(&call.targets[..1]) {
        Err(CliError::Daemon(Failure::NotFound { target })) if cx.program.is_pm2() => {
            cx.out.warn_err(format_args!("{target} doesn't exist"));
            return Err(CliError::Reported(Status::NotFound));
        }
        other => other?,
    };
    if call.has("json") {
        json(&mut cx.out, &details);
        return Ok(Status::Ok);
    }
    if !cx.program.is_pm2() && details.len() <= MOST_WITH_PORTS {
        let processes = ProcTable::scan();
        for detail in &mut details {
            detail.learned.ports = listening_ports(&processes, detail).into_iter().collect();
        }
    }
    let env = cx.env();
    let view = cx.out.view();
    for (place, detail) in details.iter().enumerate() {
        let versioning = (!detail.spec.given.is("vizion", false)).then(|| versioning::of_app(&detail.spec)).flatten();
        let around = DescribeContext { program: cx.program.name(), env: &env, view: &view, versioning };
        let text = if cx.program.is_pm2() { describe(detail, &around) } else { describe_own(detail, &around) };
        if place > 0 && !cx.program.is_pm2() {
            cx.out.line("");
        }
        cx.out.line(text.trim_end_matches('\n'));
    }
    Ok(Status::Ok)
}
