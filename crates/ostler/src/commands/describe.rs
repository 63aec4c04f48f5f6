//! `describe`: everything about an app.

use ostler_proto::control::Failure;

use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, Status};
use crate::render::{DescribeContext, describe, json};
use crate::versioning;

/// Prints tables for each instance that matches.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let details = match cx.find(&call.targets[..1]) {
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
    let env = cx.env();
    let view = cx.out.view();
    for detail in &details {
        let versioning = (!detail.spec.given.is("vizion", false)).then(|| versioning::of_app(&detail.spec)).flatten();
        let around = DescribeContext { program: cx.program.name(), env: &env, view: &view, versioning };
        cx.out.line(describe(detail, &around).trim_end_matches('\n'));
    }
    Ok(Status::Ok)
}
